"""Stats: what an optimizer remembers of each parameter from step to step."""

import torch
from torch import Tensor

from torte.optim.rules import Weight, whole_model

__all__ = [
    "average_grad",
    "average_sqr_grad",
    "debias",
    "grad_norm_stat",
    "step_stat",
    "whole_model_norms",
]


def average_grad(
    p: Weight, mom: float, dampening: bool = False, grad_avg: Tensor | None = None
) -> dict[str, Tensor]:
    """Moving average of the gradient: `m ← mom·m + d·g`, with `d = 1-mom` when dampened, else 1.

    With `mom = 0` and no dampening there is nothing to remember, and nothing is kept.
    """
    if grad_avg is None:
        if mom == 0 and not dampening:
            return {}
        grad_avg = torch.zeros_like(p.grad)
    if dampening:
        return {"grad_avg": grad_avg.lerp_(p.grad, 1 - mom)}
    return {"grad_avg": grad_avg.mul_(mom).add_(p.grad)}


def average_sqr_grad(
    p: Weight, sqr_mom: float, dampening: bool = True, sqr_avg: Tensor | None = None
) -> dict[str, Tensor]:
    """Moving average of the squared gradient: `v ← sqr_mom·v + d·g²`."""
    if sqr_avg is None:
        sqr_avg = torch.zeros_like(p.grad)
    damp = 1 - sqr_mom if dampening else 1.0
    return {"sqr_avg": sqr_avg.mul_(sqr_mom).addcmul_(p.grad, p.grad, value=damp)}


def step_stat(p: Weight, step: int = 0) -> dict[str, int]:
    """Number of steps that this parameter has taken, this one included."""
    return {"step": step + 1}


def grad_norm_stat(p: Weight) -> dict[str, Tensor]:
    """Per-layer norms: `param_norm` = ‖p‖₂ and `grad_norm` = ‖g‖₂, 0-dim tensors."""
    return {"param_norm": p.norm(), "grad_norm": p.grad.norm()}


@whole_model
def whole_model_norms(p: Weight) -> dict[str, Tensor]:
    """Whole-model sums of squares, `model_param_sqr` and `model_grad_sqr`, 0-dim tensors."""
    return {"model_param_sqr": p.pow(2).sum(), "model_grad_sqr": p.grad.pow(2).sum()}


def debias(mom: float, damp: float, step: int) -> float:
    """Weight that an average started at zero has gathered: `damp · (1 - momˢ) / (1 - mom)`.

    Args:
        mom: Decay of the average.
        damp: Weight of each new value.
        step: Number of values averaged.
    """
    return damp * (1 - mom**step) / (1 - mom) if mom != 1 else damp * step
