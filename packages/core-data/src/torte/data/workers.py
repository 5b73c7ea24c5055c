"""Who makes the batches: this process, worker processes, or threads.

Each engine takes a loader and the tasks of a pass and yields what came of them, in the tasks'
order. Processes are those of `torch.utils.data.DataLoader`, to which a task is an "index" and
making a batch is looking one up.
"""

import collections
import contextlib
import gc
import itertools
import multiprocessing
import multiprocessing.forkserver
import os
import platform
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import torch
import torch.utils.data

from torte.data._making import BatchMaker
from torte.data._tasks import Made, Task
from torte.data.errors import LoaderError, WorkerError

__all__ = ["WORKER_KINDS", "auto_workers", "run_tasks", "usable_cpus", "worker_kind"]

WORKER_KINDS = ("auto", "fork", "forkserver", "spawn", "threads")
_FEW_BATCHES = 8
_MANY_WORKERS = 16


def worker_kind(kind: str) -> str:
    """The kind of worker that `kind` stands for on this system.

    "auto" is "fork" on Linux, where it is safe and lets lambdas and open data travel (Python 3.14
    no longer takes it by itself), "threads" in a Python without the global lock, else "spawn".

    Raises:
        LoaderError: If there is no such kind here.
    """
    if kind not in WORKER_KINDS:
        raise LoaderError(f"worker_kind must be one of {', '.join(WORKER_KINDS)}, got {kind!r}")
    if kind == "auto":
        if sysconfig.get_config_var("Py_GIL_DISABLED"):
            return "threads"
        return "fork" if sys.platform == "linux" else "spawn"
    available = torch.multiprocessing.get_all_start_methods()
    if kind != "threads" and kind not in available:
        raise LoaderError(
            f"worker_kind {kind!r} does not exist on {platform.system()}: use one of"
            f" {', '.join(available)}, threads"
        )
    return kind


def usable_cpus() -> int:
    """How many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def auto_workers(batches: int | None, kind: str) -> int:
    """How many workers to start when the caller leaves it open.

    None for a handful of batches, or where starting a worker means importing everything anew;
    otherwise one a CPU, at most sixteen.
    """
    if batches is not None and batches < _FEW_BATCHES:
        return 0
    return 0 if worker_kind(kind) == "spawn" else min(_MANY_WORKERS, usable_cpus())


def run_tasks(loader: Any, tasks: Iterable[Task]) -> Iterator[Made]:
    """What comes of the tasks, in their order, made by the loader's kind of workers."""
    if loader.num_workers == 0:
        return map(BatchMaker(loader), tasks)
    if loader.worker_kind == "threads":
        return _run_threads(loader, tasks)
    return _run_processes(loader, tasks)


# -- threads ---------------------------------------------------------------------------------------


def _run_threads(loader: Any, tasks: Iterable[Task]) -> Iterator[Made]:
    maker = BatchMaker(loader.for_workers(), seed_globals=False)
    pool = ThreadPoolExecutor(
        loader.num_workers, thread_name_prefix="torte-loader", initializer=loader.wif
    )
    waiting: collections.deque[Future[Made]] = collections.deque()
    tasks = iter(tasks)
    try:
        ahead = loader.num_workers * loader.prefetch_factor
        for task in itertools.islice(tasks, ahead):
            waiting.append(pool.submit(maker, task))
        while waiting:
            try:
                made = waiting.popleft().result(loader.timeout or None)
            except FutureTimeoutError as error:
                raise _timed_out(loader) from error
            for task in itertools.islice(tasks, 1):
                waiting.append(pool.submit(maker, task))
            yield made
    finally:
        maker.close()
        for future in waiting:
            future.cancel()
        pool.shutdown(wait=False, cancel_futures=True)


# -- processes -------------------------------------------------------------------------------------


class _Lookup:
    """A dataset to torch's workers: looking a task up makes its batch."""

    def __init__(self, maker: BatchMaker) -> None:
        self.maker = maker

    def __getitem__(self, task: Task) -> Made:
        return self.maker(task)


