"""The only timer: runs interleaved, the fastest and the median of many, ratios and versions.

Machines are shared, and slow for a while now and then. So every round runs each candidate once,
in turn, and the fastest round of each is what its code costs; the median says how quiet it was.
"""

import gc
import importlib.metadata
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Timing", "measure", "measure_imports", "print_table", "versions"]


class Timing(NamedTuple):
    """What one candidate takes for one call, in seconds."""

    fastest: float
    median: float


def _calls_for(call: Callable[[], Any], seconds: float) -> int:
    """Return how many calls take about so many seconds."""
    call()  # the first one of all may fill caches
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        taken = time.perf_counter() - start
        if taken >= seconds / 4:
            return max(1, round(calls * seconds / taken))
        calls *= 4


def measure(
    candidates: dict[str, Callable[[], Any]], rounds: int = 100, seconds: float = 0.001
) -> dict[str, Timing]:
    """Time candidates side by side.

    Args:
        candidates: what to call, by name; no arguments.
        rounds: how often each one is run, in turn.
        seconds: how long one run lasts, about; calls that are quicker are repeated. A run has to
            fit between two turns of the other processes on the machine: at 10 ms each one is
            interrupted (and looked 1.6 times as slow, beside the same processor time).

    Returns:
        The time of one call for each, without what a call of an empty function costs.
    """
    empty = "an empty call"
    everything: dict[str, Callable[[], Any]] = {empty: lambda: None, **candidates}
    calls = {name: _calls_for(call, seconds) for name, call in everything.items()}
    times: dict[str, list[float]] = {name: [] for name in everything}
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in everything.items():
                repeat = range(calls[name])
                start = time.perf_counter()
                for _ in repeat:
                    call()
                times[name].append((time.perf_counter() - start) / calls[name])
    finally:
        if was_collecting:
            gc.enable()
    nothing = min(times[empty])
    return {
        name: Timing(min(taken) - nothing, statistics.median(taken) - nothing)
        for name, taken in times.items()
        if name != empty
    }


def measure_imports(modules: list[str], rounds: int = 8) -> dict[str, Timing]:
    """Time imports in fresh interpreters, in turn; processor time, which others cannot stretch.

    Args:
        modules: what to import.
        rounds: how often each, each time in another interpreter.

    Returns:
        What importing takes in an interpreter that has just started.
    """
    code = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"
    times: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(rounds):
        for module in modules:
            command = [sys.executable, "-c", code.format(module)]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            times[module].append(float(result.stdout))
    return {module: Timing(min(taken), statistics.median(taken)) for module, taken in times.items()}


def versions(*distributions: str) -> str:
    """Return one line with the versions of Python and of what is installed; absent ones say so."""
    found = [f"Python {platform.python_version()}"]
    for name in distributions:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)


def print_table(
    title: str,
    timings: dict[str, Timing],
    reference: str,
    absent: tuple[str, ...] = (),
    budget: float | None = None,
) -> None:
    """Print times in µs, and ratios of the fastest times to a reference.

    Args:
        title: what was measured.
        timings: from `measure`.
        reference: the name whose time is 1.
        absent: peers that are not installed.
        budget: what torte may cost, in seconds; its line says whether it does.
    """
    print(f"\n{title}")  # noqa: T201
    print(f"  {'':36}{'fastest':>12}{'median':>12}{'ratio':>9}")  # noqa: T201
    for name, timing in timings.items():
        ratio = timing.fastest / timings[reference].fastest
        cells = f"{timing.fastest * 1e6:>9.3f} µs{timing.median * 1e6:>9.3f} µs{ratio:>9.2f}"
        verdict = ""
        if budget is not None and name.startswith("torte"):
            kept = "kept" if timing.fastest <= budget else "MISSED"
            verdict = f"   budget {budget * 1e6:.3f} µs: {kept}"
        print(f"  {name:36}{cells}{verdict}")  # noqa: T201
    for name in absent:
        print(f"  {name:36}      absent")  # noqa: T201
