"""Pooling to a fixed size: average, maximum, or both side by side."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from torte.learner.layers.basic import Flatten
from torte.learner.layers.containers import SequenceBlock

__all__ = [
    "AdaptiveAvgPool",
    "AdaptiveConcatPool1d",
    "AdaptiveConcatPool2d",
    "AvgPool",
    "MaxPool",
    "PoolFlatten",
    "PoolType",
    "adaptive_pool",
]

_AVG: dict[int, Callable[..., nn.Module]] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_MAX: dict[int, Callable[..., nn.Module]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_ADAPTIVE: dict[int, Callable[..., nn.Module]] = {
    1: nn.AdaptiveAvgPool1d,
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}


class PoolType(StrEnum):
    """Which pooling: average, maximum, or the two concatenated."""

    Avg = "Avg"
    Max = "Max"
    Cat = "Cat"


class _AdaptiveConcatPool(nn.Module):
    """Maximum and average pooling to one size, concatenated along the channels."""

    def __init__(self, maximum: nn.Module, average: nn.Module, size: Any) -> None:
        super().__init__()
        self.size = size
        self.mp = maximum
        self.ap = average

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (batch, 2 x channels, *size), the maxima first."""
        return torch.cat([self.mp(x), self.ap(x)], dim=1)


class AdaptiveConcatPool1d(_AdaptiveConcatPool):
    """Concatenate adaptive maximum and average pooling of (batch, channels, length).

    Args:
        size: Output length, 1 when `None`.
    """

    def __init__(self, size: int | None = None) -> None:
        out = size or 1
        super().__init__(nn.AdaptiveMaxPool1d(out), nn.AdaptiveAvgPool1d(out), out)


class AdaptiveConcatPool2d(_AdaptiveConcatPool):
    """Concatenate adaptive maximum and average pooling of (batch, channels, height, width).

    Args:
        size: Output size, 1 when `None`.
    """

    def __init__(self, size: int | tuple[int, int] | None = None) -> None:
        out = size or 1
        super().__init__(nn.AdaptiveMaxPool2d(out), nn.AdaptiveAvgPool2d(out), out)


def adaptive_pool(pool_type: PoolType | str) -> Callable[..., nn.Module]:
    """Return the class of two-dimensional adaptive pooling of a kind (the average by default)."""
    if pool_type == PoolType.Max:
        return nn.AdaptiveMaxPool2d
    return AdaptiveConcatPool2d if pool_type == PoolType.Cat else nn.AdaptiveAvgPool2d


class PoolFlatten(SequenceBlock):
    """Pool (batch, channels, height, width) to one value a channel: (batch, channels).

    Args:
        pool_type: Which pooling; `Cat` doubles the channels.
    """

    def __init__(self, pool_type: PoolType | str = PoolType.Avg) -> None:
        super().__init__(adaptive_pool(pool_type)(1), Flatten())


def _of_dimension(
    table: dict[int, Callable[..., nn.Module]], ndim: int
) -> Callable[..., nn.Module]:
    if ndim not in table:
        raise ValueError(f"ndim must be 1, 2 or 3, not {ndim!r}")
    return table[ndim]


def AdaptiveAvgPool(sz: Any = 1, ndim: int = 2) -> nn.Module:  # noqa: N802
    """Return an adaptive average pooling layer for `ndim` dimensions with output size `sz`."""
    return _of_dimension(_ADAPTIVE, ndim)(sz)


def MaxPool(  # noqa: N802
    ks: Any = 2, stride: Any = None, padding: Any = 0, ndim: int = 2, ceil_mode: bool = False
) -> nn.Module:
    """Return a maximum pooling layer for `ndim` dimensions; `stride` is `ks` when `None`."""
    return _of_dimension(_MAX, ndim)(ks, stride=stride, padding=padding, ceil_mode=ceil_mode)


def AvgPool(  # noqa: N802
    ks: Any = 2, stride: Any = None, padding: Any = 0, ndim: int = 2, ceil_mode: bool = False
) -> nn.Module:
    """Return an average pooling layer for `ndim` dimensions; `stride` is `ks` when `None`."""
    return _of_dimension(_AVG, ndim)(ks, stride=stride, padding=padding, ceil_mode=ceil_mode)
