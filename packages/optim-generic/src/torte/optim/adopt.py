"""ADOPT: Adam that converges for any decay of the squared gradient."""

import functools

import torch
from torch import Tensor

from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.rules import Weight
from torte.optim.stats import step_stat
from torte.optim.steppers import l2_reg

__all__ = ["ADOPT", "adopt_step"]


def adopt_step(
    p: Weight,
    lr: float,
    mom: float,
    sqr_mom: float,
    step: int,
    eps: float,
    wd: float = 0.0,
    do_wd: bool = True,
    grad_avg: Tensor | None = None,
    sqr_avg: Tensor | None = None,
) -> dict[str, Tensor]:
    """ADOPT's step: normalise by the squares of *earlier* gradients, then average."""
    if grad_avg is None or sqr_avg is None:
        return {"grad_avg": torch.zeros_like(p.grad), "sqr_avg": p.grad.square()}
    if do_wd and wd != 0:
        p.mul_(1 - lr * wd)
    bound = (step - 1) ** 0.25
    normed = (p.grad / sqr_avg.sqrt().clamp(min=eps)).clamp(-bound, bound)
    p.sub_(grad_avg.lerp_(normed, 1 - mom), alpha=lr)
    sqr_avg.mul_(sqr_mom).addcmul_(p.grad, p.grad, value=1 - sqr_mom)
    return {"grad_avg": grad_avg, "sqr_avg": sqr_avg}


def ADOPT(  # noqa: N802 (named like its siblings)
    params: Params,
    lr: float = 1e-3,
    mom: float = 0.9,
    sqr_mom: float = 0.9999,
    eps: float = 1e-6,
    wd: float = 0.0,
    decouple_wd: bool = True,
) -> Optimizer:
    """ADOPT (Taniguchi et al. 2024), with its clipping.

    First `v ← g²` and nothing else; from the second step on, with `c = (t-1)^¼`:
    `m ← mom·m + (1-mom)·clip(g/max(√v, eps), -c, c)`, `p ← (1 - lr·wd)·p - lr·m`, then
    `v ← sqr_mom·v + (1-sqr_mom)·g²`.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        mom: Decay of the normalised gradient's average.
        sqr_mom: Decay of the squared gradient's average.
        eps: Smallest denominator.
        wd: Weight decay.
        decouple_wd: Decay the weights themselves, rather than adding `wd·p` to the gradient.

    Example:
        >>> import torch
        >>> opt = ADOPT(torch.nn.Linear(2, 1).parameters(), lr=1e-3)
    """
    return Optimizer(
        params,
        stats=step_stat,
        steppers=adopt_step if decouple_wd else [l2_reg, functools.partial(adopt_step, wd=0.0)],
        lr=lr,
        mom=mom,
        sqr_mom=sqr_mom,
        eps=eps,
        wd=wd,
    )
