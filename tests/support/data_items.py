"""Datasets for the loader's tests, importable by worker processes that start afresh."""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info
from torte.data.seeding import current_random


class Draws:
    """Items that draw from every generator there is."""

    def __init__(self, count=22):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return {
            "index": index,
            "own": current_random().random(),
            "python": random.random(),
            "numpy": np.random.rand(),  # noqa: NPY002 - users do
            "torch": torch.rand(()),
        }


class OwnDraws(Draws):
    """Items that draw from torte's generator alone, as threads need."""

    def __getitem__(self, index):
        return {"index": index, "own": current_random().random()}


class FailingEvery7th:
    def __init__(self, count=20, error=ZeroDivisionError):
        self.items = [f"file{place}.jpg" for place in range(count)]
        self.error = error

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        if index % 7 == 3:
            raise self.error(f"broken at {index}")
        return index


class UnpicklableError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")

    def __reduce__(self):
        # Where Dask is loaded, it teaches all exceptions to be pickled by their arguments.
        raise TypeError("this cannot be pickled")


class RaisesUnpicklable:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise UnpicklableError("one", "two")


class KillsItsWorker:
    def __len__(self):
        return 200

    def __getitem__(self, index):
        if index == 50:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


class Sleeps:
    def __init__(self, seconds):
        self.seconds = seconds

    def __len__(self):
        return 8

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return index


class CountsUp(IterableDataset):
    """An iterable dataset that knows nothing of workers."""

    def __init__(self, count=22):
        self.count = count

    def __iter__(self):
        return iter(range(self.count))


class SharesItself(CountsUp):
    """An iterable dataset that asks which part is its worker's."""

    def __iter__(self):
        info = get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(start, self.count, step))


class ReportsMemory:
    """A large index; one item in 500 is the resident memory of its process in MiB, others 0."""

    def __init__(self, count):
        self.names = np.arange(count)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        if self.names[index] % 500:
            return 0.0
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class WorkerIds:
    def __len__(self):
        return 64

    def __getitem__(self, index):
        time.sleep(0.005)
        return os.getpid()


def double(item):
    return item * 2


def boom():
    raise RuntimeError("no such worker")
