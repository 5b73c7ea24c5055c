"""Lion: the sign of an interpolated momentum."""

import torch
from torch import Tensor

from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.rules import Weight
from torte.optim.steppers import l2_reg, weight_decay

__all__ = ["Lion", "lion_step"]


def lion_step(
    p: Weight, lr: float, mom: float, avg_mom: float, grad_avg: Tensor | None = None
) -> dict[str, Tensor]:
    """Lion's step; the average is updated with its own decay after it was used."""
    if grad_avg is None:
        grad_avg = torch.zeros_like(p.grad)
    p.sub_(p.grad.lerp(grad_avg, mom).sign(), alpha=lr)
    return {"grad_avg": grad_avg.lerp_(p.grad, 1 - avg_mom)}


def Lion(  # noqa: N802 (named like its siblings)
    params: Params,
    lr: float = 1e-4,
    mom: float = 0.9,
    avg_mom: float = 0.99,
    wd: float = 0.0,
    decouple_wd: bool = True,
) -> Optimizer:
    """Lion (Chen et al. 2023).

    `p ← (1 - lr·wd)·p - lr·sign(mom·m + (1-mom)·g)`, then `m ← avg_mom·m + (1-avg_mom)·g`.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate, three to ten times smaller than Adam's.
        mom: Share of the average in the step (`β₁`).
        avg_mom: Decay of the average (`β₂`).
        wd: Weight decay, three to ten times larger than Adam's.
        decouple_wd: Decay the weights themselves, rather than adding `wd·p` to the gradient.

    Example:
        >>> import torch
        >>> opt = Lion(torch.nn.Linear(2, 1).parameters(), lr=1e-4)
    """
    return Optimizer(
        params,
        steppers=[weight_decay if decouple_wd else l2_reg, lion_step],
        lr=lr,
        mom=mom,
        avg_mom=avg_mom,
        wd=wd,
    )
