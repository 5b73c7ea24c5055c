"""Normalisation layers with the starting values that residual networks like."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["BatchNorm", "BatchNorm1dFlat", "InstanceNorm", "NormType"]

_BATCH: dict[int, Callable[..., nn.Module]] = {
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}
_INSTANCE: dict[int, Callable[..., nn.Module]] = {
    1: nn.InstanceNorm1d,
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}


class NormType(StrEnum):
    """Kinds of normalisation that a convolution layer can have.

    Batch and instance normalisation are layers of their own; the `Zero` forms start with weight 0,
    so that a residual block starts as the identity. Weight and spectral normalisation reparametrise
    the convolution.
    """

    Batch = "Batch"
    BatchZero = "BatchZero"
    Weight = "Weight"
    Spectral = "Spectral"
    Instance = "Instance"
    InstanceZero = "InstanceZero"


def _make_norm(
    table: dict[int, Callable[..., nn.Module]], nf: int, ndim: int, zero: bool, **kwargs: Any
) -> nn.Module:
    if ndim not in table:
        raise ValueError(f"ndim must be 1, 2 or 3, not {ndim!r}")
    layer = table[ndim](nf, **kwargs)
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    with torch.no_grad():
        if isinstance(weight, Tensor):
            weight.fill_(0.0 if zero else 1.0)
        if isinstance(bias, Tensor):
            # A small positive bias keeps rectifiers alive while the weight is still 0.
            bias.fill_(1e-3)
    return layer


def BatchNorm(  # noqa: N802
    nf: int, ndim: int = 2, norm_type: NormType = NormType.Batch, **kwargs: Any
) -> nn.Module:
    """Return batch normalisation of `nf` features in `ndim` dimensions.

    Args:
        nf: Number of features.
        ndim: Dimensions after the channels: 1, 2 or 3.
        norm_type: `BatchZero` starts with weight 0.
        **kwargs: For PyTorch's layer.
    """
    return _make_norm(_BATCH, nf, ndim, zero=norm_type == NormType.BatchZero, **kwargs)


def InstanceNorm(  # noqa: N802
    nf: int,
    ndim: int = 2,
    norm_type: NormType = NormType.Instance,
    affine: bool = True,
    **kwargs: Any,
) -> nn.Module:
    """Return instance normalisation of `nf` features in `ndim` dimensions.

    Args:
        nf: Number of features.
        ndim: Dimensions after the channels: 1, 2 or 3.
        norm_type: `InstanceZero` starts with weight 0.
        affine: Whether it has a weight and a bias.
        **kwargs: For PyTorch's layer.
    """
    zero = norm_type == NormType.InstanceZero
    return _make_norm(_INSTANCE, nf, ndim, zero=zero, affine=affine, **kwargs)


class BatchNorm1dFlat(nn.BatchNorm1d):
    """Batch normalisation over the last dimension, the leading ones taken as one batch."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (…, features) over all leading dimensions together."""
        if input.ndim == 2:
            return super().forward(input)
        return super().forward(input.reshape(-1, input.shape[-1])).view(input.shape)
