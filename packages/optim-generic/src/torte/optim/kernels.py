"""The compiled engine on the CPU: a recorded program as one C kernel over all parameters."""

import ctypes
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torte.optim.cohorts import Cohort, usable_gradient, work_dtype
from torte.optim.compiler import CompilationError, load_kernel
from torte.optim.errors import EngineError
from torte.optim.recorded import Execute, RecordedPlan
from torte.optim.rules import Rule
from torte.optim.source import BLOCK, kernel_source, reductions, slots
from torte.optim.tape import Program

__all__ = ["KernelPlan"]

# Elements that go through all phases of a kernel together, so that they stay in cache.
_WAVE = 2**18
# Below this many elements a second thread costs more than it brings.
_SERIAL = 2**15


class KernelPlan(RecordedPlan):
    """Runs a cohort through one compiled kernel.

    Args:
        cohort: The parameters, in the CPU's memory.
        rules: The rules.
        instead: Prepares programs that the compiler refuses; without it they are an error.
        patience: Steps that `instead` takes first, so that a short run compiles nothing.
    """

    def __init__(
        self,
        cohort: Cohort,
        rules: Sequence[Rule],
        instead: RecordedPlan | None = None,
        patience: int = 0,
    ) -> None:
        super().__init__(cohort, rules)
        self._instead = instead
        self._patience = patience

    def run(self, gradients: list[Tensor], values: Mapping[str, Any]) -> dict[str, float]:
        """Take one step; returns the new number-valued state."""
        if self._patience and self._instead is not None:
            self._patience -= 1
            return self._instead.run(gradients, values)
        return super().run(gradients, values)

    def prepare(self, program: Program) -> Execute:
        """Compile the kernel of `program` and lay out its arguments."""
        try:
            return _Kernel(self, program)
        except CompilationError as error:
            if self._instead is None:
                raise EngineError(f"the compiled engine cannot run here: {error}") from error
            warnings.warn(f"stepping without a compiled kernel: {error}", stacklevel=2)
            return self._instead.prepare(program)


class _Kernel:
    """A compiled program with its arguments for one cohort."""

    def __init__(self, plan: RecordedPlan, program: Program) -> None:
        self._cohort = cohort = plan.cohort
        self._program = program
        self._slots = slots(program)
        self._made = [n for n in self._slots[2:] if n in cohort.state_names]
        self._fresh = {
            name: program.nodes[index].per_layer
            for name, index in program.outputs
            if name != "p" and name not in cohort.state_names
        }
        self._sums = [n for n in program.inputs[2:] if n not in cohort.state_names]
        first = cohort.parameters[0]
        self._work = work_dtype(first.dtype)
        self._function = load_kernel(self._source())
        self._strides = [tensor.stride() for tensor in cohort.local(cohort.parameters)]
        self._layout()

    def _source(self) -> str:
        cohort, program = self._cohort, self._program
        first = cohort.parameters[0]
        memory = str(first.dtype.to_real()).removeprefix("torch.")
        work = str(self._work).removeprefix("torch.")
        storage = dict.fromkeys(self._slots, work)
        storage.update(p=memory, grad=memory)
        storage.update((name, "float64") for name in self._sums)
        for name in self._made:
            storage[name] = str(cohort.states[0][name].dtype).removeprefix("torch.")
        return kernel_source(program, storage, "double" if work == "float64" else "float")

    def _layout(self) -> None:
        """Lay out blocks, waves and the arrays that the kernel works with."""
        parameters = self._cohort.local(self._cohort.parameters)
        factor = 2 if parameters[0].is_complex() else 1
        sizes = [factor * parameter.numel() for parameter in parameters]
        blocks, first, bounds, wave = [], [0], [0], 0
        several = any(node.per_layer for node in self._program.nodes)
        for index, size in enumerate(sizes):
            if several and wave and wave + size > _WAVE:
                bounds.append(index)
                wave = 0
            wave += size
            for offset in range(0, size, BLOCK):
                blocks += [index, offset, min(BLOCK, size - offset)]
            first.append(len(blocks) // 3)
        bounds.append(len(sizes))
        count, nodes = len(sizes), len(self._program.nodes)
        self._count, self._total = count, sum(sizes)
        self._waves = len(bounds) - 1
        self._bounds, self._first = _integers(bounds), _integers(first)
        self._blocks, self._sizes = _integers(blocks), _integers(sizes)
        self._pointers = (ctypes.c_void_p * (count * len(self._slots)))()
        width = max(1, len(reductions(self._program)))
        self._partials = (ctypes.c_double * (width * first[-1]))()
        self._layer = (ctypes.c_double * (nodes * count))()

    def __call__(
        self, gradients: list[Tensor], numbers: Sequence[float], sums: Mapping[str, Any]
    ) -> None:
        cohort, count = self._cohort, self._count
        gradients = self._laid_out(cohort.local(gradients))
        self._make_fresh()
        parameters = cohort.local(cohort.parameters)
        columns: dict[str, list[Tensor]] = {"p": parameters, "grad": gradients}
        total = {name: sums[name].double() for name in self._sums}
        pointers = self._pointers
        for position, name in enumerate(self._slots):
            if name in columns:
                addresses = [tensor.data_ptr() for tensor in columns[name]]
            elif name in total:
                addresses = [total[name].data_ptr()] * count
            else:
                tensors = cohort.local([state[name] for state in cohort.states])
                addresses = [tensor.data_ptr() for tensor in tensors]
            pointers[position * count : (position + 1) * count] = addresses
        self._function(
            ctypes.c_int(torch.get_num_threads() if self._total > _SERIAL else 1),
            ctypes.c_int64(self._waves),
            self._bounds,
            self._first,
            self._blocks,
            self._sizes,
            pointers,
            ctypes.c_int64(count),
            (ctypes.c_double * len(numbers))(*numbers),
            self._partials,
            self._layer,
        )
        torch.autograd.graph.increment_version(parameters)
        if self._fresh:
            cohort.note_state()

    def _laid_out(self, gradients: list[Tensor]) -> list[Tensor]:
        dtype = self._cohort.parameters[0].dtype
        for gradient, strides in zip(gradients, self._strides, strict=True):
            if gradient.is_sparse or gradient.stride() != strides or gradient.dtype != dtype:
                parameters = self._cohort.local(self._cohort.parameters)
                return list(map(usable_gradient, parameters, gradients))
        return gradients

    def _make_fresh(self) -> None:
        for name, per_layer in self._fresh.items():
            for parameter, state in zip(self._cohort.parameters, self._cohort.states, strict=True):
                like = torch.view_as_real(parameter) if parameter.is_complex() else parameter
                if per_layer:
                    state[name] = torch.zeros((), dtype=self._work)
                else:
                    state[name] = torch.zeros_like(like, dtype=self._work, requires_grad=False)


def _integers(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * len(values))(*values)
