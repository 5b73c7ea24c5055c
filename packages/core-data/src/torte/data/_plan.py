"""The plan of a pass: which samples make up which batch, as arrays and lazily cut tasks."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from torch import Tensor

from torte.data._tasks import Task
from torte.data.seeding import GlobalSeeds, mix, sample_keys, seed_globals

__all__ = ["all_indices", "pass_tasks", "plan_samples", "shuffled"]

_PLANNING = 0x706C616E  # tells the plan's randomness from that of samples


def all_indices(n: int | None) -> Any:
    """0, 1, 2, … up to `n`: an int64 array, or an endless iterator if there is no `n`."""
    return itertools.count() if n is None else np.arange(n, dtype=np.int64)


def shuffled(samples: Any, key: int) -> Any:
    """A random order of the samples, computed from `key` alone: sorted by mixed numbers."""
    order = np.argsort(sample_keys(key, 0, np.arange(len(samples), dtype=np.int64)))
    if isinstance(samples, np.ndarray):
        return samples[order]
    return [samples[place] for place in order.tolist()]


def plan_samples(loader: Any, epoch: int) -> Any:
    """The samples of a pass in order: an array of indices, a list, or an iterator.

    The global generators are seeded for the while, so a `shuffle_fn` that draws from them repeats.
    """
    with GlobalSeeds():
        key = mix(loader.seed, epoch, _PLANNING)
        seed_globals(key)
        loader.randomize(key)
        return _compact(loader.sample())


def _compact(samples: Any) -> Any:
    """Samples that are integers as an array, others as a list; iterators stay as they are."""
    if isinstance(samples, Tensor):
        samples = samples.cpu().numpy()
    if isinstance(samples, np.ndarray):
        return samples
    if isinstance(samples, Iterator) or not hasattr(samples, "__len__"):
        return iter(samples)
    samples = samples if isinstance(samples, (list, tuple, range)) else list(samples)
    if isinstance(samples, range) or all(type(sample) is int for sample in samples):
        return np.asarray(samples, dtype=np.int64)
    return list(samples)


def _repetition(samples: np.ndarray) -> np.ndarray | None:
    """How often each sample came before in the pass; `None` if each comes once."""
    if samples.dtype.kind not in "iu" or samples.ndim != 1:
        return None
    order = np.argsort(samples, kind="stable")
    ordered = samples[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else order
    if len(starts) == len(samples):
        return None
    runs = np.diff(np.r_[starts, len(samples)])
    counts = np.arange(len(samples)) - np.repeat(starts, runs)
    result = np.empty(len(samples), dtype=np.int32)
    result[order] = counts
    return result


def pass_tasks(loader: Any, run: int, epoch: int, start: int) -> Iterator[Task]:
    """The tasks of a pass from batch `start` on."""
    if loader.planned:
        samples = plan_samples(loader, epoch)
        if isinstance(samples, Iterator):
            return _open_tasks(loader, run, epoch, start, samples)
        return _planned_tasks(loader, run, epoch, start, samples)
    if loader.makes_batches_singly:
        return _stream_tasks(loader, run, epoch, start)
    return _custom_tasks(loader, run, epoch, plan_samples(loader, epoch))


def _planned_tasks(loader: Any, run: int, epoch: int, start: int, samples: Any) -> Iterator[Task]:
    size = loader.bs or 1
    is_array = isinstance(samples, np.ndarray)
    repetition = _repetition(samples) if is_array and not loader.draws_once else None
    whole = len(samples) // size * size
    end = whole if loader.drop_last and loader.bs is not None else len(samples)
    for first in range(start * size, end, size):
        part = slice(first, first + size)
        again = None if repetition is None else repetition[part]
        chosen = samples[part]
        yield Task(run, epoch, first // size, chosen, len(chosen), first, start, again)


def _open_tasks(
    loader: Any, run: int, epoch: int, start: int, samples: Iterable[Any]
) -> Iterator[Task]:
    """Tasks of samples that come from an iterator, with or without an end."""
    size = loader.bs or 1
    samples = itertools.islice(samples, start * size, None)
    for number in itertools.count(start):
        part = list(itertools.islice(samples, size))
        if not part or (len(part) < size and loader.drop_last):
            return
        if all(type(sample) is int for sample in part):
            part = np.asarray(part, dtype=np.int64)
        yield Task(run, epoch, number, part, len(part), number * size, start)


def _stream_tasks(loader: Any, run: int, epoch: int, start: int) -> Iterator[Task]:
    """Tasks to take the next block of an iterable dataset, as many as may be needed."""
    size = loader.bs or 1
    for number in itertools.count(start):
        first = number * size
        left = size if loader.n is None else min(size, loader.n - first)
        if left <= 0 or (left < size and loader.drop_last):
            return
        yield Task(run, epoch, number, None, left, first, start)


def _custom_tasks(loader: Any, run: int, epoch: int, samples: Any) -> Iterator[Task]:
    """Tasks to take the next batch of the loader's own `create_batches`."""
    if isinstance(samples, Iterator) and loader.num_workers:
        samples = loader.n if loader.n is not None else itertools.count()
    for number in itertools.count():
        sent = samples if number < max(loader.num_workers, 1) else None
        yield Task(run, epoch, number, sent, loader.bs or 1, number)
