"""Steppers: how stats and hypers change a parameter.

The rules of single published methods live in that method's file; here are the shared ones.
"""

from torch import Tensor

from torte.optim.rules import Weight, on_gradient
from torte.optim.stats import debias

__all__ = [
    "adam_step",
    "l2_reg",
    "momentum_step",
    "nesterov_step",
    "rms_prop_step",
    "sgd_step",
    "weight_decay",
]


def sgd_step(p: Weight, lr: float) -> None:
    """Plain gradient descent: `p ← p - lr·g`."""
    p.add_(p.grad, alpha=-lr)


def weight_decay(p: Weight, lr: float, wd: float, do_wd: bool = True) -> None:
    """Decoupled weight decay (Loshchilov & Hutter 2019): `p ← (1 - lr·wd)·p`."""
    if do_wd and wd != 0:
        p.mul_(1 - lr * wd)


@on_gradient
def l2_reg(p: Weight, wd: float, do_wd: bool = True) -> None:
    """L2 regularisation: `g ← g + wd·p`, seen by every stat and stepper of this step."""
    if do_wd and wd != 0:
        p.grad = p.grad.add(p, alpha=wd)


def momentum_step(p: Weight, lr: float, grad_avg: Tensor | None = None) -> None:
    """Step along the averaged gradient: `p ← p - lr·m` (the gradient itself before any average)."""
    p.add_(p.grad if grad_avg is None else grad_avg, alpha=-lr)


def nesterov_step(p: Weight, lr: float, mom: float, grad_avg: Tensor | None = None) -> None:
    """Nesterov's momentum as PyTorch writes it: `p ← p - lr·(g + mom·m)`."""
    p.add_(p.grad if grad_avg is None else p.grad.add(grad_avg, alpha=mom), alpha=-lr)


def rms_prop_step(
    p: Weight, lr: float, sqr_avg: Tensor, eps: float, grad_avg: Tensor | None = None
) -> None:
    """RMSProp: `p ← p - lr·m / (√v + eps)`, with the gradient for `m` where none is kept."""
    p.addcdiv_(p.grad if grad_avg is None else grad_avg, sqr_avg.sqrt().add_(eps), value=-lr)


def adam_step(
    p: Weight,
    lr: float,
    mom: float,
    step: int,
    sqr_mom: float,
    grad_avg: Tensor,
    sqr_avg: Tensor,
    eps: float,
) -> None:
    """Adam (Kingma & Ba 2015): `p ← p - lr·m̂ / (√v̂ + eps)`, `m̂ = m/(1-momˢ)`, `v̂` alike."""
    denominator = (sqr_avg / debias(sqr_mom, 1 - sqr_mom, step)).sqrt().add_(eps)
    p.addcdiv_(grad_avg, denominator, value=-lr / debias(mom, 1 - mom, step))
