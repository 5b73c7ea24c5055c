"""Muon: momentum made orthogonal."""

import functools

from torch import Tensor

from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.orthogonal import orthogonal_update, orthogonalize
from torte.optim.rules import Weight
from torte.optim.stats import average_grad, average_sqr_grad, step_stat
from torte.optim.steppers import adam_step, weight_decay

__all__ = ["Muon", "muon_step", "orthogonalize"]


def muon_step(
    p: Weight,
    lr: float,
    mom: float,
    grad_avg: Tensor,
    eps: float,
    ns_steps: int,
    nesterov: bool = True,
    match_rms: bool = True,
) -> None:
    """Muon's step for parameters of two and more dimensions."""
    update = p.grad.lerp(grad_avg, mom) if nesterov else grad_avg
    p.add_(orthogonal_update(update, ns_steps, eps, match_rms), alpha=-lr)


def _average_sqr_grad_of_vectors(
    p: Weight, sqr_mom: float, is_matrix: bool, sqr_avg: Tensor | None = None
) -> dict[str, Tensor]:
    return {} if is_matrix else average_sqr_grad(p, sqr_mom, sqr_avg=sqr_avg)


def _muon_or_adam_step(
    p: Weight,
    lr: float,
    mom: float,
    sqr_mom: float,
    step: int,
    grad_avg: Tensor,
    eps: float,
    ns_steps: int,
    sqr_avg: Tensor | None = None,
    nesterov: bool = True,
    match_rms: bool = True,
) -> None:
    if sqr_avg is None:
        muon_step(p, lr, mom, grad_avg, eps, ns_steps, nesterov, match_rms)
    else:
        adam_step(p, lr, mom, step, sqr_mom, grad_avg, sqr_avg, eps)


_STATS = (
    functools.partial(average_grad, dampening=True),
    _average_sqr_grad_of_vectors,
    step_stat,
)


def Muon(  # noqa: N802 (named like its siblings)
    params: Params,
    lr: float = 1e-3,
    mom: float = 0.95,
    sqr_mom: float = 0.99,
    eps: float = 1e-7,
    wd: float = 0.1,
    nesterov: bool = True,
    ns_steps: int = 5,
    match_rms: bool = True,
) -> Optimizer:
    """Muon (Jordan et al. 2024) for matrices, and AdamW for vectors.

    `m ← mom·m + (1-mom)·g`, `u = (1-mom)·g + mom·m` (or `m` without Nesterov), and with
    `O = orthogonalize(u)`: `p ← (1 - lr·wd)·p - lr·s·O`. Kernels of convolutions are taken as
    matrices of their first against their other dimensions.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        mom: Decay of the gradient's average.
        sqr_mom: Decay of the squared gradient's average, for vectors.
        eps: Smallest norm of an update, and added to Adam's denominator.
        wd: Weight decay.
        nesterov: Use Nesterov's momentum.
        ns_steps: Newton-Schulz iterations.
        match_rms: `s = 0.2·√max(n, m)`, so that AdamW's learning rates serve (Liu et al. 2025);
            otherwise the original `s = √max(1, n/m)`.

    Example:
        >>> import torch
        >>> opt = Muon(torch.nn.Linear(2, 1).parameters(), lr=1e-3)
    """
    step = functools.partial(_muon_or_adam_step, nesterov=nesterov, match_rms=match_rms)
    return Optimizer(
        params,
        stats=_STATS,
        steppers=[weight_decay, step],
        lr=lr,
        mom=mom,
        sqr_mom=sqr_mom,
        eps=eps,
        wd=wd,
        ns_steps=ns_steps,
    )
