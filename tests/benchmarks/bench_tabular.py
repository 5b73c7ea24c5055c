"""Tables: preparing and a pass beside fastai's, and a Parquet file larger than memory.

Run with `OMP_NUM_THREADS=1 python tests/benchmarks/bench_tabular.py`, or one part of it: `prepare`,
`epoch`, `training`, `growth`, `parquet`; `--quick` takes fewer rows. The rows are drawn from the
Adult census: the sample that ships with torte, or all of it with `TORTE_BENCHMARK_DATA` naming the
folder of the fetched set. Budget: preparing and a pass of the loader at least 4 times as fast as
fastai on 200,000 rows.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from bench_tabular_accuracy import CATEGORIES, NUMBERS, TARGET, table
from common import Timing, measure, print_curves, print_facts, print_table, versions

ROWS, BIG = 200_000, 20_000_000
CHUNK = 500_000
HAS_FASTAI = importlib.util.find_spec("fastai") is not None


def census(n_rows: int, seed: int = 0) -> pd.DataFrame:
    """Rows drawn from the census, with weights of their own so that few are equal."""
    rng = np.random.default_rng(seed)
    base = table()
    df = base.iloc[rng.integers(0, len(base), n_rows)].reset_index(drop=True)
    text = [*CATEGORIES, TARGET]
    return df.assign(fnlwgt=df["fnlwgt"] + rng.integers(0, 1000, n_rows)).astype(
        dict.fromkeys(text, "str")
    )


def parts(n_rows: int) -> tuple[list[int], list[int]]:
    """A random fifth of the rows for validation."""
    order = np.random.default_rng(1).permutation(n_rows).tolist()
    return order[n_rows // 5 :], order[: n_rows // 5]


def of_torte(df: Any, splits: Any) -> Any:
    """A prepared table."""
    from torte.tabular.all import Categorify, FillMissing, Normalize, TabularPandas

    procs = [Categorify, FillMissing, Normalize]
    return TabularPandas(df, procs, CATEGORIES, NUMBERS, TARGET, splits=splits)


def of_fastai(df: Any, splits: Any) -> Any:
    """A prepared table of fastai."""
    from fastai.tabular.all import Categorify, FillMissing, Normalize, TabularPandas

    procs = [Categorify, FillMissing, Normalize]
    return TabularPandas(df, procs, list(CATEGORIES), list(NUMBERS), TARGET, splits=splits)


def report(title: str, timings: dict[str, Timing], n_rows: int) -> None:
    """Print times, rows a second, and how many times as fast as fastai."""
    absent = () if HAS_FASTAI else ("fastai",)
    print_table(f"{title}, {n_rows:,} rows", timings, next(iter(timings)), absent)
    fastest = {name: each.fastest for name, each in timings.items()}
    rows = {
        name: [f"{n_rows / taken:,.0f}"]
        + ([f"{fastest['fastai'] / taken:.1f}"] if HAS_FASTAI else [])
        for name, taken in fastest.items()
    }
    print_facts(title, ["rows/s", "times fastai's"][: 1 + HAS_FASTAI], rows)


def bench_prepare(n_rows: int) -> None:
    """A frame to codes and numbers: vocabularies, medians and statistics of the training rows."""
    import polars as pl

    df, splits = census(n_rows), parts(n_rows)
    frame = pl.from_pandas(df)
    texts = [df[name] for name in (*CATEGORIES, TARGET)]
    candidates: dict[str, Callable[[], Any]] = {
        "torte, pandas": lambda: of_torte(df, splits),
        "torte, polars": lambda: of_torte(frame, splits),
        "pandas.factorize of the texts alone": lambda: [pd.factorize(text) for text in texts],
    }
    if HAS_FASTAI:
        candidates["fastai"] = lambda: of_fastai(df, splits)
    report("Preparing", measure(candidates, rounds=7, seconds=0.01), n_rows)


def _pass(loader: Any) -> Callable[[], None]:
    def run() -> None:
        for _ in loader:
            pass

    return run


def bench_epoch(n_rows: int) -> None:
    """A shuffled pass over the training rows, no model."""
    df, splits = census(n_rows), parts(n_rows)
    ours = of_torte(df, splits)
    theirs = of_fastai(df, splits) if HAS_FASTAI else None
    for bs in (64, 1024):
        candidates = {"torte": _pass(ours.dataloaders(bs=bs).train)}
        if theirs is not None:
            candidates["fastai"] = _pass(theirs.dataloaders(bs=bs).train)
        timings = measure(candidates, rounds=5, seconds=0.01)
        report(f"A pass, batches of {bs}", timings, len(splits[0]))


def bench_training(n_rows: int) -> None:
    """An epoch of `tabular_learner(layers=[200, 100])` with Adam: mostly the same arithmetic."""
    df, splits = census(n_rows), parts(n_rows)
    for bs in (64, 1024):
        candidates: dict[str, Callable[[], None]] = {}
        from torte.tabular.all import tabular_learner

        candidates["torte"] = _fit(tabular_learner(of_torte(df, splits).dataloaders(bs=bs)))
        if HAS_FASTAI:
            from fastai.tabular.all import tabular_learner as their_learner

            dls = of_fastai(df, splits).dataloaders(bs=bs)
            candidates["fastai"] = _fit(their_learner(dls))
        timings = measure(candidates, rounds=2, seconds=0.01)
        report(f"An epoch of training, batches of {bs}", timings, n_rows)


def _fit(learn: Any) -> Callable[[], None]:
    def run() -> None:
        with learn.no_bar(), learn.no_logging():
            learn.fit(1)

    return run


def bench_growth(quick: bool) -> None:
    """Seconds by number of rows: preparing, and a pass in batches of 1,024."""
    sizes = (2_000, 20_000) if quick else (2_000, 20_000, 200_000, 2_000_000)
    makers = {"torte": of_torte} | ({"fastai": of_fastai} if HAS_FASTAI else {})
    preparing: dict[str, dict[float, float]] = {name: {} for name in makers}
    passing: dict[str, dict[float, float]] = {name: {} for name in makers}
    for n_rows in sizes:
        df, splits = census(n_rows), parts(n_rows)
        for name, make in makers.items():
            rounds = 1 if n_rows > ROWS else 3
            candidates = {"all": partial(make, df, splits)}
            preparing[name][n_rows] = measure(candidates, rounds, 0.001)["all"].fastest
            loader = _pass(make(df, splits).dataloaders(bs=1024).train)
            passing[name][n_rows] = measure({"all": loader}, rounds, 0.001)["all"].fastest
    print_curves("Preparing a table", "rows", "s", preparing)
    print_curves("A pass over a table", "rows", "s", passing)


def write_parquet(path: Path, n_rows: int) -> None:
    """Write rows of the census, a row group for each `CHUNK`; the same ones every time."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    writer: Any = None
    for seed, start in enumerate(range(0, n_rows, CHUNK)):
        rows = pa.Table.from_pandas(census(min(CHUNK, n_rows - start), seed), preserve_index=False)
        writer = writer or ParquetWriter(path, rows.schema)
        writer.write_table(rows)
    writer.close()


