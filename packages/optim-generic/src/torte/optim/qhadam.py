"""QHAdam: quasi-hyperbolic Adam."""

from torch import Tensor

from torte.optim.adam import ADAM_STATS
from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.rules import Weight
from torte.optim.stats import debias
from torte.optim.steppers import l2_reg, weight_decay

__all__ = ["QHAdam", "qhadam_step"]


def qhadam_step(
    p: Weight,
    lr: float,
    mom: float,
    step: int,
    sqr_mom: float,
    grad_avg: Tensor,
    sqr_avg: Tensor,
    nu_1: float,
    nu_2: float,
    eps: float,
) -> None:
    """QHAdam's step: Adam's averages, each mixed with the newest value."""
    average = grad_avg / debias(mom, 1 - mom, step)
    sqr_average = sqr_avg / debias(sqr_mom, 1 - sqr_mom, step)
    numerator = p.grad.lerp(average, nu_1)
    denominator = p.grad.square().lerp(sqr_average, nu_2).sqrt().add_(eps)
    p.addcdiv_(numerator, denominator, value=-lr)


def QHAdam(  # noqa: N802 (fastai's name)
    params: Params,
    lr: float,
    mom: float = 0.999,
    sqr_mom: float = 0.999,
    nu_1: float = 0.7,
    nu_2: float = 1.0,
    eps: float = 1e-8,
    wd: float = 0.0,
    decouple_wd: bool = True,
) -> Optimizer:
    """QHAdam (Ma & Yarats 2019).

    `p ← p - lr·((1-ν₁)·g + ν₁·m̂) / (√((1-ν₂)·g² + ν₂·v̂) + eps)`.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        mom: Decay of the gradient's average.
        sqr_mom: Decay of the squared gradient's average.
        nu_1: Share of the gradient's average; 1 is Adam.
        nu_2: Share of the squared gradient's average; 1 is Adam.
        eps: Added to the denominator.
        wd: Weight decay.
        decouple_wd: Decay the weights themselves, rather than adding `wd·p` to the gradient.

    Example:
        >>> import torch
        >>> opt = QHAdam(torch.nn.Linear(2, 1).parameters(), lr=1e-3)
    """
    return Optimizer(
        params,
        stats=ADAM_STATS,
        steppers=[weight_decay if decouple_wd else l2_reg, qhadam_step],
        lr=lr,
        mom=mom,
        sqr_mom=sqr_mom,
        nu_1=nu_1,
        nu_2=nu_2,
        eps=eps,
        wd=wd,
    )
