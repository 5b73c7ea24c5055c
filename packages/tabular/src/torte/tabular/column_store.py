"""The columns of a table: rows of a frame, and arrays that took the place of some columns.

Preparing reads a column once and works on arrays from there on; a frame of the user's library is
made of them when somebody asks for one.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import narwhals.stable.v2 as nw
import numpy as np

from torte.tabular.coding import Coded, coded, coded_truth
from torte.tabular.frames import (
    Frame,
    as_series,
    column,
    frame_of,
    no_column,
    numbers,
    rows,
    selected,
    with_columns,
)
from torte.tabular.one_value import coded_value, number_value
from torte.tabular.threads import each

__all__ = ["ColumnStore", "Places", "Readings"]

Places = range | np.ndarray
Values = np.ndarray | Sequence[Any]
Readings = dict[str, np.ndarray | Coded]


class ColumnStore:
    """Columns by name. A store is not changed: what changes columns returns another one.

    Args:
        frame: Where columns come from; None if all of them are given.
        places: Which rows of it, in which order; by default all.
        made: Columns that go before those of the frame, or are added to them.
        backend: The library of the frames made without `frame`.
    """

    def __init__(
        self,
        frame: Frame | None,
        places: Places | None = None,
        made: Mapping[str, Values] | None = None,
        backend: Any = "pandas",
    ) -> None:
        self.source, self.made = frame, dict(made or {})
        self.backend = backend if frame is None else frame.implementation
        if places is None:
            places = range(len(next(iter(self.made.values()), ()) if frame is None else frame))
        self.places = places
        self._read: Readings = {}

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def names(self) -> list[str]:
        """The names of all columns: those of the frame, then what was added."""
        own = [] if self.source is None else self.source.columns
        return list(dict.fromkeys([*own, *self.made]))

    def check(self, name: str) -> None:
        """Find a column.

        Raises:
            KeyError: There is none of this name; the message gives the nearest names.
        """
        if name not in self.names:
            raise no_column(name, self.names)

    @cached_property
    def frame(self) -> Frame:
        """All columns as a frame of the library."""
        if self.source is None:
            return frame_of(self.made, self.backend)
        if not self.made:
            return rows(self.source, self.places)
        kept = [name for name in self.source.columns if name not in self.made]
        if not kept and not self.source.implementation.is_pandas_like():
            return frame_of({name: self.made[name] for name in self.names}, self.backend)
        frame = with_columns(rows(selected(self.source, kept), self.places), self.made)
        return selected(frame, self.names)

    def selected(self, names: Iterable[str]) -> Any:
        """Return some columns as a frame of the library itself."""
        return selected(self.frame, names).to_native()

    def label(self, place: int) -> Any:
        """Return how the user knows a row: by its index in pandas, else by its number."""
        row = self.places[place]
        if self.source is not None and self.source.implementation.is_pandas_like():
            row = self.source.to_native().index[row]
        return row.item() if isinstance(row, np.generic) else row

    # -- reading ----------------------------------------------------------------------------------

    def numbers(self, name: str) -> np.ndarray:
        """Return a column as float64, NaN where a value is missing; not to be written to.

        Raises:
            KeyError: There is no such column.
            TypeError: The column holds dates or nested values.
            ValueError: A text is no number.
        """
        made, known = self.made.get(name), self._read.get(name)
        if isinstance(made, np.ndarray) and made.dtype.kind in "biuf":
            return made.astype(np.float64, copy=False)
        if not isinstance(known, np.ndarray):
            known = number_value(made)
            if known is None:
                known = numbers(self.series(name))
            self._read[name] = known
        return known

    def coded(self, name: str) -> Coded:
        """Return a column of categories as codes and values.

        Raises:
            KeyError: There is no such column.
        """
        made, known = self.made.get(name), self._read.get(name)
        if isinstance(made, np.ndarray) and made.dtype == bool:
            return coded_truth(made)
        if not isinstance(known, Coded):
            known = coded_value(made)
            if known is None:
                known = _coded(self.series(name))
            self._read[name] = known
        return known

    def array(self, name: str) -> np.ndarray:
        """Return a column in its own type; not to be written to."""
        made = self.made.get(name)
        return made if isinstance(made, np.ndarray) else self.series(name).to_numpy()

    def series(self, name: str) -> nw.Series[Any]:
        """Return a column as the frame's library holds it.

        Raises:
            KeyError: There is no such column.
        """
        if name in self.made:
            return as_series(name, self.made[name], self.backend)
        self.check(name)
        return rows(selected(cast(Frame, self.source), [name]), self.places)[name]

    def kind(self, name: str) -> Any:
        """Return the type of a column, as narwhals names it."""
        if name in self.made or self.source is None:
            return self.series(name).dtype
        return column(self.source, name).dtype

    def remember(self, readings: Readings) -> None:
        """Keep columns of the whole frame that were read already."""
        taken = each(self._of_mine, readings.values(), len(self))
        self._read.update(zip(readings, taken, strict=True))

    def _of_mine(self, values: Any) -> Any:
        """Return the values of the whole frame that belong to the rows here."""
        return _part(values, self.places)

    # -- other columns, other rows ----------------------------------------------------------------

    def with_columns(self, columns: Mapping[str, Values]) -> "ColumnStore":
        """Return a store with columns replaced or added."""
        if not columns:
            return self
        store = ColumnStore(self.source, self.places, {**self.made, **columns}, self.backend)
        store._read = {name: held for name, held in self._read.items() if name not in columns}
        return store

    def without(self, names: Iterable[str]) -> "ColumnStore":
        """Return a store without some columns."""
        gone = set(names)
        source = self.source
        if source is not None and (dropped := gone.intersection(source.columns)):
            source = source.drop(list(dropped))
        made = {name: values for name, values in self.made.items() if name not in gone}
        store = ColumnStore(source, self.places, made, self.backend)
        store._read = {name: held for name, held in self._read.items() if name not in gone}
        return store

    def part(self, start: int, stop: int) -> "ColumnStore":
        """Return some of the rows, sharing the memory."""
        if (start, stop) == (0, len(self)):
            return self
        chosen = range(start, stop)
        made = {name: values[start:stop] for name, values in self.made.items()}
        store = ColumnStore(self.source, self.places[start:stop], made, self.backend)
        store._read = {name: _part(held, chosen) for name, held in self._read.items()}
        return store


def _coded(series: nw.Series[Any]) -> Coded:
    """Return a column of categories as codes and values.

    Raises:
        TypeError: A value is nothing that can be looked up (a list, say).
    """
    try:
        if not series.dtype.is_nested():
            return coded(series)
        cause = None
    except TypeError as error:
        cause = error
    for row, value in enumerate(series.to_list()):
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"column {series.name!r} holds {value!r} in place {row}, which cannot be a "
                "category: make the values text, numbers or tuples, or leave the column out of "
                "cat_names"
            ) from cause
    if cause is not None:
        raise cause
    return coded(series)


def _part(values: Any, places: Places) -> Any:
    """Return values at some places; those in a row share the memory."""
    if isinstance(values, Coded):
        return Coded(_part(values.codes, places), values.values)
    if isinstance(places, range):
        return values[places.start : places.stop]
    return values.take(places)
