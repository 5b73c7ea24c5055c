"""Batch augmentation beside its peers: the `aug_transforms` mix on 64 x 3 x 224 x 224.

    .venv/bin/python tests/benchmarks/bench_augment.py [--size 224] [--n 64] [--rounds 15]

The yardstick is one bare `grid_sample` pass over the float batch, grid given. Every peer does the
same mix at the same strengths: flip, perspective, rotation, zoom, brightness, contrast, normalize.
torchvision v2 draws once for a batch, or, image by image, once an image. Peers that are not
installed are named as absent. Budget: at least 0.75 of the yardstick's speed.

A result of 38 MB is new memory at every call: glibc takes it from the system and gives it back, so
that `grid_sample` alone meets 9,409 page faults a call, whose price varies from day to day.
`--keep-memory` lets glibc keep what is freed, which takes the faults out of every candidate's time.
"""

import argparse
import ctypes
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import torchvision.transforms.v2 as tv
from common import measure, print_table, versions
from torte.data.numeric import Normalize
from torte.vision.augment import Augment, Saturation, Shear, Translate, aug_transforms
from torte.vision.augment.kernels import cpu

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def torchvision_mix() -> Callable[[torch.Tensor], torch.Tensor]:
    """torchvision's transforms of the same kinds and strengths."""
    return tv.Compose(
        [
            tv.RandomHorizontalFlip(),
            tv.RandomPerspective(0.2, p=0.75),
            tv.RandomApply(
                [
                    tv.RandomAffine(
                        10, scale=(1.0, 1.1), interpolation=tv.InterpolationMode.BILINEAR
                    )
                ],
                0.75,
            ),
            tv.RandomApply([tv.ColorJitter(0.2, 0.2)], 0.75),
            tv.Normalize(MEAN, STD),
        ]
    )


def kornia_mix() -> Any:
    """kornia's, or None where it is not installed."""
    if importlib.util.find_spec("kornia") is None:
        return None
    import kornia.augmentation as K

    return K.AugmentationSequential(
        K.RandomHorizontalFlip(),
        K.RandomPerspective(0.2, p=0.75),
        K.RandomAffine(10, scale=(1.0, 1.1), p=0.75),
        K.RandomBrightness((0.9, 1.1), p=0.75),
        K.RandomContrast((0.8, 1.25), p=0.75),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    )


def fastai_mix() -> Callable[[torch.Tensor], torch.Tensor] | None:
    """fastai's own `aug_transforms`, or None where it is not installed."""
    if importlib.util.find_spec("fastai") is None:
        return None
    from fastai.vision import all as fastai

    normalize = fastai.Normalize.from_stats(MEAN, STD, cuda=False)
    mix = fastai.Pipeline([*fastai.aug_transforms(), normalize], split_idx=0)
    return lambda images: mix(fastai.TensorImage(images.clone()))


def candidates(n: int, size: int) -> tuple[dict[str, Callable[[], Any]], tuple[str, ...]]:
    """What is measured, by name, and which peers are absent."""
    images = torch.rand(n, 3, size, size)
    whole = (images * 255).to(torch.uint8)
    theta = torch.tensor([[0.97, 0.15, 0.02], [-0.15, 0.97, 0.01]]).expand(n, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    normalize = Normalize.from_stats(MEAN, STD)
    engine = Augment(*aug_transforms(), normalize)
    last = Augment(*aug_transforms(), normalize, channels_last=True)
    half = Augment(*aug_transforms(), normalize, dtype=torch.bfloat16)
    more = Augment(*aug_transforms(), Translate(), Shear(), Saturation(), normalize)
    plain = Augment(*aug_transforms(), normalize, kernels=False)
    mix, kornia, fastai = torchvision_mix(), kornia_mix(), fastai_mix()
    found: dict[str, Callable[[], Any]] = {
        "grid_sample alone": lambda: F.grid_sample(images, grid, align_corners=False),
        "grid_sample alone, reflection": lambda: F.grid_sample(
            images, grid, padding_mode="reflection", align_corners=False
        ),
        "torte, float": lambda: engine(images),
        "torte, float, channels last out": lambda: last(images),
        "torte, uint8": lambda: engine(whole),
        "torte, uint8 to bfloat16": lambda: half(whole),
        "torte, float, three more transforms": lambda: more(images),
        "torte, float, plain PyTorch": lambda: plain(images),
        "torchvision v2, one draw a batch": lambda: mix(images),
        "torchvision v2, image by image": lambda: torch.stack([mix(image) for image in images]),
    }
    absent = tuple(name for name in ("fastai", "kornia") if importlib.util.find_spec(name) is None)
    if fastai is not None:
        found["fastai"] = lambda: fastai(images)
    if kornia is not None:
        found["kornia, eager"] = lambda: kornia(images)
        compiled = torch.compile(kornia)
        found["kornia, compiled"] = lambda: compiled(images)
    return found, absent


def keep_memory() -> None:
    """Let glibc keep freed memory rather than give it back to the system (Linux)."""
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    for parameter in (trim_threshold, mmap_threshold):
        if not libc.mallopt(parameter, 1 << 30):
            raise RuntimeError("this system's malloc takes no thresholds")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--keep-memory", action="store_true")
    options = parser.parse_args()
    if options.keep_memory:
        keep_memory()
    print(versions("torch", "torchvision", "kornia", "fastai"))  # noqa: T201
    print(f"threads {torch.get_num_threads()}, kernel {cpu.why_not() or 'runs'}")  # noqa: T201
    found, absent = candidates(options.n, options.size)
    timings = measure(found, rounds=options.rounds, seconds=0.0)
    yardstick = "grid_sample alone"
    title = f"aug_transforms on {options.n} x 3 x {options.size} x {options.size}"
    budget = timings[yardstick].fastest / 0.75
    print_table(title, timings, yardstick, absent, budget)
    for name, timing in timings.items():
        speed = options.n / timing.fastest
        share = timings[yardstick].fastest / timing.fastest
        usual = timings[yardstick].median / timing.median
        print(  # noqa: T201
            f"  {name:36}{speed:>10.0f} img/s{share:>8.2f} of the yardstick, {usual:.2f} by medians"
        )


if __name__ == "__main__":
    main()
