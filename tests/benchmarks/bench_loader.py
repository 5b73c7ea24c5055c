"""Loading: what an item costs beside a plain loop, and JPEG files to batches beside bare decoding.

Run with `OMP_NUM_THREADS=1 python tests/benchmarks/bench_loader.py`. Budgets: at most 15 µs an item
over a plain loop of the same functions, seeding included; JPEG file to 224-pixel batch at least
0.8 of decoding and one resize in the same number of processes; workers' memory flat.
"""

import functools
import importlib.util
import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import measure, print_table, versions
from PIL import Image
from torch.utils.data import DataLoader as TorchLoader
from torte.data import DataLoader, PILImage, TfmdDL, collate
from torte.dispatch import method

_ITEMS = 256  # a pass of 3 ms fits between two turns of other processes
_BS = 64
_FILES = 96


def _add_one(item: int) -> int:
    return item + 1


class _Numbers:
    def __len__(self) -> int:
        return _ITEMS

    def __getitem__(self, index: int) -> int:
        return index


def _exhaust(loader: Any) -> Callable[[], None]:
    def run() -> None:
        for _ in loader:
            pass

    return run


def _plain_loop() -> None:
    data = _Numbers()
    for first in range(0, _ITEMS, _BS):
        collate([_add_one(data[index]) for index in range(first, first + _BS)])


def bench_items() -> None:
    """Overhead an item, in this process."""
    data = _Numbers()
    candidates = {
        "a plain loop": _plain_loop,
        "torte DataLoader": _exhaust(DataLoader(data, bs=_BS, after_item=_add_one)),
        "torte TfmdDL": _exhaust(TfmdDL(data, bs=_BS, after_item=_add_one, num_workers=0)),
        "torte TfmdDL, shuffled": _exhaust(
            TfmdDL(data, bs=_BS, after_item=_add_one, num_workers=0, shuffle=True)
        ),
    }
    timings = measure(candidates, rounds=200, seconds=0.001)
    print_table(f"{_ITEMS} items in batches of {_BS}", timings, "a plain loop")
    loop = timings["a plain loop"].fastest
    for name, timing in timings.items():
        cost = (timing.fastest - loop) / _ITEMS * 1e6
        print(f"  {name:36}{cost:>9.2f} µs an item over the loop (budget 15)")  # noqa: T201


def _write_photos(folder: Path) -> list[Path]:
    """Files that decode at the speed of photographs of 500 by 375 pixels."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    files = []
    for number in range(_FILES):
        coarse = generator.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        path = folder / f"{number}.jpg"
        Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        files.append(path)
    return files


def _resize(image: Image.Image) -> Image.Image:
    return image.resize((224, 224), Image.Resampling.BILINEAR)


def _to_tensor(image: PILImage) -> torch.Tensor:
    return image.to_tensor()


def _image_folder(folder: Path) -> TorchLoader:
    """torchvision's ImageFolder in PyTorch's loader."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = v2.Compose([v2.Resize((224, 224)), v2.PILToTensor()])
    return TorchLoader(ImageFolder(str(folder), steps), 32)


def _fastai_loader(files: list[Path]) -> Any:
    """fastai's loader, or None where it is not installed."""
    if importlib.util.find_spec("fastai") is None:
        return None
    from fastai.vision import all as fastai

    items = fastai.Datasets(files, [[fastai.PILImage.create]])
    steps = [fastai.Resize(224, method="squish"), fastai.ToTensor()]
    return fastai.TfmdDL(items, bs=32, after_item=steps, num_workers=0)


def bench_photos(folder: Path) -> None:
    """JPEG files to batches of 224 by 224 pixels, in this process."""
    files = _write_photos(folder / "photos")

    def decode_and_resize() -> None:
        for path in files:
            with Image.open(path) as image:
                _resize(image.convert("RGB"))

    steps = [PILImage.create, _resize, _to_tensor]
    candidates: dict[str, Callable[[], None]] = {
        "decode and one resize": decode_and_resize,
        "torte TfmdDL": _exhaust(TfmdDL(files, bs=32, after_item=steps, num_workers=0)),
        "ImageFolder in torch's loader": _exhaust(_image_folder(folder)),
    }
    fastai = _fastai_loader(files)
    if fastai is not None:
        candidates["fastai TfmdDL"] = _exhaust(fastai)
    timings = measure(candidates, rounds=9, seconds=0.01)
    absent = () if fastai else ("fastai TfmdDL",)
    print_table(f"{_FILES} JPEG files of 500 by 375", timings, "decode and one resize", absent)
    bare = timings["decode and one resize"].fastest
    for name, timing in timings.items():
        rate = _FILES / timing.fastest
        ratio = bare / timing.fastest
        print(f"  {name:36}{rate:>9.0f} images/s, {ratio:.2f} of bare (budget 0.8)")  # noqa: T201


class _Memory:
    """A million items; one in a thousand is the memory of its process in MiB."""

    def __init__(self) -> None:
        self.names = np.arange(1_000_000)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> float:
        if self.names[index] % 1000:
            return 0.0
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def bench_memory() -> None:
    """Memory of two workers over three passes of a shuffled index of a million items."""
    loader = DataLoader(
        _Memory(),
        bs=4096,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        sample=method(lambda self: self.get_idxs()[:250_000]),
    )
    peaks = [max(float(batch.max()) for batch in loader) for _ in range(3)]
    shown = ", ".join(f"{peak:.1f}" for peak in peaks)
    print(f"\nMemory of a worker in three passes: {shown} MiB")  # noqa: T201


def bench_resume() -> None:
    """Time to the first batch of a pass that goes on near its end."""
    loader = DataLoader(range(1_000_000), bs=_BS, shuffle=True, seed=0)

    def first(position: int) -> None:
        loader.load_state_dict({"seed": 0, "epoch": 1, "position": position})
        next(itertools.islice(loader, 1))

    candidates = {
        "from the start": functools.partial(first, 0),
        "torte resumed at batch 15,000": functools.partial(first, 15_000),
    }
    print_table(
        "The first batch of a million items",
        measure(candidates, rounds=9, seconds=0.01),
        "from the start",
    )


def main() -> None:
    """Print every table."""
    print(versions("torch", "torchvision", "pillow", "numpy", "fastai"))  # noqa: T201
    torch.set_num_threads(1)
    bench_items()
    with tempfile.TemporaryDirectory() as folder:
        bench_photos(Path(folder))
    bench_resume()
    bench_memory()


if __name__ == "__main__":
    main()
