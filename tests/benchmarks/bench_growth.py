"""How cost grows with size: transforms, parameters, rows, documents, users, workers.

    uv run --group bench python tests/benchmarks/bench_growth.py [transforms] [parameters] [rows]
        [documents] [users] [workers]

Each curve is the fastest of several interleaved runs. What stays flat, or grows as the bytes do, is
what the design promises; peers that are installed are beside it.
"""

import functools
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import measure, print_curves, versions
from PIL import Image
from torch.utils.data import DataLoader as TorchLoader
from torte import optim
from torte.collab.topk import top_items
from torte.data import PILImage, TfmdDL
from torte.tabular import Categorify, FillMissing, TabularPandas
from torte.vision.augment import (
    Augment,
    Brightness,
    Contrast,
    Hue,
    Rotate,
    Saturation,
    Translate,
    Warp,
    Zoom,
)

Curves = dict[str, dict[float, float]]


def curves(
    sizes: Iterable[int], makers: dict[str, Callable[[int], Callable[[], Any]]], **how: Any
) -> Curves:
    """Seconds of each candidate at each size; all candidates of one size run in turn."""
    found: Curves = {name: {} for name in makers}
    for size in sizes:
        timings = measure({name: make(size) for name, make in makers.items()}, **how)
        for name, timing in timings.items():
            found[name][size] = timing.fastest
    return found


def is_installed(name: str) -> bool:
    """Whether a peer is there."""
    return importlib.util.find_spec(name) is not None


# -- transforms ------------------------------------------------------------------------------------


def transforms() -> None:
    """Batch augmentation by the number of transforms: one sampling, or one each."""
    images = torch.rand(16, 3, 224, 224)
    chain = [Rotate(), Zoom(), Brightness(), Contrast(), Warp(), Translate(), Saturation(), Hue()]

    def torte(count: int) -> Callable[[], Any]:
        return functools.partial(Augment(*chain[:count]), images)

    makers: dict[str, Callable[[int], Callable[[], Any]]] = {"torte": torte}
    if is_installed("kornia"):
        import kornia.augmentation as kornia

        steps = [
            kornia.RandomAffine(10, p=1.0),
            kornia.RandomAffine(0, scale=(1.0, 1.1), p=1.0),
            kornia.RandomBrightness((0.9, 1.1), p=1.0),
            kornia.RandomContrast((0.8, 1.25), p=1.0),
            kornia.RandomPerspective(0.2, p=1.0),
            kornia.RandomAffine(0, translate=(0.1, 0.1), p=1.0),
            kornia.RandomSaturation((0.8, 1.2), p=1.0),
            kornia.RandomHue((-0.1, 0.1), p=1.0),
        ]
        makers["kornia"] = lambda count: functools.partial(
            kornia.AugmentationSequential(*steps[:count]), images
        )
    found = curves((1, 2, 4, 8), makers, rounds=6, seconds=0.0)
    print_curves("Augmenting 16 images of 3 x 224 x 224", "transforms", "s", found)


# -- parameters ------------------------------------------------------------------------------------


def parameters() -> None:
    """A step of Adam by the number of parameters, each of a thousand elements."""

    def step(make: Callable[..., torch.optim.Optimizer], count: int) -> Callable[[], Any]:
        made = [torch.nn.Parameter(torch.randn(1000)) for _ in range(count)]
        for parameter in made:
            parameter.grad = torch.randn(1000)
        return make(made, lr=1e-3).step

    adamw = functools.partial(torch.optim.AdamW)
    makers = {
        "torte Adam": functools.partial(step, optim.Adam),
        "torte Lamb": functools.partial(step, optim.Lamb),
        "torch AdamW fused": functools.partial(step, functools.partial(adamw, fused=True)),
        "torch AdamW foreach": functools.partial(step, functools.partial(adamw, foreach=True)),
    }
    found = curves((1, 10, 100, 1000), makers, rounds=20)
    print_curves("One optimizer step", "parameters of 1,000 elements", "s", found)


# -- rows ------------------------------------------------------------------------------------------


def frame(rows: int) -> pd.DataFrame:
    """Two columns of categories and two of numbers, some missing."""
    draw = np.random.default_rng(0)
    numbers = draw.normal(size=rows)
    numbers[::17] = np.nan
    return pd.DataFrame(
        {
            "town": draw.choice([f"town {i}" for i in range(500)], rows),
            "kind": draw.choice(["a", "b", "c"], rows),
            "size": numbers,
            "age": draw.integers(0, 90, rows),
            "y": draw.integers(0, 2, rows).astype("float32"),
        }
    )


