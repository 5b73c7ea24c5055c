"""Procs: transforms that prepare a whole table, fitted on its training rows.

    FillMissing (order 0) → Log1p (0.5) → QuantileNormal (0.6) → Categorify (1) → Normalize (2)

`setup` learns from the training rows, the call changes a `Tabular` in place, `decode` undoes it,
and `state` gives what was learned as JSON. Write one like any other transform:

    class Log(TabularProc):
        order = 1.5
        def encodes(self, to: Tabular) -> None:
            to.set_columns({name: np.log1p(to.numbers(name)) for name in to.cont_names})
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from torte.data.numeric import Normalize
from torte.dispatch import InplaceTransform, L, serializable
from torte.tabular.checks import beyond_float32, too_large
from torte.tabular.medians import median
from torte.tabular.sharing import Groups, column_groups, group_of
from torte.tabular.table import Tabular
from torte.tabular.threads import each
from torte.tabular.vocabulary import ColumnVocabulary, sorted_values

__all__ = ["Categorify", "FillMissing", "FillStrategy", "TabularProc"]


class TabularProc(InplaceTransform):
    """A step of preparing a table: `setups` learns, `encodes` changes, `decodes` changes back."""


@serializable("torte.tabular.Categorify")
class Categorify(TabularProc):
    """Categories to codes: 0 for a missing value, 1 to n for the values of the training rows.

    Values that training did not show get code n + 1. Whatever type a column has later, its values
    are matched by value (see `ColumnVocabulary`).

    Args:
        min_count: How many training rows must have a value for it to get a code of its own, for all
            columns or by name. Rarer values are folded into the code of unknown ones, whose
            embedding the model so learns; they decode to `#unknown#`. Truth values, and with them
            the indicators of `FillMissing`, are never folded.
        shared: Groups of columns that have one vocabulary: `[["home", "away"]]`. Values are counted
            over all columns of a group.

    Attributes:
        classes: The vocabulary of each categorical column; `#na#` first, `#unknown#` last.

    Raises:
        KeyError: `shared` or `min_count` names a column that is not categorical (in `setup`).
    """

    order = 1

    def __init__(
        self, min_count: int | Mapping[str, int] = 1, shared: Groups | None = None
    ) -> None:
        super().__init__()
        self.min_count = dict(min_count) if isinstance(min_count, Mapping) else min_count
        self.shared = column_groups(shared)
        self.classes: dict[str, ColumnVocabulary] = {}

    def setups(self, to: Tabular) -> None:
        """Learn the values of every categorical column."""
        names = list(to.cat_names)
        found = each(lambda name: to.coded(name).counted(), names, len(to))
        self.learn(dict(zip(names, found, strict=True)))

    def learn(self, counts: Mapping[str, Mapping[Any, int]]) -> None:
        """Learn from how many training rows have each value of each categorical column.

        Args:
            counts: By column, the values in the order that they shall have, and their counts.
        """
        together = group_of(self.shared, counts, "cat_names")
        if isinstance(self.min_count, dict):
            for name in self.min_count:
                if name not in counts:
                    raise KeyError(f"min_count names {name!r}, which is not in cat_names")
        self.classes = {}
        for name in counts:
            known = next((self.classes[n] for n in together[name] if n in self.classes), None)
            self.classes[name] = known or self._vocabulary(
                name, [counts[n] for n in together[name]]
            )

    def _vocabulary(self, name: str, counts: Sequence[Mapping[Any, int]]) -> ColumnVocabulary:
        """Return the values of a column, or of several that share them, without the rare ones."""
        total: dict[Any, int] = {}
        for column in counts:
            for value, count in column.items():
                total[value] = total.get(value, 0) + count
        values = max((list(column) for column in counts), key=len)
        if any(list(column) != [value for value in values if value in column] for column in counts):
            values = sorted_values(total)  # no column has the order of all
        least = self.min_count
        least = least.get(name, 1) if isinstance(least, dict) else least
        return ColumnVocabulary(
            [value for value in values if isinstance(value, bool) or total[value] >= least]
        )

    def encodes(self, to: Tabular) -> None:
        """Replace values by codes (int64)."""
        names = list(self.classes)
        codes = each(lambda name: self.classes[name].encode(to.coded(name)), names, len(to))
        to.set_columns(dict(zip(names, codes, strict=True)))

    def decodes(self, to: Tabular) -> None:
        """Replace codes by values: missing ones by None, unknown ones by `#unknown#`."""
        to.set_columns(
            {
                name: vocabulary.decode(to.store.array(name))
                for name, vocabulary in self.classes.items()
            }
        )

    def config(self) -> dict[str, Any]:
        """The arguments."""
        return {"min_count": self.min_count, "shared": self.shared}

    def state(self) -> dict[str, Any]:
        """The values of each column in the order of their codes."""
        return {"classes": {name: words.to_json() for name, words in self.classes.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take vocabularies as `state` gave them."""
        self.classes = {
            name: ColumnVocabulary.from_json(values) for name, values in state["classes"].items()
        }


