"""Columns of categories as codes and values, whichever library holds them."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.tabular.coding import coded, coded_truth
from torte.tabular.frames import as_frame

LIBRARIES = {
    "pandas, texts in Arrow": lambda texts: pd.DataFrame({"a": pd.array(texts, dtype="str")}),
    "pandas, objects": lambda texts: pd.DataFrame({"a": pd.array(texts, dtype=object)}),
    "pandas, Arrow's type": lambda texts: pd.DataFrame(
        {"a": pd.array(texts, dtype=pd.ArrowDtype(pa.string()))}
    ),
    "polars": lambda texts: pl.DataFrame({"a": pl.Series(texts, dtype=pl.String)}),
    "pyarrow": lambda texts: pa.table({"a": pa.array(texts, pa.string())}),
    "pyarrow, in chunks": lambda texts: pa.table(
        {"a": pa.chunked_array([texts[:2], texts[2:2], texts[2:]], pa.large_string())}
    ),
}


def held(found) -> list:
    return [None if code < 0 else found.values[code] for code in found.codes]


@pytest.mark.parametrize("library", LIBRARIES)
def test_texts_are_the_same_values_in_sorted_order(library) -> None:
    texts = ["pear", None, "fig", "apple", "pear", "é", ""]
    frame = as_frame(LIBRARIES[library](texts))
    found = coded(frame["a"])
    assert found.values == ["", "apple", "fig", "pear", "é"]
    assert held(found) == texts
    part = coded(frame[2:4]["a"])
    assert held(part) == texts[2:4]
    assert found.codes.dtype == np.int8


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("texts", [[], [None, None]])
def test_columns_without_values_have_no_codes(library, texts) -> None:
    found = coded(as_frame(LIBRARIES[library](texts))["a"])
    assert found.values == found.used() == []
    assert found.codes.tolist() == [-1] * len(texts)


@pytest.mark.parametrize("library", LIBRARIES)
def test_values_that_come_late_or_are_many_are_found(library) -> None:
    rng = np.random.default_rng(0)
    late = ["a", "b", "c"] * 3000 + [None, "x", "d", "x", "a"]
    many = [f"user {number}" for number in rng.integers(0, 4000, 9000)]
    for texts in (late, many):
        found = coded(as_frame(LIBRARIES[library](texts))["a"])
        assert found.values == sorted({text for text in texts if text is not None})
        assert held(found) == texts


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=20))
def test_any_texts_come_back(texts) -> None:
    for make in LIBRARIES.values():
        assert held(coded(as_frame(make(texts))["a"])) == texts


def test_the_order_of_a_categorical_stays() -> None:
    kind = pd.CategoricalDtype(["low", "unused", "high"], ordered=True)
    found = coded(as_frame(pd.DataFrame({"a": pd.Series(["high", None, "low"], dtype=kind)}))["a"])
    assert found.values == ["low", "high"]
    assert found.codes.tolist() == [1, -1, 0]


def test_values_of_different_types_are_sorted_by_type() -> None:
    mixed = pd.DataFrame({"a": pd.Series(["b", 2, "a", 1.5, None], dtype=object)})
    found = coded(as_frame(mixed)["a"])
    assert found.values == [1.5, 2, "a", "b"]
    assert held(found) == ["b", 2, "a", 1.5, None]


def test_truth_values_that_occur_are_used() -> None:
    assert coded_truth(np.array([True, True])).used() == [True]
    assert coded_truth(np.array([True, False])).used() == [False, True]
