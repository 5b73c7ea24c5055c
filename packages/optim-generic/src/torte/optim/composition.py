"""Checking a composition before anything runs: what rules need, keep and leave unused."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from torte.optim.errors import RuleError, UnknownHyperError
from torte.optim.groups import checked_hyper
from torte.optim.rules import Rule, RuleFunction, rule_of

__all__ = ["check_composition", "hyper_defaults", "ordered_rules", "probe"]


def ordered_rules(*parts: RuleFunction | Iterable[RuleFunction]) -> tuple[Rule, ...]:
    """All rules in the order in which they run: model, gradient, stats, steppers.

    Raises:
        RuleError: There is no rule at all, or one is no function of a parameter.
    """
    given = [
        rule_of(each) for some in parts for each in (some if isinstance(some, Iterable) else [some])
    ]
    if not given:
        raise RuleError("an optimizer needs at least one stepper, got none")
    phases = ("model", "gradient", "rule")
    return tuple(sorted(given, key=lambda rule: phases.index(rule.phase)))


def probe(rules: Sequence[Rule], hypers: Mapping[str, Any]) -> dict[str, Any] | None:
    """Run the rules once on a tiny parameter to learn what state they return.

    Returns:
        The state by name, or `None` when a rule cannot run on so small a parameter.

    Raises:
        RuleError: A rule has an argument that nothing supplies.
    """
    values = dict(hypers)
    returned: dict[str, Any] = {}
    p = torch.full((2, 2), 0.5)
    values["is_matrix"] = True
    p.grad = torch.full((2, 2), 0.25)
    for rule in rules:
        missing = [name for name in rule.needs if name not in values]
        if missing:
            raise RuleError(
                f"{rule.name!r} needs {', '.join(map(repr, missing))}, which nothing supplies: "
                f"give it as a hyper, or add the stat that returns it before {rule.name!r}"
            )
        try:
            result = rule(p, values)
        except Exception:  # noqa: BLE001 (whatever it was will come up, with its reason, in step)
            return None
        values.update(result)
        returned.update(result)
    return returned


def hyper_defaults(
    rules: Sequence[Rule], hypers: Mapping[str, Any], state: Collection[str]
) -> dict[str, Any]:
    """All hypers of a composition: those given, and numeric defaults of the rules' arguments."""
    found = dict(hypers)
    for rule in rules:
        for name, default in rule.defaults.items():
            number = isinstance(default, int | float) and not isinstance(default, bool)
            if number and name not in state:
                found.setdefault(name, checked_hyper(name, default))
    return found


def check_composition(
    rules: Sequence[Rule], hypers: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Check that rules and hypers fit together.

    Args:
        rules: The rules in the order in which they run.
        hypers: The hypers given, one value each.

    Returns:
        All hypers with one value each, and the names of the state that the rules keep.

    Raises:
        UnknownHyperError: No rule uses one of the hypers.
        RuleError: A rule has an argument that nothing supplies.
    """
    accepted = {name for rule in rules for name in rule.accepts}
    unknown = [name for name in hypers if name not in accepted]
    if unknown:
        raise UnknownHyperError(
            f"no stat or stepper uses {', '.join(map(repr, unknown))}; they use {sorted(accepted)}"
        )
    returned = probe(rules, hypers)
    optional = {
        name for rule in rules for name, default in rule.defaults.items() if default is None
    }
    if returned is None:  # without a probe, any argument with a default may turn out to be state
        optional.update(name for rule in rules for name in rule.defaults)
    names = tuple(dict.fromkeys([*(returned or ()), *sorted(optional)]))
    return hyper_defaults(rules, hypers, names), names
