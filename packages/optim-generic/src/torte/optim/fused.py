"""Compositions that PyTorch has a fused kernel for, recognised by the rules they are made of."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torte.optim.cohorts import Cohort, usable_gradient
from torte.optim.rules import Rule, rule_of
from torte.optim.stats import average_grad, average_sqr_grad, step_stat
from torte.optim.steppers import (
    adam_step,
    l2_reg,
    momentum_step,
    nesterov_step,
    sgd_step,
    weight_decay,
)

__all__ = ["FusedPlan", "fused_kernel", "in_one_pass"]

Kernel = Callable[["FusedPlan", list[Tensor], Mapping[str, Any]], dict[str, float]]

_DAMPENED = functools.partial(average_grad, dampening=True)


def _composition(*functions: Callable[..., Any]) -> tuple[frozenset[Rule], Rule]:
    """What must be there, in any order, and what must come last."""
    rules = [rule_of(function) for function in functions]
    return frozenset(rules), rules[-1]


def fused_kernel(rules: Sequence[Rule]) -> Kernel | None:
    """What computes exactly this composition with a fused kernel, if anything does."""
    distinct = frozenset(rules)
    return _KERNELS.get((distinct, rules[-1])) if len(distinct) == len(rules) else None


def in_one_pass(rules: Sequence[Rule], values: Mapping[str, Any]) -> bool:
    """Whether the fused kernel of a composition needs no second pass over the parameters."""
    adam = rules[-1].function is adam_step
    return adam or not _decay(values) or not any(r.function is weight_decay for r in rules)


class FusedPlan:
    """Runs a cohort through one call of a fused kernel."""

    def __init__(self, cohort: Cohort, kernel: Kernel) -> None:
        self._kernel = kernel
        self.cohort = cohort
        self.parameters = cohort.local(cohort.parameters)
        self.strides = [parameter.stride() for parameter in self.parameters]
        self.buffers: dict[str, list[Tensor]] = {}
        first = cohort.parameters[0]
        # One step count serves all: they are of one cohort because their counts agree.
        self.step = torch.zeros((), dtype=torch.float32, device=first.device)
        self.steps = [self.step] * len(cohort.parameters)

    def state(self, name: str) -> list[Tensor]:
        """The tensors of one state of the whole cohort, made of zeros where there are none."""
        found = self.buffers.get(name)
        if found is None:
            states = self.cohort.states
            for parameter, state in zip(self.cohort.parameters, states, strict=True):
                if name not in state:
                    state[name] = torch.zeros_like(parameter, requires_grad=False)
            found = self.cohort.local([state[name] for state in states])
            self.buffers[name] = found
        return found

    def run(self, gradients: list[Tensor], values: Mapping[str, Any]) -> dict[str, float]:
        """Take one step; returns the new number-valued state."""
        if self.cohort.sharded:
            self.parameters = self.cohort.local(self.cohort.parameters)
        numbers = self._kernel(self, _laid_out(self, self.cohort.local(gradients)), values)
        # PyTorch's fused kernels leave this out, and autograd would not see stale graphs.
        torch.autograd.graph.increment_version(self.parameters)
        return numbers


def _laid_out(plan: FusedPlan, gradients: list[Tensor]) -> list[Tensor]:
    for gradient, strides in zip(gradients, plan.strides, strict=True):
        if gradient.is_sparse or gradient.stride() != strides:
            return list(map(usable_gradient, plan.parameters, gradients))
    return gradients


def _adam(
    plan: FusedPlan,
    gradients: list[Tensor],
    values: Mapping[str, Any],
    operator: Callable[..., None],
) -> dict[str, float]:
    step = values.get("step", 0) + 1
    plan.step.fill_(step)
    operator(
        plan.parameters,
        gradients,
        plan.state("grad_avg"),
        plan.state("sqr_avg"),
        [],
        plan.steps,
        lr=values["lr"],
        beta1=values["mom"],
        beta2=values["sqr_mom"],
        weight_decay=_decay(values),
        eps=values["eps"],
        amsgrad=False,
        maximize=False,
    )
    return {"step": step}


def _sgd(
    plan: FusedPlan,
    gradients: list[Tensor],
    values: Mapping[str, Any],
    nesterov: bool = False,
    decoupled: bool = False,
) -> dict[str, float]:
    momentum = values.get("mom", 0.0)
    averages = plan.state("grad_avg") if momentum or "grad_avg" in plan.cohort.state_names else []
    decay = _decay(values)
    if decoupled and decay:  # PyTorch's kernel knows L2 alone
        torch._foreach_mul_(plan.parameters, 1 - values["lr"] * decay)
        decay = 0.0
    torch._fused_sgd_(
        plan.parameters,
        gradients,
        averages,
        weight_decay=decay,
        momentum=momentum,
        lr=values["lr"],
        dampening=0.0,
        nesterov=nesterov and bool(averages),
        maximize=False,
        is_first_step=False,
    )
    return {}


def _decay(values: Mapping[str, Any]) -> float:
    return values.get("wd", 0.0) if values.get("do_wd", True) else 0.0


_ADAM = (_DAMPENED, average_sqr_grad, step_stat, adam_step)
_MOMENTUM = (average_grad, momentum_step)
_NESTEROV = (average_grad, nesterov_step)
_adam_l2 = functools.partial(_adam, operator=torch._fused_adam_)
_adam_w = functools.partial(_adam, operator=torch._fused_adamw_)
_KERNELS: dict[tuple[frozenset[Rule], Rule], Kernel] = {
    _composition(*_ADAM): _adam_l2,
    _composition(l2_reg, *_ADAM): _adam_l2,
    _composition(weight_decay, *_ADAM): _adam_w,
}
for _rules, _nesterov in (((sgd_step,), False), (_MOMENTUM, False), (_NESTEROV, True)):
    _kernel = functools.partial(_sgd, nesterov=_nesterov)
    _KERNELS[_composition(*_rules)] = _kernel
    _KERNELS[_composition(l2_reg, *_rules)] = _kernel
    _KERNELS[_composition(weight_decay, *_rules)] = functools.partial(_kernel, decoupled=True)
