"""Stochastic gradient descent, with momentum and Nesterov's momentum."""

from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.stats import average_grad
from torte.optim.steppers import l2_reg, momentum_step, nesterov_step, weight_decay

__all__ = ["SGD"]


def SGD(  # noqa: N802 (fastai's name)
    params: Params,
    lr: float,
    mom: float = 0.0,
    wd: float = 0.0,
    decouple_wd: bool = True,
    nesterov: bool = False,
) -> Optimizer:
    """SGD: `m ← mom·m + g`, `p ← p - lr·m`; with Nesterov `p ← p - lr·(g + mom·m)`.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        mom: Momentum; as long as it is 0, no average is kept. It begins when it is set, also by a
            schedule (but the Learner's `fit_one_cycle` leaves an optimizer made without it alone).
        wd: Weight decay.
        decouple_wd: Decay the weights themselves, rather than adding `wd·p` to the gradient.
        nesterov: Use Nesterov's momentum (Sutskever et al. 2013, as in `torch.optim.SGD`).

    Example:
        >>> import torch
        >>> opt = SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1, mom=0.9)
    """
    decay = weight_decay if decouple_wd else l2_reg
    return Optimizer(
        params,
        stats=[average_grad],
        steppers=[decay, nesterov_step if nesterov else momentum_step],
        lr=lr,
        mom=mom,
        wd=wd,
    )
