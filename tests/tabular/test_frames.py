"""Columns of pandas and polars frames by one code path."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from torte.tabular import Categorify, TabularPandas
from torte.tabular.frames import (
    as_frame,
    categories,
    column,
    numbers,
    with_columns,
)


def test_something_else_than_a_frame_is_named() -> None:
    with pytest.raises(TypeError, match=r"expected a frame of pandas, polars.* got builtins.list"):
        as_frame([1, 2])


def test_a_missing_column_suggests_the_nearest() -> None:
    with pytest.raises(KeyError, match=r"no column 'incom': did you mean 'income'"):
        column(as_frame(pd.DataFrame({"income": [1], "age": [2]})), "incom")


@pytest.mark.parametrize("library", [pd, pl])
def test_numbers_reads_booleans_texts_and_missing_values(library) -> None:
    frame = as_frame(library.DataFrame({"b": [True, False], "t": ["1", "2.5"], "m": [1.0, None]}))
    np.testing.assert_array_equal(numbers(frame["b"]), [1.0, 0.0])
    np.testing.assert_array_equal(numbers(frame["t"]), [1.0, 2.5])
    np.testing.assert_array_equal(numbers(frame["m"]), [1.0, np.nan])


def test_a_text_that_is_no_number_is_named_with_its_column() -> None:
    frame = as_frame(pd.DataFrame({"age": ["12", "old"]}))
    with pytest.raises(ValueError, match=r"column 'age' .* 'old' is no number"):
        numbers(frame["age"])


def test_dates_among_the_numbers_are_refused_with_a_hint() -> None:
    frame = as_frame(pd.DataFrame({"day": pd.to_datetime(["2024-01-01"])}))
    with pytest.raises(TypeError, match=r"column 'day' holds Datetime.*add_datepart"):
        numbers(frame["day"])


@pytest.mark.parametrize("library", [pd, pl])
def test_categories_gives_each_value_once_and_minus_one_for_missing(library) -> None:
    series = as_frame(library.DataFrame({"a": ["x", None, "y", "x"]}))["a"]
    codes, values = categories(series)
    assert sorted(values) == ["x", "y"]
    assert [None if code < 0 else values[code] for code in codes] == ["x", None, "y", "x"]


def test_replacing_columns_keeps_the_index_of_pandas_rows() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]}, index=[7, 3])
    changed = with_columns(as_frame(frame), {"a": np.array([10, 20]), "c": [5, 6]}).to_native()
    expected = pd.DataFrame({"a": [10, 20], "b": [3, 4], "c": [5, 6]}, index=[7, 3])
    pd.testing.assert_frame_equal(changed, expected)
    assert frame["a"].tolist() == [1, 2]


@pytest.mark.parametrize("library", [pd, pl])
def test_a_table_of_texts_learns_from_its_training_rows_alone(library) -> None:
    df = library.DataFrame({"a": ["c", "b", None, "a", "b"], "y": ["no", "no", "yes", "yes", "no"]})
    splits = ([4, 2, 0], [3, 1])
    to = TabularPandas(df, Categorify, cat_names="a", y_names="y", splits=splits)
    assert list(to.classes["a"]) == ["#na#", "b", "c", "#unknown#"]
    assert to.frame["a"].to_list() == [1, 0, 2, 3, 1]
    assert to.frame["y"].to_list() == [0, 1, 0, 1, 0]
    decoded = to.decode().frame
    assert decoded["a"].drop_nulls().to_list() == ["b", "c", "#unknown#", "b"]
    unprepared = TabularPandas(df, Categorify, cat_names="a", y_names="y", do_setup=False)
    assert unprepared.frame["a"].to_list() == df["a"].to_list()
