"""Splits by time put the future, and nothing else, into the validation set."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.collab import CollabDataLoaders, LeaveLastOut, TemporalSplitter

EVENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=40)


def frame_of(events):
    users, times = zip(*events, strict=True)
    return pd.DataFrame({"user": users, "item": range(len(users)), "rating": 1.0, "at": times})


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(1, 3), st.booleans())
def test_the_last_of_each_user_is_left_out(events, n, timed) -> None:
    frame = frame_of(events)
    train, valid = LeaveLastOut("at" if timed else None, n)(frame)
    assert sorted([*train, *valid]) == list(range(len(frame)))
    expected = []
    for _, own in frame.groupby("user"):
        ordered = own.sort_values("at", kind="stable") if timed else own
        if len(own) > n:
            expected += ordered.index[-n:].tolist()
    assert sorted(valid) == sorted(expected)


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.floats(0, 1))
def test_every_validation_row_is_later_than_every_training_row(events, share) -> None:
    frame = frame_of(events)
    size = int(share * len(frame))
    if 0 < size < len(frame) and frame["at"].nlargest(size + 1).nunique() == 1:
        with pytest.raises(ValueError, match=f"the last {size + 1} rows by 'at' are all of one"):
            TemporalSplitter("at", share)(frame)
        return
    train, valid = TemporalSplitter("at", share)(frame)
    assert sorted([*train, *valid]) == list(range(len(frame)))
    assert len(valid) <= share * len(frame)
    if len(train) and len(valid):
        assert frame["at"][list(train)].max() < frame["at"][list(valid)].min()


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_dates_sort_too_and_in_any_library(library) -> None:
    days = np.array(["2024-03-01", "2024-01-01", "2024-02-01"], dtype="datetime64[ms]")
    frame = library(
        {"user": ["a", "a", "b"], "item": [1, 2, 3], "rating": [1.0, 2, 3], "day": days}
    )
    assert list(LeaveLastOut("day")(frame)[1]) == [0]
    assert list(TemporalSplitter("day", 0.4)(frame)[1]) == [0]


def test_the_loaders_know_who_the_users_are_whatever_the_order_of_columns() -> None:
    frame = frame_of([(1, 5), (2, 3), (1, 4), (2, 9), (3, 1)])[["at", "rating", "item", "user"]]
    columns = {"user_name": "user", "item_name": "item", "rating_name": "rating"}
    dls = CollabDataLoaders.from_df(frame, splitter=LeaveLastOut("at"), bs=2, **columns)
    rows = dls.valid.dataset.decode().items
    assert rows["user"].tolist() == [1, 2]
    assert rows["at"].tolist() == [5, 9]


@pytest.mark.parametrize("splitter", [LeaveLastOut("at"), TemporalSplitter("at")])
def test_a_row_without_a_time_is_named(splitter) -> None:
    frame = frame_of([(1, 5), (2, 3), (1, 4)]).astype({"at": "float64"})
    frame.loc[1, "at"] = None
    with pytest.raises(
        ValueError, match="column 'at' has no time in 1 rows, the first of them row 1"
    ):
        splitter(frame)
    with pytest.raises(KeyError, match="the frame has no column 'at': did you mean"):
        splitter(frame.rename(columns={"at": "att"}))
