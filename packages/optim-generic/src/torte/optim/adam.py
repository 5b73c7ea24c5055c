"""Adam and AdamW."""

import functools

from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.stats import average_grad, average_sqr_grad, step_stat
from torte.optim.steppers import adam_step, l2_reg, weight_decay

__all__ = ["ADAM_STATS", "Adam"]

# What Adam and its relatives remember: both averages, dampened, and the step count.
ADAM_STATS = (functools.partial(average_grad, dampening=True), average_sqr_grad, step_stat)


def Adam(  # noqa: N802 (fastai's name)
    params: Params,
    lr: float,
    mom: float = 0.9,
    sqr_mom: float = 0.99,
    eps: float = 1e-5,
    wd: float = 0.01,
    decouple_wd: bool = True,
) -> Optimizer:
    """Adam (Kingma & Ba 2015), and with `decouple_wd` AdamW (Loshchilov & Hutter 2019).

    `m ← mom·m + (1-mom)·g`, `v ← sqr_mom·v + (1-sqr_mom)·g²`, `m̂ = m/(1-momᵗ)`,
    `v̂ = v/(1-sqr_momᵗ)`, `p ← (1 - lr·wd)·p - lr·m̂/(√v̂ + eps)`.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        mom: Decay of the gradient's average (`beta1`).
        sqr_mom: Decay of the squared gradient's average (`beta2`).
        eps: Added to the denominator.
        wd: Weight decay.
        decouple_wd: Decay the weights themselves, rather than adding `wd·p` to the gradient.

    Example:
        >>> import torch
        >>> opt = Adam(torch.nn.Linear(2, 1).parameters(), lr=1e-3)
    """
    return Optimizer(
        params,
        stats=ADAM_STATS,
        steppers=[weight_decay if decouple_wd else l2_reg, adam_step],
        lr=lr,
        mom=mom,
        sqr_mom=sqr_mom,
        eps=eps,
        wd=wd,
    )
