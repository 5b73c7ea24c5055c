"""Categories are matched by value, whatever the type of the column they come in."""

import datetime
import json

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torte.tabular import ColumnVocabulary


def series(native):
    return nw.from_native(native, series_only=True)


@pytest.fixture
def numbers() -> ColumnVocabulary:
    return ColumnVocabulary.fitted(series(pd.Series([30, 10, 20, 10])))


def test_reads_like_a_list_with_missing_first_and_unknown_last(numbers) -> None:
    assert list(numbers) == ["#na#", 10, 20, 30, "#unknown#"]
    assert numbers == ["#na#", 10, 20, 30, "#unknown#"]
    assert len(numbers) == 5
    assert numbers[1:3] == [10, 20]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([10, 30]),
        pd.Series([10.0, 30.0]),
        pd.Series(["10", "30"]),
        pd.Series([10, 30], dtype="Int64"),
        pd.Series([10, 30], dtype="int8"),
        pd.Series(pd.Categorical([10, 30], categories=[30, 10])),
        pd.Series([10, 30], dtype=object),
        pl.Series([10, 30]),
        pl.Series([10.0, 30.0]),
        pl.Series(["10", "30"]),
        pl.Series(["10", "30"], dtype=pl.Categorical),
    ],
    ids=lambda column: f"{type(column).__module__.split('.')[0]}-{column.dtype}",
)
def test_a_column_of_another_type_gets_the_same_codes(numbers, column) -> None:
    np.testing.assert_array_equal(numbers.encode(series(column)), [1, 3])


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([10.0, np.nan, 99.0]),
        pd.Series([10, None, 99], dtype="Int64"),
        pd.Series(["10", None, "something"]),
        pl.Series([10, None, 99]),
        pl.Series([10.0, float("nan"), 99.0]),
    ],
)
def test_missing_is_zero_and_unseen_is_the_last_code(numbers, column) -> None:
    np.testing.assert_array_equal(numbers.encode(series(column)), [1, 0, 4])


def test_an_ordered_categorical_keeps_its_order_without_unused_values() -> None:
    kind = pd.CategoricalDtype(["high", "unused", "low"], ordered=True)
    vocabulary = ColumnVocabulary.fitted(series(pd.Series(["low", "high"], dtype=kind)))
    assert vocabulary.values == ["high", "low"]


def test_dates_come_back_from_json_and_match_texts() -> None:
    days = pd.Series(pd.to_datetime(["2024-02-29", "2024-01-01"]))
    vocabulary = ColumnVocabulary.fitted(series(days))
    again = ColumnVocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again == vocabulary
    np.testing.assert_array_equal(again.encode(series(pd.Series(["2024-02-29"]))), [2])
    assert again.decode(np.array([1])) == [datetime.datetime(2024, 1, 1)]


@given(st.lists(st.one_of(st.none(), st.text(max_size=4)), min_size=1, max_size=30))
def test_decode_returns_the_values_that_went_in(texts) -> None:
    column = pd.Series(texts, dtype=object)
    vocabulary = ColumnVocabulary.fitted(series(column))
    codes = vocabulary.encode(series(column))
    assert vocabulary.decode(codes) == texts
    assert not (codes == vocabulary.unknown).any()


@given(st.lists(st.integers(-1000, 1000), min_size=1), st.lists(st.integers(-1000, 1000)))
def test_codes_agree_with_a_search_value_by_value(train, new) -> None:
    vocabulary = ColumnVocabulary.fitted(series(pd.Series(train)))
    known = sorted(set(train))
    expected = [known.index(value) + 1 if value in known else len(known) + 1 for value in new]
    codes = vocabulary.encode(series(pd.Series(new, dtype="int64")))
    np.testing.assert_array_equal(codes, np.array(expected, dtype=np.int64))
