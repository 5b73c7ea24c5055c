"""What one worker reads of a dataset that has no indices, or of a stream of batches."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import _utils as torch_workers
from torch.utils.data import get_worker_info

from torte.data._tasks import ItemFailure, Made, Problem, Task, current_source
from torte.data.seeding import sample_keys

__all__ = ["Stream"]


class Stream:
    """What one worker reads of a dataset that has no indices, or of a stream of batches.

    With several worker processes each has the whole stream. It takes every `count`-th block of a
    batch's size and passes over the others, so that the batches are the same for any number of
    workers; unless the dataset itself asks torch's `get_worker_info()` which part is its own.
    """

    def __init__(self, maker: Any, task: Task) -> None:
        info = get_worker_info()
        self.maker, self.loader = maker, maker.loader
        self.place, self.count = (0, 1) if info is None else (info.id, info.num_workers)
        self.turn = task.start
        self.read = 0
        self.is_split = False
        self.is_over = False
        self.samples = task.samples
        self.task = task
        self.iterator: Iterator[Any] | None = None
        self.batches: Iterator[Any] | None = None
        self.raw: Iterator[Any] | None = None

    def is_turn_of(self, number: int) -> bool:
        """Whether all earlier tasks of this stream have read what is theirs (threads may race)."""
        return self.maker.portable or number <= self.turn

    def done_with(self, number: int) -> None:
        """The next task may read."""
        self.turn = max(self.turn, number + 1)

    def block(self, task: Task, made: Made) -> list[Any] | None:
        """The raw items of a task; `None` at the end."""
        if self.loader.dataset is None:
            return [None] * task.size
        block: list[Any] = []
        while len(block) < task.size and not self.is_over:
            try:
                found = self._next()
            except ItemFailure as failure:
                if not self.loader.skip_failures:
                    raise
                made.failures.append(failure.args[0])
                continue
            finally:
                self.read += 1
            if not self.is_over and (self.is_split or self.read > task.first):
                block.append(found)
        short = len(block) < task.size
        if not block or (short and self.loader.drop_last and self.loader.bs is not None):
            return None
        return block

    def _next(self) -> Any:
        """The next raw item of the dataset."""
        try:
            if self.iterator is None:
                self.iterator, first = self._start()
                return first
            return next(self.iterator)
        except StopIteration:
            self.is_over = True
            return None
        except Exception as error:
            name = type(self.loader.dataset).__name__
            raise ItemFailure(Problem(error, self.read, None, name)) from error

    def _start(self) -> tuple[Iterator[Any], Any]:
        """The dataset's iterator and its first item; notes whether it takes its own part only."""
        info = get_worker_info()
        if info is None or not self.loader.split_stream:
            self.is_split = info is not None
            iterator = iter(self.loader.dataset)
            return iterator, next(iterator)
        asked = _WatchedInfo(info)
        torch_workers.worker._worker_info = asked
        try:
            iterator = iter(self.loader.dataset)
            return iterator, next(iterator)
        finally:
            torch_workers.worker._worker_info = info
            self.is_split = asked.was_asked

    # -- the loader makes a stream of batches of a stream of samples -------------------------------

    def next_batch(self, made: Made, task: Task) -> None:
        """Let the loader's own `create_batches` go on to its next batch."""
        made.streams, made.ended = self.count, True
        if self.batches is None:
            self.raw = self._raw()
            self.batches = iter(self.loader.create_batches(self._own_samples()))
        outer, current_source.items = current_source.items, self.raw
        try:
            made.batch = next(self.batches)
        except StopIteration:
            return
        finally:
            current_source.items = outer
        made.ended = False
        made.count = self.loader.bs or 1
        made.keys = sample_keys(self.loader.seed, task.epoch, np.arange(task.first, task.first + 1))

    def _own_samples(self) -> Iterator[Any]:
        """This worker's samples, each with its key in force from when it is handed out."""
        size = self.loader.bs or 1
        for place, sample in enumerate(self._all_samples()):
            if (place // size) % self.count != self.place:
                continue
            index = sample if isinstance(sample, int) else place
            keys = sample_keys(self.loader.seed, self.task.epoch, np.array([index]))
            self.maker._begin(int(keys[0]))
            yield sample

    def _all_samples(self) -> Iterator[Any]:
        samples = self.samples
        return iter(samples.tolist() if isinstance(samples, np.ndarray) else samples)

    def _raw(self) -> Iterator[Any]:
        """Raw items of an iterable dataset, this worker's blocks of them."""
        if self.loader.indexed or self.loader.dataset is None:
            return
        size = self.loader.bs or 1
        place = 0
        while True:
            found = self._next()
            if self.is_over:
                return
            if self.is_split or (place // size) % self.count == self.place:
                yield found
            place += 1


class _WatchedInfo:
    """Torch's account of a worker that remembers whether it was looked at."""

    def __init__(self, info: Any) -> None:
        self._info = info
        self.was_asked = False

    def __getattr__(self, name: str) -> Any:
        if name in ("id", "num_workers"):
            self.was_asked = True
        return getattr(self._info, name)
