"""What passes between a loader and its workers: tasks one way, what was made the other."""

import pickle
import threading
import traceback
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import numpy as np

from torte.data._travel import described_stuck
from torte.data.devices import pinned
from torte.data.errors import ItemError, TravelError

__all__ = ["ItemFailure", "Made", "Problem", "Task", "current_source"]


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
        part: Which of the samples this process makes, where several share each batch.
    """

    run: int
    epoch: int
    number: int
    samples: Any
    size: int
    first: int
    start: int = 0
    repetition: np.ndarray | None = None
    part: slice | None = None

    def own(self) -> "Task":
        """The task of making this process's part alone."""
        part = self.part
        if part is None:
            return self
        return self._replace(
            samples=self.samples[part],
            size=part.stop - part.start,
            first=self.first + part.start,
            repetition=None if self.repetition is None else self.repetition[part],
            part=None,
        )


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
        total: How many samples the task has for all processes together.
        is_spare: This process had no sample of its own, and has the whole batch in its place.
    """

    __slots__ = (
        *("batch", "count", "ended", "failures", "is_spare", "keys", "number", "problem"),
        *("streams", "total"),
    )

    def __init__(self, number: int, total: int = 0) -> None:
        self.number, self.total = number, total
        self.is_spare = False
        self.batch: Any = None
        self.count = 0
        self.keys = np.empty(0, dtype=np.int64)
        self.failures: list[Problem] = []
        self.problem: Problem | None = None
        self.ended = False
        self.streams = 1

    def __reduce__(self) -> tuple[Any, ...]:
        # A queue whose thread fails to pickle something drops it, and its reader waits for ever:
        # so what goes into the queue is pickled already, or is the reason why it cannot be.
        try:
            packed = ForkingPickler.dumps(self._state())
        except Exception as error:  # noqa: BLE001 - raised again by the consumer
            packed = ForkingPickler.dumps(self._refused(error)._state())
        return _unpacked, (bytes(packed),)

    def _state(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def _refused(self, error: Exception) -> "Made":
        """What to send instead of a batch that pickling failed on with `error`."""
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        problem = TravelError(
            f"batch {self.number} cannot be sent from the worker process that made it:"
            f" {described_stuck(self.batch, 'the batch') or reason}. Define the classes of what it"
            " holds at the top level of a module, or use worker_kind='threads' or num_workers=0"
        )
        problem.__cause__ = error
        made = Made(self.number)
        made.problem = Problem(problem).portable()
        return made

    def pin_memory(self, device: Any = None) -> "Made":
        """Called by torch's pinning thread."""
        self.batch = pinned(self.batch)
        return self


def _unpacked(packed: bytes) -> Made:
    """What a worker's `Made.__reduce__` packed."""
    state = pickle.loads(packed)
    made = Made(0)
    for name, value in zip(Made.__slots__, state, strict=True):
        setattr(made, name, value)
    return made


class _Source(threading.local):
    """The raw items of the batch that is being made on this thread."""

    items: Iterator[Any] | None = None


current_source = _Source()


class ItemFailure(Exception):  # noqa: N818 - carries a Problem out of nested calls
    """An item failed and that is to stop the pass."""
