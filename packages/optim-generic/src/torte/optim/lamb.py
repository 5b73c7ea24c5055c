"""LAMB: Adam with a trust ratio for each layer."""

import functools

import torch
from torch import Tensor

from torte.optim.adam import ADAM_STATS
from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.rules import Weight
from torte.optim.stats import debias
from torte.optim.steppers import l2_reg

__all__ = ["Lamb", "lamb_step"]


def lamb_step(
    p: Weight,
    lr: float,
    mom: float,
    step: int,
    sqr_mom: float,
    grad_avg: Tensor,
    sqr_avg: Tensor,
    eps: float,
    wd: float = 0.0,
    do_wd: bool = True,
) -> None:
    """LAMB's step: Adam's, with weight decay, scaled to the size of the layer's weights."""
    average = grad_avg / debias(mom, 1 - mom, step)
    update = average / (sqr_avg / debias(sqr_mom, 1 - sqr_mom, step)).sqrt().add_(eps)
    if do_wd and wd != 0:
        update = update.add(p, alpha=wd)
    r1, r2 = p.pow(2).mean().sqrt(), update.pow(2).mean().sqrt()
    trust = torch.where((r1 == 0) | (r2 == 0), 1.0, (r1 / r2).clamp(max=10))
    p.sub_(update * (trust * lr))


def Lamb(  # noqa: N802 (fastai's name)
    params: Params,
    lr: float,
    mom: float = 0.9,
    sqr_mom: float = 0.99,
    eps: float = 1e-5,
    wd: float = 0.0,
    decouple_wd: bool = True,
) -> Optimizer:
    """LAMB (You et al. 2020).

    `u = m̂/(√v̂ + eps) + wd·p`, `p ← p - lr·min(‖p‖/‖u‖, 10)·u` for each layer, with a ratio of 1
    where either norm is 0. (fastai decays the weights before this step instead, so that the decay
    takes no part in the ratio: with `wd` its numbers are others.)

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        mom: Decay of the gradient's average.
        sqr_mom: Decay of the squared gradient's average.
        eps: Added to the denominator.
        wd: Weight decay.
        decouple_wd: Decay in the update, as in the paper, rather than in the gradient.

    Example:
        >>> import torch
        >>> opt = Lamb(torch.nn.Linear(2, 1).parameters(), lr=1e-2)
    """
    return Optimizer(
        params,
        stats=ADAM_STATS,
        steppers=lamb_step if decouple_wd else [l2_reg, _without_decay],
        lr=lr,
        mom=mom,
        sqr_mom=sqr_mom,
        eps=eps,
        wd=wd,
    )


_without_decay = functools.partial(lamb_step, wd=0.0)
