"""RMSProp."""

from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.stats import average_grad, average_sqr_grad
from torte.optim.steppers import l2_reg, rms_prop_step, weight_decay

__all__ = ["RMSProp"]


def RMSProp(  # noqa: N802 (fastai's name)
    params: Params,
    lr: float,
    mom: float = 0.0,
    sqr_mom: float = 0.99,
    eps: float = 1e-8,
    wd: float = 0.0,
    decouple_wd: bool = True,
) -> Optimizer:
    """RMSProp (Hinton 2012): `v ← sqr_mom·v + (1-sqr_mom)·g²`, `p ← p - lr·m/(√v + eps)`.

    `m` is the gradient, or with momentum `m ← mom·m + g`. (PyTorch averages `g/√v` instead, which
    is the same without momentum.)

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        mom: Momentum; as long as it is 0, no average is kept.
        sqr_mom: Decay of the squared gradient's average (`alpha` in PyTorch).
        eps: Added to the denominator.
        wd: Weight decay.
        decouple_wd: Decay the weights themselves, rather than adding `wd·p` to the gradient.

    Example:
        >>> import torch
        >>> opt = RMSProp(torch.nn.Linear(2, 1).parameters(), lr=1e-3)
    """
    return Optimizer(
        params,
        stats=[average_grad, average_sqr_grad],
        steppers=[weight_decay if decouple_wd else l2_reg, rms_prop_step],
        lr=lr,
        mom=mom,
        sqr_mom=sqr_mom,
        eps=eps,
        wd=wd,
    )
