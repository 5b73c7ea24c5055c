"""The scorecard: every comparison on this machine, and one page that tells what came out.

    uv run --group bench python -m tests.benchmarks                 # everything: about an hour
    uv run --group bench python -m tests.benchmarks loop optim      # these parts
    uv run --group bench python -m tests.benchmarks --list

Each part is a script beside this file that runs alone too. What it prints it records, and the page
`outputs/benchmarks/README.md` holds the tables, with plots of what grows. What parts recorded is
kept beside the page: running some of them anew leaves the others on it, each with its commit and
day. A peer that is not installed is told as absent; a part that fails is told as failed, with its
last lines.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from common import RECORDS  # noqa: E402
from scorecard import keep, kept, write_page  # noqa: E402


class Run(NamedTuple):
    """A script with arguments, and how many threads it is given (0: as many as there are)."""

    script: str
    arguments: tuple[str, ...] = ()
    threads: int = 0


PARTS: dict[str, list[Run]] = {
    "dispatch": [Run("bench_dispatch", threads=1)],
    "imports": [Run("bench_imports", threads=1)],
    "optim": [Run("bench_optim")],
    "loop": [Run("bench_loop", threads=1), Run("bench_loop", ("--resnet",), threads=1)],
    "items": [Run("bench_items", threads=1)],
    "loader": [Run("bench_loader", threads=1), Run("bench_worker_memory", threads=1)],
    "augment": [Run("bench_augment"), Run("bench_augment", ("--keep-memory",))],
    "text": [
        Run("bench_text", ("tokens",), threads=1),
        Run("bench_text", ("batches",), threads=1),
        Run("bench_text", ("training",), threads=1),
        Run("bench_text", ("classifier",), threads=1),
        Run("bench_ulmfit", ("--quick",), threads=1),
    ],
    "durable": [
        Run("bench_checkpoint", ("cost",)),
        Run("bench_checkpoint", ("seek",)),
        Run("bench_distributed", threads=1),
    ],
    "tabular": [
        Run("bench_tabular", ("prepare", "epoch", "training"), threads=1),
        Run("bench_tabular", ("growth",), threads=1),
        Run("bench_tabular", ("parquet",), threads=1),
        Run("bench_tabular_accuracy", threads=1),
    ],
    "classify": [Run("bench_classify", threads=1)],
    "vision": [Run("bench_vision", threads=1), Run("bench_gan", threads=1)],
    "collab": [
        Run("bench_collab", ("training",), threads=1),
        Run("bench_collab", ("ranking", "folds"), threads=1),
        Run("bench_recommend", ("lists", "growth"), threads=1),
        Run("bench_recommend", ("million",)),
    ],
    "tables": [Run("bench_tables", threads=1)],
    "gpu": [Run("bench_gpu")],
    "growth": [Run("bench_growth")],
}


def run(part: Run, folder: Path, data: Path | None) -> list[dict[str, Any]]:
    """Run one script and return what it recorded; its failure is a record too."""
    records = folder / f"{part.script}{'-'.join(part.arguments)}.jsonl"
    records.unlink(missing_ok=True)
    environment = {**os.environ, RECORDS: str(records)}
    if part.threads:
        environment["OMP_NUM_THREADS"] = str(part.threads)
    if data is not None:
        environment["TORTE_BENCHMARK_DATA"] = str(data)
    command = [sys.executable, "-W", "ignore", str(HERE / f"{part.script}.py"), *part.arguments]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    found = records.read_text(encoding="utf-8").splitlines() if records.exists() else []
    records.unlink(missing_ok=True)
    outcome = [json.loads(line) for line in found]
    if done.returncode:
        print(done.stderr, file=sys.stderr)  # noqa: T201
        outcome.append({"kind": "failure", "lines": done.stderr.splitlines()[-5:]})
    outcome.append({"kind": "run", "command": command[3:], "seconds": time.perf_counter() - start})
    return outcome


def main(chosen: Sequence[str], outputs: Path, data: Path | None) -> None:
    """Run the chosen parts, all of them if there are none, and write the page after each."""
    outputs.mkdir(parents=True, exist_ok=True)
    for name in chosen or PARTS:
        print(f"\n=== {name}", flush=True)  # noqa: T201
        keep(name, [each for script in PARTS[name] for each in run(script, outputs, data)], outputs)
        write_page(kept(PARTS, outputs), outputs)
    print(f"\n{outputs / 'README.md'}")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure torte beside its peers.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="none: all of them")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/benchmarks"))
    parser.add_argument("--data", type=Path, help="the folder of the full data sets, if fetched")
    parser.add_argument("--list", action="store_true", help="name the parts")
    arguments = parser.parse_args()
    if arguments.list:
        print(*PARTS, sep="\n")  # noqa: T201
    else:
        main(arguments.parts, arguments.outputs, arguments.data)
