"""Cohorts: parameters that take exactly the same step, and so can take it together.

All parameters of a cohort are of one group, dtype and device, have the same flags, the same
number-valued state (the step count, above all) and the same kinds of tensor state. The engines work
on cohorts. They are made when the first step comes and made anew when something structural changes:
a gradient that was there is missing or the other way round, a group, a flag, a loaded state.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from torte.optim.errors import OptimizerError

__all__ = ["Cohort", "make_cohorts", "usable_gradient", "work_dtype"]

State = dict[str, Any]


@dataclass(eq=False)
class Cohort:
    """Parameters that take the same step.

    Attributes:
        group: Their parameter group, whose hypers are read at every step.
        parameters: The parameters, each with at least one element.
        states: The state dict of each, in the same order; tensors in it are updated in place.
        numbers: Number-valued state, the same for all of them.
        flags: Flags, the same for all of them.
        state_shapes: Names of the tensor state that each has; true where it is one number.
        state_names: The same names alone.
        sparse: Whether the gradients were sparse when the cohort was made.
        plan: How an engine steps them.
        checked: The group's hypers as they were when last checked.
        companion: The same parameters as rules of the whole model see them.
    """

    group: dict[str, Any]
    parameters: list[Tensor]
    states: list[State]
    numbers: dict[str, float]
    flags: dict[str, bool]
    state_shapes: dict[str, bool]
    state_names: tuple[str, ...] = ()
    sparse: bool = False
    plan: Any = field(default=None, repr=False)
    checked: dict[str, Any] = field(default_factory=dict, repr=False)
    companion: "Cohort | None" = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.dtype = self.parameters[0].dtype
        self.device = self.parameters[0].device

    @functools.cached_property
    def sharded(self) -> bool:
        """Whether the parameters are shards (`DTensor`) of larger ones."""
        return hasattr(self.parameters[0], "_local_tensor")

    def local(self, tensors: list[Tensor]) -> list[Tensor]:
        """The tensors as they lie in this process's memory."""
        if not self.sharded:
            return tensors
        return [getattr(tensor, "_local_tensor", tensor) for tensor in tensors]

    @property
    def plain(self) -> bool:
        """Whether the parameters' memory is all there is to them."""
        kind = type(self.parameters[0])
        return self.sharded or kind is Tensor or kind is torch.nn.Parameter

    @property
    def numel(self) -> int:
        """Number of elements of all parameters together."""
        return sum(parameter.numel() for parameter in self.parameters)

    def gradients(self) -> list[Tensor] | None:
        """The gradients, or `None` when one is missing now or the parameters have changed kind."""
        found: list[Tensor] = [
            gradient for parameter in self.parameters if (gradient := parameter.grad) is not None
        ]
        first = self.parameters[0]
        same = first.dtype is self.dtype and first.device == self.device
        return found if same and len(found) == len(self.parameters) else None

    def note_state(self) -> None:
        """Look again at which tensor state there is."""
        first = self.states[0]
        self.state_shapes = _tensor_state(self.parameters[0], first)
        self.state_names = tuple(self.state_shapes)

    def keep(self, numbers: dict[str, float]) -> None:
        """Write new number-valued state to every parameter's state."""
        self.numbers = numbers
        for state in self.states:
            state.update(numbers)


def work_dtype(dtype: torch.dtype) -> torch.dtype:
    """The real dtype that rules compute in for parameters of `dtype`: float32 or wider."""
    return torch.promote_types(dtype.to_real(), torch.float32)


def usable_gradient(parameter: Tensor, gradient: Tensor) -> Tensor:
    """Bring a gradient into its parameter's layout: dense, of the same strides and device.

    Raises:
        OptimizerError: It is of another shape.
    """
    if gradient.layout is not torch.strided:
        gradient = gradient.to_dense()
    if gradient.shape != parameter.shape:
        raise OptimizerError(
            f"a gradient of shape {tuple(gradient.shape)} cannot belong to a parameter of shape "
            f"{tuple(parameter.shape)}"
        )
    if gradient.dtype != parameter.dtype or gradient.device != parameter.device:
        gradient = gradient.to(parameter)
    if gradient.is_conj() or gradient.is_neg():
        gradient = gradient.resolve_conj().resolve_neg()
    if gradient.stride() != parameter.stride() and parameter.numel():
        gradient = torch.empty_like(parameter, requires_grad=False).copy_(gradient)
    return gradient


def make_cohorts(
    groups: Iterable[dict[str, Any]],
    state: dict[Tensor, State],
    with_gradient: bool = True,
    matrices_apart: bool = False,
) -> tuple[list[Cohort], list[Tensor]]:
    """Sort the parameters that have a gradient into cohorts.

    Args:
        groups: The parameter groups.
        state: The state of each parameter.
        with_gradient: Whether to leave out parameters without a gradient.
        matrices_apart: Whether a rule asks for `is_matrix`, which is then a flag of each cohort.

    Returns:
        The cohorts, and the parameters that take no step because they have no gradient.
    """
    cohorts: dict[Any, Cohort] = {}
    idle: list[Tensor] = []
    for index, group in enumerate(groups):
        for parameter in group["params"]:
            if parameter.grad is None and with_gradient:
                idle.append(parameter)
            elif parameter.numel():
                extra = {"is_matrix": parameter.dim() > 1} if matrices_apart else {}
                _enlist(cohorts, (index, group), parameter, state[parameter], extra)
    return list(cohorts.values()), idle


def _enlist(
    cohorts: dict[Any, Cohort],
    numbered: tuple[int, dict[str, Any]],
    parameter: Tensor,
    state: State,
    extra: dict[str, bool],
) -> None:
    index, group = numbered
    _settle(parameter, state)
    flags = {name: value for name, value in state.items() if isinstance(value, bool)}
    flags |= extra
    numbers: dict[str, float] = {
        name: value
        for name, value in state.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    tensors = _tensor_state(parameter, state)
    kind = (type(parameter), parameter.dtype, parameter.device)
    sparse = parameter.grad is not None and parameter.grad.is_sparse
    key = (index, kind, sparse, _items(flags), _items(numbers), _items(tensors))
    cohort = cohorts.get(key)
    if cohort is None:
        cohort = cohorts[key] = Cohort(
            group, [parameter], [state], numbers, flags, tensors, tuple(tensors), sparse
        )
    else:
        cohort.parameters.append(parameter)
        cohort.states.append(state)


def _tensor_state(parameter: Tensor, state: State) -> dict[str, bool]:
    return {
        name: value.dim() == 0 and parameter.dim() > 0
        for name, value in sorted(state.items())
        if isinstance(value, Tensor)
    }


def _items(mapping: dict[str, Any]) -> Sequence[tuple[str, Any]]:
    return tuple(sorted(mapping.items()))


def _settle(parameter: Tensor, state: State) -> None:
    """Follow a parameter that moved to another device or dtype since its state was made."""
    dtype = work_dtype(parameter.dtype)
    for name, value in state.items():
        if isinstance(value, Tensor):
            moved = value.device != parameter.device or value.dtype != dtype
            if moved and value.is_floating_point():
                state[name] = value.to(parameter.device, dtype)
