"""Loading tables: a batch is one index into contiguous tensors, with no work per row."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torte.data.data_loaders import DataLoaders
from torte.data.display import display_df
from torte.data.splitters import IndexSplitter, RandomSplitter
from torte.data.tfmd_loader import TfmdDL
from torte.dispatch import L, serializable
from torte.tabular.frames import Frame, as_frame
from torte.tabular.one_row import one_row
from torte.tabular.results import results_frame
from torte.tabular.table import Splits, Tabular, TabularPandas

__all__ = ["TabDataLoader", "TabularDataLoaders"]

_STAGES = ("get_idxs", "create_batches", "create_items", "do_item", "create_item", "do_batch")


@serializable("torte.tabular.TabDataLoader")
class TabDataLoader(TfmdDL):
    """Batches of a processed table: (codes, numbers) or (codes, numbers, targets).

    Args:
        dataset: The table.
        bs: Rows in a batch.
        shuffle: A new order for each pass.
        num_workers: Workers only cost time here; kept for the interface.
        **kwargs: More for `TfmdDL`.
    """

    def __init__(
        self,
        dataset: Tabular,
        bs: int = 16,
        shuffle: bool = False,
        num_workers: int = 0,
        **kwargs: Any,
    ) -> None:
        self.tensors, self.target_type = self._tensors_of(dataset)
        kwargs["n_inp"] = 2 if dataset.with_cont else 1
        super().__init__(dataset, bs=bs, shuffle=shuffle, num_workers=num_workers, **kwargs)

    def _tensors_of(self, table: Tabular) -> tuple[list[Tensor], type[Tensor] | None]:
        """Return the whole table as tensors, and the semantic type of its targets."""
        codes, numbers = (torch.from_numpy(part) for part in table.arrays())
        tensors = [codes, numbers] if table.with_cont else [codes]
        if not table.has_targets:
            return tensors, None
        return [*tensors, table.target.tensor(table.store)], table.target.type

    def create_items(self, samps: Any) -> Any:
        """Leave the rows' numbers as they are: the batch is taken in one go."""
        return samps

    def do_batch(self, b: Any) -> tuple[Tensor, ...]:
        """Take the rows of these numbers out of the table."""
        first, last = b[0], b[-1]
        if last - first + 1 == len(b) and (not self.shuffle or len(b) == 1):
            taken = [tensor[first : last + 1] for tensor in self.tensors]
        else:
            # Both are a quarter of the time of `as_tensor(b)` and of `tensor[rows]`.
            rows = torch.from_numpy(np.fromiter(b, np.int64, len(b)))
            taken = [tensor.index_select(0, rows) for tensor in self.tensors]
        if self.target_type is not None:
            taken[-1] = taken[-1].as_subclass(self.target_type)
        return tuple(taken)

    def batch_of_item(self, item: Any) -> tuple[Tensor, ...] | None:
        """Return the batch that a loader of one new row would have, before its transforms.

        Args:
            item: The row: values by column, or a frame of one row.

        Returns:
            Codes and numbers; None if batches are made in a way that a subclass or an argument
            brought.
        """
        own = vars(self).keys()
        if any(
            name in own or getattr(type(self), name) is not getattr(TabDataLoader, name)
            for name in _STAGES
        ):
            return None
        return tuple(self._tensors_of(one_row(self.dataset, item))[0])

    # -- looking -----------------------------------------------------------------------------------

    def decoded(self, b: Sequence[Tensor], max_n: int = 10) -> Tabular:
        """Return the first rows of a batch as a table of what went in."""
        return self.dataset.of_batch([part[:max_n].cpu() for part in b]).decode()

    def decode_batch(self, b: Any, max_n: int = 9, full: bool = True) -> L:
        """Return the first rows of a batch, decoded, as dictionaries."""
        return L(self.decoded(b, max_n).frame.iter_rows(named=True))

    def show_batch(self, b: Any = None, max_n: int = 10, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Show rows of a batch as a table."""
        self.decoded(self.one_batch() if b is None else b, max_n).show(max_n)

    def show_results(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, b: Any, out: Any, max_n: int = 10, show: bool = True, **kwargs: Any
    ) -> Any:
        """Show rows of a batch with what a model made of them, in columns `<target>_pred`.

        Args:
            b: The batch.
            out: Decoded predictions.
            max_n: How many rows at most.
            show: Otherwise return what `torte.data.display.show_results` takes.
            **kwargs: Not used.
        """
        given = self.decoded(b, max_n)
        predicted = self.decoded([*b[: self.n_inp], torch.as_tensor(out)], max_n)
        if not show:
            return given, None, given, predicted
        display_df(results_frame(given, predicted))
        return None


class TabularDataLoaders(DataLoaders):
    """Loaders of a table, made in one call from a frame or a file."""

    @classmethod
    def from_df(
        cls,
        df: Any,
        path: str | Path = ".",
        procs: Any = None,
        cat_names: str | Sequence[str] | None = None,
        cont_names: str | Sequence[str] | None = None,
        y_names: str | Sequence[str] | None = None,
        y_block: Any = None,
        valid_idx: Sequence[int] | None = None,
        seed: int | None = None,
        splits: Splits | None = None,
        splitter: Callable[[Any], Splits] | None = None,
        **kwargs: Any,
    ) -> "TabularDataLoaders":
        """Make loaders from a frame of pandas, polars, PyArrow or cuDF.

        Args:
            df: The frame; it is not changed.
            path: Where models and results are kept.
            procs: Preparing steps: `[Categorify, FillMissing, Normalize]`.
            cat_names: Categorical columns; by default found with `cont_cat_split`.
            cont_names: Continuous columns; by default likewise, or all other columns of numbers
                where `cat_names` are given.
            y_names: Target column or columns.
            y_block: What the targets are; by default numbers where they are numeric.
            valid_idx: Numbers of the validation rows; by default a random fifth.
            seed: For the random fifth.
            splits: In place of `valid_idx`: numbers of the training and of the validation rows,
                and of more parts if there shall be more loaders.
            splitter: In place of both: called with the frame, returns such splits:
                `TemporalSplitter("day")`, `GroupSplitter("patient")`, `ColSplitter("is_valid")`, ….
            **kwargs: For `Tabular.dataloaders`: `bs`, `val_bs`, `device`, …

        Raises:
            ValueError: More than one of `valid_idx`, `splits` and `splitter` is given.
        """
        from torte.tabular.columns import cont_cat_split

        names = [y_names] if isinstance(y_names, str) else list(y_names or ())
        if cat_names is None and cont_names is None:
            cont_names, cat_names = cont_cat_split(df, dep_var=names)
        elif cont_names is None:
            cont_names = _other_numbers(as_frame(df), [*L(cat_names), *names])
        splits = _splits(df, valid_idx, seed, splits, splitter)
        table = TabularPandas(
            df, procs, cat_names, cont_names, names or None, y_block=y_block, splits=splits
        )
        return table.dataloaders(path=path, **kwargs)

    @classmethod
    def from_csv(
        cls, csv: str | Path, skipinitialspace: bool = True, **kwargs: Any
    ) -> "TabularDataLoaders":
        """Make loaders from a CSV file; see `from_df`.

        Args:
            csv: The file.
            skipinitialspace: Whether to drop spaces behind commas.
            **kwargs: For `from_df`.
        """
        import pandas as pd

        return cls.from_df(pd.read_csv(csv, skipinitialspace=skipinitialspace), **kwargs)

    @classmethod
    def from_parquet(cls, parquet: str | Path, **kwargs: Any) -> "TabularDataLoaders":
        """Make loaders from a Parquet file that fits in memory; see `from_df`."""
        import pandas as pd

        return cls.from_df(pd.read_parquet(parquet), **kwargs)

    @classmethod
    def stream_parquet(
        cls,
        parquet: str | Path,
        path: str | Path = ".",
        procs: Any = None,
        cat_names: str | Sequence[str] | None = None,
        cont_names: str | Sequence[str] | None = None,
        y_names: str | Sequence[str] | None = None,
        y_block: Any = None,
        valid_pct: float = 0.2,
        seed: int = 0,
        bs: int = 64,
        val_bs: int | None = None,
        n_mixed: int = 4,
        device: Any = None,
    ) -> "TabularDataLoaders":
        """Make loaders from a Parquet file of any size, of which row groups are read in turn.

        One pass fits the procs; means, deviations and vocabularies are exact, and medians up to a
        million values (evenly spread ones of more). Needs PyArrow: `torte-tabular[parquet]`.

        Args:
            parquet: The file. A batch of training rows comes from `n_mixed` of its row groups, so
                that the memory needed is theirs, and a file with its rows in a random order (or
                with many small groups) is mixed best.
            path: Where models and results are kept.
            procs: Preparing steps: `[Categorify, FillMissing, Normalize]`.
            cat_names: Categorical columns.
            cont_names: Continuous columns.
            y_names: Target column or columns.
            y_block: What the targets are; by default numbers where they are numeric.
            valid_pct: Share of the rows that validate, chosen by row number.
            seed: For that choice and for the order of training.
            bs: Rows in a training batch.
            val_bs: Rows in a validation batch; by default as many.
            n_mixed: How many row groups are in memory and mixed together.
            device: Where batches go.
        """
        from torte.tabular.parquet import ParquetDataLoader, ParquetTable, parquet_schema

        schema = parquet_schema(parquet, procs, cat_names, cont_names, y_names, y_block)
        train, valid = (
            ParquetTable(parquet, schema, valid_pct, seed, validates) for validates in (False, True)
        )
        train.fit()
        settings = {"n_mixed": n_mixed, "seed": seed}
        drop = len(train) >= bs
        loaders = [
            ParquetDataLoader(train, bs=bs, shuffle=True, drop_last=drop, **settings),
            ParquetDataLoader(valid, bs=val_bs or bs, **settings),
        ]
        return cls(*loaders, path=path, device=device)


def _other_numbers(frame: Frame, known: Sequence[str]) -> list[str]:
    """Return the columns of numbers that have no role yet."""
    return [name for name in frame.columns if name not in known and frame[name].dtype.is_numeric()]


def _splits(
    df: Any,
    valid_idx: Sequence[int] | None,
    seed: int | None,
    splits: Splits | None,
    splitter: Callable[[Any], Splits] | None,
) -> Splits:
    """Return the training and the validation rows."""
    choices = {"valid_idx": valid_idx, "splits": splits, "splitter": splitter}
    given = [name for name, value in choices.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} both say how to split: give one of them")
    if splits is not None:
        return splits
    if splitter is not None:
        return splitter(df)
    rows = range(len(as_frame(df)))
    if valid_idx is not None:
        return IndexSplitter(valid_idx)(rows)
    return RandomSplitter(seed=seed)(rows)
