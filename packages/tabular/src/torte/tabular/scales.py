"""Procs that change the distribution of numbers: logarithms, and quantiles of a normal one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from torte.dispatch import L, serializable
from torte.tabular.procs import TabularProc
from torte.tabular.table import Tabular
from torte.tabular.threads import each

__all__ = ["Log1p", "NumberProc", "QuantileNormal"]

_OUTERMOST = 1e-7
_FARTHEST = 1.001e-7  # float32 moves the outermost share by less than this on its way through


class NumberProc(TabularProc):
    """A proc that maps each number of some continuous columns by itself, and back.

    A subclass has `learned`, `forward` and `backward`; missing values stay missing.

    Args:
        names: The columns; by default all continuous ones.

    Attributes:
        fitted: What was learned of each column, as JSON-able values.
    """

    order = 0.5

    def __init__(self, names: str | Sequence[str] | None = None) -> None:
        super().__init__()
        self.names = None if names is None else list(L(names))
        self.fitted: dict[str, Any] = {}

    def learned(self, name: str, present: np.ndarray) -> Any:
        """Return what is to be known of a column, from its values of the training rows."""
        raise NotImplementedError

    def forward(self, name: str, values: np.ndarray) -> np.ndarray:
        """Map float64 numbers of a column, NaN where one is missing."""
        raise NotImplementedError

    def backward(self, name: str, values: np.ndarray) -> np.ndarray:
        """Undo `forward`."""
        raise NotImplementedError

    def chosen(self, to: Tabular) -> list[str]:
        """Return the columns of a table that are mapped.

        Raises:
            KeyError: `names` has one that is not among the continuous columns.
        """
        if self.names is None:
            return list(to.cont_names)
        for name in self.names:
            if name not in to.cont_names:
                raise KeyError(
                    f"{type(self).__name__} names column {name!r}, which is not in cont_names: "
                    f"{list(to.cont_names)}"
                )
        return self.names

    def setups(self, to: Tabular) -> None:
        """Learn from the values of each column that are there."""

        def learn(name: str) -> Any:
            values = to.numbers(name)
            missing = np.isnan(values)
            return self.learned(name, values[~missing] if missing.any() else values)

        names = self.chosen(to)
        self.fitted = dict(zip(names, each(learn, names, len(to)), strict=True))

    def encodes(self, to: Tabular) -> None:
        """Map the columns, float64."""
        names = list(self.fitted)
        found = each(lambda name: self.forward(name, to.numbers(name)), names, len(to))
        to.set_columns(dict(zip(names, found, strict=True)))

    def decodes(self, to: Tabular) -> None:
        """Map the columns back."""
        there = [name for name in self.fitted if name in to.store.names]
        to.set_columns({name: self.backward(name, to.numbers(name)) for name in there})

    def state(self) -> dict[str, Any]:
        """What was learned of each column."""
        return {"fitted": self.fitted}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self.fitted = dict(state["fitted"])


@serializable("torte.tabular.Log1p")
class Log1p(NumberProc):
    """Numbers to the logarithm of one more than themselves: amounts, counts, durations.

    Args:
        names: The columns; by default all continuous ones.
        signed: Whether numbers below zero are expected too: `sign(x) · log(1 + |x|)`, which is the
            same above zero. Otherwise a number of -1 or less is an error.

    Raises:
        ValueError: A number is -1 or less, in training or later; the message names the column.

    """

    def __init__(self, names: str | Sequence[str] | None = None, signed: bool = False) -> None:
        super().__init__(names)
        self.signed = signed

    def learned(self, name: str, present: np.ndarray) -> Any:
        """Learn nothing but that the column is one of those."""
        return None

    def forward(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return the logarithms."""
        if self.signed:
            return np.copysign(np.log1p(np.abs(values)), values)
        if (wrong := np.flatnonzero(values <= -1)).size:
            raise ValueError(
                f"column {name!r} holds {float(values[wrong[0]])!r} ({wrong.size} of {len(values)} "
                "rows hold -1 or less), of which Log1p has no logarithm: use Log1p(signed=True), "
                f"or leave {name!r} out of its names"
            )
        return np.log1p(values)

    def backward(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return the numbers of which these are the logarithms."""
        if self.signed:
            return np.copysign(np.expm1(np.abs(values)), values)
        return np.expm1(values)


@serializable("torte.tabular.QuantileNormal")
class QuantileNormal(NumberProc):
    """Numbers to a standard normal distribution, by their place among the training values.

    What scikit-learn's `QuantileTransformer(output_distribution="normal")` does, from all training
    rows: the place is interpolated between quantiles, equal values get the middle of their places,
    and whatever lies at or beyond the least and the greatest training value becomes -5.2 and 5.2.
    Decoding gives these two back for it. Missing values take no part and stay missing.

    Args:
        names: The columns; by default all continuous ones.
        n_quantiles: How many quantiles to keep, at least 2; no more than there are training values.

    Raises:
        ValueError: A column has no value at all in the training rows, or an infinite one.

    """

    order = 0.6

    def __init__(self, names: str | Sequence[str] | None = None, n_quantiles: int = 1000) -> None:
        super().__init__(names)
        if n_quantiles < 2:
            raise ValueError(f"n_quantiles must be at least 2, got {n_quantiles!r}")
        self.n_quantiles = n_quantiles

    def learned(self, name: str, present: np.ndarray) -> list[float]:
        """Learn evenly spread quantiles."""
        if not len(present):
            raise ValueError(
                f"column {name!r} has no value at all in the training rows: leave it out of the "
                "names of QuantileNormal"
            )
        if not np.isfinite(present).all():
            raise ValueError(f"column {name!r} holds infinity, which has no place among quantiles")
        places = np.linspace(0, 1, min(self.n_quantiles, max(len(present), 2)))
        # Interpolation rounds, so that a quantile of equal values may fall below the one before.
        return np.maximum.accumulate(np.quantile(present, places)).tolist()

    def forward(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return numbers of a standard normal distribution."""
        knots, places = self._knots(name)
        # From both sides: between a value's first and last place among equal quantiles.
        share = np.interp(values, knots, places)
        share = (share + 1 - np.interp(-values, -knots[::-1], 1 - places[::-1])) / 2
        share[values >= knots[-1]] = 1
        share[values <= knots[0]] = 0
        inside = torch.from_numpy(np.clip(share, _OUTERMOST, 1 - _OUTERMOST))
        return torch.special.ndtri(inside).numpy()

    def backward(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return the numbers of these places."""
        knots, places = self._knots(name)
        share = torch.special.ndtr(torch.from_numpy(np.array(values, dtype=np.float64))).numpy()
        found = np.interp(share, places, knots)
        found[share <= _FARTHEST] = knots[0]
        found[share >= 1 - _FARTHEST] = knots[-1]
        return found

    def _knots(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the quantiles of a column and their places from 0 to 1."""
        knots = np.asarray(self.fitted[name], dtype=np.float64)
        return knots, np.linspace(0, 1, len(knots))
