"""What is in a table: its columns by role, its splits, its rows one by one."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from torte.dispatch import L
from torte.tabular.coding import Coded
from torte.tabular.column_store import ColumnStore
from torte.tabular.frames import Frame, as_pandas
from torte.tabular.targets import Target

__all__ = ["TableParts"]


class TableParts:
    """The part of a table that gives out its columns and rows.

    Attributes:
        store: The columns.
        splits: Which rows are of which split, the training rows first.
        with_cont: Whether batches hold continuous columns (perhaps none of them) beside the codes.
        is_processed: Whether the procs have run, so that the columns hold codes and numbers.
    """

    with_cont = True
    is_processed = False
    store: ColumnStore
    splits: list[range]
    cat_names: L
    cont_names: L
    y_names: L
    target: Target
    has_targets: bool

    def _with(self, columns: ColumnStore | Frame) -> Self:
        """Return this table around other columns, all of whose rows are of one split."""
        table = object.__new__(type(self))
        table.__dict__.update(self.__dict__)
        table.store = columns if isinstance(columns, ColumnStore) else ColumnStore(columns)
        table.splits = [range(len(table.store))]
        return table

    @property
    def frame(self) -> Frame:
        """The columns as a narwhals frame, made when it is asked for."""
        return self.store.frame

    @frame.setter
    def frame(self, frame: Frame) -> None:
        self.store = ColumnStore(frame)

    @property
    def items(self) -> Any:
        """The columns as a frame of the library that they came from."""
        return self.frame.to_native()

    # -- rows -------------------------------------------------------------------------------------

    @property
    def train(self) -> Self:
        """The training rows."""
        return self.subset(0)

    @property
    def valid(self) -> Self:
        """The validation rows."""
        return self.subset(1)

    def subset(self, number: int) -> Self:
        """Return the rows of one split."""
        part = self.splits[number] if number < len(self.splits) else range(0)
        return self._with(self.store.part(part.start, part.stop))

    def new_empty(self) -> Self:
        """Return this table without rows."""
        return self._with(self.store.part(0, 0))

    @property
    def n_subsets(self) -> int:
        """How many splits there are."""
        return len(self.splits)

    @property
    def split(self) -> int:
        """How many of the rows are for training; they come first."""
        return len(self.splits[0])

    def __len__(self) -> int:
        return len(self.store)

    # -- columns ----------------------------------------------------------------------------------

    def numbers(self, name: str) -> np.ndarray:
        """Return a column as float64, NaN where a value is missing; not to be written to.

        Raises:
            KeyError: There is no such column.
            TypeError: The column holds dates or nested values.
            ValueError: A text is no number.
        """
        return self.store.numbers(name)

    def coded(self, name: str) -> Coded:
        """Return a column of categories as codes of its own and the values that they stand for.

        Raises:
            KeyError: There is no such column.
        """
        return self.store.coded(name)

    def set_columns(self, columns: Mapping[str, Any]) -> None:
        """Replace or add columns: what a proc does.

        Args:
            columns: Arrays (or lists) of a value for each row. They are the table's from now on.
        """
        self.store = self.store.with_columns(columns)

    @property
    def x_names(self) -> L:
        """Names of the input columns: the categorical ones, then the continuous ones."""
        return self.cat_names + self.cont_names

    @property
    def all_col_names(self) -> L:
        """Names of the columns with a role, those of the targets last."""
        return self.x_names + self.y_names

    @property
    def cats(self) -> Any:
        """The categorical columns."""
        return self.store.selected(self.cat_names)

    @property
    def conts(self) -> Any:
        """The continuous columns."""
        return self.store.selected(self.cont_names)

    @property
    def xs(self) -> Any:
        """The input columns."""
        return self.store.selected(self.x_names)

    @property
    def ys(self) -> Any:
        """The target columns."""
        return self.store.selected(self.y_names)

    @property
    def targ(self) -> Any:
        """The target columns; `ys` by another name."""
        return self.ys

    @property
    def y(self) -> Any:
        """The first target column."""
        if not self.y_names:
            raise AttributeError(f"{type(self).__name__} has no targets, so no y")
        return self.items[self.y_names[0]]

    @property
    def all_cols(self) -> Any:
        """The columns with a role."""
        return self.store.selected(self.all_col_names)

    @property
    def vocab(self) -> Any:
        """The labels of the targets, None for numbers."""
        return self.target.vocab

    @property
    def c(self) -> int:
        """How many outputs a model needs."""
        return self.target.c

    # -- arrays -----------------------------------------------------------------------------------

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs as two row-major arrays: int64 codes and float32 numbers.

        Raises:
            TypeError: A categorical column still holds values: Categorify is missing.
        """
        codes = {name: self.store.array(name) for name in self.cat_names}
        raw = [name for name, values in codes.items() if values.dtype.kind not in "iu"]
        if raw:
            raise TypeError(f"columns {raw} still hold values: add Categorify to procs")
        numbers = {name: self.store.array(name) for name in self.cont_names}
        return self._stacked(codes, np.int64), self._stacked(numbers, np.float32)

    def _stacked(self, columns: Mapping[str, np.ndarray], dtype: type) -> np.ndarray:
        """Return columns beside each other, a row of them contiguous in memory."""
        table = np.empty((len(self), len(columns)), dtype=dtype)
        for place, values in enumerate(columns.values()):
            table[:, place] = values
        return table

    def __getitem__(self, name: Any) -> Any:
        """Return a column by name, columns by a list of names, or a processed row by its number.

        Columns come in the frame's own library, rows as (codes, numbers), with the target behind
        them if there is one.
        """
        return self._row(int(name)) if isinstance(name, int | np.integer) else self.items[name]

    def _row(self, place: int) -> tuple[Tensor, ...]:
        row = self._with(self.store.part(place, place + 1))
        parts = row.arrays() if self.with_cont else row.arrays()[:1]
        inputs = tuple(torch.from_numpy(part)[0] for part in parts)
        if not self.has_targets:
            return inputs
        return (*inputs, self.target.tensor(row.store)[0].as_subclass(self.target.type))

    def __getattr__(self, name: str) -> Any:
        store = self.__dict__.get("store")
        if store is not None and name in store.names:
            return self.items[name]
        raise AttributeError(
            f"{type(self).__name__} has neither an attribute nor a column {name!r}"
        )

    def show(self, max_n: int = 10, **kwargs: Any) -> None:
        """Show the first rows, decoded, as a table.

        Args:
            max_n: How many.
            **kwargs: Not used.
        """
        from torte.data.display import display_df

        table: Any = self._with(self.store.part(0, min(max_n, len(self))))
        table = table.decode() if self.is_processed else table
        display_df(as_pandas(table.frame.select(_there(table))))


def _there(table: Any) -> list[str]:
    """Return the names of the columns with a role that are there."""
    return [name for name in table.all_col_names if name in table.store.names]
