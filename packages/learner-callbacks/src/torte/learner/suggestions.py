"""Suggesting a learning rate from a learning-rate search: pure functions of its two curves.

Each takes the learning rates tried, the (smoothed) losses seen, and the number of iterations asked
for, and returns the rate it suggests with the point on the curve that it goes by.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np

__all__ = ["Suggestion", "SuggestionMethod", "minimum", "slide", "steep", "valley"]

Suggestion = tuple[float, tuple[float, float]]
"""The suggested rate, and (rate, loss) of the point that it goes by."""


def _point(lrs: Sequence[float], losses: Sequence[float], at: int) -> tuple[float, float]:
    return float(lrs[at]), float(losses[at])


def valley(lrs: Sequence[float], losses: Sequence[float], num_it: int) -> Suggestion:
    """Suggest the middle of the longest valley.

    The longest valley ends where the longest strictly falling subsequence of the losses does (a
    fall that noise may interrupt), and is as many points long. Counting back from the end keeps the
    noise of the plateau before the fall, where a few scattered points belong to the subsequence
    too, from pulling the suggestion to a far lower rate.
    """
    length, end = _longest_fall(losses)
    at = max(0, end - length + length // 3 + length // 6)
    return float(lrs[at]), _point(lrs, losses, at)


def _longest_fall(losses: Sequence[float]) -> tuple[int, int]:
    """Length and (earliest) last index of the longest strictly falling subsequence."""
    tails: list[float] = []
    end = 0
    for at, loss in enumerate(losses):
        # Falling losses are rising negatives; tails[k] ends the best fall of k + 1 points.
        place = bisect_left(tails, -loss)
        if place == len(tails):
            tails.append(-loss)
            end = at
        else:
            tails[place] = -loss
    return len(tails), end


def minimum(lrs: Sequence[float], losses: Sequence[float], num_it: int) -> Suggestion:
    """Suggest a tenth of the rate at which the loss was lowest."""
    at = int(np.argmin(losses))
    return float(lrs[at]) / 10, _point(lrs, losses, at)


def steep(lrs: Sequence[float], losses: Sequence[float], num_it: int) -> Suggestion:
    """Suggest the rate at which the loss fell fastest, over the logarithm of the rate."""
    if len(lrs) < 2:
        return float(lrs[0]), _point(lrs, losses, 0)
    at = int(np.argmin(np.gradient(np.asarray(losses), np.log(lrs))))
    return float(lrs[at]), _point(lrs, losses, at)


def slide(
    lrs: Sequence[float],
    losses: Sequence[float],
    num_it: int,
    lr_diff: int = 15,
    thresh: float = 0.005,
    adjust_value: float = 1.0,
) -> Suggestion:
    """Suggest a rate by an interval that slides down from the divergence.

    An interval of `lr_diff` iterations moves left from the end until the loss's slope is the same,
    within `thresh`, at both of its ends: its left end lies before the divergence.

    Args:
        lrs: The learning rates.
        losses: The losses.
        num_it: Iterations asked for.
        lr_diff: Length of the interval in iterations.
        thresh: How much the slopes may differ.
        adjust_value: A factor for the rate found.
    """
    if len(lrs) < 2:
        return float(lrs[0]) * adjust_value, _point(lrs, losses, 0)
    slopes = np.gradient(np.asarray(losses, dtype=float))
    right = len(slopes) - 1
    left = max(0, right - lr_diff)
    while left > 0 and abs(slopes[right] - slopes[left]) > thresh:
        left, right = left - 1, right - 1
    return float(lrs[left]) * adjust_value, _point(lrs, losses, left)


class SuggestionMethod(Enum):
    """The suggestion functions by name; members can be called."""

    Valley = (valley,)
    Steep = (steep,)
    Minimum = (minimum,)
    Slide = (slide,)

    def __call__(self, *args: Any, **kwargs: Any) -> Suggestion:
        """Call the function."""
        return self.value[0](*args, **kwargs)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a suggestion function, as a field of the result."""
    if isinstance(function, SuggestionMethod):
        return function.value[0].__name__
    inner = getattr(function, "func", function)
    return getattr(inner, "__name__", type(inner).__name__)


def usable(
    lrs: Sequence[float], losses: Sequence[float], num_it: int
) -> tuple[list[float], list[float]]:
    """Drop what is not finite and, as long as enough is left, the first tenth and the last points.

    A search that diverges in its first steps has few points: then all finite ones are kept.
    """
    finite = [(r, v) for r, v in zip(lrs, losses, strict=False) if math.isfinite(v)]
    trimmed = finite[num_it // 10 : -5]
    kept = trimmed if len(trimmed) >= 5 else finite
    return [rate for rate, _ in kept], [value for _, value in kept]
