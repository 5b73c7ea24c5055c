"""Every splitter divides the items as it says; most give a partition."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold, train_test_split
from torte.data.splitters import (
    ColSplitter,
    EndSplitter,
    FileSplitter,
    FuncSplitter,
    GrandparentSplitter,
    IndexSplitter,
    MaskSplitter,
    RandomSplitter,
    RandomSubsetSplitter,
)
from torte.data.stratified_splitters import KFoldSplitter, TrainTestSplitter

shares = st.floats(0, 1)
seeds = st.integers(0, 2**31)
counts = st.integers(0, 200)


def assert_partition(splits, count):
    train, valid = splits
    assert sorted([*train, *valid]) == list(range(count))
    assert all(type(index) is int for index in [*train, *valid])


@given(count=counts, share=shares, seed=seeds)
def test_random_split_is_a_partition_of_the_asked_sizes(count, share, seed):
    splits = RandomSplitter(share, seed)(range(count))
    assert_partition(splits, count)
    assert len(splits[1]) == int(share * count)
    assert splits == RandomSplitter(share, seed)(range(count))


def test_random_split_differs_by_seed_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, other = (RandomSplitter(seed=seed)(range(100)) for seed in (1, 2))
    assert one != other
    assert torch.equal(before, torch.get_rng_state())


def test_random_split_without_a_seed_follows_torchs_generator():
    torch.manual_seed(3)
    one = RandomSplitter()(range(50))
    torch.manual_seed(3)
    assert one == RandomSplitter()(range(50))
    assert one != RandomSplitter()(range(50))


def test_random_split_is_uniform():
    hits = np.zeros(10)
    for seed in range(600):
        hits[RandomSplitter(0.3, seed)(range(10))[1]] += 1
    # Each item is drawn with probability 0.3: 180 expected, standard deviation 11.2.
    assert np.abs(hits - 180).max() < 5 * 11.2


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match="valid_pct must be between 0 and 1"):
        RandomSplitter(share)


@given(count=counts, share=shares, last=st.booleans())
def test_end_split(count, share, last):
    train, valid = EndSplitter(share, last)(range(count))
    assert_partition((train, valid), count)
    assert (
        [*train, *valid] == list(range(count)) if last else [*valid, *train] == list(range(count))
    )


@given(data=st.data(), count=counts)
def test_index_split_keeps_the_order_given(data, count):
    indices = st.lists(st.integers(0, count - 1), unique=True) if count else st.just([])
    valid_idx = data.draw(indices)
    for form in (valid_idx, np.array(valid_idx, int), torch.tensor(valid_idx), tuple(valid_idx)):
        splits = IndexSplitter(form)(range(count))
        assert_partition(splits, count)
        assert splits[1] == valid_idx


@pytest.mark.parametrize(
    ("valid_idx", "error", "message"),
    [
        ([1, 5], IndexError, "valid_idx holds 5, but there are 3 items"),
        ([-1], IndexError, "valid_idx holds -1"),
        ([1, 1], ValueError, "valid_idx holds 1 more than once"),
    ],
)
def test_impossible_indices_are_named(valid_idx, error, message):
    with pytest.raises(error, match=message):
        IndexSplitter(valid_idx)(range(3))


@given(mask=st.lists(st.booleans(), max_size=50))
def test_mask_split(mask):
    splits = MaskSplitter(mask)(range(len(mask)))
    assert_partition(splits, len(mask))
    assert all(mask[i] for i in splits[1])
    assert not any(mask[i] for i in splits[0])


def test_a_mask_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"the mask has shape \(2,\), but there are 3 items"):
        MaskSplitter([True, False])(range(3))
    with pytest.raises(ValueError, match=r"must hold booleans .* but holds 2"):
        MaskSplitter([0, 1, 2])(range(3))


@given(items=st.lists(st.integers()))
def test_func_split(items):
    splits = FuncSplitter(lambda item: item % 3 == 0)(items)
    assert_partition(splits, len(items))
    assert [items[i] for i in splits[1]] == [item for item in items if item % 3 == 0]


def test_grandparent_split_and_what_it_finds_instead():
    files = ["a/train/x/1.png", "a/valid/y/2.png", "a/test/x/3.png", "a/train/y/4.png"]
    assert GrandparentSplitter()(files) == ([0, 3], [1])
    assert GrandparentSplitter(("train", "test"), "valid")(files) == ([0, 2, 3], [1])
    with pytest.raises(
        ValueError, match=r"grandparent folder 'val': .* \['test', 'train', 'valid'\]"
    ):
        GrandparentSplitter(valid_name="val")(files)


def test_file_split(tmp_path):
    listing = tmp_path / "valid.txt"
    listing.write_text("b.png\n\nd.png\n")
    assert FileSplitter(listing)(["x/a.png", "x/b.png", "y/d.png"]) == ([0], [1, 2])
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.txt"):
        FileSplitter(tmp_path / "none.txt")(["a"])


def test_column_split():
    frame = pd.DataFrame(
        {"is_valid": [False, True, False], "fold": ["a", "b", "c"]}, index=[5, 5, 9]
    )
    assert ColSplitter()(frame) == ([0, 2], [1])
    assert ColSplitter(0)(frame) == ([0, 2], [1])
    assert ColSplitter("fold", on="c")(frame) == ([0, 1], [2])
    assert ColSplitter("fold", on=["a", "c"])(frame) == ([1], [0, 2])
    with pytest.raises(
        KeyError, match=r"no column 'valid'; the columns are \['is_valid', 'fold'\]"
    ):
        ColSplitter("valid")(frame)
    with pytest.raises(TypeError, match="splits a DataFrame, not a list"):
        ColSplitter()([1, 2])
    with pytest.raises(ValueError, match="column 'is_valid' must hold booleans"):
        ColSplitter()(pd.DataFrame({"is_valid": ["yes", "no"]}))


@given(count=st.integers(2, 200), share=st.floats(0.05, 0.9), seed=seeds)
def test_train_test_split_has_scikit_learns_sizes(count, share, seed):
    splits = TrainTestSplitter(share, random_state=seed)(range(count))
    assert_partition(splits, count)
    if int(np.ceil(share * count)) < count:
        expected = train_test_split(range(count), test_size=share, random_state=seed)
        assert [len(part) for part in splits] == [len(part) for part in expected]


@given(labels=st.lists(st.sampled_from("abc"), min_size=30, max_size=200), seed=seeds)
def test_stratified_split_keeps_proportions(labels, seed):
    labels = [*labels, *"aabbcc"]
    splits = TrainTestSplitter(0.3, random_state=seed, stratify=labels)(range(len(labels)))
    assert_partition(splits, len(labels))
    expected = train_test_split(labels, test_size=0.3, random_state=0, stratify=labels)
    for split, reference in zip(splits, expected, strict=True):
        assert len(split) == len(reference)
        for label in "abc":
            assert abs([labels[i] for i in split].count(label) - reference.count(label)) <= 1


def test_train_test_split_options():
    assert TrainTestSplitter(0.25, shuffle=False)(range(8)) == ([0, 1, 2, 3, 4, 5], [6, 7])
    train, test = TrainTestSplitter(test_size=3, train_size=4, random_state=0)(range(10))
    assert (len(train), len(test)) == (4, 3)
    assert not set(train) & set(test)
    with pytest.raises(ValueError, match="stratify has 2 labels for 3 items"):
        TrainTestSplitter(stratify=["a", "b"])(range(3))
    with pytest.raises(ValueError, match="label 'b' has a single item"):
        TrainTestSplitter(stratify=["a", "a", "b"])(range(3))
    with pytest.raises(ValueError, match="ask for more than the 10 items"):
        TrainTestSplitter(test_size=6, train_size=6)(range(10))


@given(count=st.integers(1, 100), seed=seeds, data=st.data())
def test_random_subsets_are_disjoint(count, seed, data):
    train_size = data.draw(st.integers(1, count))
    valid_size = data.draw(st.integers(0, count - train_size))
    # Sizes of 1 and more are numbers of items, smaller ones shares.
    train, valid = RandomSubsetSplitter(train_size, valid_size, seed)(range(count))
    assert len(train) == train_size
    assert len(valid) == valid_size
    assert len({*train, *valid}) == train_size + valid_size


def test_random_subsets_by_share():
    train, valid = RandomSubsetSplitter(0.5, 0.2, seed=1)(range(100))
    assert (len(train), len(valid)) == (50, 20)
    with pytest.raises(ValueError, match=r"train_sz=0.9 and valid_sz=0.2 do not fit in 10 items"):
        RandomSubsetSplitter(0.9, 0.2)(range(10))


@given(count=st.integers(5, 120), folds=st.integers(2, 5), seed=seeds)
def test_folds_cover_every_item_once(count, folds, seed):
    every = [KFoldSplitter(folds, fold, seed)(range(count)) for fold in range(folds)]
    for splits in every:
        assert_partition(splits, count)
    assert sorted(index for _, valid in every for index in valid) == list(range(count))
    sizes = [len(valid) for _, valid in every]
    assert max(sizes) - min(sizes) <= 1


def test_stratified_folds_agree_with_scikit_learn_in_numbers():
    labels = list("aaaaaaaabbbbcccccc")
    rows = np.zeros((len(labels), 1))
    reference = StratifiedKFold(3).split(rows, labels)
    for fold, (_, expected) in enumerate(reference):
        _, valid = KFoldSplitter(3, fold, stratify=labels)(labels)
        for label in "abc":
            mine = [labels[i] for i in valid].count(label)
            assert abs(mine - [labels[i] for i in expected].count(label)) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_splits": 1}, "n_splits must be at least 2"),
        ({"fold": 5}, "fold must be from 0 to 4, got 5"),
    ],
)
def test_impossible_folds_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        KFoldSplitter(**arguments)
    with pytest.raises(ValueError, match="3 items cannot make 5 folds"):
        KFoldSplitter()(range(3))


def test_splitters_pickle_and_print_themselves():
    splitter = pickle.loads(pickle.dumps(RandomSplitter(0.5, seed=4)))
    assert splitter(range(9)) == RandomSplitter(0.5, seed=4)(range(9))
    assert repr(splitter) == "RandomSplitter(valid_pct=0.5, seed=4)"
