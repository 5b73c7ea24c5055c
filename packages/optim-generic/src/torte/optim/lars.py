"""LARS and LARC: a learning rate for each layer."""

import functools

import torch
from torch import Tensor

from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.rules import Weight
from torte.optim.stats import average_grad
from torte.optim.steppers import l2_reg, weight_decay

__all__ = ["Larc", "larc_layer_lr", "larc_step"]


def larc_layer_lr(
    p: Weight, lr: float, trust_coeff: float, wd: float, eps: float, clip: bool = True
) -> dict[str, Tensor]:
    """The learning rate of a layer: `lr·trust_coeff·‖p‖ / (‖g‖ + wd·‖p‖ + eps)`, at most `lr`.

    A layer of zeros, or one without gradient, has no scale to go by and keeps `lr`.
    """
    p_norm, g_norm = p.norm(), p.grad.norm()
    local_lr = lr * trust_coeff * p_norm / (g_norm + p_norm * wd + eps)
    if clip:
        local_lr = local_lr.clamp(max=lr)
    return {"local_lr": torch.where((p_norm == 0) | (g_norm == 0), lr, local_lr)}


def larc_step(p: Weight, local_lr: Tensor, grad_avg: Tensor | None = None) -> None:
    """Step along the average with the layer's own rate: `p ← p - local_lr·m`."""
    p.sub_((p.grad if grad_avg is None else grad_avg) * local_lr)


def Larc(  # noqa: N802 (fastai's name)
    params: Params,
    lr: float,
    mom: float = 0.9,
    clip: bool = True,
    trust_coeff: float = 0.02,
    eps: float = 1e-8,
    wd: float = 0.0,
    decouple_wd: bool = True,
) -> Optimizer:
    """LARC, and without `clip` LARS (You, Gitman & Ginsburg 2017).

    `m ← mom·m + g`, `p ← p - l·m` with `l = lr·trust_coeff·‖p‖ / (‖g‖ + wd·‖p‖ + eps)` for each
    layer, in LARC at most `lr`.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        mom: Momentum.
        clip: Never exceed `lr` (LARC).
        trust_coeff: How far to trust a layer's scale.
        eps: Added to the denominator.
        wd: Weight decay.
        decouple_wd: Decay the weights themselves, rather than adding `wd·p` to the gradient.

    Example:
        >>> import torch
        >>> opt = Larc(torch.nn.Linear(2, 1).parameters(), lr=0.1)
    """
    return Optimizer(
        params,
        stats=[average_grad, functools.partial(larc_layer_lr, clip=clip)],
        steppers=[weight_decay if decouple_wd else l2_reg, larc_step],
        lr=lr,
        mom=mom,
        trust_coeff=trust_coeff,
        eps=eps,
        wd=wd,
    )
