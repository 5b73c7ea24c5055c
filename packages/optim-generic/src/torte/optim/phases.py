"""When each value of a program can be computed, and when each result may be stored.

A kernel goes over the elements in *phases*. A phase ends where a number of all elements (a norm)
is needed by what follows. What a later phase needs again it loads, if an earlier one stored it, or
computes anew; so a result may be stored only once nobody needs the old value any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torte.optim.operations import REDUCING
from torte.optim.tape import Program

__all__ = ["Phase", "before_phases", "schedule"]


@dataclass
class Phase:
    """One pass over the elements.

    Attributes:
        loads: Nodes read from memory: inputs, and results that an earlier phase stored.
        computes: Nodes computed for each element, in order.
        reductions: Nodes that add up over all elements of a parameter.
        stores: `(name, node)` of the results written.
        layer: Nodes computed once for a parameter when the pass is over, in order.
    """

    loads: dict[int, str]
    computes: list[int]
    reductions: list[int]
    stores: list[tuple[str, int]]
    layer: list[int]


def before_phases(program: Program) -> list[int]:
    """Per-layer nodes that need no reduction: inputs, and what is computed from them alone."""
    return [i for i, node in enumerate(program.nodes) if node.per_layer and _constant(program, i)]


def schedule(program: Program, exact: Iterable[str]) -> list[Phase]:
    """Sort a program into phases.

    Args:
        program: The program.
        exact: Names of outputs whose memory holds their values without rounding them.
    """
    ready = _readiness(program)
    elements = [(name, i) for name, i in program.outputs if not program.nodes[i].per_layer]
    last = max(ready) if ready else 0
    # Constants and inputs have readiness 0 like everything that needs no reduction.
    stored_at = {name: ready[i] for name, i in elements}
    while True:
        phases = _attempt(program, ready, stored_at, frozenset(exact), last)
        if isinstance(phases, list):
            return phases
        name, phase = phases
        stored_at[name] = phase


def _arguments(program: Program, index: int) -> list[int]:
    return [value for kind, value in program.nodes[index].arguments if kind == "node"]


def _readiness(program: Program) -> list[int]:
    """For each node the first phase that can compute it (per layer: after which it is there)."""
    ready: list[int] = []
    for index, node in enumerate(program.nodes):
        phase = 0
        for argument in _arguments(program, index):
            crossing = program.nodes[argument].per_layer and not node.per_layer
            reduced = crossing and not _constant(program, argument)
            phase = max(phase, ready[argument] + reduced)
        ready.append(phase)
    return ready


def _constant(program: Program, index: int) -> bool:
    """Whether a per-layer value depends on no reduction of this program."""
    if program.nodes[index].operation in REDUCING:
        return False
    return all(_constant(program, argument) for argument in _arguments(program, index))


def _attempt(
    program: Program,
    ready: list[int],
    stored_at: dict[str, int],
    exact: frozenset[str],
    last: int,
) -> "list[Phase] | tuple[str, int]":
    """Lay out the phases, or name an output that must be stored later, and when."""
    outputs = dict(program.outputs)
    inputs = {i: name for i, name in enumerate(program.inputs) if not program.nodes[i].per_layer}
    phases = []
    for number in range(last + 1):
        stores = [(name, outputs[name]) for name, at in stored_at.items() if at == number]
        reductions = [
            i
            for i, node in enumerate(program.nodes)
            if node.operation in REDUCING and ready[i] == number
        ]
        stored = {
            outputs[name]: name for name, at in stored_at.items() if at < number and name in exact
        }
        overwritten = {name for name, at in stored_at.items() if at < number}
        wanted = [i for _, i in stores]
        wanted += [argument for i in reductions for argument in _arguments(program, i)]
        loads, computes = _needed(program, wanted, stored, inputs)
        for node, name in loads.items():
            if node in inputs and node not in stored and name in overwritten:
                return name, number
        layer = [
            i
            for i, node in enumerate(program.nodes)
            if node.per_layer and ready[i] == number and not _constant(program, i)
        ]
        phases.append(Phase(loads, computes, reductions, stores, layer))
    return phases


def _needed(
    program: Program, wanted: Iterable[int], stored: dict[int, str], inputs: dict[int, str]
) -> tuple[dict[int, str], list[int]]:
    loads: dict[int, str] = {}
    computes: set[int] = set()
    waiting = list(wanted)
    while waiting:
        index = waiting.pop()
        if index in computes or index in loads or program.nodes[index].per_layer:
            continue
        if index in stored:
            loads[index] = stored[index]
        elif index in inputs:
            loads[index] = inputs[index]
        else:
            computes.add(index)
            waiting.extend(_arguments(program, index))
    return loads, sorted(computes)
