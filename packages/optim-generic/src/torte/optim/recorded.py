"""What the engines that run recorded programs share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from torte.optim.cohorts import Cohort
from torte.optim.loop import LoopPlan
from torte.optim.rules import Rule
from torte.optim.tape import NotRecordableError, Program, record

__all__ = ["Execute", "RecordedPlan"]

# Runs a program once: (gradients, numbers, whole-model sums by name).
Execute = Callable[[list[Tensor], Sequence[float], Mapping[str, Tensor]], None]


class RecordedPlan:
    """Records the rules at every step and runs what was prepared for that structure.

    Recording costs some microseconds an operation, whatever the number of parameters, and spares
    every guess about which of Python's numbers may change.
    """

    def __init__(self, cohort: Cohort, rules: Sequence[Rule]) -> None:
        self.cohort = cohort
        self._rules = rules
        self._prepared: dict[tuple[Program, tuple[str, ...]], Execute] = {}
        self._loop = LoopPlan(cohort, rules)

    def prepare(self, program: Program) -> Execute:
        """Prepare what runs `program` on this cohort."""
        raise NotImplementedError

    def dry_run(self, values: Mapping[str, Any]) -> Program:
        """Record once, to see whether these rules can be.

        Returns:
            The program of a step with `values`.

        Raises:
            NotRecordableError: They cannot.
        """
        return record(self._rules, values, self._states(values))[0]

    def run(self, gradients: list[Tensor], values: Mapping[str, Any]) -> dict[str, float]:
        """Take one step; returns the new number-valued state."""
        try:
            program, numbers, kept = record(self._rules, values, self._states(values))
        except NotRecordableError:
            # The rules took another path than when the engine was chosen.
            kept = self._loop.run(gradients, values)
            self.cohort.note_state()
            return kept
        key = (program, self.cohort.state_names)
        execute = self._prepared.get(key)
        if execute is None:
            execute = self._prepared[key] = self.prepare(program)
        execute(gradients, numbers, values)
        return kept

    def _states(self, values: Mapping[str, Any]) -> dict[str, bool]:
        states = self.cohort.state_shapes
        sums = {name: True for name, value in values.items() if isinstance(value, Tensor)}
        return states | sums if sums else states
