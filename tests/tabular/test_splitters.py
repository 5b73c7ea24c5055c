"""Loaders of tables whose rows are split by time, by group, by a column or by hand."""

import pandas as pd
import polars as pl
import pytest
from torte.data import ColSplitter, GroupSplitter
from torte.tabular import Categorify, TabularDataLoaders, TemporalSplitter

DAYS = pd.date_range("2024-01-01", periods=10, freq="D")


@pytest.fixture(params=[pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def frame(request):
    held = [False] * 8 + [True] * 2
    return request.param(
        {"day": DAYS[::-1], "shop": list("aabbccddee"), "x": range(10), "y": [0.5] * 10,
         "is_valid": held}
    )  # fmt: skip


def loaders(frame, **kwargs) -> TabularDataLoaders:
    return TabularDataLoaders.from_df(
        frame, procs=[Categorify], cat_names="shop", cont_names="x", y_names="y", bs=2, **kwargs
    )


def validation_rows(dls) -> list[int]:
    return [int(row) for row in dls.valid.dataset.frame["x"].to_list()]


def test_the_latest_rows_validate(frame) -> None:
    dls = loaders(frame, splitter=TemporalSplitter("day", 0.3))
    assert validation_rows(dls) == [0, 1, 2]
    assert len(dls.train.dataset) == 7


def test_groups_stay_whole(frame) -> None:
    dls = loaders(frame, splitter=GroupSplitter("shop", 0.4, seed=1))
    held = validation_rows(dls)
    assert len(held) == 4
    assert all(row ^ 1 in held for row in held)  # neighbours are of one shop
    assert dls.valid.dataset.frame["shop"].to_list() == [4] * 4, "shops unknown to the model"


def test_a_column_says_which_rows_validate(frame) -> None:
    assert validation_rows(loaders(frame, splitter=ColSplitter())) == [8, 9]


def test_splits_by_hand_may_leave_rows_out_and_have_more_parts(frame) -> None:
    dls = loaders(frame, splits=([5, 1, 2], [0], [9, 8]))
    assert len(dls.loaders) == 3
    assert dls.train.dataset.frame["x"].to_list() == [5, 1, 2]
    assert validation_rows(dls) == [0]
    assert validation_rows(loaders(frame, valid_idx=[3, 1])) == [3, 1]


def test_two_ways_to_split_are_refused(frame) -> None:
    with pytest.raises(ValueError, match="valid_idx and splits both say how to split"):
        loaders(frame, valid_idx=[1], splits=([0], [1]))
    with pytest.raises(IndexError, match="valid_idx holds 10, but there are 10 items"):
        loaders(frame, valid_idx=[10])


def test_files_are_split_alike(frame, tmp_path) -> None:
    table = (
        frame if isinstance(frame, pd.DataFrame) else pd.DataFrame(frame.to_dict(as_series=False))
    )
    table.to_csv(tmp_path / "rows.csv", index=False)
    names = {"cat_names": "shop", "cont_names": "x", "y_names": "y", "procs": [Categorify]}
    dls = TabularDataLoaders.from_csv(
        tmp_path / "rows.csv", splitter=TemporalSplitter("x", 0.2), **names
    )
    assert validation_rows(dls) == [8, 9]
