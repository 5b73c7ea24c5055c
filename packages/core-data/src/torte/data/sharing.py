"""Batches shared among several processes: each makes its own rows of every batch.

All processes go through the same batches in the same order, which derives from (seed, epoch) alone,
and each takes its slice of every one of them. So no sample is repeated or dropped, the number of
batches does not depend on the number of processes, and a pass may be taken up by another number of
them.

A batch may have fewer samples than there are processes. Those that go without get the whole batch
with `size` 0: it counts for nothing, but lets them run the model as often as the others, as data
parallel training must.
"""

import collections
import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.utils.data
from torch import Tensor
from torch.utils.data.distributed import DistributedSampler

from torte.data._structure import leaves, map_leaves
from torte.data._tasks import Made, Task

__all__ = ["BatchShare", "TorchLoaderShares", "part_of", "row_shares"]


class BatchShare(NamedTuple):
    """One process's part of a batch.

    Attributes:
        batch: The rows; the whole batch if the process has none.
        size: How many samples of it count for this process; 0 if it has none.
        total: How many samples all processes together have in this batch.
    """

    batch: Any
    size: int
    total: int


@functools.lru_cache(maxsize=256)  # once a batch, and batches have few sizes
def part_of(total: int, rank: int, world: int) -> slice:
    """The part of `total` samples that is process `rank`'s of `world`: even, the first have more.

    >>> [part_of(5, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    each, more = divmod(total, world)
    first = rank * each + min(rank, more)
    return slice(first, first + each + (rank < more))


class Sharing:
    """How a pass of a `DataLoader` is cut for one process.

    Args:
        loader: The loader.
        rank: Which process this is.
        world: How many there are.
    """

    def __init__(self, loader: Any, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        # Where the samples of a batch are known beforehand, only its part of them is made.
        self.cuts_samples = loader.planned and None not in (loader.bs, loader.n)
        self.sizes: collections.deque[tuple[int, int]] = collections.deque()

    def tasks(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """The tasks with this process's part noted in each."""
        if not self.cuts_samples:
            return tasks
        return (t._replace(part=part_of(t.size, self.rank, self.world)) for t in tasks)

    def shares(self, results: Iterable[Made]) -> Iterator[Made]:
        """What was made, cut to this process's rows if it was not before; notes the sizes."""
        for made in results:
            if self.cuts_samples:
                self.sizes.append((0 if made.is_spare else made.count, made.total))
            else:
                made.batch, size, total = row_share(made.batch, self.rank, self.world)
                if size and len(made.keys) == total:
                    made.keys = made.keys[part_of(total, self.rank, self.world)]
                self.sizes.append((size, total))
            yield made


def rows_in(batch: Any) -> int:
    """The number of samples of a batch: the length of the first tensor or array in it."""
    first = batch[0] if type(batch) in (tuple, list) and batch else None
    for leaf in (first,) if type(first) is Tensor and first.ndim else leaves(batch):
        if isinstance(leaf, (Tensor, np.ndarray)) and leaf.ndim:
            return leaf.shape[0]
    raise ValueError(
        f"processes cannot share a {type(batch).__name__} that holds no tensor: its samples are"
        " not known"
    )


def row_share(batch: Any, rank: int, world: int) -> BatchShare:
    """One process's rows of a ready-made batch.

    Cut are tensors and arrays that are as long as the batch, and lists of as many strings or
    numbers; whatever else is in the batch stays whole.
    """
    total = rows_in(batch)
    part = part_of(total, rank, world)
    if part.start == part.stop:
        return BatchShare(batch, 0, total)
    return BatchShare(_rows(batch, part, total), part.stop - part.start, total)


