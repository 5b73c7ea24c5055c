"""Statistics of activations (or gradients) by layer, recorded during training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from torte.dispatch import L
from torte.learner.hooks import HookCallback
from torte.learner.plots import axes_for

__all__ = ["ActivationStats"]


class ActivationStats(HookCallback):
    """Record mean, standard deviation and share near zero of each layer's output.

    Everything stays on the device until it is looked at.

    Args:
        with_hist: Record a histogram as well (40 bins from 0 to 10).
        modules: What to hook; by default every leaf of the model that has parameters.
        every: Hook each `every`-th batch only.
        remove_end: Take the hooks off at the end of the fit.
        is_forward: Hook outputs rather than their gradients.
        detach: Look at detached tensors.
        cpu: Look at tensors on the CPU (which waits for the device at each call).
        include_paramless: By default, hook leaves without parameters too.
        hook: Returns a dictionary of numbers instead of these statistics.

    Attributes:
        stats: For each hooked batch, one dictionary a layer.
    """

    order = -20

    def __init__(
        self,
        with_hist: bool = False,
        modules: Iterable[nn.Module] | None = None,
        every: int | None = None,
        remove_end: bool = True,
        is_forward: bool = True,
        detach: bool = True,
        cpu: bool = False,
        include_paramless: bool = False,
        hook: Any = None,
    ) -> None:
        super().__init__(
            modules, every, remove_end, is_forward, detach, cpu, include_paramless, hook
        )
        self.with_hist = with_hist
        self.stats: L[Any] = L()

    def before_fit(self) -> None:
        """Begin a record."""
        super().before_fit()
        self.stats = L()

    def hook(self, module: nn.Module, inp: Any, out: Any) -> Any:
        """Return the statistics of one output."""
        if self._hook_func is not None:
            return self._hook_func(module, inp, out)
        while isinstance(out, (tuple, list)):
            out = out[0]
        values = out.float()
        stats = {
            "mean": values.mean(),
            "std": values.std(),
            "near_zero": (values <= 0.05).float().mean(),
        }
        if self.with_hist:
            stats["hist"] = _histogram(values)
        return stats

    def after_batch(self) -> None:
        """Keep the batch's statistics."""
        if self.hooks is not None:
            self.stats.append(self.hooks.stored)
        super().after_batch()

    def layer_stats(self, idx: int) -> L[Any]:
        """Return a layer's means, standard deviations, shares near zero: each a list by batch."""
        rows = [row[idx] for row in self.stats]
        return L(L(_numbers(row[key] for row in rows)) for key in ("mean", "std", "near_zero"))

    def hist(self, idx: int) -> Tensor:
        """Return the logarithms of a layer's histograms: (bins, batches)."""
        if not self.with_hist:
            raise ValueError(
                "there are no histograms: make it with ActivationStats(with_hist=True)"
            )
        return torch.stack([row[idx]["hist"] for row in self.stats]).T.float().log1p().cpu()

    def color_dim(self, idx: int, figsize: tuple[float, float] = (10, 5), ax: Any = None) -> Any:
        """Draw a layer's histograms as "colorful dimension": bins upwards, batches across.

        See https://forums.fast.ai/t/the-colorful-dimension/42908.

        Args:
            idx: Number of the layer.
            figsize: Size of a new figure.
            ax: Axes to draw on.

        Returns:
            The axes.
        """
        picture = self.hist(idx)
        ax = axes_for(ax, figsize=figsize)
        ax.imshow(picture.numpy(), origin="lower", aspect="auto")
        ax.axis("off")
        return ax

    def plot_layer_stats(self, idx: int) -> Any:
        """Draw a layer's three curves; returns the axes."""
        import matplotlib.pyplot as plt

        _, axes = plt.subplots(1, 3, figsize=(12, 3))
        titles = ("mean", "std", "% near zero")
        for values, ax, title in zip(self.layer_stats(idx), axes, titles, strict=True):
            ax.plot(values)
            ax.set_title(title)
        return axes


def _numbers(values: Any) -> list[float]:
    """Read tensors of no dimensions, in one transfer from the device."""
    tensors = list(values)
    if not tensors:
        return []
    return torch.stack([torch.as_tensor(value) for value in tensors]).tolist()


def _histogram(values: Tensor) -> Tensor:
    """Count values in 40 bins from 0 to 10, others left out; runs on any device."""
    flat = values.reshape(-1)
    inside = (flat >= 0) & (flat <= 10)
    places = (flat.clamp(0, 10) * 4).long().clamp(max=39)
    counts = torch.zeros(40, dtype=torch.long, device=values.device)
    return counts.scatter_add_(0, places, inside.long())
