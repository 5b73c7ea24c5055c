"""What is refused by name: numbers beyond float32, categories that cannot be looked up."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from torte.data import Normalize
from torte.tabular import Categorify, FillMissing, TabularPandas

PROCS = [Categorify, FillMissing, Normalize]
FRAME = pd.DataFrame({"kind": list("abab"), "size": [1.0, 2.0, 3.0, np.nan], "y": [0.0, 1, 2, 3]})


def fitted(procs=PROCS, frame=FRAME):
    return TabularPandas(frame, procs, "kind", "size", "y")


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_numbers_beyond_float32_are_named(value, library) -> None:
    table = fitted()
    rows = library({"kind": ["a", "b"], "size": [1.0, value]})
    message = rf"column 'size' holds {value!r} in row 1, beyond what float32".replace("+", r"\+")
    with pytest.raises(ValueError, match=message):
        table.test_set(rows)
    with pytest.raises(ValueError, match=r"column 'size' holds .* in row 0"):
        table.new_row({"kind": "a", "size": value}).process()
    with pytest.raises(ValueError, match="column 'size' holds"):
        fitted(frame=FRAME.assign(size=[1.0, value, 2.0, 3.0]))
    with pytest.raises(ValueError, match=r"column 'size' holds .* in row 1"):
        fitted([Categorify], FRAME.assign(size=[1.0, value, 2.0, 3.0]))


def test_numbers_that_fit_once_prepared_and_missing_ones_pass() -> None:
    large = FRAME.assign(size=[1e38, 2e38, -3e38, np.nan])
    assert np.isfinite(fitted(frame=large).arrays()[1]).all()
    kept = fitted([Categorify]).arrays()[1]
    assert np.isnan(kept[:, 0]).tolist() == [False, False, False, True]


def test_categories_that_cannot_be_looked_up_are_named() -> None:
    table = fitted()
    for rows in (
        pd.DataFrame({"kind": ["a", ["b"]], "size": [1.0, 2.0]}),
        pd.DataFrame({"kind": [{}, ["b"]], "size": [1.0, 2.0]}),
        pl.DataFrame({"kind": [["a"], ["b"]], "size": [1.0, 2.0]}),
    ):
        with pytest.raises(TypeError, match=r"column 'kind' holds .* which cannot be a category"):
            table.test_set(rows)
    with pytest.raises(TypeError, match=r"column 'kind' holds \['b'\] in place 0"):
        table.new_row({"kind": ["b"], "size": 1.0}).process()
