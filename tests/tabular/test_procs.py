"""Procs learn from the training rows alone and apply by value."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.data import Normalize
from torte.dispatch import describe, rebuild
from torte.tabular import Categorify, FillMissing, Tabular, TabularPandas

PROCS = [Categorify, FillMissing, Normalize]


def frame(library=pd):
    return library.DataFrame(
        {
            "colour": ["red", "blue", None, "red", "green"],
            "size": [1.0, None, 3.0, 5.0, 100.0],
            "weight": [10, 20, 30, 40, 50],
            "kind": ["a", "b", "a", "b", "a"],
        }
    )


def table(library=pd, splits=((0, 1, 2, 3), (4,))) -> Tabular:
    return Tabular(frame(library), PROCS, ["colour"], ["size", "weight"], "kind", splits=splits)


def test_codes_and_statistics_come_from_the_training_rows() -> None:
    to = table()
    assert to.classes["colour"] == ["#na#", "blue", "red", "#unknown#"]
    codes, numbers = to.arrays()
    # The validation row's green was never seen; the fourth column says where size was missing.
    np.testing.assert_array_equal(codes, [[2, 1], [1, 2], [0, 1], [2, 1], [3, 1]])
    weights = np.array([10, 20, 30, 40])
    expected = (np.array([10, 20, 30, 40, 50]) - weights.mean()) / (weights.std() + 1e-7)
    np.testing.assert_allclose(numbers[:, 1], expected, rtol=1e-6)


def test_missing_numbers_are_filled_with_the_median_of_the_training_rows() -> None:
    to = Tabular(frame(), [FillMissing], cont_names=["size"], splits=((0, 1, 2, 3), (4,)))
    assert to["size"].tolist() == [1.0, 3.0, 3.0, 5.0, 100.0]
    assert to["size_na"].tolist() == [False, True, False, False, False]
    assert list(to.cat_names) == ["size_na"]


@pytest.mark.parametrize(
    ("strategy", "expected"), [("median", 2.0), ("mode", 1.0), ("constant", 7.0)]
)
def test_each_strategy_fills_as_it_says(strategy, expected) -> None:
    df = pd.DataFrame({"x": [1.0, 1.0, 3.0, 9.0, None]})
    fill = FillMissing(fill_strategy=strategy, fill_vals={"x": 7.0}, add_col=False)
    assert Tabular(df, [fill], cont_names="x")["x"].tolist()[-1] == expected


def test_a_number_missing_only_later_is_filled_without_an_indicator() -> None:
    to = Tabular(frame(), PROCS, ["colour"], ["weight"], "kind")
    new = to.new(pd.DataFrame({"colour": ["red"], "weight": [None]}))
    new.process()
    codes, numbers = new.arrays()
    assert codes.shape == (1, 1)
    assert np.isfinite(numbers).all()


def test_pandas_and_polars_give_identical_arrays() -> None:
    for one, other in zip(table(pd).arrays(), table(pl).arrays(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("library", [pd, pl])
def test_decode_returns_what_went_in(library) -> None:
    decoded = table(library).decode().items
    colours = pd.Series(list(decoded["colour"]), dtype=object)
    assert colours[[0, 1, 3]].tolist() == ["red", "blue", "red"]
    assert pd.isna(colours[2])
    assert list(decoded["kind"]) == ["a", "b", "a", "b", "a"]
    assert list(decoded["weight"]) == [10, 20, 30, 40, 50]
    np.testing.assert_array_equal(
        np.array(list(decoded["size"]), dtype=float), [1.0, np.nan, 3.0, 5.0, 100.0]
    )
    assert "size_na" not in decoded.columns


def test_columns_are_found_by_name_in_any_order_and_type() -> None:
    to = table()
    shuffled = frame()[["weight", "kind", "size", "colour"]].astype(
        {"weight": "float32", "colour": "category"}
    )
    new = to.new(shuffled.assign(extra=1).iloc[[0, 1, 2, 3, 4]])
    new.process()
    for one, other in zip(new.arrays(), to.arrays(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("rows", [0, 1])
def test_empty_frames_and_single_rows_go_through(rows) -> None:
    to = table()
    new = to.new(frame().iloc[:rows])
    new.process()
    assert [len(part) for part in new.arrays()] == [rows, rows]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(KeyError, match="no column 'colour'"):
        table().new(frame().drop(columns="colour"))


def test_a_column_without_any_value_is_named() -> None:
    with pytest.raises(ValueError, match="column 'x' has no value at all"):
        Tabular(pd.DataFrame({"x": [None, None]}, dtype=float), [FillMissing], cont_names="x")


def test_a_column_with_two_roles_is_refused() -> None:
    with pytest.raises(ValueError, match="'size' is in cat_names and in cont_names"):
        TabularPandas(frame(), PROCS, ["size"], ["size"])


def test_a_missing_target_names_its_row() -> None:
    df = frame().assign(kind=["a", None, "b", "a", "b"])
    with pytest.raises(ValueError, match="target 'kind' has no value in row 1"):
        Tabular(df, PROCS, ["colour"], ["weight"], "kind")


def test_procs_come_back_from_json() -> None:
    to = table()
    again = rebuild(json.loads(json.dumps(describe(to.procs))))
    new = to.new(frame())
    new.procs = again
    new.process()
    for one, other in zip(new.arrays(), to.arrays(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_frame_that_was_given_is_left_alone() -> None:
    given_frame = frame()
    Tabular(given_frame, PROCS, ["colour"], ["size", "weight"], "kind")
    pd.testing.assert_frame_equal(given_frame, frame())


cells = st.one_of(st.none(), st.integers(-3, 3), st.floats(-3, 3), st.text("abc", max_size=2))


@settings(max_examples=60, deadline=None)
@given(st.lists(cells, min_size=1, max_size=6), st.permutations(["colour", "size", "weight"]))
def test_any_corruption_of_a_category_has_a_defined_code(values, order) -> None:
    to = table()
    rows = frame().iloc[[0] * len(values)].reset_index(drop=True)
    new = to.new(rows.assign(colour=pd.Series(values, dtype=object))[order])
    new.process()
    codes, _ = new.arrays()
    known = {None: 0, "blue": 1, "red": 2}
    expected = [known.get(value, 3) for value in values]
    np.testing.assert_array_equal(codes[:, 0], expected)
