"""From a task of the plan to a batch: what runs in a worker, or in the main process without one.

A `Task` says which samples make up a batch; a `BatchMaker` makes it with the loader's extension
points and returns a `Made`: the batch, its samples' keys, and what went wrong. Every item is made
with its own key in force, so neither order nor place of the work shows in the result.
"""

import contextlib
import pickle
import reprlib
import threading
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import _utils as torch_workers
from torch.utils.data import get_worker_info

from torte.data.devices import pinned
from torte.data.errors import ItemError, SkipItemException
from torte.data.seeding import (
    GlobalSeeds,
    draw_for,
    drawing,
    repeated_keys,
    sample_key,
    sample_keys,
    seed_globals,
)

__all__ = ["BatchMaker", "Made", "Problem", "Task", "current_source"]


class Task(NamedTuple):
    """One batch to make.

    Attributes:
        run: Which pass of the loader it belongs to.
        epoch: The number that the pass's randomness derives from.
        number: The batch's place in the pass.
        samples: The samples: an array of indices or a list of anything; of an iterable dataset
            `None`.
        size: How many samples there are, at most.
        first: The place in the pass of the first sample.
        start: The number of the first task of the pass that is asked for.
        repetition: How often each sample came before in this pass; `None` if none did.
    """

    run: int
    epoch: int
    number: int
    samples: Any
    size: int
    first: int
    start: int = 0
    repetition: np.ndarray | None = None


class Problem(NamedTuple):
    """An exception on its way from where it happened to the consumer."""

    error: Exception
    index: Any = None
    item: str | None = None
    dataset: str | None = None

    def exception(self) -> Exception:
        """What to raise: the error itself, or an `ItemError` that it is the cause of."""
        if self.dataset is None:
            return self.error
        shown = "" if self.item is None else f" ({self.item})"
        reason = " ".join(str(self.error).split())
        message = (
            f"item {self.index!r} of {self.dataset}{shown} failed:"
            f" {type(self.error).__name__}: {reason}"
        )
        made = ItemError(message, self.index, self.item)
        made.__cause__ = self.error
        return made

    def portable(self) -> "Problem":
        """The same, of what can be pickled and unpickled, with the traceback as a note."""
        text = "".join(traceback.format_exception(self.error))
        error = self.error
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - whatever an exception class does when it is pickled
            error = RuntimeError(f"{type(error).__module__}.{type(error).__qualname__}: {error}")
        error.__traceback__ = None
        error.add_note(f"In a worker process:\n{text}")
        return self._replace(error=error)


