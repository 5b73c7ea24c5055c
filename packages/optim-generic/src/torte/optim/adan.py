"""Adan: adaptive Nesterov momentum."""

import functools

import torch
from torch import Tensor

from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.rules import Weight
from torte.optim.stats import average_grad, debias, step_stat

__all__ = ["Adan", "adan_step", "average_difference"]


def average_difference(
    p: Weight,
    diff_mom: float,
    sqr_mom: float,
    previous_grad: Tensor | None = None,
    diff_avg: Tensor | None = None,
    sqr_avg: Tensor | None = None,
) -> dict[str, Tensor]:
    """Averages of `d = g - g₋₁` (0 at first) and of `(g + diff_mom·d)²`."""
    if previous_grad is None or diff_avg is None or sqr_avg is None:
        previous_grad = p.grad.clone()
        diff_avg, sqr_avg = torch.zeros_like(p.grad), torch.zeros_like(p.grad)
    difference = p.grad - previous_grad
    nesterov = p.grad.add(difference, alpha=diff_mom)
    return {
        "previous_grad": previous_grad.copy_(p.grad),
        "diff_avg": diff_avg.lerp_(difference, 1 - diff_mom),
        "sqr_avg": sqr_avg.mul_(sqr_mom).addcmul_(nesterov, nesterov, value=1 - sqr_mom),
    }


def adan_step(
    p: Weight,
    lr: float,
    mom: float,
    diff_mom: float,
    sqr_mom: float,
    step: int,
    grad_avg: Tensor,
    diff_avg: Tensor,
    sqr_avg: Tensor,
    eps: float,
    wd: float,
    do_wd: bool = True,
) -> None:
    """Adan's step with its proximal weight decay."""
    denominator = (sqr_avg / debias(sqr_mom, 1 - sqr_mom, step)).sqrt().add_(eps)
    p.addcdiv_(grad_avg, denominator, value=-lr / debias(mom, 1 - mom, step))
    diff_size = lr * diff_mom / debias(diff_mom, 1 - diff_mom, step)
    p.addcdiv_(diff_avg, denominator, value=-diff_size)
    if do_wd and wd != 0:
        p.div_(1 + lr * wd)


def Adan(  # noqa: N802 (named like its siblings)
    params: Params,
    lr: float = 1e-3,
    mom: float = 0.98,
    diff_mom: float = 0.92,
    sqr_mom: float = 0.99,
    eps: float = 1e-8,
    wd: float = 0.0,
) -> Optimizer:
    """Adan (Xie et al. 2022), with bias correction as in the authors' code.

    With `d = g - g₋₁`: `m ← mom·m + (1-mom)·g`, `v ← diff_mom·v + (1-diff_mom)·d`,
    `n ← sqr_mom·n + (1-sqr_mom)·(g + diff_mom·d)²`,
    `p ← (p - lr·(m̂ + diff_mom·v̂)/(√n̂ + eps)) / (1 + lr·wd)`.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        mom: Decay of the gradient's average (`1-β₁` in the paper).
        diff_mom: Decay of the difference's average (`1-β₂`).
        sqr_mom: Decay of the squared average (`1-β₃`).
        eps: Added to the denominator.
        wd: Weight decay.

    Example:
        >>> import torch
        >>> opt = Adan(torch.nn.Linear(2, 1).parameters(), lr=1e-3)
    """
    return Optimizer(
        params,
        stats=[functools.partial(average_grad, dampening=True), average_difference, step_stat],
        steppers=adan_step,
        lr=lr,
        mom=mom,
        diff_mom=diff_mom,
        sqr_mom=sqr_mom,
        eps=eps,
        wd=wd,
    )
