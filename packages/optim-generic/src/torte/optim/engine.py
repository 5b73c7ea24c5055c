"""Which engine runs a cohort: fused, compiled, foreach or loop."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from torte.optim.cohorts import Cohort
from torte.optim.compiler import compiler
from torte.optim.dynamo import DynamoPlan
from torte.optim.errors import EngineError
from torte.optim.foreach import ForeachPlan
from torte.optim.fused import FusedPlan, fused_kernel, in_one_pass
from torte.optim.kernels import KernelPlan
from torte.optim.loop import LoopPlan
from torte.optim.recorded import RecordedPlan
from torte.optim.rules import Rule
from torte.optim.tape import NotRecordableError, Program

__all__ = ["ENGINES", "Engine", "Plan", "plan_for"]

Engine = Literal["auto", "loop", "foreach", "compiled", "fused"]
ENGINES: tuple[Engine, ...] = ("auto", "loop", "foreach", "compiled", "fused")


# Elements from which on a kernel earns at once the tenths of a second that compiling takes, and
# the steps after which it is worth them for fewer elements.
_WORTH_COMPILING = 2**15
_PATIENCE = 200


class Plan(Protocol):
    """How one cohort is stepped."""

    def run(self, gradients: list[Tensor], values: Mapping[str, Any]) -> dict[str, float]:
        """Take one step; returns the new number-valued state."""
        ...


def plan_for(
    cohort: Cohort, rules: Sequence[Rule], values: Mapping[str, Any], engine: Engine
) -> Plan:
    """The plan by which `engine` steps `cohort`; `"auto"` chooses by composition, device and size.

    Args:
        cohort: The parameters that step together.
        rules: The rules.
        values: The values that the next step will have, to try the rules with.
        engine: Which engine.

    Raises:
        EngineError: `engine` is forced and cannot run this composition on these parameters.
    """
    if engine == "loop":
        return LoopPlan(cohort, rules)
    if engine in ("auto", "fused"):
        kernel = fused_kernel(rules) if _fusible(cohort) else None
        if kernel is not None and (engine == "fused" or _fused_is_best(cohort, rules, values)):
            return FusedPlan(cohort, kernel)
        if engine == "fused":
            names = [rule.name for rule in rules]
            raise EngineError(f"no fused kernel computes {names} for {_description(cohort)}")
    foreach = ForeachPlan(cohort, rules)
    program, reason = _recorded(foreach, values)
    if program is not None:
        # A kernel computes element by element; products of matrices are kernels already.
        return foreach if program.shaped else _compiled(foreach, rules, engine)
    if engine == "auto":
        return LoopPlan(cohort, rules)
    raise EngineError(f"the {engine} engine cannot run {_description(cohort)}: {reason}")


def _compiled(foreach: ForeachPlan, rules: Sequence[Rule], engine: Engine) -> RecordedPlan:
    cohort = foreach.cohort
    if engine == "foreach":
        return foreach
    if engine == "compiled":
        on_cpu = cohort.parameters[0].device.type == "cpu"
        return KernelPlan(cohort, rules) if on_cpu else DynamoPlan(cohort, rules)
    if not _can_compile(cohort):
        return foreach
    patience = 0 if cohort.numel >= _WORTH_COMPILING else _PATIENCE
    return KernelPlan(cohort, rules, instead=foreach, patience=patience)


def _can_compile(cohort: Cohort) -> bool:
    return cohort.parameters[0].device.type == "cpu" and compiler() is not None


def _fused_is_best(cohort: Cohort, rules: Sequence[Rule], values: Mapping[str, Any]) -> bool:
    """Whether no kernel of our own would do with less memory traffic."""
    small = cohort.numel < _WORTH_COMPILING
    return small or in_one_pass(rules, values) or not _can_compile(cohort)


def _recorded(
    plan: RecordedPlan, values: Mapping[str, Any]
) -> tuple[Program, None] | tuple[None, str]:
    """The program of a step, or why the engines that need one cannot run this cohort."""
    if not plan.cohort.plain:
        return None, "a tensor subclass"
    try:
        program = plan.dry_run(values)
    except NotRecordableError as error:
        return None, f"a rule uses {error}"
    if plan.cohort.sharded and not program.elementwise:
        return None, "a rule looks at whole parameters, and there are only shards"
    return program, None


def _fusible(cohort: Cohort) -> bool:
    first = cohort.parameters[0]
    return (
        first.dtype in (torch.float32, torch.float64)
        and first.device.type in ("cpu", "cuda")
        and cohort.plain
        and all(
            value.dtype == first.dtype
            for value in cohort.states[0].values()
            if isinstance(value, Tensor)
        )
    )


def _description(cohort: Cohort) -> str:
    first = cohort.parameters[0]
    return f"{type(first).__name__} parameters of {first.dtype} on {first.device}"
