"""The foreach engine: a recorded program over whole lists through `torch._foreach_*`."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torte.optim.cohorts import Cohort, usable_gradient
from torte.optim.loop import from_work, to_work
from torte.optim.orthogonal import orthogonal_update, orthogonal_updates
from torte.optim.recorded import Execute, RecordedPlan
from torte.optim.tape import Node, Program

__all__ = ["ForeachPlan", "TensorList", "in_place_roots", "run_program", "single_result"]

TensorList = list[Tensor]

# What each operation computes for one tensor: the fallback for arguments that foreach lacks.
_SINGLE: dict[str, Callable[..., Any]] = {
    "add": lambda x, y, alpha: x + alpha * y,
    "sub": lambda x, y, alpha: x - alpha * y,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "addcmul": lambda x, a, b, value: x + value * a * b,
    "addcdiv": lambda x, a, b, value: x + value * a / b,
    "lerp": lambda x, end, weight: x + weight * (end - x),
    "square": torch.square,
    "softplus": torch.nn.functional.softplus,
    "maximum": lambda x, y: torch.clamp(x, min=y),
    "minimum": lambda x, y: torch.clamp(x, max=y),
    "clamp": torch.clamp,
    "where": torch.where,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
    "eq": operator.eq,
    "ne": operator.ne,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_not": torch.logical_not,
    "copy": lambda x, y: y.expand_as(x).clone() if isinstance(y, Tensor) else y,
    "fill": lambda x, y: torch.zeros_like(x) + y,
    "clone": torch.clone,
    "zero": torch.zeros_like,
    "zeros_like": torch.zeros_like,
    "ones_like": torch.ones_like,
    "sum": torch.sum,
    "mean": torch.mean,
    "norm": torch.norm,
    "orthogonal_update": orthogonal_update,
}
_UNARY = ("neg", "abs", "sqrt", "rsqrt", "reciprocal", "sign", "exp", "log", "tanh", "sigmoid")
_SINGLE.update({name: getattr(torch, name) for name in _UNARY})


def _scaled(operation: str, sign: int) -> Callable[..., Any]:
    whole = getattr(torch, f"_foreach_{operation}")

    def apply(x: TensorList, y: TensorList | float, alpha: float) -> Any:
        if isinstance(y, list):
            return whole(x, y, alpha=sign * alpha)
        return whole(x, sign * alpha * y)

    return apply


def _power(x: TensorList, exponent: float) -> Any:
    if exponent == 2:
        return torch._foreach_mul(x, x)
    return torch._foreach_sqrt(x) if exponent == 0.5 else torch._foreach_pow(x, exponent)


def _clone(x: TensorList) -> Any:
    """Copy tensors; the oldest PyTorch that torte runs on has no single call for it."""
    whole = getattr(torch, "_foreach_clone", None)
    return [each.clone() for each in x] if whole is None else whole(x)


_WHOLE: dict[str, Callable[..., Any]] = {
    name: getattr(torch, f"_foreach_{name}")
    for base in ("mul", "div", "addcmul", "addcdiv", "lerp", "maximum", "minimum", *_UNARY)
    for name in (base, base + "_")
}
_WHOLE.update(
    {
        "add": _scaled("add", 1),
        "add_": _scaled("add_", 1),
        "sub": _scaled("add", -1),
        "sub_": _scaled("add_", -1),
        "pow": _power,
        "clone": _clone,
        "copy_": torch._foreach_copy_,
        "zero_": torch._foreach_zero_,
        "norm": torch._foreach_norm,
        "orthogonal_update": orthogonal_updates,
    }
)
# How many of the first arguments must be lists of tensors; one, where nothing is said.
_LISTS = {
    "addcmul": 3,
    "addcmul_": 3,
    "addcdiv": 3,
    "addcdiv_": 3,
    "copy_": 2,
    "lerp": 2,
    "lerp_": 2,
}
_VALUE_LAST = ("addcmul", "addcmul_", "addcdiv", "addcdiv_")


def run_program(
    program: Program, numbers: Sequence[float], inputs: Sequence[TensorList]
) -> dict[int, TensorList]:
    """Run a program on lists of tensors, in place where it says so.

    Args:
        program: What to run.
        numbers: Its numbers.
        inputs: One list for each of the program's inputs.

    Returns:
        The list that each node made, by its index.
    """
    made: dict[int, TensorList] = dict(enumerate(inputs))
    for index, node in enumerate(program.nodes[len(inputs) :], len(inputs)):
        arguments = [
            made[value] if kind == "node" else numbers[value] if kind == "number" else value
            for kind, value in node.arguments
        ]
        made[index] = _run_node(node, arguments)
    return made


def _run_node(node: Node, arguments: list[Any]) -> TensorList:
    name = node.operation + "_" if node.in_place else node.operation
    whole = _WHOLE.get(name)
    if whole is not None and _suits(name, arguments):
        if name in _VALUE_LAST:
            made = whole(*arguments[:3], value=arguments[3])
        else:
            made = whole(*arguments)
        return arguments[0] if node.in_place else list(made)
    count = next(len(argument) for argument in arguments if isinstance(argument, list))
    rows = zip(*(a if isinstance(a, list) else [a] * count for a in arguments), strict=True)
    results = [single_result(node, row) for row in rows]
    return arguments[0] if node.in_place else results


def single_result(node: Node, arguments: Sequence[Any]) -> Tensor:
    """Run one operation on the tensors of one parameter."""
    result = _SINGLE[node.operation](*arguments)
    return arguments[0].copy_(result) if node.in_place else result


def _suits(name: str, arguments: list[Any]) -> bool:
    return all(isinstance(each, list) for each in arguments[: _LISTS.get(name, 1)])


class ForeachPlan(RecordedPlan):
    """Runs a cohort list by list."""

    def prepare(self, program: Program) -> Execute:
        """Prepare what runs `program` on this cohort."""
        cohort = self.cohort
        widened = bool(cohort.parameters) and not _is_plain(cohort.parameters[0])
        gradient = program.inputs.index("grad")
        roots = in_place_roots(program)
        spoils_gradients = any(root == gradient != i for i, root in roots.items())

        def execute(
            gradients: list[Tensor], numbers: Sequence[float], sums: Mapping[str, Tensor]
        ) -> None:
            parameters = cohort.local(cohort.parameters)
            found = list(map(usable_gradient, parameters, cohort.local(gradients)))
            works = parameters
            if widened:
                works, found = list(map(to_work, works)), list(map(to_work, found))
            if spoils_gradients:
                found = list(_clone(found))
            inputs = [works, found]
            for name in program.inputs[2:]:
                if name in cohort.state_names:
                    inputs.append(cohort.local([state[name] for state in cohort.states]))
                else:
                    inputs.append([sums[name]] * len(works))
            made = self.compute(program, numbers, inputs)
            self._write_back(program, made, parameters, works)

        return execute

    def compute(
        self, program: Program, numbers: Sequence[float], inputs: Sequence[TensorList]
    ) -> dict[int, TensorList]:
        """Run a program on lists of tensors; returns at least the lists of inputs and outputs."""
        return run_program(program, numbers, inputs)

    def _write_back(
        self,
        program: Program,
        made: dict[int, TensorList],
        parameters: TensorList,
        works: TensorList,
    ) -> None:
        cohort = self.cohort
        owned = {id(made[i]): name for i, name in enumerate(program.inputs)}
        for name, index in program.outputs:
            result = made[index]
            if name == "p":
                if result is not works:
                    torch._foreach_copy_(works, result)
            elif name in cohort.state_names:
                current = cohort.local([state[name] for state in cohort.states])
                if owned.get(id(result)) != name:
                    torch._foreach_copy_(current, result)
            else:
                fresh = list(_clone(result)) if id(result) in owned else result
                owned[id(fresh)] = name
                for state, tensor in zip(cohort.states, _like(cohort, fresh), strict=True):
                    state[name] = tensor
        if works is not parameters:
            for parameter, work in zip(parameters, works, strict=True):
                from_work(parameter, work)
        cohort.note_state()


def _like(cohort: Cohort, tensors: TensorList) -> TensorList:
    """New state as shards where the parameters are."""
    if not cohort.sharded:
        return tensors
    whole = [
        torch.zeros_like(parameter, dtype=t.dtype, requires_grad=False)
        for parameter, t in zip(cohort.parameters, tensors, strict=True)
    ]
    torch._foreach_copy_(cohort.local(whole), tensors)
    return whole


def _is_plain(parameter: Tensor) -> bool:
    return parameter.dtype in (torch.float32, torch.float64)


def in_place_roots(program: Program) -> dict[int, int]:
    """For each input, and each node that lives in an input's memory, that input's index."""
    roots = {index: index for index in range(len(program.inputs))}
    for index, node in enumerate(program.nodes):
        if node.in_place and node.arguments[0][1] in roots:
            roots[index] = roots[node.arguments[0][1]]
    return roots
