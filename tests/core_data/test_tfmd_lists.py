"""Collections through pipelines: indexing, subsets, set-up, types, memory."""

import pickle
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torte.data.categories import Categorize
from torte.data.getters import ColReader
from torte.data.images import PILImage
from torte.data.item_store import PACK_FROM, PackedTexts, hold, item_at
from torte.data.splitters import RandomSplitter
from torte.data.tfmd_lists import TfmdLists
from torte.dispatch import DisplayedTransform, L, Transform


class Add(DisplayedTransform):
    def __init__(self, amount=1, **kwargs):
        super().__init__(**kwargs)
        self.amount = amount

    def encodes(self, x: int):
        return x + self.amount

    def decodes(self, x: int):
        return x - self.amount


class Mean(Transform):
    """Learns the mean of what it is set up on, and subtracts it."""

    def setups(self, items):
        self.seen = list(items)
        self.mean = sum(self.seen) / len(self.seen)

    def encodes(self, x: int | float):
        return x - self.mean

    def decodes(self, x: float):
        return x + self.mean


# -- holding items ---------------------------------------------------------------------------------

texts = st.lists(st.text(st.characters(exclude_characters="\0"), max_size=8), max_size=20)


@given(items=texts)
def test_packed_texts_equal_what_they_were_made_from(items):
    packed = PackedTexts(items, str)
    assert list(packed) == items
    assert packed == items
    assert [packed[i] for i in range(-len(items), len(items))] == items + items
    assert packed[1:4] == items[1:4]
    assert packed[np.arange(len(items))[::2]] == items[::2]
    assert packed[[True] * len(items)] == items
    assert pickle.loads(pickle.dumps(packed)) == packed


def test_packed_paths_are_paths():
    paths = [Path("a/b.png"), Path("ünï/😀.png"), Path("bad\udcff.png")]
    packed = PackedTexts(paths, Path)
    assert list(packed) == paths
    assert all(isinstance(path, Path) for path in packed)
    for index in (3, -4):
        with pytest.raises(IndexError, match="out of range"):
            packed[index]


def test_many_like_texts_are_packed():
    for item in ("a", Path("a")):
        packed = hold([item] * PACK_FROM)
        assert isinstance(packed, PackedTexts)
        assert packed[-1] == item
        assert hold(packed) is packed
        few = [item] * (PACK_FROM - 1)
        assert hold(few) is few
    for odd in (Path("b"), 1, ("a", "b"), np.str_("a")):
        mixed = ["a"] * PACK_FROM + [odd]
        assert hold(mixed) is mixed


def test_what_is_indexed_is_kept_and_what_is_not_becomes_a_list():
    assert hold(x for x in "ab") == ["a", "b"]
    array = np.arange(3)
    assert hold(array) is array
    assert hold(array, use_list=True) == [0, 1, 2]


@pytest.mark.parametrize(("items", "kind"), [("text", "str"), ({"a": 1}, "dict"), (b"x", "bytes")])
def test_what_is_no_collection_of_items_is_refused(items, kind):
    with pytest.raises(TypeError, match=f"not a {kind}"):
        TfmdLists(items, None)
    with pytest.raises(TypeError, match="items must be a collection, not a int: 3"):
        TfmdLists(3, None)


def test_a_million_paths_take_little_memory():
    paths = [Path(f"/data/images/class_{i % 100}/image_{i}.jpg") for i in range(100_000)]
    for path in paths:
        str(path)  # a path keeps its text once it was asked for it
    tracemalloc.start()
    try:
        tl = TfmdLists(paths, None, splits=RandomSplitter(seed=0)(paths), do_setup=False)
        train = tl.train
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # About 40 bytes of text, 8 of its start and 8 of its place in the splits.
    assert held < 100 * len(paths)
    assert train[7] == paths[int(tl.splits[0][7])]


# -- indexing --------------------------------------------------------------------------------------


