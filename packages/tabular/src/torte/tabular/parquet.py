"""Tables larger than memory: a Parquet file is read in row groups, pass after pass."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import torch
from torch import Tensor

from torte.data.seeding import sample_keys
from torte.dispatch import L, serializable
from torte.tabular.frames import Frame, as_frame, rows
from torte.tabular.loader import TabDataLoader
from torte.tabular.one_row import one_row
from torte.tabular.summaries import Summaries, fit_on_summaries
from torte.tabular.table import Tabular

__all__ = ["ParquetDataLoader", "ParquetTable"]

_SAMPLE, _CHUNK = 100_000, 1 << 16


class ParquetTable:
    """The training or the validation rows of a Parquet file, read in row groups.

    Which rows validate is computed from the seed and the number of the row. Everything that it
    lacks it takes from `schema`: names, vocabularies, targets.

    Args:
        path: The file.
        schema: A `Tabular` with the roles of the columns, whose procs are fitted.
        valid_pct: Share of the rows that validate.
        seed: Decides which.
        validates: Whether this is the validation part.
    """

    def __init__(
        self, path: str | Path, schema: Tabular, valid_pct: float, seed: int, validates: bool
    ) -> None:
        from pyarrow.parquet import ParquetFile

        self.path, self.schema = Path(path), schema
        self.valid_pct, self.seed, self.validates = valid_pct, seed, validates
        metadata = ParquetFile(self.path).metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.ends = np.cumsum([0, *sizes])
        taken = [int(self._mask(group).sum()) for group in range(len(sizes))]
        self.taken_ends = np.cumsum([0, *taken])
        self.n_rows = int(self.taken_ends[-1])

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, row: int) -> tuple[Tensor, ...]:
        """Return one row of this part, processed; its whole row group is read for it."""
        if not 0 <= row < self.n_rows:
            raise IndexError(f"row {row} of a part of {self.n_rows} rows")
        group = int(np.searchsorted(self.taken_ends, row, side="right")) - 1
        place = row - int(self.taken_ends[group])
        parts = [torch.cat(held) for held in zip(*self.tensors([group]), strict=True)]
        found = [part[place] for part in parts]
        if self.schema.has_targets:
            found[-1] = found[-1].as_subclass(self.schema.target.type)
        return tuple(found)

    def __getattr__(self, name: str) -> Any:
        if name == "schema":  # while the object is being copied
            raise AttributeError(name)
        return getattr(self.schema, name)

    @property
    def n_groups(self) -> int:
        """How many row groups the file has."""
        return len(self.ends) - 1

    def _mask(self, group: int) -> np.ndarray:
        """Return which rows of a group are of this part."""
        places = np.arange(self.ends[group], self.ends[group + 1], dtype=np.int64)
        validates = sample_keys(self.seed, 0, places) < self.valid_pct * float(1 << 63)
        return validates == self.validates

    def frames(self, groups: Sequence[int] | None = None) -> Iterator[Frame]:
        """Read the rows of some groups, or of all, in frames of at most 65,536 rows."""
        from pyarrow import Table
        from pyarrow.parquet import ParquetFile

        chosen = range(self.n_groups) if groups is None else groups
        names = [*self.schema.source_names, *self.schema.y_names]
        with ParquetFile(self.path) as file:
            missing = sorted(set(names) - set(file.schema_arrow.names))
            if missing:
                raise KeyError(f"{self.path.name} has no columns {missing}")
            for group in chosen:
                mask, start = self._mask(group), 0
                for batch in file.iter_batches(_CHUNK, row_groups=[group], columns=names):
                    taken = np.flatnonzero(mask[start : start + len(batch)])
                    start += len(batch)
                    yield rows(as_frame(Table.from_batches([batch])), taken)

    def tensors(self, groups: Sequence[int]) -> Iterator[list[Tensor]]:
        """Read the rows of some groups as tensors: codes, numbers and targets."""
        for frame in self.frames(groups):
            table = self.schema.new(frame)
            table.process()
            yield tensors_of(table)

    def fit(self) -> None:
        """Fit the procs and the targets of the schema on this part, in one pass over the file."""
        parts: list[Frame] = []
        table = self.schema
        values = [*table.cat_names, *table.y_names]
        summaries = Summaries.of(self._sampled(parts), values, table.cont_names)
        fitted = table.new(nw.concat(parts))
        fit_on_summaries(fitted, summaries)
        self.schema.__dict__.update(fitted.__dict__)

    def _sampled(self, parts: list[Frame]) -> Iterator[Frame]:
        """Pass the frames on, and collect evenly spread rows of them."""
        step, seen = max(1, -(-self.n_rows // _SAMPLE)), 0
        for frame in self.frames():
            parts.append(rows(frame, np.arange(-seen % step, len(frame), step)))
            seen += len(frame)
            yield frame


def tensors_of(table: Tabular) -> list[Tensor]:
    """Return a processed table as tensors."""
    codes, values = (torch.from_numpy(part) for part in table.arrays())
    targets = [table.target.tensor(table.store)] if table.has_targets else []
    return [codes, *([values] if table.with_cont else []), *targets]


@serializable("torte.tabular.ParquetDataLoader")
class ParquetDataLoader(TabDataLoader):
    """Batches of a Parquet file, of which a few row groups are in memory at a time.

    Shuffled, the groups come in an order, and the rows of each `n_mixed` groups in a row in
    another, that follow from (seed, epoch).

    Args:
        dataset: The part of the file.
        n_mixed: How many row groups are read and mixed together.
        **kwargs: For `TabDataLoader`.
    """

    def __init__(self, dataset: ParquetTable, n_mixed: int = 4, **kwargs: Any) -> None:
        self.n_mixed, self.key = n_mixed, 0
        super().__init__(dataset, **kwargs)  # pyright: ignore[reportArgumentType]

    def _tensors_of(self, table: Any) -> tuple[list[Tensor], type[Tensor] | None]:
        """Return the rows that the schema was fitted on, as tensors, and the type of targets."""
        # A loader that comes with an exported learner has the schema alone.
        schema = table if isinstance(table, Tabular) else table.schema
        return tensors_of(schema), table.target.type if table.has_targets else None

    def randomize(self, key: int) -> None:
        """Remember what this pass's order follows from."""
        super().randomize(key)
        self.key = key

    def get_idxs(self) -> Any:
        """Return the numbers of the row groups in the order of this pass."""
        groups = np.arange(getattr(self.dataset, "n_groups", 0))
        return np.argsort(sample_keys(self.key, 0, groups)) if self.shuffle else groups

    def sample(self) -> Any:
        """Return the numbers of all row groups."""
        return [(int(group), self.key) for group in self.get_idxs()]

    def create_batches(self, samps: Any) -> Iterator[Any]:
        """Read row groups and cut them into batches."""
        plan = list(samps)
        rest: list[Tensor] | None = None
        for start in range(0, len(plan), self.n_mixed):
            groups = [group for group, _ in plan[start : start + self.n_mixed]]
            for held in self._mixed(groups, plan[start][1]):
                joined = (
                    held if rest is None else list(map(torch.cat, zip(rest, held, strict=True)))
                )
                size = self.bs or 1
                whole = len(joined[0]) // size * size
                for first in range(0, whole, size):
                    yield self._typed([part[first : first + size] for part in joined])
                rest = [part[whole:] for part in joined]
        if rest is not None and len(rest[0]) and not self.drop_last:
            yield self._typed(rest)

    def _mixed(self, groups: list[int], key: int) -> Iterator[list[Tensor]]:
        """Read groups as they are, or all of them and mix their rows."""
        if not self.shuffle:
            yield from self.dataset.tensors(groups)
            return
        held = list(map(torch.cat, zip(*self.dataset.tensors(groups), strict=True)))
        keys = sample_keys(key, 1 + groups[0], np.arange(len(held[0])))
        order = torch.from_numpy(np.argsort(keys))
        yield [part[order] for part in held]

    def _typed(self, batch: list[Tensor]) -> tuple[Tensor, ...]:
        if self.target_type is not None:
            batch[-1] = batch[-1].as_subclass(self.target_type)
        return tuple(batch)

    def batch_of_item(self, item: Any) -> tuple[Tensor, ...] | None:
        """Return a new row as the batch of the `TabDataLoader` that `new` makes for such rows."""
        steps: Any = self.after_batch
        if len(steps):  # that loader has none of them
            return None
        schema = self.dataset if isinstance(self.dataset, Tabular) else self.dataset.schema
        return tuple(tensors_of(one_row(schema, item)))

    def new(self, dataset: Any = None, cls: type | None = None, **kwargs: Any) -> Any:
        """Return a loader like this one; of rows in memory, a `TabDataLoader`."""
        if isinstance(dataset, Tabular):
            given = {"bs": self.bs, "device": self.device, "shuffle": False, **kwargs}
            return TabDataLoader(dataset, **given)
        return super().new(dataset, cls, **{"n_mixed": self.n_mixed, **kwargs})


def parquet_schema(
    path: str | Path, procs: Any, cat_names: Any, cont_names: Any, y_names: Any, y_block: Any
) -> Tabular:
    """Return a table of a file's roles, whose procs are not fitted, around its first rows."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        head = pa.Table.from_batches([next(file.iter_batches(1024))], schema=file.schema_arrow)
    table = Tabular(head, procs, cat_names, cont_names, y_names, y_block=y_block, do_setup=False)
    table.source_names = L(table.cat_names + table.cont_names)
    return table
