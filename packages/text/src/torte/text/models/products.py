"""The large matrix products of a language model's decoder, by the faster library of the CPU.

PyTorch multiplies float32 matrices by MKL, which on processors that are not Intel's runs at half of
what they can; the oneDNN that PyTorch ships with does not. On AMD's Zen 5, 4,608 vectors of 400
numbers by 9,000 words: 195 billion operations a second by MKL, 440 by oneDNN.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["large_linear"]

_LARGE = 1 << 28
"""Multiplications from which on it pays to look for the faster library."""


def large_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, by oneDNN for large float32 products on a CPU.

    Args:
        x: (..., features).
        weight: (outputs, features).
        bias: (outputs,).

    Returns:
        (..., outputs).
    """
    if _is_for_onednn(x, weight):
        return _OneDNNLinear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and type(x) is Tensor
        and x.is_cpu
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * weight.shape[0] >= _LARGE
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _product(one: Tensor, other: Tensor, bias: Tensor | None = None) -> Tensor:
    """`one @ other.T + bias`: what PyTorch's compiler calls for linear layers on CPUs."""
    return torch.ops.mkldnn._linear_pointwise(one, other, bias, "none", [], "")


class _OneDNNLinear(torch.autograd.Function):
    """A linear layer with its three products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,) = grad_outputs
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        grads = grad.reshape(-1, weight.shape[0])
        rows = x.reshape(-1, weight.shape[1])
        return (
            _product(grads, weight.t()).view_as(x) if for_x else None,
            # The other way round (features first) it takes half the time.
            _product(rows.t(), grads.t()).t().contiguous() if for_weight else None,
            grads.sum(0) if for_bias else None,
        )