def test_items_are_transformed_when_asked_for():
    seen = []
    tl = TfmdLists([1, 2, 3], lambda x: seen.append(x) or x * 10, do_setup=False)
    assert seen == []
    assert tl[1] == 20
    assert seen == [2]
    assert tl[-1] == 30
    assert list(tl) == [10, 20, 30]
    assert len(tl) == 3
    assert tl(7) == 70


@given(items=st.lists(st.integers(), min_size=1, max_size=30), data=st.data())
def test_indexing_agrees_with_a_list(items, data):
    tl = TfmdLists(items, Add())
    expected = [item + 1 for item in items]
    start, stop = (data.draw(st.integers(-40, 40)) for _ in range(2))
    assert tl[start:stop] == expected[start:stop]
    places = data.draw(st.lists(st.integers(-len(items), len(items) - 1)))
    for form in (places, np.array(places, int), torch.tensor(places, dtype=torch.int64)):
        assert tl[form] == [expected[i] for i in places]
        assert isinstance(tl[form], L)
    mask = data.draw(st.lists(st.booleans(), min_size=len(items), max_size=len(items)))
    assert tl[np.array(mask)] == [e for e, m in zip(expected, mask, strict=True) if m]
    place = data.draw(st.integers(0, len(items) - 1))
    assert tl[np.int64(place)] == tl[torch.tensor(place)] == expected[place]


def test_places_outside_are_refused():
    tl = TfmdLists([1, 2, 3], None, splits=[[0, 2], [1]])
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"item {index} of 3"):
            tl[index]
    with pytest.raises(IndexError, match="item 2 of 2"):
        tl.train[2]
    with pytest.raises(IndexError, match="of 3 items"):
        tl[[0, 5]]
    with pytest.raises(IndexError, match=r"a mask of shape \(2,\) for 3 items"):
        tl[np.array([True, False])]
    with pytest.raises(IndexError, match="split 1: positions from 9 to 9 of 3 items"):
        TfmdLists([1, 2, 3], None, splits=[[0], [9]])


def test_frames_are_collections_of_rows():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": list("xyz")}, index=[7, 7, 9])
    tl = TfmdLists(frame, ColReader("b"), splits=[[2, 0], [1]])
    assert list(tl) == ["x", "y", "z"]
    assert list(tl.train) == ["z", "x"]
    assert tl.valid.items.equals(frame.iloc[[1]])
    polar = TfmdLists(
        pl.DataFrame({"a": [1, 2, 3], "b": list("xyz")}), ColReader("a"), splits=[[2, 0], [1]]
    )
    assert list(polar.train) == [3, 1]
    assert polar.train.items["b"].to_list() == ["z", "x"]
    assert item_at(np.array([[1, 2], [3, 4]]), 1).tolist() == [3, 4]


# -- subsets ---------------------------------------------------------------------------------------


@given(count=st.integers(1, 50), seed=st.integers(0, 99))
def test_subsets_divide_the_items(count, seed):
    items = list(range(100, 100 + count))
    splits = RandomSplitter(0.3, seed)(items)
    tl = TfmdLists(items, Add(), splits=splits)
    assert sorted([*tl.train, *tl.valid]) == [item + 1 for item in items]
    assert list(tl.train) == [items[i] + 1 for i in splits[0]]
    assert tl.train.items == [items[i] for i in splits[0]]
    assert not tl.overlapping_splits()
    assert tl.n_subsets == 2


def test_transforms_know_the_subset():
    tl = TfmdLists([1, 2], [Add(split_idx=0)], splits=[[0], [1]])
    assert (tl.train.split_idx, tl.valid.split_idx, tl.split_idx) == (0, 1, None)
    assert (tl.train[0], tl.valid[0]) == (2, 2)
    assert tl.train.decode(2) == 1
    assert tl.valid.decode(2) == 2


def test_more_or_fewer_than_two_subsets():
    tl = TfmdLists(list("abcd"), None, splits=[[0], [1], [2, 3]])
    assert tl.n_subsets == 3
    assert list(tl.subset(2)) == ["c", "d"]
    whole = TfmdLists(list("ab"), None)
    assert list(whole.train) == ["a", "b"]
    assert list(whole.valid) == []
    assert TfmdLists([1, 2], None, splits=[[0, 1], [1]]).overlapping_splits()
    assert list(tl.subset(2).subset(0)) == ["c", "d"]


