"""What a network learned of categories, looked up by value and handed to other models."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from torch import nn
from torte.data import Normalize
from torte.learner import Learner, load_learner
from torte.tabular import (
    Categorify,
    CategoryEmbedder,
    FillMissing,
    TabularClassifier,
    TabularDataLoaders,
    TabularRegressor,
    tabular_learner,
)


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    town = rng.choice([*"abcdefghijkl"], 300)
    price = np.array([ord(name) % 5 for name in town]) + 0.1 * rng.normal(size=300)
    size = np.where(rng.random(300) < 0.1, np.nan, rng.normal(size=300))
    kind = rng.choice(["flat", "house"], 300)
    return pd.DataFrame({"town": town, "size": size, "kind": kind, "note": "x", "price": price})


@pytest.fixture
def dls(frame) -> TabularDataLoaders:
    return TabularDataLoaders.from_df(
        frame,
        procs=[Categorify, FillMissing, Normalize],
        cat_names=["kind", "town"],
        cont_names="size",
        y_names="price",
        bs=32,
        seed=0,
    )


@pytest.mark.parametrize("arch", ["mlp", "realmlp", "tabm"])
def test_every_value_has_the_vector_that_the_model_gives_it(dls, arch) -> None:
    learn = tabular_learner(dls, arch=arch)
    found = learn.embeddings()
    assert list(found) == ["kind", "town", "size_na"]
    assert list(found["town"].index) == ["#na#", *"abcdefghijkl", "#unknown#"]
    assert list(found["town"].columns) == [f"town_{n}" for n in range(found["town"].shape[1])]
    assert not found["town"].loc["#unknown#"].any()
    parts = []
    hooked = learn.model.emb_drop if arch == "mlp" else learn.model.categories
    with torch.no_grad(), hooked.register_forward_hook(lambda *args: parts.append(args[-1])):
        learn.model.eval()(torch.tensor([[2, 3, 1]]), torch.zeros(1, 1))
    expected = np.concatenate([found["kind"].iloc[2], found["town"].loc["c"],
                               found["size_na"].iloc[1]])  # fmt: skip
    np.testing.assert_array_equal(parts[0][0].numpy(), expected)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_rows_get_vectors_for_categories_by_value(frame, dls, library, tmp_path) -> None:
    learn = tabular_learner(dls)
    new = {"note": ["n", "m", "o"], "town": ["c", None, "nowhere"], "size": [1.0, None, 3.0],
           "kind": ["house", "flat", "flat"]}  # fmt: skip
    found = learn.embed(library(new))
    assert isinstance(found, library)
    tables = learn.embeddings()
    towns, kinds = list(tables["town"].columns), list(tables["kind"].columns)
    assert list(found.columns) == ["note", *towns, "size", *kinds]
    np.testing.assert_array_equal(
        found[towns].to_numpy(), tables["town"].loc[["c", "#na#", "#unknown#"]]
    )
    np.testing.assert_array_equal(
        found[kinds].to_numpy(), tables["kind"].loc[["house", "flat", "flat"]]
    )
    np.testing.assert_array_equal(found["size"].to_numpy(), [1.0, np.nan, 3.0])
    again = load_learner(learn.export(tmp_path / "learner")).embed(library(new))
    np.testing.assert_array_equal(again[towns].to_numpy(), found[towns].to_numpy())


def test_a_model_without_embeddings_is_named(dls) -> None:
    learn = Learner(dls, nn.Linear(1, 1))
    from torte.tabular import category_embeddings

    with pytest.raises(TypeError, match="Linear has no embedding for each categorical column"):
        category_embeddings(learn)


def test_a_linear_model_learns_from_embeddings_in_a_pipeline(frame) -> None:
    X, y = frame[["town", "kind"]], frame["price"]
    network = TabularRegressor(layers=[16], n_epoch=15, random_state=0, device="cpu")
    model = make_pipeline(CategoryEmbedder(network), LinearRegression()).fit(X[:200], y[:200])
    assert model.score(X[200:], y[200:]) > 0.9
    embedder = model[0]
    found = embedder.transform(X)
    assert list(embedder.get_feature_names_out()) == list(found.columns)
    array = clone_of(embedder).fit(X.to_numpy(), y).transform(X.to_numpy())
    assert isinstance(array, np.ndarray)
    assert array.shape == found.shape
    polars = clone_of(embedder).set_output(transform="polars").fit(X, y).transform(X)
    assert polars.columns == list(found.columns)


def clone_of(embedder: CategoryEmbedder) -> CategoryEmbedder:
    network = TabularRegressor(layers=[4], n_epoch=1, random_state=0, device="cpu")
    return CategoryEmbedder(network)


def test_the_targets_say_which_network(frame) -> None:
    assert isinstance(_fitted(frame, "price").estimator_, TabularRegressor)
    assert isinstance(_fitted(frame, "kind").estimator_, TabularClassifier)


def _fitted(frame: pd.DataFrame, target: str) -> CategoryEmbedder:
    return CategoryEmbedder().fit(frame[["town", "size"]][:40], frame[target][:40])
