"""Schedules: pure functions from progress (0 to 1) to the value of a hyper-parameter.

A schedule is any callable of one number, the fraction of training that is done. Because it depends
on nothing else, a resumed run goes on with the same values, and the number of batches, processes or
workers does not change its shape. Start and end may be arrays, one value for each parameter group.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

__all__ = [
    "Annealer",
    "SchedCos",
    "SchedExp",
    "SchedLin",
    "SchedNo",
    "SchedPoly",
    "Schedule",
    "annealer",
    "combine_scheds",
    "combined_cos",
    "sched_cos",
    "sched_exp",
    "sched_lin",
    "sched_no",
]

Schedule = Callable[[float], Any]
"""From the fraction of training that is done to a value, or to one value for each group."""


def _number_or_array(value: Any) -> Any:
    """Sequences (one value a group) become arrays, so that the formulae hold for them."""
    return np.asarray(value, dtype=float) if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class Annealer:
    """A formula with its start and end filled in: call it with a position between 0 and 1."""

    formula: Callable[[Any, Any, float], Any]
    start: Any
    end: Any

    def __call__(self, pos: float) -> Any:
        """Return the value at a position between 0 and 1."""
        return self.formula(self.start, self.end, pos)

    def __repr__(self) -> str:
        name = getattr(self.formula, "__name__", repr(self.formula))
        return f"Annealer({name}, start={self.start}, end={self.end})"


def annealer(formula: Callable[[Any, Any, float], Any]) -> Callable[[Any, Any], Annealer]:
    """Turn `formula(start, end, pos)` into a function of `(start, end)` that returns a schedule.

    >>> @annealer
    ... def halfway(start, end, pos): return (start + end) / 2
    >>> halfway(0.0, 2.0)(0.3)
    1.0
    """

    def make(start: Any, end: Any) -> Annealer:
        return Annealer(formula, _number_or_array(start), _number_or_array(end))

    make.__name__ = make.__qualname__ = getattr(formula, "__name__", "annealer")
    make.__doc__ = formula.__doc__
    return make


def sched_no(start: Any, end: Any, pos: float) -> Any:
    """Constant: `start`."""
    return start


def sched_lin(start: Any, end: Any, pos: float) -> Any:
    """Linear: `start + pos * (end - start)`."""
    return start + pos * (end - start)


def sched_cos(start: Any, end: Any, pos: float) -> Any:
    """Half a cosine: `start + (1 - cos(pi * pos)) / 2 * (end - start)`."""
    return start + (1 - math.cos(math.pi * pos)) / 2 * (end - start)


def sched_exp(start: Any, end: Any, pos: float) -> Any:
    """Exponential: `start * (end / start) ** pos`."""
    return start * (end / start) ** pos


def SchedNo(start: Any, end: Any) -> Annealer:  # noqa: N802
    """Return the constant schedule `start`."""
    return annealer(sched_no)(start, end)


def SchedLin(start: Any, end: Any) -> Annealer:  # noqa: N802
    """Return a linear schedule, `start + pos * (end - start)`."""
    return annealer(sched_lin)(start, end)


def SchedCos(start: Any, end: Any) -> Annealer:  # noqa: N802
    """Return a cosine schedule, `start + (1 - cos(pi * pos)) / 2 * (end - start)`."""
    return annealer(sched_cos)(start, end)


def SchedExp(start: Any, end: Any) -> Annealer:  # noqa: N802
    """Return an exponential schedule, `start * (end / start) ** pos`.

    Raises:
        ValueError: If start or end is zero or their signs differ: there is no such curve.
    """
    if not np.all(np.asarray(start, dtype=float) * np.asarray(end, dtype=float) > 0):
        raise ValueError(f"SchedExp needs {start=} and {end=} of one sign and not zero")
    return annealer(sched_exp)(start, end)


def _polynomial(power: float, start: Any, end: Any, pos: float) -> Any:
    return start + (end - start) * pos**power


def SchedPoly(start: Any, end: Any, power: float) -> Annealer:  # noqa: N802
    """Return a polynomial schedule, `start + (end - start) * pos ** power`."""
    return annealer(partial(_polynomial, power))(start, end)


@dataclass(frozen=True, slots=True)
class _Combined:
    """Schedules one after the other; `begins[i]` to `begins[i + 1]` belongs to `scheds[i]`."""

    begins: tuple[float, ...]
    scheds: tuple[Schedule, ...]

    def __call__(self, pos: float) -> Any:
        at = min(bisect_right(self.begins, pos) - 1, len(self.scheds) - 1)
        begin = self.begins[at]
        return self.scheds[at]((pos - begin) / (self.begins[at + 1] - begin))


def combine_scheds(pcts: Sequence[float], scheds: Sequence[Schedule]) -> Schedule:
    """Return the schedule that runs each of `scheds` for its part of training.

    Args:
        pcts: The part of each, as fractions that add up to 1; parts of zero are left out.
        scheds: As many schedules.

    Raises:
        ValueError: If the fractions are negative, do not add up to 1, or are not as many.
    """
    if len(pcts) != len(scheds):
        raise ValueError(f"{len(pcts)} fractions for {len(scheds)} schedules: give one for each")
    if any(pct < 0 for pct in pcts) or not math.isclose(math.fsum(pcts), 1.0, abs_tol=1e-6):
        raise ValueError(f"the fractions must be at least 0 and add up to 1, got {list(pcts)}")
    kept = [(pct, sched) for pct, sched in zip(pcts, scheds, strict=True) if pct > 0]
    begins = tuple(accumulate((pct for pct, _ in kept), initial=0.0))
    # Whatever the rounding of the sum, the last schedule ends exactly at 1.
    return _Combined((*begins[:-1], 1.0), tuple(sched for _, sched in kept))


def combined_cos(pct: float, start: Any, middle: Any, end: Any) -> Schedule:
    """Return a cosine from `start` to `middle` for the fraction `pct`, then one to `end`.

    With a learning rate that rises and falls and a momentum that falls and rises this is the 1cycle
    policy (Smith, *A disciplined approach to neural network hyper-parameters*, 2018).
    """
    return combine_scheds([pct, 1 - pct], [SchedCos(start, middle), SchedCos(middle, end)])