class Made:
    """What came of a task.

    Attributes:
        batch: The batch; `None` if no sample was left for it.
        keys: int64 array, the keys of the batch's samples.
        count: How many samples the batch holds.
        number: The task's number.
        failures: The samples left out because they failed.
        problem: What to raise instead of going on.
        ended: The stream of samples ended, at this worker if there is more than one stream.
        streams: How many such streams there are.
    """

    __slots__ = ("batch", "count", "ended", "failures", "keys", "number", "problem", "streams")

    def __init__(self, number: int) -> None:
        self.number = number
        self.batch: Any = None
        self.count = 0
        self.keys = np.empty(0, dtype=np.int64)
        self.failures: list[Problem] = []
        self.problem: Problem | None = None
        self.ended = False
        self.streams = 1

    def __getstate__(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            setattr(self, name, value)

    def pin_memory(self, device: Any = None) -> "Made":
        """Called by torch's pinning thread."""
        self.batch = pinned(self.batch)
        return self


class _Source(threading.local):
    """The raw items of the batch that is being made on this thread."""

    items: Iterator[Any] | None = None


current_source = _Source()


class _EndOfStreamError(Exception):
    """An item's maker said that there is no more."""


class BatchMaker:
    """Makes the batches of a loader, one task at a time.

    Args:
        loader: The loader, or the copy of it that was sent to a worker.
        seed_globals: Seed the global generators for each item (not where threads share them).
        portable: Make problems fit to be sent to another process.
    """

    def __init__(self, loader: Any, seed_globals: bool = True, portable: bool = False) -> None:
        self.loader = loader
        self.planned = loader.planned
        self.makes_items_singly = loader.makes_items_singly
        self.makes_batches_singly = loader.makes_batches_singly
        self.fetches_together = loader.fetches_together
        self.seed_globals = seed_globals
        self.portable = portable
        self.streams: dict[int, Stream] = {}
        self.turn = threading.Condition()
        self.is_closed = False

    def close(self) -> None:
        """Let threads that wait for their turn to read go: nobody asks for their batches."""
        with self.turn:
            self.is_closed = True
            self.turn.notify_all()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "streams": {}, "turn": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.turn = threading.Condition()

    def __call__(self, task: Task) -> Made:
        """Make one batch. Exceptions are part of the result, so that they reach the consumer."""
        made = Made(task.number)
        seeds = GlobalSeeds() if self.seed_globals and not self.portable else None
        try:
            # A dataset may itself use a loader: `drawing` puts back what is in force outside.
            with drawing(None), seeds or contextlib.nullcontext():
                if self.planned:
                    self._make(made, task, task.samples)
                else:
                    self._make_from_stream(made, task)
        except Exception as error:  # noqa: BLE001 - raised again by the consumer
            made.problem = error.args[0] if isinstance(error, _ItemFailure) else Problem(error)
            made.batch = None
        if self.portable:
            made.failures = [failure.portable() for failure in made.failures]
            made.problem = made.problem and made.problem.portable()
        return made

    def keys_of(self, task: Task, count: int) -> np.ndarray:
        """The keys of a task's samples: by their indices, or by their places in the pass."""
        loader, samples = self.loader, task.samples
        if isinstance(samples, np.ndarray) and samples.dtype.kind in "iu":
            if count == 1 and task.repetition is None:  # the arithmetic on arrays takes 9 µs
                return np.array([sample_key(loader.seed, task.epoch, int(samples[0]))])
            keys = sample_keys(loader.seed, task.epoch, samples)
            return keys if task.repetition is None else repeated_keys(keys, task.repetition)
        places = np.arange(task.first, task.first + count, dtype=np.int64)
        return sample_keys(loader.seed, task.epoch, places)

    def _make(self, made: Made, task: Task, samples: Any) -> None:
        """Make the items of one batch and put them together."""
        loader = self.loader
        samples = samples.tolist() if isinstance(samples, np.ndarray) else samples
        keys = self.keys_of(task, len(samples))
        if self.makes_items_singly:
            items, kept = self._items(made, task, samples, keys.tolist())
            keys = keys if len(kept) == len(samples) else keys[kept]
        else:
            self._begin(int(keys[0]))
            items = loader.create_items(samples)
        made.count = len(items)
        if not made.count or (made.ended and loader.drop_last and made.count < (loader.bs or 1)):
            made.count = 0
            return
        made.keys = keys
        try:
            made.batch = loader.do_batch(items[0] if loader.bs is None else items)
        except Exception as error:
            shown = reprlib.repr(samples) if samples[0] is not None else f"batch {task.number}"
            error.add_note(f"while making one batch of the samples {shown}")
            raise

    def _begin(self, key: int) -> None:
        draw_for(key)
        if self.seed_globals:
            seed_globals(key)

    def _items(
        self, made: Made, task: Task, samples: list[Any], keys: list[int]
    ) -> tuple[list[Any], list[int]]:
        """The items of these samples, and the places of those that were not left out."""
        do_item, begin, seeded = self.loader.do_item, draw_for, self.seed_globals
        items: list[Any] = []
        kept: list[int] = []
        fetched = self._fetched(samples, keys) if self.fetches_together else None
        if fetched is not None:
            do_item = self.loader.after_item
        for place, sample in enumerate(samples if fetched is None else fetched):
            key = keys[place]
            begin(key)
            if seeded:
                seed_globals(key)
            try:
                item = do_item(sample)
            except SkipItemException:
                continue
            except Exception as error:
                if self.loader.is_end(error):
                    made.ended = True
                    break
                problem = self._problem(task, place, samples[place], error)
                if not self.loader.skip_failures:
                    raise _ItemFailure(problem) from error
                made.failures.append(problem)
                continue
            if item is not None:
                items.append(item)
                kept.append(place)
        return items, kept

    def _fetched(self, samples: list[Any], keys: list[int]) -> list[Any] | None:
        """The raw items, asked for together as torch's loader does; `None` if that fails.

        They are then made one by one, which tells which of them it was.
        """
        self._begin(keys[0])
        try:
            fetched = list(self.loader.dataset.__getitems__(samples))
        except Exception:  # noqa: BLE001 - raised again by the item at fault
            return None
        return fetched if len(fetched) == len(samples) else None

    def _problem(self, task: Task, place: int, sample: Any, error: Exception) -> Problem:
        loader = self.loader
        index = task.first + place if sample is None else sample
        name = (
            "the loader's create_item" if loader.dataset is None else type(loader.dataset).__name__
        )
        return Problem(error, index, _text_of(loader.dataset, sample), name)

    # -- iterable datasets and streams of batches ------------------------------------------------

    def _make_from_stream(self, made: Made, task: Task) -> None:
        with self.turn:
            stream = self.streams.get(task.run)
            if stream is None:
                self.streams.clear()  # a worker works on one pass at a time
                stream = self.streams[task.run] = Stream(self, task)
            self.turn.wait_for(lambda: self.is_closed or stream.is_turn_of(task.number))
            if self.is_closed:
                made.ended = True
                return
            try:
                if self.makes_batches_singly:
                    samples = stream.block(task, made)
                else:
                    stream.next_batch(made, task)
                    return
            finally:
                stream.done_with(task.number)
                self.turn.notify_all()
        made.streams = stream.count if stream.is_split else 1
        if samples is None:
            made.ended = True
            return
        made.ended = stream.is_over
        outer, current_source.items = current_source.items, iter(samples)
        try:
            self._make(made, task, [None] * len(samples))
        finally:
            current_source.items = outer


class _ItemFailure(Exception):  # noqa: N818 - carries a Problem out of nested calls
    """An item failed and that is to stop the pass."""


def _text_of(dataset: Any, sample: Any) -> str | None:
    """A short text of the raw item that a sample stands for, if it is easily had."""
    if sample is None or dataset is None:
        return None
    try:
        if hasattr(dataset, "tls"):
            dataset = dataset.tls[0]
        source = getattr(dataset, "items", None)
        if hasattr(dataset, "raw"):
            raw = dataset.raw(sample)
        elif source is not None and hasattr(source, "iloc"):
            raw = source.iloc[sample]
        else:
            raw = (dataset if source is None or callable(source) else source)[sample]
    except Exception:  # noqa: BLE001 - this text only decorates another error
        return None
    text = " ".join(repr(raw).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


class Stream:
    """What one worker reads of a dataset that has no indices, or of a stream of batches.

    With several worker processes each has the whole stream. It takes every `count`-th block of a
    batch's size and passes over the others, so that the batches are the same for any number of
    workers; unless the dataset itself asks torch's `get_worker_info()` which part is its own.
    """

    def __init__(self, maker: BatchMaker, task: Task) -> None:
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
            except _ItemFailure as failure:
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
            raise _ItemFailure(Problem(error, self.read, None, name)) from error

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
