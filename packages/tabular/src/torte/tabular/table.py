"""Tabular: a frame, the roles of its columns, and the procs that prepare it.

    frame → cat_names, cont_names, y_names → procs, fitted on the training rows → codes and numbers

The procs are ordinary transforms with decode; what they learned is the table's schema, which is
JSON and is applied by value to whatever frame comes later.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import narwhals.stable.v2 as nw
import numpy as np
import torch
from torch import Tensor

from torte.data.blocks import TransformBlock
from torte.dispatch import L, Pipeline, serializable
from torte.tabular.columns import df_shrink
from torte.tabular.frames import (
    Frame,
    as_frame,
    as_pandas,
    column,
    rows,
    with_columns,
    with_texts_as_categories,
)
from torte.tabular.targets import Target

__all__ = ["Tabular", "TabularPandas"]

Splits = Sequence[Sequence[int] | np.ndarray]


def _names(given: str | Sequence[str] | None) -> L:
    """Return column names as a list, one name for a lone string."""
    return L(given) if given is not None else L()


def _in_small_types(df: Any) -> Any:
    """Return a pandas frame with its numbers in small types, any other frame as it is."""
    is_pandas = as_frame(df).implementation.is_pandas()
    return df_shrink(df, obj2cat=False) if is_pandas else df


class Tabular:
    """A frame whose columns have roles, prepared by procs.

    Args:
        df: A frame of pandas, polars, PyArrow or cuDF. It is not changed.
        procs: Preparing steps, as classes or objects: `[Categorify, FillMissing, Normalize]`.
        cat_names: Names of the categorical columns.
        cont_names: Names of the continuous columns.
        y_names: Name or names of the target columns.
        y_block: What the targets are; by default `CategoryBlock` unless all of them are numbers.
        splits: Row numbers of the training and of the validation part; by default all rows train.
        do_setup: Whether to fit and run the procs now.
        device: Where batches go.
        inplace: Accepted for compatibility: columns that no proc changes are shared with `df`, and
            it is not changed.
        reduce_memory: Whether to keep a pandas frame's numbers in the smallest types that hold
            them. Statistics are computed in float64 either way.

    Raises:
        KeyError: A column is not there.
        ValueError: A column has two roles, or a split has rows that the frame has not.

    Attributes:
        with_cont: Whether batches hold continuous columns (perhaps none of them) beside the codes.
        is_processed: Whether the procs have run, so that the columns hold codes and numbers.
    """

    with_cont = True
    is_processed = False
    device: Any = None
    source_names: L = L()

    def __init__(
        self,
        df: Any,
        procs: Any = None,
        cat_names: str | Sequence[str] | None = None,
        cont_names: str | Sequence[str] | None = None,
        y_names: str | Sequence[str] | None = None,
        y_block: TransformBlock | None = None,
        splits: Splits | None = None,
        do_setup: bool = True,
        device: Any = None,
        inplace: bool = False,
        reduce_memory: bool = False,
    ) -> None:
        self.device = device
        self.frame: Frame = as_frame(_in_small_types(df) if reduce_memory else df)
        self.cat_names, self.cont_names = _names(cat_names), _names(cont_names)
        self.y_names = _names(y_names)
        self._check_columns()
        self.procs = Pipeline(procs)
        self.target = Target(self.y_names, y_block)
        self.has_targets = bool(self.y_names)
        if do_setup:
            self._hash_texts()
        self._order_rows(splits)
        if do_setup:
            self.setup()

    def _check_columns(self) -> None:
        """Find every column, each in one role."""
        roles: dict[str, str] = {}
        for role in ("cat_names", "cont_names", "y_names"):
            for name in getattr(self, role):
                column(self.frame, name)
                if name in roles:
                    raise ValueError(f"column {name!r} is in {roles[name]} and in {role}")
                roles[name] = role

    def _hash_texts(self) -> None:
        """Turn texts that become codes anyway into categories, before their rows are reordered."""
        coded = self.cat_names if any(hasattr(proc, "classes") for proc in self.procs.fs) else L()
        self.frame = with_texts_as_categories(self.frame, [*coded, *self.y_names])

    def _order_rows(self, splits: Splits | None) -> None:
        """Keep the rows of the splits, training first, so that a split is a range of rows."""
        self.splits: list[range] = [range(len(self.frame))]
        if splits is None:
            return
        parts = [np.asarray(part, dtype=np.int64) for part in splits]
        order = np.concatenate(parts) if parts else np.empty(0, np.int64)
        if len(order) and (order.min() < 0 or order.max() >= len(self.frame)):
            raise ValueError(
                f"splits name row {int(order.max())}, but the frame has {len(self.frame)} rows"
            )
        self.frame = rows(self.frame, order)
        ends = np.cumsum([0, *map(len, parts)]).tolist()
        self.splits = [range(start, end) for start, end in pairwise(ends)]

    # -- preparing ---------------------------------------------------------------------------------

    def setup(self) -> None:
        """Fit each proc on the training rows as the procs before it left them, then run it."""
        for proc in self.procs.fs:
            proc.setup(self.train)
            proc(self)
        if self.has_targets:
            self.target.fit(self.train.frame)
            self.frame = self.target.encode(self.frame)
        self.is_processed = True

    def process(self) -> None:
        """Run the procs, fitted before, and encode the targets that are there."""
        for proc in self.procs.fs:
            proc(self)
        if self.has_targets:
            self.frame = self.target.encode(self.frame)
        self.is_processed = True

    def new(self, df: Any, with_labels: bool = True) -> "Tabular":
        """Return another frame with this table's roles and fitted procs, not yet processed.

        Columns are found by name, in any order; others are left alone; targets may be absent.

        Args:
            df: The frame.
            with_labels: Whether to take its targets along, if it has them.

        Raises:
            KeyError: A column that the model needs is not there.
        """
        table = object.__new__(type(self))
        table.__dict__.update(self.__dict__)
        table.frame, table.is_processed = as_frame(df), False
        # Columns that a proc adds (indicators of missing values) come when it runs.
        added = {name for proc in self.procs.fs for name in getattr(proc, "added_names", ())}
        for name in (*self.cat_names, *self.cont_names):
            if name not in added:
                column(table.frame, name)
        table.splits = [range(len(table.frame))]
        table.has_targets = with_labels and table._holds_targets()
        return table

    def _holds_targets(self) -> bool:
        """Whether every target column is there."""
        return bool(self.y_names) and all(name in self.frame.columns for name in self.y_names)

    def decode(self) -> "Tabular":
        """Return the table with all its named columns decoded: what went in."""
        table = self._with(self.frame)
        for proc in reversed(self.procs.fs):
            proc.decode(table)
        if table._holds_targets():
            table.frame = self.target.decode(table.frame)
        table.is_processed = False
        return table

    def _with(self, frame: Frame) -> "Tabular":
        """Return this table around another frame."""
        table = object.__new__(type(self))
        table.__dict__.update(self.__dict__)
        table.frame = frame
        table.splits = [range(len(frame))]
        return table

    def of_batch(self, parts: Sequence[Tensor]) -> "Tabular":
        """Return the rows of a batch (codes, numbers, targets) as a table like this one."""
        codes, *rest = parts
        columns = {name: codes[:, place].numpy() for place, name in enumerate(self.cat_names)}
        if self.with_cont:
            numbers = rest.pop(0)
            columns |= {
                name: numbers[:, place].numpy() for place, name in enumerate(self.cont_names)
            }
        if rest:
            targets = rest[0].reshape(len(rest[0]), -1)
            columns |= {name: targets[:, place].numpy() for place, name in enumerate(self.y_names)}
        table = self._with(self.frame[0 : len(codes)])
        names = [name for name in table.frame.columns if name in columns]
        table.frame = nw.from_dict(
            {name: columns[name] for name in names or columns}, backend=self.frame.implementation
        )
        return table

    def dataloaders(
        self,
        bs: int = 64,
        val_bs: int | None = None,
        shuffle: bool = True,
        path: str | Path = ".",
        device: Any = None,
        drop_last: bool | None = None,
        dl_type: type | None = None,
        shuffle_train: bool | None = None,
        val_shuffle: bool = False,
        n: int | None = None,
        dl_kwargs: Sequence[Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Make a loader for each split, the first one for training.

        Args:
            bs: Rows in a training batch.
            val_bs: Rows in a batch of the other splits; by default as many.
            shuffle: Whether training rows come in a new order each pass.
            path: Where models and results are kept.
            device: Where batches go.
            drop_last: Whether to leave out a last, smaller training batch; by default if shuffled.
            dl_type: The class of the loaders.
            shuffle_train: Another name of `shuffle`, which it overrides.
            val_shuffle: Whether the rows of the other splits come in a new order too.
            n: How many of the training rows a pass has; by default all.
            dl_kwargs: More for each loader by itself, the training one's first.
            **kwargs: For each loader.
        """
        from torte.tabular.loader import TabDataLoader, TabularDataLoaders

        kind = TabDataLoader if dl_type is None else dl_type
        shuffle = shuffle if shuffle_train is None else shuffle_train
        drop_last = shuffle if drop_last is None else drop_last
        # A training set smaller than a batch would give none at all.
        drop_last = drop_last and len(self.splits[0]) >= bs
        train = {"bs": bs, "shuffle": shuffle, "drop_last": drop_last, "n": n, **kwargs}
        rest = {"bs": val_bs or bs, "shuffle": val_shuffle, **kwargs}
        own = [*(dl_kwargs or ()), *({} for _ in self.splits)]
        loaders = [
            kind(self.subset(part), **{**(rest if part else train), **own[part]})
            for part in range(len(self.splits))
        ]
        device = self.device if device is None else device
        return TabularDataLoaders(*loaders, path=path, device=device)

    # -- parts ------------------------------------------------------------------------------------

    @property
    def items(self) -> Any:
        """The frame as its own library has it."""
        return self.frame.to_native()

    @property
    def train(self) -> "Tabular":
        """The training rows."""
        return self.subset(0)

    @property
    def valid(self) -> "Tabular":
        """The validation rows."""
        return self.subset(1)

    def subset(self, number: int) -> "Tabular":
        """Return the rows of one split."""
        if number >= len(self.splits):
            return self._with(self.frame[0:0])
        part = self.splits[number]
        return self._with(self.frame[part.start : part.stop])

    @property
    def x_names(self) -> L:
        """Names of the input columns: the categorical ones, then the continuous ones."""
        return self.cat_names + self.cont_names

    @property
    def cats(self) -> Any:
        """The categorical columns."""
        return self.frame.select(list(self.cat_names)).to_native()

    @property
    def conts(self) -> Any:
        """The continuous columns."""
        return self.frame.select(list(self.cont_names)).to_native()

    @property
    def xs(self) -> Any:
        """The input columns."""
        return self.frame.select(list(self.x_names)).to_native()

    @property
    def ys(self) -> Any:
        """The target columns."""
        return self.frame.select(list(self.y_names)).to_native()

    @property
    def y(self) -> Any:
        """The first target column."""
        if not self.y_names:
            raise AttributeError(f"{type(self).__name__} has no targets, so no y")
        return self.items[self.y_names[0]]

    @property
    def targ(self) -> Any:
        """The target columns; `ys` by another name."""
        return self.ys

    @property
    def all_col_names(self) -> L:
        """Names of the columns with a role, those of the targets last."""
        return self.x_names + self.y_names

    @property
    def all_cols(self) -> Any:
        """The columns with a role."""
        return self.frame.select(list(self.all_col_names)).to_native()

    @property
    def n_subsets(self) -> int:
        """How many splits there are."""
        return len(self.splits)

    @property
    def split(self) -> int:
        """How many of the rows are for training; they come first."""
        return len(self.splits[0])

    def show(self, max_n: int = 10, **kwargs: Any) -> None:
        """Show the first rows, decoded, as a table.

        Args:
            max_n: How many.
            **kwargs: Not used.
        """
        from torte.data.display import display_df

        table = self._with(self.frame[0:max_n])
        table = table.decode() if self.is_processed else table
        names = [name for name in table.all_col_names if name in table.frame.columns]
        display_df(as_pandas(table.frame.select(names)))

    def decode_row(self, row: Any) -> Any:
        """Return a row of `items` of a pandas table with its named columns decoded.

        Args:
            row: The row, a pandas Series.
        """
        import pandas as pd

        frame = pd.DataFrame([row])
        # A row of numbers alone holds codes as floats: its columns get their own types back.
        kinds = {name: kind for name, kind in self.items.dtypes.items() if name in frame}
        return self._with(as_frame(frame.astype(kinds))).decode().items.iloc[0]

    @property
    def vocab(self) -> Any:
        """The labels of the targets, None for numbers."""
        return self.target.vocab

    @property
    def c(self) -> int:
        """How many outputs a model needs."""
        return self.target.c

    def config(self) -> dict[str, Any]:
        """The schema: the roles of the columns, and the procs with what they have learned."""
        return {
            "cat_names": list(self.cat_names),
            "cont_names": list(self.cont_names),
            "y_names": list(self.y_names),
            "procs": self.procs,
            "target": self.target,
        }

    @classmethod
    def of_schema(
        cls,
        cat_names: Sequence[str],
        cont_names: Sequence[str],
        y_names: Sequence[str],
        procs: Pipeline,
        target: Target,
    ) -> Self:
        """Return a table without rows that is ready for `new`, from what `config` gave."""
        table = object.__new__(cls)
        table.cat_names, table.cont_names, table.y_names = L(cat_names), L(cont_names), L(y_names)
        table.procs, table.target = procs, target
        table.has_targets = bool(y_names)
        kinds = {**dict.fromkeys(cat_names, np.int64), **dict.fromkeys(cont_names, np.float64)}
        kinds |= dict.fromkeys(y_names, np.int64 if target.encoders else np.float32)
        columns = {name: np.empty(0, kind) for name, kind in kinds.items()}
        table.frame = nw.from_dict(columns, backend="pandas")
        table.splits = [range(0)]
        return table

    def test_set(self, items: Any, with_labels: bool = False) -> "Tabular":
        """Return new rows, processed with what was learned from the training rows.

        Args:
            items: A frame, or a list of rows (pandas rows or dictionaries).
            with_labels: Whether to take the targets along.
        """
        if isinstance(items, list | tuple):
            import pandas as pd

            items = pd.DataFrame([dict(item) for item in items])
        table = self.new(items, with_labels=with_labels)
        table.process()
        return table

    def new_empty(self) -> "Tabular":
        """Return this table without rows."""
        return self._with(self.frame[0:0])

    @property
    def classes(self) -> Mapping[str, Any]:
        """The vocabulary of each categorical column."""
        for proc in self.procs.fs:
            if hasattr(proc, "classes"):
                return proc.classes
        raise AttributeError("no proc gives codes to categories: add Categorify to procs")

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs as two row-major arrays: int64 codes and float32 numbers.

        Raises:
            TypeError: A categorical column still holds values: Categorify is missing.
        """
        raw = [name for name in self.cat_names if not self.frame[name].dtype.is_integer()]
        if raw:
            raise TypeError(f"columns {raw} still hold values: add Categorify to procs")
        return self._stacked(self.cat_names, np.int64), self._stacked(self.cont_names, np.float32)

    def _stacked(self, names: Sequence[str], dtype: type) -> np.ndarray:
        """Return columns beside each other, a row of them contiguous in memory."""
        table = np.empty((len(self.frame), len(names)), dtype=dtype)
        for place, name in enumerate(names):
            table[:, place] = self.frame[name].to_numpy()
        return table

    def set_columns(self, columns: Mapping[str, Any]) -> None:
        """Replace or add columns: what a proc does."""
        self.frame = with_columns(self.frame, columns)

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, name: Any) -> Any:
        """Return a column by name, columns by a list of names, or a processed row by its number.

        Columns come in the frame's own library, rows as (codes, numbers), with the target behind
        them if there is one.
        """
        if not isinstance(name, int | np.integer):
            return self.items[name]
        row = self._with(self.frame[int(name) : int(name) + 1])
        parts = row.arrays() if self.with_cont else row.arrays()[:1]
        inputs = [torch.from_numpy(part)[0] for part in parts]
        if not self.has_targets:
            return tuple(inputs)
        return (*inputs, self.target.tensor(row.frame)[0].as_subclass(self.target.type))

    def __getattr__(self, name: str) -> Any:
        frame = self.__dict__.get("frame")
        if frame is not None and name in frame.columns:
            return frame[name].to_native()
        raise AttributeError(
            f"{type(self).__name__} has neither an attribute nor a column {name!r}"
        )


class TabularPandas(Tabular):
    """A `Tabular` by the name that users of pandas know; every other kind of frame serves too."""


for _class in (Tabular, TabularPandas):
    serializable(f"torte.tabular.{_class.__name__}", from_config=_class.of_schema)(_class)
del _class