# -- setting up ------------------------------------------------------------------------------------


def test_transforms_learn_from_the_training_split_in_order():
    tl = TfmdLists([1, 2, 30], [float, Mean(), str], splits=[[0, 1], [2]])
    assert tl.tfms[1].seen == [1.0, 2.0]
    assert tl.mean == 1.5
    assert tl[2] == "28.5"
    assert TfmdLists([1, 2, 30], Mean(), splits=[[0, 1], [2]]).decode(28.5) == 30
    everything = TfmdLists([1, 2, 30], Mean(), splits=[[0, 1], [2]], train_setup=False)
    assert everything.mean == 11


def test_set_up_can_be_put_off_and_announced(capsys):
    tl = TfmdLists([1, 2], Mean(), do_setup=False)
    with pytest.raises(AttributeError, match=r"neither TfmdLists nor a transform .* has 'seen'"):
        tl.seen
    tl.setup()
    assert tl.mean == 1.5
    TfmdLists([1], Mean(), verbose=True)
    assert "Setting up Pipeline: Mean" in capsys.readouterr().out


def test_set_up_draws_no_random_numbers():
    before = (torch.get_rng_state(), random.getstate())
    TfmdLists([1, 2], lambda x: x + random.random() + torch.rand(()))
    assert torch.equal(before[0], torch.get_rng_state())
    assert random.getstate() == before[1]


def test_an_item_that_fails_is_reported_when_it_is_asked_for():
    tl = TfmdLists(["no-file.png", "b"], PILImage.create)
    assert tl.types == ["str"]
    with pytest.raises(FileNotFoundError, match=r"no-file\.png") as caught:
        tl[0]
    assert any("PILImage" in note or "create" in note for note in caught.value.__notes__)


# -- new items -------------------------------------------------------------------------------------


def test_new_items_go_through_the_same_transforms_without_set_up():
    tl = TfmdLists(["a", "b"], Categorize())
    new = tl.new(["b"], split_idx=1)
    assert new[0] == 1
    assert new.split_idx == 1
    empty = tl.new_empty()
    assert (len(empty), empty.vocab) == (0, ["a", "b"])
    assert list(empty) == []
    assert len(empty.train) == len(empty.valid) == 0


def test_items_may_enter_where_their_type_fits(tmp_path):
    file = tmp_path / "a.png"
    image = PILImage.create(np.full((4, 6, 3), 7, np.uint8))
    image.save(file)
    frame = pd.DataFrame({"file": ["a.png"]})
    tl = TfmdLists(frame, [ColReader("file", pref=tmp_path), PILImage.create])
    assert tl.infer_idx(frame.iloc[0]) == tl.infer_idx({"file": "a.png"}) == 0
    assert tl.infer_idx(str(file)) == tl.infer_idx(file) == 1
    assert tl.infer_idx(image) == 2
    # Arrays and bytes fit no step by type, but the image class makes an image of anything.
    for source in (np.asarray(image), file.read_bytes()):
        assert tl.infer_idx(source) == 1
        assert tl.infer(source).size == (6, 4)
    numbers = TfmdLists([1, 2], Add())
    with pytest.raises(TypeError, match=r"type str fits nowhere .* one of \['builtins.int'\]"):
        numbers.infer_idx("x")


def test_a_list_pickles_with_its_items_and_state():
    tl = TfmdLists(["b", "a", "b"], Categorize(), splits=[[0, 1], [2]])
    again = pickle.loads(pickle.dumps(tl.valid))
    assert again.vocab == ["a", "b"]
    assert again[0] == 1
    assert again.split_idx == 1


def test_it_prints_its_items_and_transforms():
    tl = TfmdLists([1, 2, 3, 4], Add())
    assert repr(tl) == "TfmdLists: (4 items) [1, 2, 3, ...]\ntfms - [Add]"
