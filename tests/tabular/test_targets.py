"""Several targets: numbers, and any number of labels at once, from the frame to the export."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torte.data import MultiCategoryBlock, Normalize, TensorMultiCategory, set_seed
from torte.learner import accuracy_multi, load_learner, mae, rmse
from torte.tabular import (
    Categorify,
    FillMissing,
    TabularDataLoaders,
    TabularLearner,
    TabularPandas,
    tabular_learner,
)

ARCHS = ("mlp", "realmlp", "tabm")
LABELS, NUMBERS = ["high", "wide", "both"], ["double", "apart"]


@pytest.fixture(scope="module")
def df() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 600))
    columns = {"a": a, "b": b, "kind": draw.choice(list("xyz"), 600)}
    labels = {"high": a > 0, "wide": b > 0.5, "both": a + b > 0}
    return pd.DataFrame({**columns, **labels, "double": 2 * a + 1, "apart": 100 * (b - a)})


def loaders(df: object, y_names: list[str], y_block: Any = None) -> TabularDataLoaders:
    return TabularDataLoaders.from_df(
        df,
        procs=[Categorify, FillMissing, Normalize],
        cat_names=["kind"],
        cont_names=["a", "b"],
        y_names=y_names,
        bs=64,
        seed=0,
        y_block=y_block,
    )


def trained(dls: TabularDataLoaders, arch: str, metrics: list[object]) -> TabularLearner:
    set_seed(0)
    learn = tabular_learner(dls, arch=arch, metrics=metrics)
    with learn.no_bar(), learn.no_logging():
        learn.fit(5, 1e-2)
    return learn


@pytest.mark.parametrize("arch", ARCHS)
def test_columns_of_truth_are_labels_of_which_any_number_holds(
    df: pd.DataFrame, arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dls = loaders(df, LABELS)
    assert list(dls.vocab) == LABELS
    target = dls.one_batch()[-1]
    assert type(target) is TensorMultiCategory
    learn = trained(dls, arch, [accuracy_multi])
    assert learn.validate()[1] > 0.93
    preds, targets = learn.get_preds()
    assert preds.shape == targets.shape == (120, 3)
    assert ((preds >= 0) & (preds <= 1)).all()
    table, held, chances = learn.predict(df.iloc[0])
    assert held.tolist() == (chances > 0.5).tolist()
    assert table.items[LABELS].iloc[0].tolist() == held.tolist()
    learn.show_results(max_n=3)
    shown = capsys.readouterr().out
    assert all(f"{name}_pred" in shown for name in LABELS)
    again = load_learner(learn.export(tmp_path / "labels.safetensors"))
    torch.testing.assert_close(again.predict(df.iloc[0])[2], chances)


@pytest.mark.parametrize("arch", ARCHS)
def test_several_numbers_are_predicted_beside_each_other(
    df: pd.DataFrame, arch: str, tmp_path: Path
) -> None:
    scaled = df.assign(apart=df["apart"] / 100)
    learn = trained(loaders(scaled, NUMBERS), arch, [rmse, mae])
    preds, targets = learn.get_preds()
    assert preds.shape == targets.shape == (120, 2)
    by_hand = [((preds - targets) ** 2).mean().sqrt(), (preds - targets).abs().mean()]
    np.testing.assert_allclose(learn.validate()[1:], by_hand, rtol=1e-5)
    deviation = targets.std(0)
    assert (((preds - targets) ** 2).mean(0).sqrt() < 0.5 * deviation).all()
    table, values, _ = learn.predict(scaled.iloc[0])
    np.testing.assert_allclose(table.items[NUMBERS].iloc[0], values)
    again = load_learner(learn.export(tmp_path / "numbers.safetensors"))
    torch.testing.assert_close(again.predict(scaled.iloc[0])[1], values)


def test_labels_come_in_any_type_and_are_decoded_as_true_or_false(df: pd.DataFrame) -> None:
    block = MultiCategoryBlock(encoded=True, vocab=LABELS)
    typed = df.astype({"high": "int8", "wide": "boolean", "both": "float32"})
    for frame, y_block in ((pl.from_pandas(df), None), (df, None), (typed, block)):
        dls = loaders(frame, LABELS, y_block=y_block)
        table = dls.valid.dataset
        np.testing.assert_array_equal(
            table.target.tensor(table.store), df[LABELS].to_numpy()[dls_rows(df)], strict=False
        )
        decoded = table.decode().frame.select(LABELS)
        assert all(decoded[name].to_numpy().dtype == bool for name in LABELS)


def dls_rows(df: pd.DataFrame) -> list[int]:
    """The validation rows of seed 0."""
    from torte.data import RandomSplitter

    return list(RandomSplitter(seed=0)(range(len(df)))[1])


def test_a_label_that_is_neither_true_nor_false_names_its_row(df: pd.DataFrame) -> None:
    gap = df.assign(high=df["high"].astype("boolean").mask(df.index == 7))
    block = MultiCategoryBlock(encoded=True, vocab=LABELS)
    with pytest.raises(ValueError, match="target 'high' holds nan in row"):
        loaders(gap, LABELS, y_block=block)
    with pytest.raises(ValueError, match="target 'wide' holds 2"):
        loaders(df.assign(wide=2), LABELS, y_block=block)


def test_targets_of_several_vocabularies_need_a_loss_of_their_own(df: pd.DataFrame) -> None:
    dls = loaders(df.assign(one=df["kind"], two=df["kind"]), ["one", "two"])
    assert dls.one_batch()[-1].shape == (64, 2)
    with pytest.raises(ValueError, match="give loss_func and n_out"):
        tabular_learner(dls)


def test_numbers_that_are_missing_are_refused() -> None:
    df = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": [1.0, None, 3.0, None]})
    with pytest.raises(ValueError, match=r"'y' has no value in 2 of 4 rows, first in row 1: drop"):
        TabularDataLoaders.from_df(df, y_names="y", cont_names="x", valid_idx=[3], bs=2)
    dls = TabularDataLoaders.from_df(
        df.dropna(subset=["y"]), y_names="y", cont_names="x", valid_idx=[1], bs=1
    )
    assert len(dls.test_dl(df)) == 4  # of what is to be predicted nobody knows it
    with pytest.raises(ValueError, match="has no value in 2 of 4 rows"):
        dls.test_dl(df, with_labels=True)


def test_rows_in_errors_are_those_of_the_frame_that_was_given() -> None:
    """Not their places behind those of the other split."""
    names = [f"r{number}" for number in range(6)]
    df = pd.DataFrame({"x": np.arange(6.0), "y": [*"pqpqp", None]}, index=names)
    splits = ([5, 3, 4], [0, 1, 2])
    with pytest.raises(ValueError, match="target 'y' has no value in row 'r5'"):
        TabularPandas(df, [], [], "x", "y", splits=splits)
    for frame, row in ((df, "'r4'"), (pl.from_pandas(df), "4")):
        gap = frame.drop("y", axis=1) if frame is df else frame.drop("y")
        values = [0.0, 1.0, 2.0, 3.0, None, 5.0]
        gap = gap.assign(y=values) if frame is df else gap.with_columns(y=pl.Series(values))
        with pytest.raises(ValueError, match=f"1 of 6 rows, first in row {row}: drop"):
            TabularPandas(gap, [], [], "x", "y", splits=splits)
    labels = df.assign(y=[0, 1, 0, 1, 2, 0], z=True)
    block = MultiCategoryBlock(encoded=True, vocab=["y", "z"])
    with pytest.raises(ValueError, match=r"target 'y' holds 2.0 in row 'r4'"):
        TabularPandas(labels, [], [], "x", ["y", "z"], y_block=block, splits=splits)
