"""Losses of a fit, kept on the device and read late.

Nothing here waits for the device while batches run: losses are kept as they are, and smoothing is
computed when somebody asks, from all losses that came since the last time.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["LateValue", "LossLog", "smoothed"]

CHUNK = 256
"""After how many losses the single tensors are packed into one, so that memory stays flat."""


def smoothed(losses: list[float], beta: float) -> list[float]:
    """Return the exponentially weighted average after each loss, corrected for its start at zero.

    With `s[t] = beta * s[t-1] + (1 - beta) * loss[t]` and `s[0] = 0`, element `t` (counted from 1)
    is `s[t] / (1 - beta**t)`.
    """
    result, average = [], 0.0
    for count, loss in enumerate(losses, 1):
        average = beta * average + (1 - beta) * loss
        result.append(average / (1 - beta**count))
    return result


def _decayed_sum(losses: list[float], beta: float) -> np.float64:
    """The last `s[t]` of `smoothed`."""
    ages = np.arange(len(losses) - 1, -1, -1)
    return (1 - beta) * np.dot(beta**ages, np.asarray(losses))


class LossLog:
    """Append-only record of losses and the number of samples of each.

    Args:
        beta: Weight of the past in the smoothed loss (see `smoothed`).
    """

    def __init__(self, beta: float = 0.98) -> None:
        self.beta = beta
        self.sizes: list[int] = []
        self._read: list[float] = []
        self._chunks: list[Tensor] = []
        self._recent: list[Tensor] = []
        self._average: Tensor | None = None
        self._averaged = 0

    def append(self, loss: Tensor, size: int) -> None:
        """Take in the (detached) loss of a batch of `size` samples; no computation, no waiting."""
        self.sizes.append(size)
        recent = self._recent
        recent.append(loss if loss.ndim == 0 else loss.mean())
        if len(recent) >= CHUNK:
            self._smooth()
            self._chunks.append(torch.stack(self._recent))
            self._recent = []

    @property
    def count(self) -> int:
        """How many losses there are."""
        return len(self.sizes)

    @property
    def value(self) -> Tensor | None:
        """The smoothed loss now: a tensor of no dimensions, still on the device; None if empty."""
        if not self.sizes:
            return None
        self._smooth()
        assert self._average is not None
        return self._average / (1 - self.beta**self._averaged)

    def _smooth(self) -> None:
        """Bring the average up to date with one dot product over what has come since."""
        begin = self.count - len(self._recent)
        new = self._recent[self._averaged - begin :]
        if not new:
            return
        wide = torch.float32 if new[0].device.type == "mps" else torch.float64
        losses = torch.stack(new).to(wide)
        ages = torch.arange(len(new) - 1, -1, -1, dtype=wide, device=losses.device)
        part = (1 - self.beta) * torch.dot(self.beta**ages, losses)
        if self._average is not None:
            part = part + self._average * self.beta ** len(new)
        self._average = part
        self._averaged = self.count

    def tolist(self) -> list[float]:
        """Return all losses as numbers; this waits for the device, once."""
        if self._recent:
            self._smooth()
            self._chunks.append(torch.stack(self._recent))
            self._recent = []
        for chunk in self._chunks:
            self._read.extend(chunk.tolist())
        self._chunks = []
        return self._read.copy()

    def numbers(self, start: int = 0) -> tuple[Tensor, Tensor]:
        """Return losses and numbers of samples from the `start`-th on, as float64 tensors."""
        losses = torch.tensor(self.tolist()[start:], dtype=torch.float64)
        return losses, torch.tensor(self.sizes[start:], dtype=torch.float64)

    def replace(self, start: int, losses: list[float], sizes: list[int]) -> None:
        """Put other losses and numbers of samples in the place of those from the `start`-th on."""
        device = None if self._average is None else self._average.device
        self._read = [*self.tolist()[:start], *losses]
        self.sizes[start:] = sizes
        self._average, self._averaged = None, 0
        if self._read:
            self._average = torch.tensor(_decayed_sum(self._read, self.beta), device=device)
            self._averaged = self.count

    def state(self) -> dict[str, Any]:
        """Return everything, for a checkpoint: computes nothing, so later numbers are the same."""
        return {
            "sizes": torch.tensor(self.sizes, dtype=torch.int64),
            "read": torch.tensor(self._read, dtype=torch.float64),
            "chunks": list(self._chunks),
            "recent": torch.stack(self._recent) if self._recent else None,
            "average": self._average,
            "averaged": self._averaged,
        }

    def load_state(self, state: dict[str, Any], device: torch.device | None = None) -> None:
        """Take back what `state` gave, for losses that will come from a device."""
        self.sizes, self._read = state["sizes"].tolist(), state["read"].tolist()
        self._chunks = list(state["chunks"])
        recent, average = state["recent"], state["average"]
        self._recent = [] if recent is None else list(recent.to(device).unbind())
        self._average = None if average is None else average.to(device)
        self._averaged = state["averaged"]

    def mean(self, start: int = 0) -> float | None:
        """Return the average from the `start`-th loss on, weighted by the numbers of samples."""
        weights = self.sizes[start:]
        if not weights:
            return None
        losses = self.tolist()[start:]
        return float(np.average(losses, weights=weights if sum(weights) else None))


class LateValue:
    """A number on its way from the device: offered now, there a little later, never waited for."""

    def __init__(self) -> None:
        self._latest: float | None = None
        self._coming: Tensor | None = None
        self._arrival: Any = None

    def offer(self, value: Tensor | None) -> float | None:
        """Send for a new value unless one is on its way; return the latest that has arrived."""
        if self._coming is not None and self._arrival.query():
            self._latest, self._coming = float(self._coming), None
        if value is None or self._coming is not None:
            return self._latest
        if value.device.type != "cuda":
            self._latest = float(value)
            return self._latest
        self._coming = torch.empty_like(value, device="cpu", pin_memory=True)
        self._coming.copy_(value, non_blocking=True)
        self._arrival = torch.cuda.Event()
        self._arrival.record(torch.cuda.current_stream(value.device))
        return self._latest
