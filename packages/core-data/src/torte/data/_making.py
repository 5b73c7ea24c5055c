"""From a task of the plan to a batch: what runs in a worker, or in the main process without one.

A `Task` says which samples make up a batch; a `BatchMaker` makes it with the loader's extension
points and returns a `Made`: the batch, its samples' keys, and what went wrong. Every item is made
with its own key in force, so neither order nor place of the work shows in the result.
"""

import contextlib
import reprlib
import threading
from typing import Any

import numpy as np

from torte.data._streams import Stream
from torte.data._tasks import ItemFailure, Made, Problem, Task, current_source
from torte.data.errors import SkipItemException
from torte.data.seeding import (
    GlobalSeeds,
    draw_for,
    drawing,
    repeated_keys,
    sample_key,
    sample_keys,
    seed_globals,
)

__all__ = ["BatchMaker", "shortened"]


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
        self.only_looks_up = loader.only_looks_up
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
        made = Made(task.number, task.size)
        seeds = GlobalSeeds() if self.seed_globals and not self.portable else None
        try:
            # A dataset may itself use a loader: `drawing` puts back what is in force outside.
            with drawing(None), seeds or contextlib.nullcontext():
                if self.planned:
                    self._make_planned(made, task)
                else:
                    self._make_from_stream(made, task)
        except Exception as error:  # noqa: BLE001 - raised again by the consumer
            made.problem = error.args[0] if isinstance(error, ItemFailure) else Problem(error)
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

    def _make_planned(self, made: Made, task: Task) -> None:
        """Make the batch; of one that processes share, this one's part, or all if that is none."""
        own = task.own()
        if len(own.samples):
            self._make(made, own, own.samples)
        if not made.count and task.part is not None:
            made.is_spare = True
            self._make(made, task, task.samples)

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
        if self.only_looks_up:
            # What follows the items draws after the last of them, as it does otherwise.
            self._begin(keys[-1])
            begin, seeded = _nothing, False
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
                    raise ItemFailure(problem) from error
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


def _nothing(key: int) -> None:
    """Begin an item that draws nothing."""


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
    return shortened(raw)


def shortened(raw: Any) -> str:
    """A raw item as a line of at most 200 characters."""
    text = " ".join(repr(raw).split())
    return text if len(text) <= 200 else f"{text[:197]}..."
