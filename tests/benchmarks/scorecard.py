"""The page of the scorecard: tables and plots out of what the benchmarks recorded."""

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from common import seconds

__all__ = ["Part", "keep", "kept", "write_page"]

Record = dict[str, Any]

HOW_TO_READ = """\
Candidates run in turn, many times. *fastest* is what the code costs on a machine that is at times
disturbed, *spread* the width of the middle half of the runs as a share of the median; ratios are to
the row whose ratio is 1."""


class Part(NamedTuple):
    """One part of the scorecard: what was recorded, and of what, where and when."""

    name: str
    records: list[Record]
    origin: str


def keep(name: str, records: list[Record], outputs: Path) -> None:
    """Keep what a part recorded, in place of what it recorded before."""
    folder = outputs / "records"
    folder.mkdir(exist_ok=True)
    part = Part(name, records, f"{commit()}, {datetime.date.today()}, {machine()}")
    (folder / f"{name}.json").write_text(json.dumps(part._asdict()), encoding="utf-8")


def kept(names: Iterable[str], outputs: Path) -> list[Part]:
    """The parts of these names that were ever run, each as it last was."""
    files = [outputs / "records" / f"{name}.json" for name in names]
    return [Part(**json.loads(file.read_text(encoding="utf-8"))) for file in files if file.exists()]


def commit() -> str:
    """What was measured: the commit, and whether the files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        )
    except (OSError, subprocess.CalledProcessError):
        return "no commit"
    return f"commit {done.stdout.strip()}"


def machine() -> str:
    """Processor, cores, memory and system, as far as the system tells."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    memory = ""
    if hasattr(os, "sysconf"):
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory = f", {size / 2**30:.0f} GiB"
    return f"{model}, {os.cpu_count()} cores{memory}, {platform.system()}"


def accelerator() -> str:
    """The GPU, or that there is none."""
    import torch

    if torch.cuda.is_available():
        return f"GPU: {torch.cuda.get_device_name()}."
    return "GPU: none here, so nothing that needs one was run."


def table(record: Record) -> Iterator[str]:
    """A table of times and their ratios to a reference."""
    timings, reference = record["timings"], record["timings"][record["reference"]]
    yield "| | fastest | median | spread | ratio | ratio of medians |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name, each in timings.items():
        fastest, median = each["fastest"], each["median"]
        cells = [seconds(fastest), seconds(median), f"{each['spread'] / median:.0%}"]
        ratios = [fastest / reference["fastest"], median / reference["median"]]
        yield f"| {name} | " + " | ".join([*cells, *(f"{ratio:.2f}" for ratio in ratios)]) + " |"
    for name in record["absent"]:
        yield f"| {name} | absent | | | | |"
    if record["budget"] is not None:
        yield ""
        yield from budget(record)


def budget(record: Record) -> Iterator[str]:
    """What the budget says of each candidate that it binds."""
    allowed = record["budget"]
    for name, each in record["timings"].items():
        if name.startswith("torte"):
            share = each["fastest"] / allowed
            verdict = "kept" if share <= 1 else f"**missed** by {share - 1:.0%}"
            yield f"- {name}: {verdict} (allowed: {seconds(allowed)})"


def facts(record: Record) -> Iterator[str]:
    """A table of anything."""
    yield "| | " + " | ".join(record["columns"]) + " |"
    yield "| --- |" + " ---: |" * len(record["columns"])
    for name, cells in record["rows"].items():
        yield f"| {name} | " + " | ".join(cells) + " |"


def curves(record: Record, file: Path) -> Iterator[str]:
    """A plot of what grows with a size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, points in record["curves"].items():
        ordered = sorted(points)
        own = name.startswith("torte")
        axes.plot(
            *zip(*ordered, strict=True), marker="o", label=name, lw=2.5 if own else 1.2,
            zorder=3 if own else 2,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel=record["size"], ylabel=record["unit"])
    axes.set_title(record["title"])
    axes.grid(which="both", alpha=0.2)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=110)
    plt.close(figure)
    yield f"![{record['title']}]({file.name})"


def section(part: Part, outputs: Path) -> Iterator[str]:
    """Everything that a part recorded, in its order."""
    yield f"## {part.name}"
    yield f"\n*{part.origin}*"
    for number, record in enumerate(part.records):
        kind = record["kind"]
        if kind in ("table", "facts", "curves"):
            yield f"\n### {record['title']}\n"
        if kind == "versions":
            yield f"\n{', '.join(record['found'])}"
        elif kind == "table":
            yield from table(record)
        elif kind == "facts":
            yield from facts(record)
        elif kind == "curves":
            yield from curves(record, outputs / f"{part.name}-{number}.png")
        elif kind == "note":
            yield f"\n{record['text']}"
        elif kind == "failure":
            yield "\n**This part failed:**\n\n```\n" + "\n".join(record["lines"]) + "\n```"
        elif kind == "run":
            command = " ".join(Path(word).name for word in record["command"])
            yield f"\n`{command}`: {record['seconds']:.0f} s"


def write_page(parts: list[Part], outputs: Path) -> None:
    """Write `README.md` and its pictures to a folder."""
    lines = [
        "# Scorecard",
        "",
        accelerator(),
        "",
        HOW_TO_READ,
    ]
    for part in parts:
        lines += ["", *section(part, outputs)]
    (outputs / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
