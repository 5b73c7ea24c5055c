"""Lookahead around any optimizer, and Ranger."""

from collections.abc import Callable, Mapping
from typing import Any, overload

import torch
from torch import Tensor

from torte.optim.errors import StateMismatchError
from torte.optim.grouped import GroupedOptimizer
from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.radam import RAdam
from torte.optim.rules import Weight
from torte.optim.shards import fitted, local
from torte.optim.wrapper import OptimWrapper

__all__ = ["Lookahead", "LookaheadWrapper", "lookahead_step", "ranger", "remember_slow"]


def remember_slow(p: Weight, slow_weights: Tensor | None = None) -> dict[str, Tensor]:
    """Slow weights, at first those that training starts from."""
    return {"slow_weights": p.clone() if slow_weights is None else slow_weights}


def lookahead_step(
    p: Weight, k: int, alpha: float, slow_weights: Tensor, fast_steps: int = 0
) -> dict[str, Tensor | int]:
    """Every `k` steps move the slow weights towards the fast ones, and go on from there."""
    fast_steps = (fast_steps + 1) % int(k)
    if fast_steps == 0:
        p.copy_(slow_weights.lerp_(p, alpha))
    return {"slow_weights": slow_weights, "fast_steps": fast_steps}


def Lookahead(  # noqa: N802 (fastai's name)
    opt: GroupedOptimizer, k: int = 6, alpha: float = 0.5
) -> GroupedOptimizer:
    """Lookahead (Zhang et al. 2019) around an optimizer of torte or a wrapped one of PyTorch.

    Every `k` steps `slow ← slow + alpha·(p - slow)`, `p ← slow`.

    Args:
        opt: An `Optimizer`, or an `OptimWrapper`. It is used up: step what is returned.
        k: Steps of the inner optimizer between two looks.
        alpha: How far the slow weights go.

    Returns:
        An optimizer of the same kind, with the hypers of `opt` and, around an `Optimizer`, `k` and
        `alpha`.

    Example:
        >>> import torch
        >>> from torte.optim import SGD
        >>> opt = Lookahead(SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1))
    """
    if isinstance(opt, OptimWrapper):
        return LookaheadWrapper(opt, k, alpha)
    if not isinstance(opt, Optimizer):
        raise TypeError(
            f"Lookahead goes around an optimizer of torte or an OptimWrapper, got {opt!r}"
        )
    return opt.extended(before=[remember_slow], after=[lookahead_step], k=k, alpha=alpha)


class LookaheadWrapper(OptimWrapper):
    """Lookahead around a PyTorch optimizer.

    Args:
        opt: The wrapped optimizer.
        k: Steps of it between two looks.
        alpha: How far the slow weights go.
    """

    def __init__(self, opt: OptimWrapper, k: int = 6, alpha: float = 0.5) -> None:
        super().__init__(opt=opt.opt, hp_map=opt.hp_map)
        self.k = k
        self.alpha = alpha
        self.fast_steps = 0
        self.slow_weights: dict[Tensor, Tensor] = {}

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Step the inner optimizer, and every `k` steps look ahead."""
        for parameter in self._parameters():
            if parameter not in self.slow_weights:
                self.slow_weights[parameter] = parameter.detach().clone()
        loss = self.opt.step() if closure is None else self.opt.step(closure)
        self.fast_steps = (self.fast_steps + 1) % self.k
        if self.fast_steps == 0:
            fast = [local(parameter.detach()) for parameter in self._parameters()]
            slow = [local(self.slow_weights[parameter]) for parameter in self._parameters()]
            torch._foreach_lerp_(slow, fast, self.alpha)
            torch._foreach_copy_(fast, slow)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's state dict, with the slow weights beside it."""
        slow = [self.slow_weights.get(parameter) for parameter in self._parameters()]
        looks = {"fast_steps": self.fast_steps, "slow_weights": slow}
        return {**super().state_dict(), "lookahead": looks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave.

        Raises:
            StateMismatchError: It has no slow weights, or not one for each parameter.
        """
        looks = state_dict.get("lookahead")
        parameters = self._parameters()
        if looks is None or len(looks["slow_weights"]) != len(parameters):
            raise StateMismatchError("this is no state of Lookahead around these parameters")
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lookahead"})
        self.fast_steps = looks["fast_steps"]
        self.slow_weights = {
            parameter: fitted(slow.to(parameter.device, parameter.dtype, copy=True), parameter)
            for parameter, slow in zip(parameters, looks["slow_weights"], strict=True)
            if slow is not None
        }

    def replace_parameters(self, others: Mapping[Tensor, Tensor]) -> None:
        """Go on with other tensors in the place of the parameters, and of the slow weights."""
        super().replace_parameters(others)
        self.slow_weights = {
            others[parameter]: self._laid_out(slow, others[parameter])
            for parameter, slow in self.slow_weights.items()
        }

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


def ranger(
    params: Params,
    lr: float,
    mom: float = 0.95,
    wd: float = 0.01,
    eps: float = 1e-6,
    k: int = 6,
    alpha: float = 0.5,
    **kwargs: Any,
) -> GroupedOptimizer:
    """Ranger (Wright 2019): `Lookahead` around `RAdam`.

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        mom: Decay of the gradient's average.
        wd: Weight decay.
        eps: Added to the denominator.
        k: Steps between two looks.
        alpha: How far the slow weights go.
        **kwargs: More arguments of `RAdam`.

    Example:
        >>> import torch
        >>> opt = ranger(torch.nn.Linear(2, 1).parameters(), lr=1e-3)
    """
    inner = RAdam(params, lr=lr, mom=mom, wd=wd, eps=eps, **kwargs)
    return Lookahead(inner, k=k, alpha=alpha)
