"""No group is on both sides of a split by groups."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.data import GroupSplitter

GROUPS = st.lists(st.integers(0, 6), min_size=1, max_size=40)


@settings(max_examples=80, deadline=None)
@given(GROUPS, st.floats(0.01, 0.99), st.integers(0, 9))
def test_groups_stay_whole_and_the_share_is_the_nearest_in_their_order(labels, share, seed):
    if len(set(labels)) == 1:
        with pytest.raises(ValueError, match="are of group"):
            GroupSplitter(labels, share, seed)(labels)
        return
    train, valid = GroupSplitter(labels, share, seed)(labels)
    assert sorted([*train, *valid]) == list(range(len(labels)))
    assert list(valid) == sorted(valid)
    held = {labels[n] for n in valid}
    assert held
    assert held.isdisjoint({labels[n] for n in train})
    assert list(train)
    # One group more or less would not come nearer, unless a side had none then.
    off = abs(len(valid) - share * len(labels))
    largest = max(labels.count(label) for label in labels)
    assert off <= largest


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    labels = np.repeat(np.arange(50), 3)
    before = torch.get_rng_state()
    first, again, other = (GroupSplitter(labels, 0.3, seed)(labels)[1] for seed in (1, 1, 2))
    assert list(first) == list(again) != list(other)
    assert len(first) == 45
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_a_column_of_a_frame_tells_groups_apart(library) -> None:
    frame = library({"patient": ["a", "b", "a", "c", "b"], "x": range(5)})
    train, valid = GroupSplitter("patient", 0.4, seed=0)(frame)
    patients = frame["patient"].to_list()
    assert {patients[n] for n in train}.isdisjoint({patients[n] for n in valid})
    assert sorted([*train, *valid]) == list(range(5))


def test_a_function_gives_the_group_of_an_item_or_of_a_row() -> None:
    names = ["p1_a.png", "p1_b.png", "p2_a.png"]
    _, valid = GroupSplitter(lambda name: name[:2], 0.3, seed=0)(names)
    assert list(valid) in ([0, 1], [2])
    frame = pd.DataFrame({"a": [1, 1, 2]})
    _, valid = GroupSplitter(lambda row: row["a"], 0.3, seed=0)(frame)
    assert list(valid) in ([0, 1], [2])


@pytest.mark.parametrize("share", [0, 1])
def test_all_or_nothing_may_be_held_out(share) -> None:
    parts = GroupSplitter(["a", "b"], share)(["x", "y"])
    assert list(parts[share]) == [0, 1]
    assert not parts[1 - share]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"g": ["a", None]}),
        pd.DataFrame({"g": [1, pd.NA]}, dtype="Int64"),
        pl.DataFrame({"g": ["a", None]}),
        pl.DataFrame({"g": [1.0, float("nan")]}),
    ],
    ids=["None", "NA", "null", "NaN"],
)
def test_items_without_a_group_are_named(frame) -> None:
    with pytest.raises(ValueError, match="item 1 has no group"):
        GroupSplitter("g")(frame)


def test_mistakes_are_named() -> None:
    with pytest.raises(KeyError, match=r"no column 'h'; the columns are \['g'\]"):
        GroupSplitter("h")(pd.DataFrame({"g": [1]}))
    with pytest.raises(TypeError, match="splits a DataFrame by a column, not a list"):
        GroupSplitter("g")([1, 2])
    with pytest.raises(ValueError, match="2 groups for 3 items"):
        GroupSplitter(["a", "b"])([1, 2, 3])
    with pytest.raises(ValueError, match="valid_pct must be between 0 and 1"):
        GroupSplitter("g", 20)
