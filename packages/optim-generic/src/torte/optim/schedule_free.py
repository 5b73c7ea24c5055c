"""Schedule-Free AdamW: no schedule, and no horizon to know in advance."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from torte.optim.errors import OptimizerError
from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.rules import Weight
from torte.optim.stats import average_sqr_grad, debias, step_stat

__all__ = ["ScheduleFreeAdamW", "ScheduleFreeOptimizer", "schedule_free_step"]


def schedule_free_step(
    p: Weight,
    lr: float,
    mom: float,
    sqr_mom: float,
    step: int,
    sqr_avg: Tensor,
    eps: float,
    wd: float,
    warmup_steps: int,
    do_wd: bool = True,
    weight_sum: float = 0.0,
    lr_max: float = 0.0,
    z: Tensor | None = None,
) -> dict[str, Tensor | float]:
    """Schedule-Free's step; `p` holds `y`, from which `x` can be had back."""
    z = p.clone() if z is None else z
    lr = lr * min(1.0, step / warmup_steps) if warmup_steps else lr
    lr_max = max(lr, lr_max)
    weight_sum = weight_sum + lr_max**2
    share = lr_max**2 / weight_sum if weight_sum else 0.0
    denominator = (sqr_avg / debias(sqr_mom, 1 - sqr_mom, step)).sqrt().add_(eps)
    update = p.grad / denominator
    if do_wd and wd != 0:
        update = update.add(p, alpha=wd)
    p.lerp_(z, share).add_(update, alpha=lr * (mom * (1 - share) - 1))
    return {"z": z.sub_(update, alpha=lr), "weight_sum": weight_sum, "lr_max": lr_max}


class ScheduleFreeOptimizer(Optimizer):
    """An `Optimizer` whose parameters differ between training and evaluation.

    While training the parameters are where gradients are taken (`y`); `eval()` puts the averaged
    weights (`x`) in their place, `train()` takes them back, and stepping in between is an error.
    """

    @property
    def averaged(self) -> bool:
        """Whether the parameters are the averaged weights now."""
        return any(group.get("averaged", False) for group in self.param_groups)

    def eval(self) -> None:
        """Put the averaged weights into the parameters."""
        if not self.averaged:
            self._exchange(averaged=True)

    def train(self) -> None:
        """Put the weights that training goes on from back into the parameters."""
        if self.averaged:
            self._exchange(averaged=False)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Have the averaged weights in the parameters for a while."""
        before = self.averaged
        self.eval()
        try:
            yield
        finally:
            if not before:
                self.train()

    @torch.no_grad()
    def _exchange(self, averaged: bool) -> None:
        for group in self.param_groups:
            weight = 1 - 1 / group["mom"] if averaged else 1 - group["mom"]
            for parameter in group["params"]:
                z = self.state.get(parameter, {}).get("z")
                if z is not None:
                    mixed = torch.view_as_real(parameter) if parameter.is_complex() else parameter
                    mixed.copy_(mixed.to(z.dtype).lerp(z, weight))
            group["averaged"] = averaged

    def _prepared(self) -> Any:
        if self.averaged:
            raise OptimizerError("the parameters are averaged weights: call train() before step()")
        return super()._prepared()


def ScheduleFreeAdamW(  # noqa: N802 (named like its siblings)
    params: Params,
    lr: float = 2.5e-3,
    mom: float = 0.9,
    sqr_mom: float = 0.999,
    eps: float = 1e-8,
    wd: float = 0.0,
    warmup_steps: int = 0,
) -> ScheduleFreeOptimizer:
    """Schedule-Free AdamW (Defazio et al. 2024).

    With gradients taken at `y`, `u = g/(√v̂ + eps) + wd·y`, `s = lr·min(1, t/warmup_steps)` and
    `c = s_max² / Σ s_max²`: `z ← z - s·u`, `x ← (1-c)·x + c·z`, `y = (1-mom)·z + mom·x`.

    Call the optimizer's `eval()` before evaluating or saving a model, and `train()` before going
    on with training.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate, one to ten times that of a scheduled AdamW.
        mom: How far `y` lies from `z` towards `x`.
        sqr_mom: Decay of the squared gradient's average.
        eps: Added to the denominator.
        wd: Weight decay.
        warmup_steps: Steps over which the learning rate rises.

    Example:
        >>> import torch
        >>> opt = ScheduleFreeAdamW(torch.nn.Linear(2, 1).parameters())
        >>> opt.eval()
    """
    return ScheduleFreeOptimizer(
        params,
        stats=[average_sqr_grad, step_stat],
        steppers=schedule_free_step,
        lr=lr,
        mom=mom,
        sqr_mom=sqr_mom,
        eps=eps,
        wd=wd,
        warmup_steps=warmup_steps,
    )