class FillStrategy:
    """Ways to find what to put in the place of missing numbers, for `FillMissing`."""

    median: Literal["median"] = "median"
    constant: Literal["constant"] = "constant"
    mode: Literal["mode"] = "mode"


@serializable("torte.tabular.FillMissing")
class FillMissing(TabularProc):
    """Fills missing numbers, and says in columns of their own where it did.

    A column with missing values in the training rows gets an indicator `<name>_na` among the
    categorical columns. One that has none there but some later is filled all the same, without an
    indicator, from which the model could not have learned.

    Args:
        fill_strategy: `median`, `mode` (the commonest value, the least of several) or `constant`.
        add_col: Whether to add indicator columns.
        fill_vals: For `constant`: the number for each column; 0 for those not named.
        shared: Groups of columns that are filled with one number, the median (or the mode) of all
            their values together: `[["home_goals", "away_goals"]]`. Each has its own indicator.

    Attributes:
        na_dict: What each continuous column is filled with.
        indicators: The columns that have an indicator.

    Raises:
        KeyError: `shared` names a column that is not continuous (in `setup`).
    """

    order = 0

    def __init__(
        self,
        fill_strategy: str = FillStrategy.median,
        add_col: bool = True,
        fill_vals: Mapping[str, float] | None = None,
        shared: Groups | None = None,
    ) -> None:
        super().__init__()
        fill_strategy = getattr(fill_strategy, "__name__", fill_strategy)
        if fill_strategy not in ("median", "constant", "mode"):
            raise ValueError(
                f"fill_strategy {fill_strategy!r}: there are 'median', 'constant' and 'mode'"
            )
        self.fill_strategy, self.add_col = fill_strategy, add_col
        self.fill_vals = dict(fill_vals or {})
        self.shared = column_groups(shared)
        self.na_dict: dict[str, float] = {}
        self.indicators: list[str] = []

    @property
    def added_names(self) -> list[str]:
        """Names of the indicator columns."""
        return [f"{name}_na" for name in self.indicators]

    def setups(self, to: Tabular) -> None:
        """Learn what to fill each continuous column with, and which ones need an indicator."""
        names = list(to.cont_names)
        together = group_of(self.shared, names, "cont_names")
        parts = each(lambda name: _present(to.numbers(name)), names, len(to))
        present = dict(zip(names, parts, strict=True))

        def fill(name: str) -> float:
            parts = [present[other] for other in together[name]]
            return self.fill_value(name, parts[0] if len(parts) == 1 else np.concatenate(parts))

        self.na_dict = dict(zip(names, each(fill, names, len(to)), strict=True))
        self.indicators = [name for name in names if len(present[name]) < len(to)]

    def fill_value(self, name: str, present: np.ndarray) -> float:
        """Return what stands for a missing value of a column."""
        if self.fill_strategy == "constant":
            return float(self.fill_vals.get(name, 0.0))
        if not len(present):
            raise ValueError(
                f"column {name!r} has no value at all in the training rows: leave it out of "
                "cont_names, or use FillMissing(fill_strategy='constant')"
            )
        if self.fill_strategy == "median":
            return median(present)
        values, counts = np.unique(present, return_counts=True)
        return float(values[counts.argmax()])

    def encodes(self, to: Tabular) -> None:
        """Fill, and add the indicators (True where a value was missing)."""
        columns: dict[str, np.ndarray] = {}
        for name, fill in self.na_dict.items():
            values = to.numbers(name)
            missing = np.isnan(values)
            if self.add_col and name in self.indicators:
                columns[f"{name}_na"] = missing
            if missing.any():
                columns[name] = np.where(missing, fill, values)
        to.set_columns(columns)
        if self.add_col:
            # A new list: tables share theirs until one of them needs another.
            new = [name for name in self.added_names if name not in to.cat_names]
            to.cat_names = to.cat_names + L(new)

    def decodes(self, to: Tabular) -> None:
        """Put missing values back where the indicators say so, and drop the indicators."""
        there = [name for name in self.indicators if f"{name}_na" in to.store.names]
        columns: dict[str, np.ndarray] = {}
        for name in there:
            filled = to.numbers(f"{name}_na") == 1
            columns[name] = np.where(filled, np.nan, to.numbers(name))
        added = [f"{name}_na" for name in there]
        to.store = to.store.with_columns(columns).without(added)
        to.cat_names = L(name for name in to.cat_names if name not in added)

    def state(self) -> dict[str, Any]:
        """The fills and the columns with an indicator."""
        return {"na_dict": self.na_dict, "indicators": self.indicators}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self.na_dict, self.indicators = dict(state["na_dict"]), list(state["indicators"])


