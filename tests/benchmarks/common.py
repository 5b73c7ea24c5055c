"""The only timer: runs interleaved, the fastest and the median of many, ratios and versions.

Whatever is printed here is also recorded, a JSON object a line, where `TORTE_BENCHMARK_RECORDS`
names a file: `python -m tests.benchmarks` makes the scorecard of it.

Machines are shared, and slow for a while now and then. So every round runs each candidate once,
in turn, and the fastest round of each is what its code costs; the median says how quiet it was.
"""

import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "Timing",
    "measure",
    "measure_imports",
    "print_curves",
    "print_facts",
    "print_table",
    "record",
    "seconds",
    "timing",
    "versions",
]

RECORDS = "TORTE_BENCHMARK_RECORDS"


class Timing(NamedTuple):
    """What one candidate takes for one call, in seconds; `spread` is the middle half's width."""

    fastest: float
    median: float
    spread: float = 0.0


def timing(taken: Sequence[float], nothing: float = 0.0) -> Timing:
    """What many runs say, less `nothing`, the cost of an empty call."""
    ordered = sorted(taken)
    quarter = len(ordered) // 4
    spread = ordered[-1 - quarter] - ordered[quarter]
    return Timing(ordered[0] - nothing, statistics.median(ordered) - nothing, spread)


def record(kind: str, **fields: Any) -> None:
    """Append a record to the scorecard's file, if there is one."""
    path = os.environ.get(RECORDS)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **fields}) + "\n")


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
    return {name: timing(taken, nothing) for name, taken in times.items() if name != empty}


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
    return {module: timing(taken) for module, taken in times.items()}


def versions(*distributions: str) -> str:
    """Return one line with the versions of Python and of what is installed; absent ones say so."""
    found = [f"Python {platform.python_version()}"]
    for name in distributions:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    record("versions", found=found)
    return ", ".join(found)


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def print_table(
    title: str,
    timings: dict[str, Timing],
    reference: str,
    absent: tuple[str, ...] = (),
    budget: float | None = None,
) -> None:
    """Print times, and ratios of the fastest times to a reference.

    Args:
        title: what was measured.
        timings: from `measure`.
        reference: the name whose time is 1.
        absent: peers that are not installed.
        budget: what torte may cost, in seconds; its line says whether it does.
    """
    record(
        "table",
        title=title,
        timings={name: each._asdict() for name, each in timings.items()},
        reference=reference,
        absent=list(absent),
        budget=budget,
    )
    print(f"\n{title}")  # noqa: T201
    print(f"  {'':36}{'fastest':>12}{'median':>12}{'ratio':>9}")  # noqa: T201
    for name, timing in timings.items():
        ratio = timing.fastest / timings[reference].fastest
        cells = f"{seconds(timing.fastest):>12}{seconds(timing.median):>12}{ratio:>9.2f}"
        verdict = ""
        if budget is not None and name.startswith("torte"):
            kept = "kept" if timing.fastest <= budget else "MISSED"
            verdict = f"   budget {seconds(budget)}: {kept}"
        print(f"  {name:36}{cells}{verdict}")  # noqa: T201
    for name in absent:
        print(f"  {name:36}      absent")  # noqa: T201


def print_curves(
    title: str, size: str, unit: str, curves: Mapping[str, Mapping[float, float]]
) -> None:
    """Print how something grows with a size; the scorecard draws it, both axes logarithmic.

    Args:
        title: what was measured.
        size: what the sizes count, such as "rows".
        unit: of the values, such as "s".
        curves: for each candidate its values by size.
    """
    record(
        "curves",
        title=title,
        size=size,
        unit=unit,
        curves={name: [list(point) for point in curve.items()] for name, curve in curves.items()},
    )
    sizes = sorted({each for curve in curves.values() for each in curve})
    print(f"\n{title} ({unit})")  # noqa: T201
    print(f"  {size:36}" + "".join(f"{each:>12,}" for each in sizes))  # noqa: T201
    for name, curve in curves.items():
        cells = (f"{curve[each]:>12.4g}" if each in curve else f"{'':>12}" for each in sizes)
        print(f"  {name:36}" + "".join(cells))  # noqa: T201


def print_facts(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[Any]]) -> None:
    """Print a table of anything: accuracies, memory, counts.

    Args:
        title: what was measured.
        columns: what the cells of a row are.
        rows: the cells by candidate; numbers are shown with four significant digits.
    """
    shown = {name: [_shown(cell) for cell in cells] for name, cells in rows.items()}
    record("facts", title=title, columns=list(columns), rows=shown)
    print(f"\n{title}")  # noqa: T201
    print(f"  {'':36}" + "".join(f"{column:>16}" for column in columns))  # noqa: T201
    for name, cells in shown.items():
        print(f"  {name:36}" + "".join(f"{cell:>16}" for cell in cells))  # noqa: T201


def _shown(cell: Any) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
