"""Image classification: files to batches, and fine-tuning, beside fastai's and torchvision's.

Run with `OMP_NUM_THREADS=1 python tests/benchmarks/bench_classify.py`, or one part of it: `files`,
`training`; `--quick` for a look, `--seeds 10` for means whose difference says something. Pictures
are the garments that ship with torte; for `files` they are made JPEG files of 256 x 192 pixels
first. Budgets: a batch no slower than fastai's, and after the same epochs of the same network from
the same pretrained weights at least as accurate.
"""

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import Timing, measure, print_facts, print_table, timing, versions

HAS_FASTAI = importlib.util.find_spec("fastai") is not None
HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None
SIZE, BATCH = 64, 32
ARCHITECTURE = "tf_efficientnet_lite0"
# The statistics that these weights were trained with.
MEAN, STD = [0.5] * 3, [0.5] * 3


def garments() -> Path:
    """The sample's folder, with `train` and `valid`, each with a folder a class."""
    from torte.data import URLs, untar_data

    return untar_data(URLs.FASHION_SAMPLE)


def write_photos(folder: Path, count: int) -> list[Path]:
    """JPEG files in the size of photographs after a first reduction, of two classes.

    Returns:
        Those of `folder / "train"`; `folder / "valid"` has one of each class.
    """
    from PIL import Image

    sources = sorted(garments().glob("train/*/*"))
    written = []
    for place in range(count + 2):
        part = "train" if place < count else "valid"
        file = folder / part / "ab"[place % 2] / f"{place}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.open(sources[place % len(sources)]).convert("RGB")
        picture.resize((256, 192), Image.Resampling.BICUBIC).save(file)
        written.append(file)
    return written[:count]


def _consumed(loader: Any) -> Callable[[], None]:
    def run() -> None:
        for _ in loader:
            pass

    return run


def _decoded(files: list[Path]) -> Callable[[], None]:
    """Pillow alone: decoding and resizing, no tensors."""
    from PIL import Image

    def run() -> None:
        for file in files:
            with Image.open(file) as picture:
                picture.convert("RGB").resize((128, 128), Image.Resampling.BILINEAR)

    return run


def bench_files(quick: bool, _: int) -> None:
    """JPEG files to float batches of 128 x 128 pixels, in one process."""
    from torte.vision.all import ImageDataLoaders, Resize

    count = 64 if quick else 256
    settings: dict[str, Any] = {"bs": BATCH, "num_workers": 0, "device": "cpu"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_photos(folder, count)
        squish: Any = Resize(128, method="squish")
        ours = ImageDataLoaders.from_folder(folder, item_tfms=squish, **settings)
        candidates: dict[str, Callable[[], None]] = {
            "torte": _consumed(ours.train),
            "Pillow alone": _decoded(files),
        }
        if HAS_TORCHVISION:
            candidates["torchvision ImageFolder"] = _consumed(_torchvision_loader(folder / "train"))
        if HAS_FASTAI:
            from fastai.vision.all import ImageDataLoaders as Theirs
            from fastai.vision.all import Resize as TheirResize

            squish = TheirResize(128, method="squish")
            theirs = Theirs.from_folder(folder, item_tfms=squish, **settings)
            candidates["fastai"] = _consumed(theirs.train)
        timings = measure(candidates, rounds=3 if quick else 7, seconds=0.01)
    title = f"{count} JPEG files to batches of {BATCH} at 128 pixels"
    print_table(title, timings, "torte", () if HAS_FASTAI else ("fastai",))


def _torchvision_loader(folder: Path) -> Any:
    from torchvision import datasets, transforms

    steps = transforms.Compose([transforms.Resize((128, 128)), transforms.ToTensor()])
    data = datasets.ImageFolder(str(folder), steps)
    return torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True)


def _torte_learner(seed: int) -> Any:
    from torte.vision.all import ImageDataLoaders, Resize, accuracy, vision_learner

    dls = ImageDataLoaders.from_folder(
        garments(), item_tfms=Resize(SIZE), bs=BATCH, seed=seed, num_workers=0, device="cpu"
    )
    torch.manual_seed(seed)
    learn = vision_learner(dls, ARCHITECTURE, metrics=accuracy)
    learn.unfreeze()
    return learn


def _fastai_learner(seed: int) -> Any:
    from fastai.vision.all import ImageDataLoaders, Learner, Normalize, Resize, accuracy

    twin = _torte_learner(seed)
    dls = ImageDataLoaders.from_folder(
        garments(),
        item_tfms=Resize(SIZE),
        batch_tfms=Normalize.from_stats(MEAN, STD),
        bs=BATCH,
        seed=seed,
        num_workers=0,
        device="cpu",
    )
    torch.manual_seed(seed)
    return Learner(dls, twin.model, splitter=twin.splitter, metrics=accuracy)


MAKERS = {"torte": _torte_learner, "fastai": _fastai_learner}


def bench_training(quick: bool, seeds: int) -> None:
    """Fine-tuning from the same weights, in turns: accuracy and seconds a batch."""
    names = [name for name in MAKERS if name != "fastai" or HAS_FASTAI]
    taken: dict[str, list[float]] = {name: [] for name in names}
    reached: dict[str, list[float]] = {name: [] for name in names}
    epochs, seeds = (1, 1) if quick else (3, seeds)
    for seed in range(seeds):
        for name in names if seed % 2 == 0 else reversed(names):
            learn = MAKERS[name](seed)
            batches = len(learn.dls.train)
            with learn.no_bar(), learn.no_logging():
                start = time.perf_counter()
                learn.fit_one_cycle(epochs, 4e-3)
                taken[name].append((time.perf_counter() - start) / epochs / batches)
                reached[name].append(float(learn.validate()[1]))
    timings: dict[str, Timing] = {name: timing(each) for name, each in taken.items()}
    title = f"{ARCHITECTURE} at {SIZE} pixels: training and validation, a batch of {BATCH}"
    print_table(title, timings, "torte", () if HAS_FASTAI else ("fastai",))
    rows = {
        name: [f"{sum(each) / len(each):.3f}", " ".join(f"{a:.3f}" for a in each)]
        for name, each in reached.items()
    }
    print_facts(f"Accuracy after {epochs} epochs", ["mean", "by seed"], rows)


PARTS = {"files": bench_files, "training": bench_training}


def main() -> None:
    """Print the tables of the parts that are named, or of all."""
    parser = argparse.ArgumentParser(description="Classification beside fastai's.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer files, one epoch, one seed")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each library")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    versions("torch", "torchvision", "pillow", "fastai")
    for name in arguments.parts or PARTS:
        PARTS[name](arguments.quick, arguments.seeds)


if __name__ == "__main__":
    main()
