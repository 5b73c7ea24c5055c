"""Tabular: a frame, the roles of its columns, and the procs that prepare it.

    frame → cat_names, cont_names, y_names → procs, fitted on the training rows → codes and numbers

The procs are ordinary transforms with decode; what they learned is the table's schema, which is
JSON and is applied by value to whatever frame comes later.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import narwhals.stable.v2 as nw
import numpy as np
from torch import Tensor

from torte.data.blocks import TransformBlock
from torte.dispatch import L, Pipeline, serializable
from torte.tabular.checks import check_numbers
from torte.tabular.coding import coded
from torte.tabular.column_store import ColumnStore
from torte.tabular.columns import df_shrink
from torte.tabular.frames import Frame, as_frame, numbers
from torte.tabular.parts import TableParts
from torte.tabular.row_order import Splits, row_order
from torte.tabular.targets import Target
from torte.tabular.threads import each

__all__ = ["Tabular", "TabularPandas"]


def _names(given: str | Sequence[str] | None) -> L:
    """Return column names as a list, one name for a lone string."""
    return L(given) if given is not None else L()


def _in_small_types(df: Any) -> Any:
    """Return a pandas frame with its numbers in small types, any other frame as it is."""
    is_pandas = as_frame(df).implementation.is_pandas()
    return df_shrink(df, obj2cat=False) if is_pandas else df


class Tabular(TableParts):
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

    """

    device: Any = None
    source_names: L = L()

    def __init__(
        self,
        df: Any,
        procs: Any = None,
        cat_names: str | Sequence[str] | None = None,
        cont_names: str | Sequence[str] | None = None,
        y_names: str | Sequence[str] | None = None,
        y_block: TransformBlock | Callable[[], TransformBlock] | None = None,
        splits: Splits | None = None,
        do_setup: bool = True,
        device: Any = None,
        inplace: bool = False,
        reduce_memory: bool = False,
    ) -> None:
        self.device = device
        frame = as_frame(_in_small_types(df) if reduce_memory else df)
        self.store = ColumnStore(frame)
        self.cat_names, self.cont_names = _names(cat_names), _names(cont_names)
        self.y_names = _names(y_names)
        self._check_columns()
        self.procs = Pipeline(procs)
        self.target = Target(self.y_names, y_block)
        self.has_targets = bool(self.y_names)
        self._read(frame, splits, ahead=do_setup)
        if do_setup:
            self.setup()

    def _check_columns(self) -> None:
        """Find every column, each in one role."""
        roles: dict[str, str] = {}
        for role in ("cat_names", "cont_names", "y_names"):
            for name in getattr(self, role):
                self.store.check(name)
                if name in roles:
                    raise ValueError(f"column {name!r} is in {roles[name]} and in {role}")
                roles[name] = role

    def _read(self, frame: Frame, splits: Splits | None, ahead: bool) -> None:
        """Put the rows in order, and read columns for the procs meanwhile."""
        readings = self._readings(frame) if ahead else {}
        jobs = [partial(row_order, splits, len(frame)), *readings.values()]
        (places, self.splits), *found = each(lambda job: job(), jobs, len(frame))
        self.store = ColumnStore(frame, places)
        self.store.remember(dict(zip(readings, found, strict=True)))

    def _readings(self, frame: Frame) -> dict[str, Callable[[], Any]]:
        """Return what reads columns that procs and targets will ask for, and cannot fail at it."""
        names: dict[str, Callable[[Any], Any]] = {}
        if any(hasattr(proc, "classes") for proc in self.procs.fs):
            names |= dict.fromkeys(self.cat_names, coded)
        kinds = frame.schema
        names |= {name: coded for name in self.y_names if not kinds[name].is_numeric()}
        if len(self.procs.fs):
            names |= {name: numbers for name in self.cont_names if kinds[name].is_numeric()}
        return {
            name: partial(read, frame[name])
            for name, read in names.items()
            if kinds[name] not in (nw.Object, nw.Unknown)
        }

    # -- preparing ---------------------------------------------------------------------------------

    def setup(self) -> None:
        """Fit each proc on the training rows as the procs before it left them, then run it."""
        given = self.store
        for proc in self.procs.fs:
            proc.setup(self.train)
            proc(self)
        check_numbers(self.cont_names, self.store, given)
        if self.has_targets:
            self.target.fit(self.train.store)
            self.store = self.target.encode(self.store)
        self.is_processed = True

    def process(self) -> None:
        """Run the procs, fitted before, and encode the targets that are there."""
        given = self.store
        for proc in self.procs.fs:
            proc(self)
        check_numbers(self.cont_names, self.store, given)
        if self.has_targets:
            self.store = self.target.encode(self.store)
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
        return self._new(ColumnStore(as_frame(df)), with_labels)

    def new_row(self, row: Mapping[str, Any]) -> "Tabular":
        """Return a row (values by column) as `new` returns a frame, without making a frame of it.

        Args:
            row: The values. Targets are not taken along.

        Raises:
            KeyError: A column that the model needs is not there.
        """
        columns = {name: [value] for name, value in row.items()}
        return self._new(ColumnStore(None, range(1), columns), with_labels=False)

    def _new(self, store: ColumnStore, with_labels: bool) -> "Tabular":
        table = self._with(store)
        table.is_processed = False
        # Columns that a proc adds (indicators of missing values) come when it runs.
        added = {name for proc in self.procs.fs for name in getattr(proc, "added_names", ())}
        for name in (*self.cat_names, *self.cont_names):
            if name not in added:
                table.store.check(name)
        table.has_targets = with_labels and table._holds_targets()
        return table

    def _holds_targets(self) -> bool:
        """Whether every target column is there."""
        return bool(self.y_names) and all(name in self.store.names for name in self.y_names)

    def decode(self) -> "Tabular":
        """Return the table with all its named columns decoded: what went in."""
        table = self._with(self.store)
        for proc in reversed(self.procs.fs):
            proc.decode(table)
        if table._holds_targets():
            table.store = self.target.decode(table.store)
        table.is_processed = False
        return table

    def of_batch(self, parts: Sequence[Tensor]) -> "Tabular":
        """Return the rows of a batch (codes, numbers, targets) as a table like this one."""
        codes, *rest = parts
        columns: dict[str, np.ndarray] = dict(zip(self.cat_names, codes.numpy().T, strict=True))
        if self.with_cont:
            columns |= zip(self.cont_names, rest.pop(0).numpy().T, strict=True)
        if rest:
            targets = rest[0].reshape(len(rest[0]), -1)
            columns |= zip(self.y_names, targets.numpy().T, strict=False)
        # In the order of the frame; what it lacks (a target that was predicted) comes last.
        known = [name for name in self.store.names if name in columns]
        held = {name: columns[name] for name in dict.fromkeys([*known, *columns])}
        return self._with(ColumnStore(None, range(len(codes)), held, self.store.backend))

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

    # -- new rows, the schema ---------------------------------------------------------------------

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
        table.store, table.splits = ColumnStore(None, range(0), columns), [range(0)]
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

    @property
    def classes(self) -> Mapping[str, Any]:
        """The vocabulary of each categorical column."""
        for proc in self.procs.fs:
            if hasattr(proc, "classes"):
                return proc.classes
        raise AttributeError("no proc gives codes to categories: add Categorify to procs")


class TabularPandas(Tabular):
    """A `Tabular` by the name that users of pandas know; every other kind of frame serves too."""


for _class in (Tabular, TabularPandas):
    serializable(f"torte.tabular.{_class.__name__}", from_config=_class.of_schema)(_class)
del _class
