"""Parts of items: elements, attributes, columns."""

import json
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from torte.data.getters import AttrGetter, ColReader, ItemGetter
from torte.data.item_store import item_at
from torte.dispatch import Pipeline, describe, rebuild

FRAME = pd.DataFrame(
    {"name": ["a.png", "b.png"], "tags": ["x y", None], "n": [1, 2]}, index=["first", "second"]
)
Row = namedtuple("Row", "name tags n")
ROWS = {
    "pandas row": FRAME.iloc[0],
    "polars row": item_at(pl.DataFrame({"name": ["a.png"], "tags": ["x y"], "n": [1]}), 0),
    "named tuple": Row("a.png", "x y", 1),
    "itertuples": next(FRAME.itertuples(index=False)),
    "dict": {"name": "a.png", "tags": "x y", "n": 1},
}


def through_json(transform):
    return rebuild(json.loads(json.dumps(describe(transform))))


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_columns_of_every_kind_of_row(row):
    assert ColReader("name")(row) == "a.png"
    assert ColReader(0)(row) == "a.png"
    assert ColReader(["name", 2])(row) == ["a.png", 1]
    assert ColReader("name", pref="images/", suff="?")(row) == "images/a.png?"
    assert ColReader("name", pref=Path("images"))(row) == "images/a.png"
    assert ColReader("tags", label_delim=" ")(row) == ["x", "y"]
    assert Pipeline(ColReader("n"))(row) == 1


@pytest.mark.parametrize("missing", [None, float("nan"), "", pd.NA])
def test_a_missing_list_of_labels_is_empty(missing):
    assert ColReader("tags", label_delim=" ")({"tags": missing}) == []


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("column", ["label", 7])
def test_a_missing_column_is_named_with_those_there_are(row, column):
    with pytest.raises(KeyError, match=rf"no column {column!r}: the columns are \['name', 'tags'"):
        ColReader(column)(row)


def test_items_that_are_no_rows():
    with pytest.raises(KeyError, match="no column 'label': the item is 3"):
        ColReader("label")(3)
    assert ColReader(1)(np.array([5, 6])) == 6


def test_elements_and_attributes_of_whole_items():
    assert ItemGetter(1)(("a", ("b", "c"))) == ("b", "c")
    assert ItemGetter("k")({"k": 3}) == 3
    assert AttrGetter("tags")(Row("a", "b", 1)) == "b"
    thing = SimpleNamespace(a=1)
    assert AttrGetter("a")(thing) == 1
    assert AttrGetter("b", default=5)(thing) == 5
    with pytest.raises(AttributeError, match="no attribute 'b'"):
        AttrGetter("b")(thing)


@pytest.mark.parametrize(
    "getter",
    [
        ItemGetter(1),
        AttrGetter("x", 3),
        ColReader(["a", 1], pref=Path("p"), suff="s", label_delim=","),
    ],
    ids=lambda getter: type(getter).__name__,
)
def test_getters_survive_json(getter):
    again = through_json(getter)
    assert describe(again) == describe(getter)