STREAM = """
import re, sys, time
from pathlib import Path
import torch
from torte.tabular.all import *
sys.path.insert(0, sys.argv[2])
from bench_tabular_accuracy import CATEGORIES, NUMBERS, TARGET
torch.set_num_threads(1)
# Not ru_maxrss, which a process takes over from the one that started it.
status = Path("/proc/self/status")
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text()).group(1)) / 1024
print("imported", 0, peak())
def timed(what, call):
    start = time.perf_counter(); result = call()
    print(what, time.perf_counter() - start, peak(), flush=True)
    return result
procs = [Categorify, FillMissing, Normalize]
roles = dict(procs=procs, cat_names=CATEGORIES, cont_names=NUMBERS, y_names=TARGET)
stream = TabularDataLoaders.stream_parquet
dls = timed("fitted", lambda: stream(sys.argv[1], bs=4096, n_mixed=2, **roles))
rows = timed("passed", lambda: sum(len(batch[0]) for batch in dls.train))
assert rows == len(dls.train_ds) // 4096 * 4096
learn = tabular_learner(dls, cbs=ShortEpochCallback(pct=0.02, short_valid=True))
with learn.no_bar(), learn.no_logging():
    timed("trained", lambda: learn.fit(1))
"""


def bench_parquet(n_rows: int, folder: Path) -> None:
    """A fit, a pass and some training from a Parquet file, in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"census_{n_rows}.parquet"
    if not file.exists():
        write_parquet(file, n_rows)
    command = [sys.executable, "-W", "ignore", "-c", STREAM, str(file), str(Path(__file__).parent)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    steps = [line.split() for line in done.stdout.splitlines()]
    rows = {what: [f"{float(seconds):.1f}", f"{float(peak):,.0f}"] for what, seconds, peak in steps}
    size = file.stat().st_size / 2**20
    title = f"A Parquet file of {n_rows:,} rows ({size:,.0f} MiB), {CHUNK:,} in a row group"
    print_facts(title, ["seconds", "peak MiB"], rows)


def main(chosen: list[str], quick: bool, folder: Path) -> None:
    """Print every table, or those of the parts that are named."""
    n_rows = 20_000 if quick else ROWS
    versions("torch", "pandas", "polars", "fastai", "pyarrow")
    torch.set_num_threads(1)
    parts: dict[str, Callable[[], None]] = {
        "prepare": lambda: bench_prepare(n_rows),
        "epoch": lambda: bench_epoch(n_rows),
        "training": lambda: bench_training(n_rows),
        "growth": lambda: bench_growth(quick),
        "parquet": lambda: bench_parquet(100_000 if quick else BIG, folder),
    }
    for name, part in parts.items():
        if not chosen or name in chosen:
            part()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Tables beside fastai's.")
    parser.add_argument("parts", nargs="*", help="prepare, epoch, training, growth, parquet")
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    default = Path(tempfile.gettempdir()) / "torte_benchmarks"
    parser.add_argument("--folder", type=Path, default=default, help="where Parquet files are kept")
    arguments = parser.parse_args()
    main(arguments.parts, arguments.quick, arguments.folder)
