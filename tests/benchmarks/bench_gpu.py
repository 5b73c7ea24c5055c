"""What needs a GPU: ResNet-50 in bfloat16, augmentation beside the bytes it moves, optimizer steps.

    python tests/benchmarks/bench_gpu.py [training] [files] [augment] [synchronization]
    python tests/benchmarks/bench_gpu.py --try    # the same code, small, on whatever is there

All parts, or those that are named; `bench_optim.py` measures the steps. Without a GPU it says so
and ends. Times are between two synchronizations, candidates in turn.

Budgets: training from JPEG files at least 0.95 of the speed of the model alone on random data;
augmentation at most 1.3 times as long as moving its bytes once, and a third of compiled kornia's.
"""

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import Timing, print_facts, print_table, record, timing, versions
from PIL import Image
from torch import nn
from torchvision.models import resnet50
from torte.learner import Callback, CrossEntropyLossFlat, Learner
from torte.vision.all import (
    ImageDataLoaders,
    Normalize,
    RandomResizedCrop,
    imagenet_stats,
)
from torte.vision.augment import Augment, aug_transforms

Call = Callable[[], Any]
PARTS = ("training", "files", "augment", "synchronization")


class Sizes(NamedTuple):
    """How large everything is."""

    device: torch.device
    batch: int = 256
    side: int = 224
    batches: int = 20
    rounds: int = 8
    images: int = 8192
    augmented: int = 64


def small(device: torch.device) -> Sizes:
    """Sizes at which the script can be tried anywhere."""
    return Sizes(device, batch=4, side=64, batches=2, rounds=1, images=16, augmented=2)


def synchronize(device: torch.device) -> None:
    """Wait for what was launched."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turn(candidates: dict[str, Call], sizes: Sizes, repeat: int = 1) -> dict[str, Timing]:
    """Time calls side by side, `repeat` of them at a time; the first is not counted."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(sizes.rounds + 1):
        for name, call in candidates.items():
            synchronize(sizes.device)
            start = time.perf_counter()
            for _ in range(repeat):
                call()
            synchronize(sizes.device)
            if turn:
                times[name].append((time.perf_counter() - start) / repeat)
    return {name: timing(taken) for name, taken in times.items()}


def random_batches(sizes: Sizes) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One batch on the device, again and again: data that cost nothing."""
    shape = (sizes.batch, 3, sizes.side, sizes.side)
    images = torch.randn(shape, device=sizes.device).to(memory_format=torch.channels_last)
    return [(images, torch.randint(0, 1000, (sizes.batch,), device=sizes.device))] * sizes.batches


def network(sizes: Sizes) -> nn.Module:
    """ResNet-50 with its weights channels-last."""
    torch.manual_seed(0)
    return resnet50().to(sizes.device, memory_format=torch.channels_last)


def bare_training(sizes: Sizes) -> Call:
    """The loop that everyone writes by hand: bfloat16 autocast, SGD."""
    model, batches, loss_func = network(sizes), random_batches(sizes), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)

    def run() -> None:
        for x, y in batches:
            with torch.autocast(sizes.device.type, torch.bfloat16):
                loss = loss_func(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def learner(sizes: Sizes, dls: Any) -> Learner:
    """A Learner of the same, without a bar."""
    learn = Learner(dls, network(sizes), CrossEntropyLossFlat(), opt_func=_sgd, lr=1e-3)
    learn.remove_cb(learn.progress)
    return learn.to_bf16().to_channelslast()


def _sgd(params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=lr, momentum=0.9, fused=True, **kwargs)


def trains(learn: Learner) -> Call:
    """A pass of a Learner, its table shown to nobody."""

    def run() -> None:
        with learn.no_logging():
            learn.fit(1)

    return run


def training(sizes: Sizes) -> None:
    """What the Learner costs where the GPU does the work."""
    candidates = {
        "bare PyTorch loop": bare_training(sizes),
        "torte": trains(learner(sizes, (random_batches(sizes),))),
    }
    title = f"{sizes.batches} batches of ResNet-50, bfloat16, {sizes.batch} x 3 x {sizes.side}²"
    found = in_turn(candidates, sizes)
    print_table(title, found, "bare PyTorch loop")
    count = sizes.batch * sizes.batches
    rows = {name: [count / each.fastest, count / each.median] for name, each in found.items()}
    print_facts("The same in images a second", ("fastest", "by medians"), rows)


def write_jpegs(folder: Path, sizes: Sizes) -> None:
    """Smooth noise as JPEG files of some 500 x 375 pixels, about as large as ImageNet's."""
    generator = np.random.default_rng(0)
    for number in range(sizes.images):
        coarse = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        file = folder / f"class{number % 10}" / f"{number}.jpg"
        file.parent.mkdir(exist_ok=True)
        image.save(file, quality=95)


