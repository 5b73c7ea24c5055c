"""Which engine runs a cohort: fused, compiled, foreach or loop."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from torte.optim.cohorts import Cohort
from torte.optim.errors import EngineError
from torte.optim.fused import FusedPlan, fused_kernel
from torte.optim.loop import LoopPlan
from torte.optim.rules import Rule

__all__ = ["ENGINES", "Engine", "Plan", "plan_for"]

Engine = Literal["auto", "loop", "foreach", "compiled", "fused"]
ENGINES: tuple[Engine, ...] = ("auto", "loop", "foreach", "compiled", "fused")


class Plan(Protocol):
    """How one cohort is stepped."""

    def run(self, gradients: Sequence[Tensor], values: Mapping[str, Any]) -> dict[str, float]:
        """Take one step; returns the new number-valued state."""
        ...


def plan_for(cohort: Cohort, rules: Sequence[Rule], engine: Engine) -> Plan:
    """The plan by which `engine` steps `cohort`; `"auto"` chooses by composition, device and size.

    Raises:
        EngineError: `engine` is forced and cannot run this composition on these parameters.
    """
    if engine in ("auto", "fused"):
        kernel = fused_kernel(rules) if _fusible(cohort) else None
        if kernel is not None:
            return FusedPlan(cohort, kernel)
        if engine == "fused":
            names = [rule.name for rule in rules]
            raise EngineError(f"no fused kernel computes {names} for {_description(cohort)}")
    return LoopPlan(cohort, rules)


def _fusible(cohort: Cohort) -> bool:
    first = cohort.parameters[0]
    return (
        first.dtype in (torch.float32, torch.float64)
        and first.device.type in ("cpu", "cuda")
        and type(first) in (Tensor, torch.nn.Parameter)
    )


def _description(cohort: Cohort) -> str:
    first = cohort.parameters[0]
    return f"{type(first).__name__} parameters of {first.dtype} on {first.device}"
