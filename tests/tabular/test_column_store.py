"""Columns of a table: rows of a frame, with arrays in the place of some columns."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from torte.tabular import Categorify, FillMissing, TabularPandas
from torte.tabular.column_store import ColumnStore
from torte.tabular.frames import as_frame, numbers
from torte.tabular.row_order import row_order

MAKERS = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
COLUMNS = {"a": ["x", "y", "x", "z"], "b": [1.0, 2.0, 3.0, 4.0], "c": [5, 6, 7, 8]}


@pytest.fixture(params=MAKERS)
def frame(request):
    return as_frame(MAKERS[request.param](COLUMNS))


def test_arrays_take_the_place_of_columns_in_the_order_of_the_rows(frame) -> None:
    store = ColumnStore(frame, np.array([3, 1, 0]))
    changed = store.with_columns({"b": np.array([0.5, 1.5, 2.5]), "d": ["p", "q", "r"]})
    assert changed.names == changed.frame.columns == ["a", "b", "c", "d"]
    assert changed.frame.to_dict(as_series=False) == {
        "a": ["z", "y", "x"],
        "b": [0.5, 1.5, 2.5],
        "c": [8, 6, 5],
        "d": ["p", "q", "r"],
    }
    assert changed.frame.implementation == frame.implementation
    assert store.frame["b"].to_list() == [4.0, 2.0, 1.0]
    part = changed.part(1, 3)
    assert part.frame.to_dict(as_series=False)["c"] == [6, 5]
    assert part.numbers("b").tolist() == [1.5, 2.5]
    assert part.coded("a").used() == ["x", "y"]
    assert changed.without(["a", "d"]).frame.columns == ["b", "c"]
    every = store.with_columns({name: np.arange(3) for name in "abc"})
    assert every.frame.to_dict(as_series=False) == {name: [0, 1, 2] for name in "abc"}


def test_what_was_read_before_is_what_would_be_read(frame) -> None:
    store = ColumnStore(frame, np.array([2, 0, 3]))
    ahead = ColumnStore(frame, np.array([2, 0, 3]))
    ahead.remember({"c": numbers(frame["c"]), "a": ColumnStore(frame).coded("a")})
    for place in (store, ahead):
        for rows in (place, place.part(1, 3)):
            assert rows.numbers("c").tolist() == [7.0, 5.0, 8.0][-len(rows) :]
            codes, values = rows.coded("a")
            assert [values[code] for code in codes] == ["x", "x", "z"][-len(rows) :]
    changed = ahead.with_columns({"c": np.array([1, 2, 3])})
    assert changed.numbers("c").tolist() == [1.0, 2.0, 3.0]
    assert ahead.numbers("c").tolist() == [7.0, 5.0, 8.0]


def test_an_index_of_pandas_goes_with_its_rows() -> None:
    df = pd.DataFrame(COLUMNS, index=list("pqrs"))
    store = ColumnStore(as_frame(df), np.array([3, 0])).with_columns({"b": np.array([9.0, 8.0])})
    pd.testing.assert_frame_equal(store.frame.to_native(), df.iloc[[3, 0]].assign(b=[9.0, 8.0]))
    assert [store.label(0), store.part(1, 2).label(0)] == ["s", "p"]


def test_many_rows_are_prepared_by_several_threads_as_few_are() -> None:
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"a": rng.choice(["x", "y", None], 50_000), "b": rng.normal(size=50_000)})
    df.loc[7, "b"] = None
    order = rng.permutation(50_000)
    to = TabularPandas(
        df, [Categorify, FillMissing], "a", "b", splits=[order[:40_000], order[40_000:]]
    )
    codes, values = to.arrays()
    expected = df["a"].map({"x": 1, "y": 2}).fillna(0).to_numpy(np.int64)[order]
    np.testing.assert_array_equal(codes[:, 0], expected)
    filled = df["b"].fillna(df["b"].iloc[order[:40_000]].median()).to_numpy(np.float32)
    np.testing.assert_array_equal(values[:, 0], filled[order])


def test_rows_that_are_not_there_are_named() -> None:
    assert row_order(None, 3) == (range(3), [range(3)])
    for row in (-1, 3):
        with pytest.raises(ValueError, match=rf"name row {row}, .* rows 0 to 2: count from the fr"):
            row_order([[0, 1], [row]], 3)
