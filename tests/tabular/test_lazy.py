"""Fit and encoding by DuckDB, Dask and polars' lazy engine, beside the same rows in memory."""

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from torte.data import Normalize
from torte.data.vocabularies import UnknownLabelError
from torte.tabular import Categorify, FillMissing, TabularPandas, TabularProc, encode_lazy, fit_lazy

# narwhals goes on to take Dask frames with another package of its own.
pytestmark = pytest.mark.filterwarnings("ignore:Dask support is moving:FutureWarning")

PROCS = [Categorify, FillMissing, Normalize]
ROLES = {"cat_names": ["kind", "size", "new"], "cont_names": ["price", "count"], "y_names": "label"}


def _rows(n_rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    price = rng.normal(100, 5, n_rows)
    price[::13] = np.nan
    return pd.DataFrame(
        {
            "kind": rng.choice(["a", "é", None, "c", "Z"], n_rows),
            "size": rng.integers(0, 11, n_rows),
            "new": rng.random(n_rows) < 0.3,
            "price": price,
            "count": rng.integers(0, 1000, n_rows),
            "label": rng.choice(["no", "yes"], n_rows),
        }
    )


@pytest.fixture(scope="module")
def df() -> pd.DataFrame:
    return _rows(3001, 4)


def _lazy(engine: str, df: pd.DataFrame):
    if engine == "duckdb":
        return duckdb.connect().from_df(df)
    if engine == "dask":
        return dd.from_pandas(df, npartitions=3)
    return pl.from_pandas(df).lazy()


def _in_memory(lazy) -> pd.DataFrame:
    if isinstance(lazy, pl.LazyFrame):
        return lazy.collect().to_pandas()
    return lazy.df() if isinstance(lazy, duckdb.DuckDBPyRelation) else lazy.compute()


@pytest.fixture(scope="module")
def cluster():
    """Two processes, which compute what is asked of Dask frames."""
    from distributed import Client

    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None, set_as_default=True):
        yield


@pytest.fixture(params=["duckdb", "dask", "polars"])
def engine(request):
    if request.param == "dask":
        request.getfixturevalue("cluster")
    return request.param


def test_what_is_learned_and_encoded_is_what_the_rows_in_memory_give(df, engine) -> None:
    expected = TabularPandas(df, PROCS, **ROLES)
    schema = fit_lazy(_lazy(engine, df), PROCS, **ROLES)
    assert list(schema.cat_names) == ["kind", "size", "new", "price_na"]
    for name, vocabulary in expected.classes.items():
        assert list(schema.classes[name]) == list(vocabulary), name
    theirs, ours = expected.procs.fs, schema.procs.fs
    assert ours[0].na_dict == pytest.approx(theirs[0].na_dict, rel=1e-12)
    np.testing.assert_allclose(ours[2].mean, theirs[2].mean, rtol=1e-6)
    np.testing.assert_allclose(ours[2].std, theirs[2].std, rtol=1e-6)
    assert schema.vocab == ["no", "yes"]

    encoded = _in_memory(encode_lazy(_lazy(engine, df), expected))
    assert list(encoded.columns) == list(expected.all_col_names)
    for name in expected.all_col_names:
        np.testing.assert_allclose(encoded[name].to_numpy(), expected.items[name], rtol=1e-12)
        assert encoded[name].to_numpy().dtype == expected.items[name].dtype, name


def test_new_rows_get_the_codes_of_unknown_and_missing_values(df, engine) -> None:
    schema = fit_lazy(_lazy(engine, df), PROCS, **ROLES)
    new = _rows(200, 9).drop(columns="label")
    new.loc[3, "kind"], new.loc[4, "size"] = "zebra", 77
    encoded = _in_memory(encode_lazy(_lazy(engine, new), schema))
    expected = schema.test_set(new).items
    pd.testing.assert_frame_equal(
        encoded, expected[list(encoded.columns)], check_index_type=False, rtol=1e-12
    )
    assert encoded["kind"][3] == schema.classes["kind"].unknown
    assert encoded["size"][4] == schema.classes["size"].unknown


@pytest.mark.parametrize("most", [1, 50])
def test_medians_of_dask_frames_are_exact_however_many_rows_are_equal(
    cluster, monkeypatch, most
) -> None:
    monkeypatch.setattr("torte.tabular.lazy._GATHERED", most)
    rng = np.random.default_rng(0)
    mostly = np.where(rng.random(999) < 0.7, 0.0, rng.exponential(1e4, 999))
    df = pd.DataFrame({"odd": rng.normal(5, 1, 999), "mostly": mostly, "even": rng.random(999)})
    df.loc[4, "even"] = np.nan
    df["small"] = rng.integers(0, 3, 999)
    schema = fit_lazy(dd.from_pandas(df, npartitions=4), FillMissing(), cont_names=list(df.columns))
    assert schema.procs.fs[0].na_dict == df.median().to_dict()


def test_the_commonest_value_and_numbers_as_targets(df, engine) -> None:
    procs = [Categorify(), FillMissing("mode", add_col=False), Normalize()]
    numbers = df.assign(price=df["price"].round())
    roles = {"cat_names": "kind", "cont_names": "price", "y_names": "count"}
    schema = fit_lazy(_lazy(engine, numbers), procs, **roles)
    assert schema.procs.fs[0].na_dict["price"] == numbers["price"].mode()[0]
    encoded = _in_memory(encode_lazy(_lazy(engine, numbers), schema))
    np.testing.assert_array_equal(encoded["count"].to_numpy(), df["count"].astype(np.float32))


def test_what_cannot_be_done_where_the_rows_are_is_said(df, engine) -> None:
    class Log(TabularProc):
        def encodes(self, to) -> None:
            """Not for lazy frames."""

    lazy = _lazy(engine, df)
    with pytest.raises(TypeError, match="Log knows no lazy frames"):
        fit_lazy(lazy, [Log, *PROCS], **ROLES)
    with pytest.raises(KeyError, match="no column 'kin'"):
        fit_lazy(lazy, PROCS, **{**ROLES, "cat_names": "kin"})
    with pytest.raises(TypeError, match="column 'kind' holds String, not numbers"):
        fit_lazy(lazy, PROCS, cat_names="size", cont_names="kind")
    with pytest.raises(TypeError, match=r"expected a lazy frame.*got pandas"):
        fit_lazy(df, PROCS, **ROLES)
    schema = fit_lazy(lazy, PROCS, **ROLES)
    with pytest.raises(TypeError, match=r"column 'size' holds String.* fitted on .* 0"):
        encode_lazy(_lazy(engine, df.astype({"size": "str"})), schema)
    with pytest.raises(UnknownLabelError, match="maybe"):
        encode_lazy(_lazy(engine, df.assign(label="maybe")), schema)