def rows() -> None:
    """Preparing a table and one pass in batches of 1,024, by its rows."""

    def names() -> dict[str, Any]:  # new lists each time: fastai adds to those that it is given
        return {"cat_names": ["town", "kind"], "cont_names": ["size", "age"], "y_names": "y"}

    def torte(count: int) -> Callable[[], Any]:
        data, cut = frame(count), (list(range(count // 10, count)), list(range(count // 10)))

        def run() -> None:
            table = TabularPandas(data, procs=[Categorify, FillMissing], splits=cut, **names())
            for _ in table.dataloaders(bs=1024, device="cpu").train:
                pass

        return run

    makers: dict[str, Callable[[int], Callable[[], Any]]] = {"torte": torte}
    if is_installed("fastai"):
        from fastai.tabular import all as fastai

        def peer(count: int) -> Callable[[], Any]:
            data, cut = frame(count), (list(range(count // 10, count)), list(range(count // 10)))

            def run() -> None:
                table = fastai.TabularPandas(
                    data.copy(), [fastai.Categorify, fastai.FillMissing], splits=cut, **names()
                )
                for _ in table.dataloaders(bs=1024).train:
                    pass

            return run

        makers["fastai"] = peer
    found = curves((10_000, 100_000, 400_000), makers, rounds=2, seconds=0.0)
    print_curves("Preparing a table, and one pass", "rows", "s", found)


# -- documents -------------------------------------------------------------------------------------


def documents() -> None:
    """Tokenizing by the number of documents, in this process."""
    import spacy
    from torte.data import URLs, untar_data
    from torte.text import Tokenizer

    file = next(untar_data(URLs.REVIEWS_SAMPLE).glob("*.csv"))
    texts = pd.read_csv(file).select_dtypes("object").iloc[:, -1].dropna().astype(str).tolist()
    blank = spacy.blank("en")

    def many(count: int) -> list[str]:
        return (texts * (count // len(texts) + 1))[:count]

    def torte(count: int) -> Callable[[], Any]:
        given, tokenizer = many(count), Tokenizer()
        return lambda: [tokenizer(text) for text in given]

    def alone(count: int) -> Callable[[], Any]:
        given = many(count)
        return lambda: [[token.text for token in blank(text)] for text in given]

    makers = {"torte, rules and spaCy": torte, "spaCy alone": alone}
    found = curves((100, 1000, 4000), makers, rounds=3, seconds=0.0)
    print_curves("Tokenizing clothing reviews", "documents", "s", found)


# -- users -----------------------------------------------------------------------------------------


def users() -> None:
    """The ten best of 20,000 items for each user, beside the bare products and their top-k."""
    items, bias = torch.randn(20_000, 50), torch.zeros(20_000)

    def torte(count: int) -> Callable[[], Any]:
        factors = torch.randn(count, 50)
        return lambda: top_items(factors, items, bias, 10)

    def bare(count: int) -> Callable[[], Any]:
        factors = torch.randn(count, 50)
        return lambda: [(block @ items.T).topk(10) for block in factors.split(512)]

    found = curves(
        (100, 1000, 4000), {"torte": torte, "bare, in blocks": bare}, rounds=3, seconds=0
    )
    print_curves("The ten best of 20,000 items", "users", "s", found)


# -- workers ---------------------------------------------------------------------------------------


def photo(path: Path) -> torch.Tensor:
    """A picture file as a tensor of 224 by 224 pixels."""
    image = PILImage.create(path).resize((224, 224))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class Photos(torch.utils.data.Dataset):
    """Picture files as tensors, for PyTorch's loader."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return photo(self.paths[index])


def workers() -> None:
    """JPEG files to batches by the number of worker processes (0: in this one)."""
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.jpg" for number in range(192)]
        for path in paths:
            pixels = draw.integers(0, 255, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((500, 375)).save(path)

        def torte(count: int) -> Callable[[], Any]:
            loader = TfmdDL(
                paths, bs=32, after_item=photo, num_workers=count - 1, device="cpu",
                persistent_workers=count > 1,
            )  # fmt: skip
            return lambda: list(loader)

        def torch_loader(count: int) -> Callable[[], Any]:
            loader = TorchLoader(
                Photos(paths), 32, num_workers=count - 1, persistent_workers=count > 1
            )
            return lambda: list(loader)

        makers = {"torte TfmdDL": torte, "torch DataLoader": torch_loader}
        found = curves((1, 2, 3), makers, rounds=3, seconds=0.0)
    print_curves(
        "192 JPEG files to batches",
        "processes: this one alone, or with so many less one",
        "s",
        found,
    )


PARTS = {each.__name__: each for each in (transforms, parameters, rows, documents, users, workers)}

if __name__ == "__main__":
    print(versions("torch", "kornia", "fastai", "spacy"))  # noqa: T201
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
