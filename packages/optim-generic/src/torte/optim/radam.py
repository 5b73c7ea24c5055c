"""RAdam: Adam with its variance rectified."""

from torch import Tensor
from torch.nn.functional import softplus

from torte.optim.adam import ADAM_STATS
from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.rules import Weight
from torte.optim.stats import debias
from torte.optim.steppers import l2_reg, weight_decay

__all__ = ["RAdam", "radam_step"]


def radam_step(
    p: Weight,
    lr: float,
    mom: float,
    step: int,
    sqr_mom: float,
    grad_avg: Tensor,
    sqr_avg: Tensor,
    eps: float,
    beta: float = 0.0,
) -> None:
    """RAdam's step: momentum alone until the variance is tractable, then rectified Adam."""
    step_size = lr / debias(mom, 1 - mom, step)
    r_inf = 2 / (1 - sqr_mom) - 1
    r = r_inf - 2 * step * sqr_mom**step / (1 - sqr_mom**step)
    if r <= 5:
        p.add_(grad_avg, alpha=-step_size)
        return
    rectifier = ((r - 4) * (r - 2) * r_inf / ((r_inf - 4) * (r_inf - 2) * r)) ** 0.5
    denominator = (sqr_avg / debias(sqr_mom, 1 - sqr_mom, step)).sqrt().add_(eps)
    if beta:
        denominator = softplus(denominator, beta)
    p.addcdiv_(grad_avg, denominator, value=-step_size * rectifier)


def RAdam(  # noqa: N802 (fastai's name)
    params: Params,
    lr: float,
    mom: float = 0.9,
    sqr_mom: float = 0.99,
    eps: float = 1e-5,
    wd: float = 0.0,
    beta: float = 0.0,
    decouple_wd: bool = True,
) -> Optimizer:
    """RAdam (Liu et al. 2020).

    With `r∞ = 2/(1-sqr_mom) - 1` and `r = r∞ - 2t·sqr_momᵗ/(1-sqr_momᵗ)`: where `r > 5`,
    `p ← p - lr·c·m̂/(√v̂ + eps)` with `c = √((r-4)(r-2)r∞ / ((r∞-4)(r∞-2)r))`;
    before that `p ← p - lr·m̂`. (PyTorch adds `eps` to `√v` instead of `√v̂`.)

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        mom: Decay of the gradient's average (`β₁`).
        sqr_mom: Decay of the squared gradient's average (`β₂`).
        eps: Added to the denominator.
        wd: Weight decay.
        beta: Where not 0, the denominator goes through `softplus(·, beta)` (SAdam).
        decouple_wd: Decay the weights themselves, rather than adding `wd·p` to the gradient.

    Example:
        >>> import torch
        >>> opt = RAdam(torch.nn.Linear(2, 1).parameters(), lr=1e-3)
    """
    return Optimizer(
        params,
        stats=ADAM_STATS,
        steppers=[weight_decay if decouple_wd else l2_reg, radam_step],
        lr=lr,
        mom=mom,
        sqr_mom=sqr_mom,
        eps=eps,
        wd=wd,
        beta=beta,
    )
