"""Statistics of the whole model: sums over every parameter, taken before a step."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torte.optim.cohorts import Cohort
from torte.optim.engine import Engine, plan_for
from torte.optim.rules import Rule

__all__ = ["model_totals", "no_totals"]


def model_totals(
    prepared: Sequence[tuple[Cohort, list[Tensor], Mapping[str, Any]]],
    rules: Sequence[Rule],
    engine: Engine,
) -> dict[str, Tensor]:
    """Run whole-model rules over all cohorts and add up what they return.

    Args:
        prepared: Each cohort with its gradients and values.
        rules: The whole-model rules.
        engine: The engine to run them with.

    Returns:
        0-dim tensors by name, on the device of the first cohort.
    """
    totals: dict[str, Tensor] = {}
    for cohort, gradients, values in prepared:
        own = _own_cohort(cohort, rules, values, engine)
        own.plan.run(gradients, values)
        for name in own.states[0]:
            wide = _wide_dtype(cohort.device)
            parts = torch.stack([state[name].to(wide) for state in own.states])
            total = _whole(parts.sum())
            totals[name] = totals[name] + total.to(totals[name]) if name in totals else total
    return totals


def no_totals(
    cohort: Cohort, rules: Sequence[Rule], values: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Totals of nothing, by name: for trying the other rules before there are any."""
    p = torch.zeros((2, 2))
    p.grad = torch.zeros((2, 2))
    found: dict[str, Tensor] = {}
    for rule in rules:
        found.update(rule(p, values))
    device = cohort.device
    return {n: torch.zeros((), dtype=_wide_dtype(device), device=device) for n in found}


def _wide_dtype(device: torch.device) -> torch.dtype:
    """What to add up in: float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def _own_cohort(
    cohort: Cohort, rules: Sequence[Rule], values: Mapping[str, Any], engine: Engine
) -> Cohort:
    """The cohort as whole-model rules see it: the same parameters, and state of its own."""
    own = cohort.companion
    if own is None:
        states: list[dict[str, Any]] = [{} for _ in cohort.parameters]
        own = Cohort(cohort.group, cohort.parameters, states, {}, {}, {})
        own.plan = plan_for(own, rules, values, "auto" if engine == "fused" else engine)
        cohort.companion = own
    return own


def _whole(total: Tensor) -> Tensor:
    """A sum over shards as the sum that it stands for."""
    return total.full_tensor() if hasattr(total, "full_tensor") else total  # pyright: ignore[reportAttributeAccessIssue]
