"""Small learners of each application, whose files of every release must go on loading."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torte.collab.all import CollabDataLoaders, collab_learner
from torte.learner import Learner
from torte.tabular.all import (
    Categorify,
    FillMissing,
    Normalize,
    TabularDataLoaders,
    tabular_learner,
)
from torte.text.all import (
    AWD_LSTM,
    TextDataLoaders,
    Tokenizer,
    WhitespaceTokenizer,
    text_classifier_learner,
)
from torte.vision.all import ImageDataLoaders, Resize, aug_transforms, xresnet18

CITIES = ["Bonn", "Kiel", None, "Ulm"]


def table(count: int = 32) -> pd.DataFrame:
    """Rows with categories, numbers, missing values of both and a label."""
    numbers = np.arange(count)
    return pd.DataFrame(
        {
            "city": [CITIES[n % 4] for n in numbers],
            "age": np.where(numbers % 7 == 3, np.nan, 20.0 + numbers % 50),
            "income": numbers * 100.5,
            "paid": np.where(numbers % 3 == 0, "yes", "no"),
        }
    )


def tabular(folder: Path) -> Learner:
    """A table: vocabularies, medians, statistics."""
    df = table()
    dls = TabularDataLoaders.from_df(
        df,
        procs=[Categorify, FillMissing, Normalize],
        cat_names=["city"],
        cont_names=["age", "income"],
        y_names="paid",
        valid_idx=list(range(24, 32)),
        bs=8,
        device="cpu",
    )
    return tabular_learner(dls, layers=[8], path=folder)


def collab(folder: Path) -> Learner:
    """Ratings of users and items known by name."""
    numbers = np.arange(60)
    ratings = pd.DataFrame(
        {
            "user": [f"user {n % 7}" for n in numbers],
            "film": [f"film {n * 3 % 11}" for n in numbers],
            "rating": 1.0 + numbers % 5,
        }
    )
    dls = CollabDataLoaders.from_df(ratings, seed=1, bs=16, device="cpu")
    return collab_learner(dls, n_factors=4, y_range=(0.5, 5.5), path=folder)


def text(folder: Path) -> Learner:
    """Documents: rules, tokens, vocabulary, a recurrent encoder."""
    words = ["good", "bad", "cloth", "size", "very very very", "GREAT", "Blue"]
    documents = [" ".join(words[(n * k) % 7] for k in range(1, 9)) for n in range(24)]
    frame = pd.DataFrame({"text": documents, "label": [f"{n % 2 == 0}" for n in range(24)]})
    dls = TextDataLoaders.from_df(
        frame,
        valid_pct=0.25,
        seed=1,
        text_col="text",
        label_col="label",
        tok_tfm=Tokenizer.from_df("text", WhitespaceTokenizer()),
        bs=4,
        device="cpu",
    )
    config = {"emb_sz": 6, "n_hid": 8, "n_layers": 2}
    return text_classifier_learner(dls, AWD_LSTM, config=config, path=folder)


def vision(folder: Path) -> Learner:
    """Images: item transforms, augmentation, statistics, a convolutional network."""
    images = folder / "images"
    generator = np.random.default_rng(0)
    for number in range(16):
        file = images / ("dark" if number % 2 else "light") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 120, (20, 24, 3)) + (0 if number % 2 else 120)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    dls = ImageDataLoaders.from_folder(
        images,
        valid_pct=0.25,
        seed=1,
        item_tfms=Resize(16),
        batch_tfms=aug_transforms(),
        bs=4,
        device="cpu",
    )
    model = xresnet18(n_out=2, widen=1 / 32, stem_szs=(4, 4, 4))
    return Learner(dls, model, path=folder)


class Application(NamedTuple):
    """A maker of a learner, and an item for it to predict."""

    make: Callable[[Path], Learner]
    item: Any


APPLICATIONS = {
    "tabular": Application(tabular, {"city": "Köln", "age": None, "income": 250.0}),
    "collab": Application(collab, {"user": "user 3", "film": "film 9"}),
    "text": Application(text, "GREAT size and a very very very good blue"),
    "vision": Application(
        vision, np.linspace(0, 255, 18 * 20 * 3).reshape(18, 20, 3).astype(np.uint8)
    ),
}


def numbers_of(prediction: tuple[Any, ...]) -> list[float]:
    """What a model returned for an item, as a list."""
    return torch.as_tensor(prediction[2]).reshape(-1).tolist()