def _rows(data: Any, part: slice, total: int) -> Any:
    if isinstance(data, (Tensor, np.ndarray)):
        return data[part] if data.ndim and data.shape[0] == total else data
    if isinstance(data, list) and len(data) == total and isinstance(data[0], (str, int, float)):
        return data[part]
    if type(data) is tuple:
        return tuple([_rows(value, part, total) for value in data])
    if type(data) is list:
        return [_rows(value, part, total) for value in data]
    if isinstance(data, dict):
        return {key: _rows(value, part, total) for key, value in data.items()}
    return map_leaves(lambda leaf: leaf if leaf is data else _rows(leaf, part, total), data)


def row_shares(batches: Iterable[Any], rank: int, world: int) -> Iterator[BatchShare]:
    """One process's rows of each of any batches; every process must go through the same ones."""
    for batch in batches:
        yield row_share(batch, rank, world)


class _SharedBatchSampler:
    """A batch sampler that gives the slices of another's batches and notes their sizes."""

    def __init__(self, batches: Iterable[list[Any]], rank: int, world: int) -> None:
        self.batches, self.rank, self.world = batches, rank, world
        self.sizes: collections.deque[tuple[int, int]] = collections.deque()
        self._under_way: Iterator[list[Any]] = iter(())
        self._first: list[list[Any]] | None = None

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[Any]]:
        self.sizes.clear()
        self._under_way, self._first = iter(self.batches), None
        return self._slices()

    def begin(self) -> None:
        """Ask for the first batch: that is when torch's samplers draw the order of a pass."""
        if self._first is None:
            self._first = [list(batch) for batch in itertools.islice(self._under_way, 1)]

    def _slices(self) -> Iterator[list[Any]]:
        self.begin()
        for batch in itertools.chain(self._first or (), self._under_way):
            part = part_of(len(batch), self.rank, self.world)
            self.sizes.append((part.stop - part.start, len(batch)))
            yield list(batch)[part] or batch


class TorchLoaderShares:
    """One process's shares of the batches of a `torch.utils.data.DataLoader`.

    Where the loader has a batch sampler, each process looks up its own samples alone; batches of an
    iterable dataset are made whole and cut.
    A loader with a `DistributedSampler` has been shared already and is taken as it is.

    Args:
        loader: The loader.
        rank: Which process this is.
        world: How many there are.
    """

    def __init__(self, loader: torch.utils.data.DataLoader, rank: int, world: int) -> None:
        self.loader, self.rank, self.world = loader, rank, world
        self._sampler: _SharedBatchSampler | None = None
        self._own: torch.utils.data.DataLoader | None = None
        inner = getattr(loader.batch_sampler, "sampler", loader.sampler)
        self.is_shared = isinstance(inner, DistributedSampler)
        is_stream = isinstance(loader.dataset, torch.utils.data.IterableDataset)
        if loader.batch_sampler is None or is_stream or self.is_shared:
            return
        self._sampler = _SharedBatchSampler(loader.batch_sampler, rank, world)
        self._own = torch.utils.data.DataLoader(
            loader.dataset,
            batch_sampler=self._sampler,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
        )

    def shares(self, generator_state: Tensor | None = None) -> Iterator[BatchShare]:
        """The shares of a pass.

        Args:
            generator_state: State of torch's default generator to draw the order from, that of
                another process say; this process's own generator is left alone then.
        """
        if self.is_shared:
            for batch in self.loader:
                rows = rows_in(batch)
                yield BatchShare(batch, rows, rows * self.world)
        elif self._own is None or self._sampler is None:
            yield from row_shares(self.loader, self.rank, self.world)
        else:
            for batch in self._begun(self._own, self._sampler, generator_state):
                yield BatchShare(batch, *self._sampler.sizes.popleft())

    def _begun(
        self,
        loader: torch.utils.data.DataLoader,
        sampler: _SharedBatchSampler,
        generator_state: Tensor | None,
    ) -> Iterator[Any]:
        before = torch.get_rng_state()
        if generator_state is not None:
            torch.set_rng_state(generator_state)
        try:
            batches = iter(loader)
            sampler.begin()
        finally:
            if generator_state is not None:
                torch.set_rng_state(before)
        return batches
