"""What checkpoints cost a training, and how fast a pass is taken up in the middle.

    python tests/benchmarks/bench_checkpoint.py cost     # ResNet-18 with Adam, one in 100 steps
    python tests/benchmarks/bench_checkpoint.py seek     # a million items, from the middle

Budgets: a checkpoint every 100 steps costs less than 2 % of the training; seeking takes less than a
second.

`cost` times steps without checkpoints and steps of which each writes one, by turns. What a
checkpoint adds to a step (the copy of the state, and everything that its writer takes away from the
training meanwhile, as the next one waits until it is on disk) is counted as 1 in 100 steps.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torte.data import DataLoaders, TfmdDL
from torte.learner import Callback, CheckpointCallback, Learner
from torte.optim import Adam

from common import print_facts, versions  # isort: skip - beside this file

STEPS = 100


class Stopwatch(Callback):
    """The time of each step, from the end of one to the end of the next."""

    order = 2000
    run_valid = False

    def before_train(self) -> None:
        """Start."""
        self.times: list[float] = []
        self.last = time.perf_counter()

    def after_batch(self) -> None:
        """Stop, once what is under way is on disk."""
        for callback in self.learn.cbs:
            if isinstance(callback, CheckpointCallback):
                callback._writer.finish()
        now = time.perf_counter()
        self.times.append(now - self.last)
        self.last = now


def steps(learn: Any, count: int, folder: str | None) -> list[float]:
    """The times of some steps, each with a checkpoint if there is a folder."""
    watch = Stopwatch()
    cbs: list[Callback] = [watch]
    if folder is not None:
        cbs.append(CheckpointCallback(every=1, every_epoch=0, folder=folder))
    learn.dls.loaders[0].n = count * learn.dls.loaders[0].bs
    learn.fit(1, cbs=cbs)
    return watch.times


def cost(size: int, bs: int, rounds: int) -> None:
    """Print what a checkpoint adds to a step of ResNet-18."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    items = [(torch.randn(3, size, size), torch.tensor(1))] * (bs * 10)
    dls = DataLoaders(TfmdDL(items, bs=bs, num_workers=0), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        learn = Learner(dls, resnet18(), nn.CrossEntropyLoss(), opt_func=Adam, path=folder)
        learn.remove_cb(learn.progress)
        learn.logger = lambda row: None
        steps(learn, 2, None)
        plain: list[float] = []
        with_one: list[float] = []
        for number in range(rounds):
            plain += steps(learn, 2, None)
            with_one += steps(learn, 2, f"checkpoints {number}")
        written = next(Path(folder).rglob("state.safetensors")).stat().st_size
    step, one = statistics.median(plain), statistics.median(with_one)
    share = (one - step) / (STEPS * step)
    verdict = "kept" if share < 0.02 else "MISSED"
    print_facts(
        f"A checkpoint of ResNet-18 with Adam ({written / 1e6:.0f} MB), bs={bs}, {size} pixels",
        ["median"],
        {
            "a step": [f"{step:.3f} s"],
            "a step and a checkpoint": [f"{one:.3f} s"],
            f"one in {STEPS} steps, of the training": [f"{share:.2%}"],
            "budget 2 %": [verdict],
        },
    )


class Million:
    """A dataset whose items cost nothing, so that the seeking is seen."""

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(index)


def seek(rounds: int) -> None:
    """Print how long the next batch takes, at the start and in the middle of an epoch."""
    found: dict[str, list[float]] = {"from the start": [], "from the middle": []}
    for _, (name, position) in itertools.product(
        range(rounds), (("from the start", 0), ("from the middle", 7_812))
    ):
        loader = TfmdDL(Million(), bs=64, shuffle=True, seed=1, num_workers=0)
        begun = time.perf_counter()
        loader.load_state_dict({"seed": 1, "epoch": 3, "position": position})
        next(iter(loader))
        found[name].append(time.perf_counter() - begun)
    verdict = "kept" if statistics.median(found["from the middle"]) < 1 else "MISSED"
    rows = {
        name: [f"{min(times):.3f} s", f"{statistics.median(times):.3f} s"]
        for name, times in found.items()
    }
    rows["budget 1 s"] = ["", verdict]
    print_facts("The first batch of a million items", ["fastest", "median"], rows)


def main() -> None:
    """Run the part that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["cost", "seek"])
    parser.add_argument("--size", type=int, default=128, help="pixels of a side")
    parser.add_argument("--bs", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(versions("torch", "safetensors"))  # noqa: T201
    if given.part == "cost":
        cost(given.size, given.bs, given.rounds)
    else:
        seek(given.rounds)


if __name__ == "__main__":
    main()
