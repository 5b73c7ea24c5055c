"""Masks and key points beside fastai's: the same canvases, pretrained body, budget and seeds.

Run `python tests/benchmarks/bench_vision.py`, or one part of it: `masks`, `points`; `--only speed`
for the time of a batch alone, `--only learning` for what is reached alone; `--quick` for a look.
Canvases are those of `examples/garment_canvas.py`, made of the garments that ship with torte or,
with `TORTE_BENCHMARK_DATA`, of all of Fashion-MNIST. Each library trains the network of its own
defaults on the same weights, with the same lines of users' code. Budget: a batch no slower than
fastai's, and at least as accurate.
"""

import argparse
import importlib
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import measure, print_facts, print_table, timing, versions
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from garment_canvas import NAMES, Canvas, make_canvases

ARCHITECTURE = "tf_efficientnet_lite0"
# The statistics that these weights were trained with.
MEAN, STD = [0.5] * 3, [0.5] * 3
CODES = ["background", *NAMES]
SIDE, Y_RANGE = 64, (-1.1, 1.1)
LIBRARIES = ["torte", *(["fastai"] if importlib.util.find_spec("fastai") else [])]


class Budget(NamedTuple):
    """What one learner is given: canvases to train with, a batch's, epochs, and the rate."""

    canvases: int
    batch: int
    epochs: int
    rate: float


