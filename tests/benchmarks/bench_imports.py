"""What importing a layer costs over importing PyTorch, in fresh interpreters, in turn.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_imports.py

Processor time, which others on the machine cannot stretch. What every candidate needs anyway comes
first: `torch`, and for images `torchvision` too. Peers that are not installed are reported absent.
"""

import importlib.util
import os
from collections.abc import Mapping

from common import measure_imports, print_facts, versions

ROUNDS = 3

OVER_TORCH = {
    "torte.optim": 0.1,
    "torte.learner": 0.4,
    "torte.text.all": None,
    "torte.tabular.all": None,
    "torte.collab.all": None,
    "accelerate": None,
    "lightning": None,
    "skorch": None,
    "keras": None,
    "fastai.optimizer": None,
    "fastai.learner": None,
    "fastai.text.all": None,
    "fastai.tabular.all": None,
    "fastai.collab": None,
}
"""What is imported, and the seconds that it may take."""

OVER_TORCHVISION = {"torte.vision.all": 0.6, "kornia": None, "fastai.vision.all": None}


def compare(first: str, candidates: Mapping[str, float | None]) -> None:
    """Print what each candidate adds to the imports that come first."""
    there = [name for name in candidates if importlib.util.find_spec(name.partition(".")[0])]
    found = measure_imports([first, *(f"{first}, {name}" for name in there)], ROUNDS)
    base = found[first]
    rows = {first: [base.fastest, base.median, "", ""]}
    for name, budget in candidates.items():
        timing = found.get(f"{first}, {name}")
        if timing is None:
            rows[name] = ["absent", "", "", ""]
            continue
        added = timing.fastest - base.fastest
        kept = "" if budget is None else f"{budget} s: " + ("kept" if added <= budget else "MISSED")
        rows[name] = [added, timing.median - base.median, added / base.fastest, kept]
    columns = ("added (s)", "by medians (s)", f"of {first}", "budget")
    print_facts(f"Imports over `import {first}`", columns, rows)


def main() -> None:
    """Print what is added to PyTorch, and to PyTorch with torchvision."""
    os.environ["KERAS_BACKEND"] = "torch"
    print(versions("torch", "torchvision", "accelerate", "lightning", "skorch", "keras", "fastai"))  # noqa: T201
    compare("torch", OVER_TORCH)
    compare("torch, torchvision", OVER_TORCHVISION)


if __name__ == "__main__":
    main()
