"""Work on columns side by side: Arrow and NumPy let other threads run while they compute."""

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["each"]

_FEW_ROWS = 20_000  # a thread costs as much as some thousand rows of a column


def each(call: Callable[[Any], Any], things: Iterable[Any], n_rows: int) -> list[Any]:
    """Return what `call` makes of each thing, in their order; in threads where rows are many.

    Args:
        call: What to do with one thing, such as a column.
        things: The first ones are begun first.
        n_rows: How many rows a thing has.
    """
    things = list(things)
    n_threads = min(len(things), _processors()) if n_rows >= _FEW_ROWS else 1
    if n_threads < 2:
        return [call(thing) for thing in things]
    results: list[Any] = [None] * len(things)
    todo = deque(enumerate(things))

    def work() -> None:
        while True:
            try:
                place, thing = todo.popleft()
            except IndexError:  # nothing left to do
                return
            results[place] = call(thing)

    # The thread that asks does its share.
    with ThreadPoolExecutor(n_threads - 1, thread_name_prefix="torte-columns") as others:
        begun = [others.submit(work) for _ in range(n_threads - 1)]
        work()
        for other in begun:
            other.result()
    return results


def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
