"""Metrics that are averages over samples or batches, and values that come from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from torte.data.tensors import plain
from torte.learner.metrics.contract import MeanFunction, Metric, batch_size_of, wide_dtype

if TYPE_CHECKING:
    from torte.learner.learner import Learner

__all__ = [
    "AvgLoss",
    "AvgMetric",
    "AvgSmoothLoss",
    "LossMetric",
    "LossMetrics",
    "ValueMetric",
]


def _function_name(func: Callable[..., Any]) -> str:
    if isinstance(func, partial):
        return _function_name(func.func)
    return getattr(func, "__name__", None) or type(func).__name__


def _parts_of(func: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return what yields (sum, count) of a metric function, seeing through `functools.partial`."""
    if isinstance(func, partial):
        parts = _parts_of(func.func)
        return None if parts is None else partial(parts, *func.args, **func.keywords)
    return func.parts if isinstance(func, MeanFunction) else None


class AvgMetric(Metric):
    """The average of a function of predictions and targets, weighted by the number of samples.

    Args:
        func: Called as `func(learn.pred, *learn.yb)` after each batch. A function made by
            `mean_metric` (`accuracy`, `mse`, …) is averaged over elements, exactly.
    """

    sums: ClassVar[tuple[str, ...]] = ("total", "count")

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        self._parts = _parts_of(func)
        self.reset()

    def reset(self) -> None:
        """Set sum and count to 0."""
        self.total: Tensor | float = 0.0
        self.count: Tensor | int = 0

    def accumulate(self, learn: Learner) -> None:
        """Add the batch's sum and count, on the device of the predictions."""
        pred, targets = plain(learn.pred), plain(learn.yb)
        with torch.no_grad():
            if self._parts is not None:
                total, count = self._parts(pred, *targets)
            else:
                count = batch_size_of(targets if len(targets) else pred)
                total = _widen(self.func(pred, *targets)) * count
            self.total = self.total + _widen(total)
            self.count = self.count + count

    @property
    def value(self) -> Tensor | float | None:
        """The weighted average, a tensor of no dimensions on the device; `None` without samples."""
        if isinstance(self.count, int) and self.count == 0:
            return None
        return self.total / self.count

    @property
    def default_name(self) -> str:
        """The function's name."""
        return _function_name(self.func)


def _widen(value: Any) -> Any:
    return value.detach().to(wide_dtype(value.device)) if isinstance(value, Tensor) else value


class AvgLoss(Metric):
    """The average of the losses, weighted by the number of samples."""

    sums: ClassVar[tuple[str, ...]] = ("total", "count")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Set sum and count to 0."""
        self.total: Tensor | float = 0.0
        self.count = 0

    def accumulate(self, learn: Learner) -> None:
        """Add the batch's loss times its number of samples."""
        size = batch_size_of(learn.yb if len(learn.yb) else learn.xb)
        loss = self._loss(learn)
        self.total = self.total + _widen(loss if loss.ndim == 0 else loss.mean()) * size
        self.count += size

    def _loss(self, learn: Learner) -> Tensor:
        return learn.loss

    @property
    def value(self) -> Tensor | float | None:
        """The weighted average, a tensor of no dimensions on the device; `None` without samples."""
        return self.total / self.count if self.count else None

    @property
    def default_name(self) -> str:
        """Plainly "loss"."""
        return "loss"


class LossMetric(AvgLoss):
    """The average of a part of the loss that the loss function keeps in an attribute.

    Args:
        attr: Attribute of `learn.loss_func`, read after each batch.
        nm: Under which name it is reported; `attr` by default.
    """

    def __init__(self, attr: str, nm: str | None = None) -> None:
        super().__init__()
        self.attr = attr
        self.nm = nm

    def _loss(self, learn: Learner) -> Tensor:
        return getattr(learn.loss_func, self.attr)

    @property
    def default_name(self) -> str:
        """The name given, or the attribute's."""
        return self.attr if self.nm is None else self.nm


def LossMetrics(  # noqa: N802
    attrs: str | Sequence[str], nms: str | Sequence[str] | None = None
) -> list[LossMetric]:
    """Make a `LossMetric` of each attribute, given as a list or as one string with commas."""
    names = attrs.split(",") if isinstance(attrs, str) else list(attrs)
    shown = names if nms is None else nms.split(",") if isinstance(nms, str) else list(nms)
    return [LossMetric(attr, nm) for attr, nm in zip(names, shown, strict=True)]


class AvgSmoothLoss(Metric):
    """An exponentially weighted average of the training losses, corrected for its start at 0.

    Args:
        beta: Weight of the past at each batch.
    """

    def __init__(self, beta: float = 0.98) -> None:
        self.beta = beta
        self.reset()

    def reset(self) -> None:
        """Forget all losses."""
        self.count = 0
        self.val: Tensor | float = 0.0

    def accumulate(self, learn: Learner) -> None:
        """Take in the batch's loss; nothing waits for the device."""
        self.count += 1
        loss = learn.loss.detach()
        loss = loss if loss.ndim == 0 else loss.mean()
        # A new tensor at each batch: whoever was given the last value keeps it.
        self.val = loss * (1 - self.beta) + self.val * self.beta

    @property
    def value(self) -> Tensor | float | None:
        """The smoothed loss, a tensor of no dimensions on the device; `None` without batches."""
        return self.val / (1 - self.beta**self.count) if self.count else None

    @property
    def default_name(self) -> str:
        """Plainly "loss"."""
        return "loss"

    def state(self) -> dict[str, Any]:
        """Return the average so far and the number of batches in it."""
        return {"count": self.count, "val": self.val}

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Average the processes' averages, which have seen the same number of batches."""
        self.count = max(state["count"] for state in states)
        self.val = sum(state["val"] for state in states) / len(states)


class ValueMetric(Metric):
    """Report a value that something else, a callback say, has computed.

    Args:
        func: Returns the value.
        metric_name: Under which name it is reported; the function's by default.
    """

    def __init__(self, func: Callable[[], Any], metric_name: str | None = None) -> None:
        self.func = func
        self.metric_name = metric_name

    def accumulate(self, learn: Learner) -> None:
        """Take in nothing."""

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Each process reports the value that it computed itself."""

    @property
    def value(self) -> Any:
        """What the function returns now."""
        return self.func()

    @property
    def default_name(self) -> str:
        """The name given, or the function's."""
        return self.metric_name or _function_name(self.func)