def canvases(count: int, seed: int, most: int) -> list[Canvas]:
    """Canvases to train with and half as many others to look at, another draw for each seed."""
    folder = os.environ.get("TORTE_BENCHMARK_DATA")
    data = Path(folder) / "fashion-mnist" if folder else None
    return make_canvases(data, count, max(count // 2, 8), side=SIDE, most=most, seed=seed)


def loaders(
    library: str, made: list[Canvas], target: Any, get_y: Any, tfms: dict[str, Any], bs: int
) -> Any:
    """Batches of images and targets; the same lines for both libraries."""
    vision: Any = importlib.import_module(f"{library}.vision.all")
    block = vision.DataBlock(
        blocks=(vision.ImageBlock, target(vision)),
        get_x=lambda canvas: canvas.image,
        get_y=get_y,
        splitter=vision.FuncSplitter(lambda canvas: canvas.is_valid),
        batch_tfms=[*vision.aug_transforms(**tfms), vision.Normalize.from_stats(MEAN, STD)],
    )
    return block.dataloaders(made, bs=bs, num_workers=0, device="cpu")


def pretrained_body() -> nn.Sequential:
    """Stem and stages of the network, one after another, as fastai's U-Net and heads take them."""
    from torte.vision.all import create_timm_model

    network: Any = create_timm_model(ARCHITECTURE, 1)[0]
    body = network[0].model.to(memory_format=torch.contiguous_format)
    return nn.Sequential(body.conv_stem, body.bn1, *body.blocks)


def masks_learner(library: str, budget: Budget, seed: int) -> Any:
    """A U-Net that says for each pixel which garment it belongs to."""
    made = canvases(budget.canvases, seed, most=4)
    tfms = {"max_rotate": 10, "max_warp": 0}
    dls = loaders(library, made, lambda v: v.MaskBlock(CODES), lambda c: c.mask, tfms, budget.batch)
    torch.manual_seed(seed)
    if library == "torte":
        from torte.vision.all import unet_learner

        return unet_learner(dls, ARCHITECTURE)
    from fastai.vision.all import CrossEntropyLossFlat, DynamicUnet, Learner, default_split

    unet = DynamicUnet(pretrained_body(), len(CODES), (SIDE, SIDE))
    learn = Learner(dls, unet, loss_func=CrossEntropyLossFlat(axis=1), splitter=default_split)
    learn.freeze()
    return learn


def points_learner(library: str, budget: Budget, seed: int) -> Any:
    """A network that finds the four ends of a garment."""
    made = canvases(budget.canvases, seed, most=1)
    tfms = {"do_flip": False, "max_rotate": 0, "max_warp": 0, "max_zoom": 1.05}
    dls = loaders(library, made, lambda v: v.PointBlock, lambda c: c.points[0], tfms, budget.batch)
    torch.manual_seed(seed)
    if library == "torte":
        from torte.vision.all import vision_learner

        return vision_learner(dls, ARCHITECTURE, y_range=Y_RANGE)
    from fastai.vision.all import Learner, apply_init, create_head, default_split

    body = pretrained_body()
    head = create_head(320, 8, y_range=Y_RANGE)
    apply_init(head, nn.init.kaiming_normal_)
    learn = Learner(dls, nn.Sequential(body, head), splitter=default_split)
    learn.freeze()
    return learn


def masks_scores(learn: Any) -> dict[str, float]:
    """Share of the garments' pixels named right, and the mean Dice of the codes that are there."""
    given, wanted = (np.asarray(part) for part in learn.get_preds())
    named = given.argmax(1)
    garments = wanted > 0
    dices = [
        2
        * ((named == code) & (wanted == code)).sum()
        / ((named == code).sum() + (wanted == code).sum())
        for code in range(len(CODES))
        if (wanted == code).any()
    ]
    right = (named == wanted)[garments].mean()
    return {"foreground": float(right), "Dice": float(np.mean(dices))}


def points_scores(learn: Any) -> dict[str, float]:
    """The mean distance in pixels; coordinates go from -1 to 1."""
    given, wanted = (np.asarray(part, np.float64).reshape(-1, 4, 2) for part in learn.get_preds())
    return {"pixels off": float(np.linalg.norm((given - wanted) * SIDE / 2, axis=2).mean())}


class Task(NamedTuple):
    """A learner of either library, what it reaches, and the budgets: to learn, to be timed."""

    title: str
    learner: Callable[[str, Budget, int], Any]
    scores: Callable[[Any], dict[str, float]]
    learning: Budget
    speed: Budget


TASKS = {
    "masks": Task(
        "U-Net on canvases",
        masks_learner,
        masks_scores,
        Budget(320, 16, 3, 3e-3),
        Budget(64, 16, 1, 1e-3),
    ),
    "points": Task(
        "Key points on canvases",
        points_learner,
        points_scores,
        Budget(640, 32, 6, 5e-3),
        Budget(128, 32, 1, 1e-3),
    ),
}


def bench_speed(task: Task, quick: bool) -> None:
    """Training alone with all of the network unfrozen, an epoch of a few batches in turns."""
    learners = {name: task.learner(name, task.speed, 0) for name in LIBRARIES}
    for learn in learners.values():
        learn.unfreeze()
        learn.remove_cb(learn.progress)
        learn.logger = lambda row: None
    epochs = {name: _epoch(learn, task.speed.rate) for name, learn in learners.items()}
    batches = len(learners["torte"].dls.train)
    taken = measure(epochs, rounds=3 if quick else 7, seconds=0.001)
    timings = {name: type(each)(*(part / batches for part in each)) for name, each in taken.items()}
    title = f"{task.title} of {SIDE} pixels: training, a batch of {task.speed.batch}"
    print_table(title, timings, "torte", () if "fastai" in LIBRARIES else ("fastai",))
    rows = {
        name: [each.median * 1e3, each.spread * 1e3, each.median / timings["torte"].median]
        for name, each in timings.items()
    }
    print_facts(f"{title} (ms)", ["median", "middle half", "ratio"], rows)


def _epoch(learn: Any, rate: float) -> Callable[[], None]:
    return lambda: learn.fit(1, rate)


def bench_learning(task: Task, quick: bool, seeds: int) -> None:
    """The same budget for both, in turns: what they reach on canvases of other garments."""
    budget = task.learning._replace(canvases=64, epochs=1) if quick else task.learning
    reached: dict[str, dict[str, list[float]]] = {name: {} for name in LIBRARIES}
    taken: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    for seed in range(1 if quick else seeds):
        for name in LIBRARIES if seed % 2 == 0 else reversed(LIBRARIES):
            learn = task.learner(name, budget, seed)
            with learn.no_bar(), learn.no_logging():
                start = time.process_time()
                learn.fine_tune(budget.epochs, budget.rate)
                taken[name].append(time.process_time() - start)
                for measure_name, value in task.scores(learn).items():
                    reached[name].setdefault(measure_name, []).append(value)
    title = f"{task.title}, {budget.canvases} to train with, one frozen and {budget.epochs} epochs"
    print_table(
        f"{title}: processor time",
        {name: timing(each) for name, each in taken.items()},
        "torte",
        () if "fastai" in LIBRARIES else ("fastai",),
    )
    names = list(reached["torte"])
    columns = [*names, *(f"{each} by seed" for each in names)]
    rows = {
        library: [
            *(statistics.fmean(found[each]) for each in names),
            *(_listed(found[each]) for each in names),
        ]
        for library, found in reached.items()
    }
    print_facts(f"{title}: reached", columns, rows)


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def main() -> None:
    """Print the tables of the parts that are named, or of all."""
    parser = argparse.ArgumentParser(description="Masks and key points beside fastai's.")
    parser.add_argument("parts", nargs="*", choices=[*TASKS, []], help="which; all by default")
    parser.add_argument("--only", choices=["speed", "learning"], help="both by default")
    parser.add_argument("--seeds", type=int, default=2, help="how often each library learns")
    parser.add_argument("--quick", action="store_true", help="fewer canvases, one epoch, one seed")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    versions("torch", "torchvision", "timm", "fastai")
    for name in arguments.parts or TASKS:
        if arguments.only != "learning":
            bench_speed(TASKS[name], arguments.quick)
        if arguments.only != "speed":
            bench_learning(TASKS[name], arguments.quick, arguments.seeds)


if __name__ == "__main__":
    main()
