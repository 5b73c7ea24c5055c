"""Activations under the names of the literature, each on PyTorch's own kernel."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Mish", "MishJit", "Swish", "SwishJit", "mish", "swish", "vleaky_relu"]


def swish(x: Tensor, inplace: bool = False) -> Tensor:
    """Swish, `x * sigmoid(x)` (Ramachandran et al. 2017, arXiv:1710.05941)."""
    return F.silu(x, inplace=inplace)


def mish(x: Tensor, inplace: bool = False) -> Tensor:
    """Mish, `x * tanh(softplus(x))` (Misra 2019, arXiv:1908.08681), by PyTorch's fused kernel."""
    return F.mish(x, inplace=inplace)


def vleaky_relu(input: Tensor, inplace: bool = True) -> Tensor:
    """Leaky ReLU with slope 0.3, very leaky."""
    return F.leaky_relu(input, negative_slope=0.3, inplace=inplace)


class Swish(nn.SiLU):
    """Swish as a layer."""


class Mish(nn.Mish):
    """Mish as a layer."""


# PyTorch has fused kernels for both today, so the older "jit" names are the very same classes.
SwishJit = Swish
MishJit = Mish
