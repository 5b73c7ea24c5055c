"""The compiled engine on accelerators: a recorded program through `torch.compile`.

One function serves every parameter: each comes as a flat vector of any length, and hypers come as
0-dim tensors, so that neither a shape nor a changing learning rate compiles anything anew.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torte.optim.cohorts import Cohort
from torte.optim.foreach import ForeachPlan, TensorList, in_place_roots, single_result
from torte.optim.rules import Rule
from torte.optim.tape import Program

__all__ = ["DynamoPlan"]


class DynamoPlan(ForeachPlan):
    """Runs a cohort parameter by parameter through one compiled function.

    Args:
        cohort: The parameters.
        rules: The rules.
        backend: The backend of `torch.compile`.
    """

    def __init__(self, cohort: Cohort, rules: Sequence[Rule], backend: str = "inductor") -> None:
        super().__init__(cohort, rules)
        self._backend = backend
        self._functions: dict[Program, Callable[..., list[Tensor]]] = {}

    def compute(
        self, program: Program, numbers: Sequence[float], inputs: Sequence[TensorList]
    ) -> dict[int, TensorList]:
        """Run a program on lists of tensors, through the compiled function of one row of them."""
        roots = in_place_roots(program)
        made = {index: inputs[root] for index, root in roots.items()}
        fresh = [index for _, index in program.outputs if index not in roots]
        plain = _one_parameter(program, fresh)
        compiled = self._functions.get(program)
        if compiled is None:
            compiled = torch.compile(plain, dynamic=True, backend=self._backend)
            self._functions[program] = compiled
        scalars = [torch.tensor(number, dtype=torch.float64) for number in numbers]
        columns: list[TensorList] = [[] for _ in fresh]
        for row in zip(*inputs, strict=True):
            # Lengths 0 and 1 are special to the compiler, and not worth a kernel of their own.
            function = compiled if row[0].numel() > 1 else plain
            results = function(scalars, [_flat(tensor) for tensor in row])
            for column, result in zip(columns, results, strict=True):
                column.append(_unflat(result, row[0]))
        made.update(zip(fresh, columns, strict=True))
        return made


def _one_parameter(program: Program, fresh: Sequence[int]) -> Callable[..., list[Tensor]]:
    def step(numbers: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        made: list[Any] = []
        for node in program.nodes:
            if node.operation == "input":
                made.append(inputs[len(made)])
                continue
            arguments = [
                made[value] if kind == "node" else numbers[value] if kind == "number" else value
                for kind, value in node.arguments
            ]
            made.append(single_result(node, arguments))
        return [made[index] for index in fresh]

    return step


def _flat(tensor: Tensor) -> Tensor:
    """A dense tensor as a vector that shares its memory, whatever the order of its dimensions."""
    return tensor.as_strided((tensor.numel(),), (1,)) if tensor.dim() > 1 else tensor


def _unflat(result: Tensor, like: Tensor) -> Tensor:
    if result.dim() == 0 or result.shape == like.shape:
        return result
    shaped = torch.empty_like(like)
    _flat(shaped).copy_(result)
    return shaped