class _Tasks:
    """A sampler to torch's loader: the tasks of whichever pass is starting."""

    def __init__(self) -> None:
        self.tasks: Iterable[Task] = ()

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)


def _as_it_is(made: Any) -> Any:
    return made


def _start_worker(number: int) -> None:
    """Runs first in each worker process."""
    # What was there before stays out of collections: scanning it would copy shared pages.
    gc.freeze()
    info = torch.utils.data.get_worker_info()
    assert info is not None
    lookup: Any = info.dataset
    lookup.maker.loader.wif()


def _preload_server() -> None:
    """Let the server that "forkserver" workers are forked from import torch once for them all."""
    server = multiprocessing.forkserver._forkserver
    if getattr(server, "_preload_modules", None) == ["__main__"]:  # nobody chose others
        multiprocessing.set_forkserver_preload(["__main__", "torte.data.workers"])


class WorkerPool:
    """Worker processes for a loader, kept between passes if they are persistent."""

    def __init__(self, loader: Any) -> None:
        self.tasks = _Tasks()
        maker = BatchMaker(loader.for_workers(), portable=True)
        if loader.worker_kind == "forkserver":
            _preload_server()
        with _quiet():
            self.engine = torch.utils.data.DataLoader(
                _Lookup(maker),  # type: ignore[arg-type]
                batch_size=None,
                sampler=self.tasks,
                collate_fn=_as_it_is,
                num_workers=loader.num_workers,
                multiprocessing_context=loader.worker_kind,
                timeout=loader.timeout,
                prefetch_factor=loader.prefetch_factor,
                persistent_workers=loader.persistent_workers,
                pin_memory=loader.pins_memory,
                worker_init_fn=_start_worker,
                # Torch draws a seed for its workers: not from the global generator.
                generator=torch.Generator(),
            )
        self.busy = False

    def run(self, tasks: Iterable[Task]) -> Iterator[Made]:
        """Start a pass."""
        self.busy = True
        self.tasks.tasks = tasks
        results: Any = None
        keep = self.engine.persistent_workers
        try:
            with _quiet():
                results = iter(self.engine)
            yield from results
        except Exception:
            keep = False
            raise
        finally:
            self.busy = False
            # Now, not when the traceback that holds the iterator is forgotten: until then torch
            # raises the error of a dead worker again at every signal of another child.
            if not keep and results is not None:
                results._shutdown_workers()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences warnings about what the caller asked for: many workers, forking, pinning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork")
        warnings.filterwarnings("ignore", message=".*pin_memory.*")
        yield


def _run_processes(loader: Any, tasks: Iterable[Task]) -> Iterator[Made]:
    pool: WorkerPool | None = loader.worker_pool
    if pool is None or pool.busy:
        pool = WorkerPool(loader)
    if loader.persistent_workers and loader.worker_pool is None:
        loader.worker_pool = pool
    try:
        yield from pool.run(tasks)
    except RuntimeError as error:
        loader.worker_pool = None
        text = str(error)
        if "timed out" in text:
            raise _timed_out(loader) from error
        if "exited unexpectedly" in text or "is killed by signal" in text:
            raise _died(text.strip(" .")) from error
        raise
    except (ConnectionError, EOFError, FileNotFoundError) as error:
        # The memory of a batch is fetched from the worker that made it. What goes wrong in the
        # user's code in a worker is part of what it sends, and is not raised here.
        loader.worker_pool = None
        raise _died(f"it exited before its batch was fetched ({type(error).__name__})") from error


def _died(how: str) -> WorkerError:
    return WorkerError(
        f"a worker process of the loader died: {how}. It may have run out of memory (the kernel's"
        " log says so) or crashed in a library; try fewer workers, a smaller batch, or"
        " num_workers=0 to see where"
    )


def _timed_out(loader: Any) -> WorkerError:
    return WorkerError(
        f"no batch came within timeout={loader.timeout} seconds from {loader.num_workers}"
        f" workers ({loader.worker_kind}): raise timeout, or see what the dataset waits for"
    )