def _present(values: np.ndarray) -> np.ndarray:
    """Return the numbers that are there."""
    missing = np.isnan(values)
    return values[~missing] if missing.any() else values


# Normalize, which images know already, learns about tables: the paper's way to extend a transform.


@Normalize
def setups(self: Normalize, to: Tabular) -> None:
    """Learn mean and standard deviation of every continuous column, computed in float64."""
    found = each(lambda name: _moments(name, to.numbers(name)), to.cont_names, len(to))
    self.mean = torch.tensor([mean for mean, _ in found], dtype=torch.float32)
    self.std = torch.tensor([std + 1e-7 for _, std in found], dtype=torch.float32)


def _moments(name: str, values: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation of the numbers that are there."""
    if (wrong := beyond_float32(values)).any():
        raise too_large(name, values, wrong)
    if np.isnan(values).any():
        return float(np.nanmean(values)), float(np.nanstd(values))
    return float(values.mean()), float(values.std())


def _statistics(self: Normalize, to: Tabular) -> list[tuple[str, float, float]]:
    """Return name, mean and standard deviation of each continuous column."""
    if self.mean is None or self.std is None:
        raise ValueError("Normalize was not set up: it learns from the training rows of a table")
    return list(zip(to.cont_names, self.mean.tolist(), self.std.tolist(), strict=True))


@Normalize
def encodes(self: Normalize, to: Tabular) -> None:
    """Subtract each column's mean and divide by its standard deviation."""
    statistics = _statistics(self, to)
    scaled = each(lambda known: (to.numbers(known[0]) - known[1]) / known[2], statistics, len(to))
    to.set_columns({name: values for (name, *_), values in zip(statistics, scaled, strict=True)})


@Normalize
def decodes(self: Normalize, to: Tabular) -> None:
    """Multiply each column by its standard deviation and add its mean."""
    to.set_columns(
        {
            name: _in_six_digits(to.numbers(name) * std + mean, abs(mean) + std)
            for name, mean, std in _statistics(self, to)
        }
    )


def _in_six_digits(values: np.ndarray, scale: float) -> np.ndarray:
    """Round to what float32 holds of numbers of this scale, so that 23 comes back as 23."""
    return np.round(values, 6 - int(np.floor(np.log10(scale))))
