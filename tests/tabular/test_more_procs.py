"""Log1p, QuantileNormal, rare categories, and columns that learn together."""

import json

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.preprocessing import QuantileTransformer
from torte.data import Normalize
from torte.dispatch import describe, rebuild
from torte.learner import load_learner
from torte.tabular import (
    Categorify,
    FillMissing,
    Log1p,
    QuantileNormal,
    Tabular,
    TabularDataLoaders,
    encode_lazy,
    fit_lazy,
    tabular_learner,
)


def _columns(rows: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    gaps = rng.normal(5, 2, rows)
    gaps[::9] = np.nan
    return pd.DataFrame(
        {
            "skewed": rng.lognormal(3, 2, rows),
            "zeros": np.where(rng.random(rows) < 0.6, 0.0, rng.exponential(9, rows)),
            "steps": rng.integers(0, 7, rows).astype(float),
            "constant": 4.25,
            "gaps": gaps,
        }
    )


def _scaled(df: pd.DataFrame, proc: QuantileNormal, **kwargs) -> tuple[Tabular, np.ndarray]:
    to = Tabular(df, [proc], cont_names=list(df.columns), **kwargs)
    return to, to.items[list(df.columns)].to_numpy()


@pytest.mark.parametrize(("rows", "n_quantiles"), [(3000, 1000), (3000, 37), (120, 1000), (1, 10)])
def test_quantiles_are_those_of_scikit_learn_in_float64(rows, n_quantiles) -> None:
    df = _columns()[1 : rows + 1]
    reference = QuantileTransformer(
        n_quantiles=min(n_quantiles, rows), output_distribution="normal", subsample=None
    ).fit(df.drop(columns="gaps").to_numpy())
    # scikit-learn takes as many quantiles as there are rows; ours are no more than the values.
    present = df[["gaps"]].dropna().to_numpy()
    lone = QuantileTransformer(
        n_quantiles=min(n_quantiles, len(present)), output_distribution="normal", subsample=None
    ).fit(present)

    def expected(rows: pd.DataFrame) -> np.ndarray:
        return np.hstack(
            [
                reference.transform(rows.drop(columns="gaps").to_numpy()),
                lone.transform(rows[["gaps"]].to_numpy()),
            ]
        )

    to, found = _scaled(df, QuantileNormal(n_quantiles=n_quantiles))
    np.testing.assert_allclose(found, expected(df), rtol=1e-9, atol=1e-9)
    strange = pd.DataFrame(
        [[-1e9] * 5, [1e9] * 5, [np.nan] * 5, [3.5] * 5, [np.inf] * 5, [-np.inf] * 5],
        columns=df.columns,
    )
    new = to.new(strange)
    new.process()
    np.testing.assert_allclose(
        new.items[list(df.columns)].to_numpy()[:4], expected(strange[:4]), rtol=1e-9, atol=1e-9
    )
    assert new.items["skewed"].to_numpy()[4:] == pytest.approx([5.1993376, -5.1993376])


def test_quantiles_decode_to_what_went_in() -> None:
    df = _columns()
    to, _ = _scaled(df, QuantileNormal())
    pd.testing.assert_frame_equal(to.decode().items, df, rtol=1e-7)
    # Through float32 and Normalize as well; numbers beyond the training rows become the outermost.
    to = Tabular(df, [QuantileNormal, Normalize], cont_names=["steps", "gaps"])
    again = to.of_batch([torch.empty(3000, 0), torch.from_numpy(to.arrays()[1])]).decode().items
    np.testing.assert_allclose(again["steps"], df["steps"], atol=1e-9)
    np.testing.assert_allclose(again["gaps"], df["gaps"], atol=1e-5)


def test_small_numbers_have_quantiles_too() -> None:
    df = _columns()[["skewed"]]
    _, large = _scaled(df, QuantileNormal())
    _, small = _scaled(df * 1e-12, QuantileNormal())
    np.testing.assert_allclose(small, large, atol=1e-6)


def test_quantiles_come_from_the_training_rows_alone() -> None:
    df = _columns(200)[["skewed"]]
    _, alone = _scaled(df[:100], QuantileNormal())
    other = df.assign(skewed=df["skewed"].where(df.index < 100, 1e6))
    _, found = _scaled(other, QuantileNormal(), splits=(range(100), range(100, 200)))
    np.testing.assert_array_equal(found[:100], alone)


@pytest.mark.parametrize("library", [pd, pl])
def test_logarithms_of_named_columns(library) -> None:
    df = library.DataFrame({"n": [0.0, 1.0, None, 20000.0], "other": [-5.0, 1.0, 2.0, 3.0]})
    to = Tabular(df, [Log1p("n")], cont_names=["n", "other"])
    np.testing.assert_array_equal(to.numbers("n"), np.log1p([0.0, 1.0, np.nan, 20000.0]))
    np.testing.assert_array_equal(to.numbers("other"), [-5.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(to.decode().numbers("n"), [0.0, 1.0, np.nan, 20000.0], rtol=1e-14)


def test_a_number_without_a_logarithm_is_named_in_training_and_later() -> None:
    df = pd.DataFrame({"n": [0.0, 2.0, -1.0, -7.0]})
    with pytest.raises(ValueError, match=r"'n' holds -1\.0 \(2 of 4 rows.*signed=True"):
        Tabular(df, [Log1p], cont_names="n")
    new = Tabular(df[:2], [Log1p], cont_names="n").new(df)
    with pytest.raises(ValueError, match=r"'n' holds -1\.0"):
        new.process()
    to = Tabular(df, [Log1p(signed=True)], cont_names="n")
    np.testing.assert_allclose(to.numbers("n"), [0.0, np.log(3), -np.log(2), -np.log(8)])
    np.testing.assert_allclose(to.decode().numbers("n"), df["n"], rtol=1e-14)


@pytest.mark.parametrize("proc", [Log1p, QuantileNormal])
def test_a_column_that_is_not_continuous_is_named(proc) -> None:
    with pytest.raises(KeyError, match=f"{proc.__name__} names column 'm'"):
        Tabular(pd.DataFrame({"n": [1.0]}), [proc(["n", "m"])], cont_names="n")


def _matches() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "home": ["ajax", "bern", "ajax", "celta", None, "ajax"],
            "away": ["bern", "ajax", "dover", "ajax", "bern", "elche"],
            "fans": [1.0, None, 2.0, 3.0, 4.0, 50.0],
            "guests": [10.0, 20.0, None, 30.0, 40.0, 50.0],
        }
    )


def test_rare_values_get_the_code_of_unknown_ones() -> None:
    df = _matches()
    to = Tabular(df, [Categorify(min_count=2)], ["home", "away"])
    assert to.classes["home"] == ["#na#", "ajax", "#unknown#"]
    assert to.classes["away"] == ["#na#", "ajax", "bern", "#unknown#"]
    assert to["home"].tolist() == [1, 2, 1, 2, 0, 1]
    assert list(to.decode().items["home"])[3] == "#unknown#"
    assert Tabular(df, [Categorify({"away": 3})], ["home", "away"]).classes["away"] == [
        "#na#",
        "#unknown#",
    ]
    with pytest.raises(KeyError, match="min_count names 'ways'"):
        Tabular(df, [Categorify({"ways": 3})], ["home", "away"])


def test_indicators_of_missing_values_are_never_rare() -> None:
    to = Tabular(_matches(), [FillMissing, Categorify(min_count=5)], "home", "fans")
    assert to.classes["fans_na"] == ["#na#", False, True, "#unknown#"]
    np.testing.assert_array_equal(to.decode().numbers("fans"), _matches()["fans"])


@pytest.mark.parametrize("library", [pd, pl])
def test_columns_share_a_vocabulary_and_the_counts_of_its_values(library) -> None:
    frame = library.DataFrame(_matches().astype(object).where(_matches().notna(), None))
    to = Tabular(frame, [Categorify(shared=[["home", "away"]])], ["home", "away"])
    teams = ["#na#", "ajax", "bern", "celta", "dover", "elche", "#unknown#"]
    assert to.classes["home"] == to.classes["away"] == teams
    assert list(to["home"]) == [1, 2, 1, 3, 0, 1]
    assert list(to.decode().items["away"]) == _matches()["away"].tolist()
    folded = Tabular(frame, [Categorify(min_count=3, shared=[["home", "away"]])], ["home", "away"])
    assert folded.classes["home"] == ["#na#", "ajax", "bern", "#unknown#"]


def test_columns_of_an_order_of_their_own_keep_it_together() -> None:
    kind = pd.CategoricalDtype(["small", "medium", "large"], ordered=True)
    df = pd.DataFrame({"a": ["large", "small", "medium"], "b": ["small", "large", "large"]})
    to = Tabular(df.astype(kind), [Categorify(shared=[["a", "b"]])], ["a", "b"])
    assert to.classes["b"] == ["#na#", "small", "medium", "large", "#unknown#"]


def test_columns_share_what_they_are_filled_with() -> None:
    df = _matches()
    fill = FillMissing(shared=[["fans", "guests"]])
    to = Tabular(df, [fill], cont_names=["fans", "guests"])
    median = float(pd.concat([df["fans"], df["guests"]]).median())
    assert fill.na_dict == {"fans": median, "guests": median}
    assert fill.indicators == ["fans", "guests"]
    pd.testing.assert_frame_equal(to.decode().items, df)


@pytest.mark.parametrize("proc", [Categorify, FillMissing])
def test_groups_that_make_no_sense_are_refused(proc) -> None:
    with pytest.raises(TypeError, match="a list of groups"):
        proc(shared=["home", "away"])
    with pytest.raises(ValueError, match="'home' twice"):
        proc(shared=[["home", "away"], ["home", "ground"]])
    with pytest.raises(ValueError, match="two columns or more"):
        proc(shared=[["home"]])
    strange = proc(shared=[["ground", "home", "fans"]])
    with pytest.raises(KeyError, match="'ground', which is not in"):
        Tabular(_matches(), [strange], ["home"], ["fans"])


def _all_procs() -> list:
    return [
        FillMissing(shared=[["fans", "guests"]]),
        Log1p("fans"),
        QuantileNormal("guests"),
        Categorify(min_count=2, shared=[["home", "away"]]),
        Normalize,
    ]


ROLES = {"cat_names": ["home", "away"], "cont_names": ["fans", "guests"]}


def test_they_come_back_from_json() -> None:
    to = Tabular(_matches(), _all_procs(), **ROLES)
    new = to.new(_matches())
    new.procs = rebuild(json.loads(json.dumps(describe(to.procs))))
    new.process()
    for one, other in zip(new.arrays(), to.arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
    names = [*ROLES["cat_names"], *ROLES["cont_names"]]
    decoded = to.decode().items[names]
    for name in ROLES["cont_names"]:
        np.testing.assert_allclose(decoded[name], _matches()[name], rtol=1e-6)


@pytest.fixture
def file(tmp_path):
    rows = pd.concat([_matches()] * 100, ignore_index=True)
    rows["label"] = np.where(np.arange(600) % 3, "yes", "no")
    rows.to_parquet(tmp_path / "rows.parquet", row_group_size=70)
    return tmp_path / "rows.parquet"


def test_a_parquet_file_teaches_what_rows_in_memory_teach_and_learners_keep_it(
    file, tmp_path
) -> None:
    df = pd.read_parquet(file)
    dls = TabularDataLoaders.stream_parquet(
        file, procs=_all_procs(), **ROLES, y_names="label", bs=32, seed=1
    )
    streamed = dls.train.dataset.schema
    part = dls.train.dataset
    rows = np.concatenate(
        [np.flatnonzero(part._mask(n)) + part.ends[n] for n in range(part.n_groups)]
    )
    held = Tabular(df.iloc[rows], _all_procs(), **ROLES, y_names="label")
    for mine, other in zip(streamed.procs.fs[:-1], held.procs.fs[:-1], strict=True):
        assert describe(mine) == describe(other)
    torch.testing.assert_close(streamed.procs.fs[-1].mean, held.procs.fs[-1].mean)
    torch.testing.assert_close(streamed.procs.fs[-1].std, held.procs.fs[-1].std)
    learn = tabular_learner(dls, layers=[4], path=tmp_path)
    again = load_learner(learn.export("learner.torte"))
    new = _matches().assign(home="zebra", guests=[-1e6, 1e6, None, 1, 2, 3])
    expected, _ = learn.get_preds(dl=learn.dls.test_dl(new))
    found, _ = again.get_preds(dl=again.dls.test_dl(new))
    torch.testing.assert_close(found, expected)


def test_a_database_counts_values_and_refuses_what_needs_rows(file) -> None:
    df, relation = pd.read_parquet(file), duckdb.read_parquet(str(file))
    procs = [Categorify(min_count=101, shared=[["home", "away"]])]
    schema = fit_lazy(relation, procs, ["home", "away"])
    held = Tabular(df, procs, ["home", "away"])
    assert schema.classes["home"] == held.classes["home"] == ["#na#", "ajax", "bern", "#unknown#"]
    encoded = encode_lazy(relation, schema).df()
    np.testing.assert_array_equal(encoded["away"], held["away"])
    shared = [["fans", "guests"]]
    for proc in (Log1p, QuantileNormal, FillMissing(shared=shared)):
        name = getattr(proc, "__name__", "FillMissing")
        with pytest.raises(TypeError, match=name):
            fit_lazy(relation, [proc], cont_names=["fans", "guests"])
    fixed = FillMissing("constant", shared=shared)
    fit_lazy(relation, [fixed], cont_names=["fans", "guests"])
    assert fixed.na_dict == {"fans": 0.0, "guests": 0.0}
