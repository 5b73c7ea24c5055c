"""The reference engine: every rule on every parameter, one after the other, as it is written."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torte.optim.cohorts import Cohort, usable_gradient, work_dtype
from torte.optim.rules import Rule

__all__ = ["LoopPlan", "from_work", "to_work"]


def to_work(tensor: Tensor) -> Tensor:
    """What rules see of a tensor: an alias that shares memory where no wider dtype is needed."""
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.to(work_dtype(tensor.dtype))


def from_work(parameter: Tensor, work: Tensor) -> None:
    """Write the worked-on value back where it was widened."""
    target = parameter.detach()
    if target.is_complex():
        target = torch.view_as_real(target)
    if target.dtype != work.dtype:
        target.copy_(work)


class LoopPlan:
    """Runs the rules of a cohort parameter by parameter."""

    def __init__(self, cohort: Cohort, rules: Sequence[Rule]) -> None:
        self._cohort = cohort
        self._rules = rules

    def run(self, gradients: list[Tensor], values: Mapping[str, Any]) -> dict[str, float]:
        """Take one step; returns the new number-valued state."""
        cohort, numbers = self._cohort, {}
        for parameter, gradient, state in zip(
            cohort.parameters, gradients, cohort.states, strict=True
        ):
            numbers = self._step_one(parameter, gradient, state, values)
        return numbers

    def _step_one(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], values: Mapping[str, Any]
    ) -> dict[str, float]:
        work = to_work(parameter)
        gradient = to_work(usable_gradient(parameter, gradient))
        # A rule may change the gradient in place: the user's own must stay as it is.
        work.grad = gradient.clone()
        known, kept = {**values, **state}, {}
        for rule in self._rules:
            result = rule(work, known)
            known.update(result)
            kept.update(result)
        from_work(parameter, work)
        _keep_tensors(state, kept)
        return {name: value for name, value in kept.items() if not isinstance(value, Tensor)}


def _keep_tensors(state: dict[str, Any], kept: Mapping[str, Any]) -> None:
    for name, value in kept.items():
        old = state.get(name)
        if not isinstance(value, Tensor) or value is old:
            continue
        if isinstance(old, Tensor) and old.shape == value.shape:
            old.copy_(value)
        else:
            state[name] = value.detach().clone() if value._is_view() else value