class Steady(Callback):
    """Times a pass but for its first batches, at which workers start."""

    skipped = 4

    def after_batch(self) -> None:
        """Note the time after the last of the first batches, and after the last of all."""
        learn = self.learn
        first, last = min(self.skipped, learn.n_iter - 1) - 1, learn.n_iter - 1
        if learn.iter in (first, last):
            synchronize(learn.device)
        if learn.iter == first:
            self.begun = time.perf_counter()
        elif learn.iter == last:
            self.seconds = (time.perf_counter() - self.begun) / (last - first)


def files(sizes: Sizes) -> None:
    """From JPEG files to the step, beside the model alone on random data."""
    alone = in_turn({"alone": bare_training(sizes)}, sizes)["alone"].fastest / sizes.batches
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder), sizes)
        dls = ImageDataLoaders.from_folder(
            folder,
            valid_pct=0.0,
            item_tfms=RandomResizedCrop(sizes.side),
            batch_tfms=Normalize.from_stats(*imagenet_stats),
            bs=sizes.batch,
            num_workers=os.cpu_count() or 1,
            device=sizes.device,
        )
        learn, clock = learner(sizes, dls), Steady()
        learn.model.fc = nn.Linear(2048, dls.c, device=sizes.device)
        learn.add_cb(clock)
        trains(learn)()
    speeds = {"model alone, random data": alone, "torte, from JPEG files": clock.seconds}
    rows = {name: [sizes.batch / each, alone / each] for name, each in speeds.items()}
    columns = ("images/s", "of the model alone")
    print_facts(f"From JPEG files to the step, {os.cpu_count()} workers", columns, rows)


def augment(sizes: Sizes) -> None:
    """The `aug_transforms` mix of a uint8 batch, beside reading and writing its bytes once."""
    n, side, device = sizes.augmented, sizes.side, sizes.device
    whole = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, device=device)
    images = whole.float() / 255
    normalize = Normalize.from_stats(*imagenet_stats)
    engine = Augment(*aug_transforms(), normalize)
    half = Augment(*aug_transforms(), normalize, dtype=torch.bfloat16)
    # As many bytes as the uint8 batch read and the bfloat16 batch written.
    moved = torch.empty(whole.numel() * 3 // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(moved)
    candidates: dict[str, Call] = {
        "the bytes, moved once": lambda: target.copy_(moved),
        "torte, uint8 to bfloat16": lambda: half(whole),
        "torte, float": lambda: engine(images),
    }
    absent: tuple[str, ...] = ()
    if importlib.util.find_spec("kornia") is None:
        absent = ("kornia, compiled",)
    else:
        from bench_augment import kornia_mix

        kornia = kornia_mix().to(device)
        compiled = torch.compile(kornia)
        candidates |= {
            "kornia, eager": lambda: kornia(images),
            "kornia, compiled": lambda: compiled(images),
        }
    found = in_turn(candidates, sizes, repeat=20)
    allowed = found["the bytes, moved once"].fastest * 1.3
    title = f"aug_transforms on {n} x 3 x {side} x {side}, {device.type}"
    print_table(title, found, "the bytes, moved once", absent, allowed)


def synchronization(sizes: Sizes) -> None:
    """A fit in which any wait for the device is an error, once the first epoch is over."""
    if sizes.device.type != "cuda":
        return
    learn = learner(sizes, (random_batches(sizes),))
    trains(learn)()
    learn.add_cb(Strict())
    trains(learn)()
    text = "Batches of a fit in which PyTorch's sync debug mode raises: none waited."
    print(text)  # noqa: T201
    record("note", text=text)


class Strict(Callback):
    """Lets a wait for the device raise within the training part."""

    def before_train(self) -> None:
        """Begin."""
        torch.cuda.set_sync_debug_mode("error")

    def after_train(self) -> None:
        """End."""
        torch.cuda.set_sync_debug_mode("default")

    def clean_up(self) -> None:
        """End after an error too."""
        torch.cuda.set_sync_debug_mode("default")


def main() -> None:
    """Run the parts, or say that there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="none: all of them")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="small, on any device")
    options = parser.parse_args()
    has_gpu = torch.cuda.is_available()
    if not has_gpu and not options.is_trial:
        text = "There is no GPU here: nothing was measured."
        print(text)  # noqa: T201
        record("note", text=text)
        return
    device = torch.device("cuda", torch.cuda.current_device()) if has_gpu else torch.device("cpu")
    sizes = small(device) if options.is_trial else Sizes(device)
    print(versions("torch", "torchvision", "kornia"))  # noqa: T201
    parts = {"training": training, "files": files, "augment": augment}
    for name, part in {**parts, "synchronization": synchronization}.items():
        if not options.parts or name in options.parts:
            part(sizes)


if __name__ == "__main__":
    main()
