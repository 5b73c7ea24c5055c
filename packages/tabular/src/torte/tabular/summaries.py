"""What procs need to know of columns, gathered in one pass over data larger than memory."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial, singledispatch
from typing import Any

import numpy as np
import torch

from torte.data.numeric import Normalize
from torte.tabular.coding import Coded, sorted_values
from torte.tabular.frames import Frame, categories, column, numbers
from torte.tabular.procs import Categorify, FillMissing
from torte.tabular.scales import NumberProc
from torte.tabular.sharing import group_of
from torte.tabular.table import Tabular

__all__ = ["NumberSummary", "Summaries", "fit_on_summaries"]

_KEPT = 1 << 20


@dataclass
class NumberSummary:
    """Moments of a column of numbers, and evenly spread ones of its values.

    Moments are merged as Chan, Golub and LeVeque do ("Updating formulae and a pairwise algorithm
    for computing sample variances", 1979).

    Attributes:
        count: How many values there are.
        missing: How many are missing.
        mean: Their mean.
        m2: Sum of their squared distances from it.
        kept: All values while they are at most about a million, else every second, fourth, … one.
    """

    count: int = 0
    missing: int = 0
    mean: float = 0.0
    m2: float = 0.0
    kept: np.ndarray = field(default_factory=lambda: np.empty(0))
    step: int = 1

    def add(self, values: np.ndarray) -> None:
        """Take more values in, NaN where one is missing."""
        present = values[~np.isnan(values)]
        self.missing += len(values) - len(present)
        if not len(present):
            return
        offset = -self.count % self.step
        self.kept = np.concatenate([self.kept, present[offset :: self.step]])
        while len(self.kept) > _KEPT:
            self.kept, self.step = self.kept[::2], self.step * 2
        mean = float(present.mean())
        self._merge(len(present), mean, float(((present - mean) ** 2).sum()))

    def fill(self, value: float) -> None:
        """Count missing values as this one."""
        self._merge(self.missing, value, 0.0)
        self.kept = np.append(self.kept, np.full(-(-self.missing // self.step), value))
        self.missing = 0

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Put other numbers in the place of the values, whose moments are then those of `kept`."""
        self.kept = change(self.kept)
        if len(self.kept):
            self.mean = float(self.kept.mean())
            self.m2 = float(((self.kept - self.mean) ** 2).mean() * self.count)

    def _merge(self, count: int, mean: float, m2: float) -> None:
        total = self.count + count
        if not total:
            return
        apart = mean - self.mean
        self.m2 += m2 + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.count = total

    @property
    def std(self) -> float:
        """The standard deviation of the values themselves (not of a population behind them)."""
        return float(np.sqrt(self.m2 / self.count)) if self.count else float("nan")


@dataclass
class Summaries:
    """The summaries of a table's columns.

    Attributes:
        numbers: Those of the continuous columns.
        values: The distinct values of the categorical columns and of targets that are no numbers,
            and how many rows have each.
    """

    numbers: dict[str, NumberSummary]
    values: dict[str, dict[Any, int]]

    @classmethod
    def of(
        cls, frames: Iterable[Frame], cat_names: Sequence[str], cont_names: Sequence[str]
    ) -> "Summaries":
        """Gather the summaries of frames that come one after the other."""
        made = cls({name: NumberSummary() for name in cont_names}, {n: {} for n in cat_names})
        for frame in frames:
            for name, summary in made.numbers.items():
                summary.add(numbers(column(frame, name)))
            for name, found in made.values.items():
                for value, count in Coded(*categories(column(frame, name))).counted().items():
                    found[value] = found.get(value, 0) + count
        return made


def fit_on_summaries(table: Tabular, summaries: Summaries) -> None:
    """Fit a table's procs on summaries of all training rows.

    A proc that can be fitted on nothing but rows is fitted on those that the table has, a sample
    of the training rows, and so are the procs behind it.

    Args:
        table: A sample of the training rows; it is processed.
        summaries: Of all training rows.
    """
    known = True
    for proc in table.procs.fs:
        known = known and _fit_on_summaries(proc, table, summaries)
        if not known:
            proc.setup(table)
        proc(table)
    if table.has_targets:
        labels = {name: list(found) for name, found in summaries.values.items()}
        table.target.fit(table.store, {name: labels.get(name, []) for name in table.y_names})
        table.store = table.target.encode(table.store)
    table.is_processed = True


@singledispatch
def _fit_on_summaries(proc: Any, table: Tabular, summaries: Summaries) -> bool:
    """Fit a proc that knows summaries; return whether it does."""
    return False


@_fit_on_summaries.register
def _(proc: FillMissing, table: Tabular, summaries: Summaries) -> bool:
    together = group_of(proc.shared, summaries.numbers, "cont_names")
    proc.indicators = [name for name, summary in summaries.numbers.items() if summary.missing]
    proc.na_dict = {
        name: proc.fill_value(name, _pooled([summaries.numbers[other] for other in together[name]]))
        for name in summaries.numbers
    }
    for name, summary in summaries.numbers.items():
        if summary.missing:
            summaries.values[f"{name}_na"] = {False: summary.count, True: summary.missing}
        summary.fill(proc.na_dict[name])
    return True


def _pooled(summaries: Sequence[NumberSummary]) -> np.ndarray:
    """Return the values that summaries keep, each of them for as many rows as any other."""
    step = max(summary.step for summary in summaries)
    return np.concatenate([summary.kept[:: step // summary.step] for summary in summaries])


@_fit_on_summaries.register
def _(proc: NumberProc, table: Tabular, summaries: Summaries) -> bool:
    proc.fitted = {}
    for name in proc.chosen(table):
        summary = summaries.numbers[name]
        proc.fitted[name] = proc.learned(name, summary.kept)
        summary.mapped(partial(proc.forward, name))
    return True


@_fit_on_summaries.register
def _(proc: Categorify, table: Tabular, summaries: Summaries) -> bool:
    found = {name: summaries.values[name] for name in table.cat_names}
    proc.learn(
        {name: {v: counts[v] for v in sorted_values(counts)} for name, counts in found.items()}
    )
    return True


@_fit_on_summaries.register
def _(proc: Normalize, table: Tabular, summaries: Summaries) -> bool:
    columns = [summaries.numbers[name] for name in table.cont_names]
    proc.mean = torch.tensor([summary.mean for summary in columns], dtype=torch.float32)
    proc.std = torch.tensor([summary.std + 1e-7 for summary in columns], dtype=torch.float32)
    return True
