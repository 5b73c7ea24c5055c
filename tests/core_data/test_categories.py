"""Labels to numbers and back."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torte.data.categories import (
    Categorize,
    EncodedMultiCategorize,
    MultiCategorize,
    OneHotEncode,
    get_c,
    one_hot,
    one_hot_decode,
)
from torte.data.tensors import TensorCategory, TensorMultiCategory
from torte.data.tfmd_lists import TfmdLists
from torte.data.titles import Category, MultiCategory, TitledInt, TitledTuple
from torte.data.vocabularies import MISSING, CategoryMap, UnknownLabelError
from torte.dispatch import describe, rebuild

words = st.text(max_size=5)
scalars = st.one_of(words, st.integers(-5, 5), st.floats(-1, 1), st.booleans())


def through_json(transform):
    return rebuild(json.loads(json.dumps(describe(transform))))


# -- vocabularies ----------------------------------------------------------------------------------


@given(labels=st.lists(words))
def test_a_vocabulary_holds_each_label_once_and_sorted(labels):
    vocab = CategoryMap(labels)
    assert list(vocab) == sorted(set(labels))
    assert all(vocab.o2i[label] == number for number, label in enumerate(vocab))
    assert vocab.map_ids(vocab.map_objs(labels)) == labels


def test_vocabularies_of_frames_and_with_gaps():
    column = pd.Series(["b", None, "a", "b"])
    assert CategoryMap(column) == ["a", "b"]
    assert CategoryMap(column, sort=False) == ["b", "a"]
    assert CategoryMap(column, add_na=True) == [MISSING, "a", "b"]
    assert CategoryMap([1.5, float("nan"), 0.5, pd.NA, pd.NaT]) == [0.5, 1.5]
    sizes = pd.Series(pd.Categorical(["s", "m"], categories=["s", "m", "l"], ordered=True))
    assert CategoryMap(sizes) == ["s", "m", "l"]
    assert CategoryMap(sizes, strict=True) == ["s", "m"]
    assert CategoryMap(np.array([3, 1, 3])).o2i == {1: 0, 3: 1}
    assert CategoryMap(torch.tensor([3, 1])) == [1, 3]


def test_a_vocabulary_is_a_sequence():
    vocab = CategoryMap(["a", "b", "c"])
    assert (len(vocab), vocab[1], vocab[-1], vocab[1:], "b" in vocab) == (
        3,
        "b",
        "c",
        ["b", "c"],
        True,
    )
    assert [] not in vocab
    assert vocab[torch.tensor(2)] == "c"
    assert pickle.loads(pickle.dumps(vocab)) == vocab
    assert vocab != CategoryMap(["a", "b"])
    assert repr(vocab) == "['a', 'b', 'c']"
    assert CategoryMap([2, "a", 1]) == [1, 2, "a"]


def test_unknown_labels_are_named_with_the_nearest_known():
    vocab = CategoryMap(["beagle", "boxer"])
    message = (
        r"label 'beagel' not in the vocabulary of 2 .*'beagle', 'boxer'.* Did you mean 'beagle'\?"
    )
    with pytest.raises(UnknownLabelError, match=message) as caught:
        vocab.number("beagel")
    assert isinstance(caught.value, KeyError)
    assert caught.value.labels == ["beagel"]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(UnknownLabelError, match="labels 'x', 'y' not in"):
        vocab.map_objs(["x", "boxer", "y"])
    with pytest.raises(TypeError, match="labels must be hashable"):
        CategoryMap([["a"], ["b"]])


# -- one of several --------------------------------------------------------------------------------


@given(labels=st.lists(words, min_size=1), data=st.data())
def test_decode_returns_the_label_that_went_in(labels, data):
    categorize = Categorize()
    categorize.setup(labels)
    label = data.draw(st.sampled_from(labels))
    encoded = categorize(label)
    assert type(encoded) is TensorCategory
    assert (encoded.dtype, encoded.shape) == (torch.int64, ())
    assert categorize.decode(encoded) == label
    assert type(categorize.decode(encoded)) is Category


@given(labels=st.lists(scalars, min_size=1), add_na=st.booleans())
def test_labels_of_any_type_come_back(labels, add_na):
    categorize = Categorize(add_na=add_na, sort=False)
    categorize.setup(labels)
    for label in labels:
        assert categorize.decode(categorize(label)) == label


@pytest.mark.parametrize("label", [np.int64(3), np.str_("three"), torch.tensor(3), np.array(3)])
def test_labels_from_arrays_are_python_values(label):
    categorize = Categorize()
    categorize.setup([label])
    assert type(categorize.vocab[0]) in {int, str}
    assert categorize(label) == 0
    assert categorize(label.item()) == 0


def test_numbers_are_shown_as_titles():
    categorize = Categorize([10, 20])
    assert type(categorize.decode(TensorCategory(1))) is TitledInt


def test_a_label_that_was_not_in_the_training_data_is_named():
    categorize = Categorize()
    categorize.setup(["a", "b"])
    with pytest.raises(UnknownLabelError, match="label 'c' not in the vocabulary"):
        categorize("c")
    with pytest.raises(UnknownLabelError, match=r"an item has no label \(\[nan\]\)"):
        categorize(float("nan"))


def test_missing_and_unknown_labels_may_count_as_one_category():
    categorize = Categorize(add_na=True)
    categorize.setup(["b", "a"])
    assert categorize.vocab == [MISSING, "a", "b"]
    assert [int(categorize(x)) for x in ("a", "zebra", None, float("nan"))] == [1, 0, 0, 0]
    assert categorize.decode(TensorCategory(0)) == MISSING


def test_given_vocabularies():
    assert Categorize(["c", "a", "b"]).vocab == ["a", "b", "c"]
    kept = Categorize(["c", "a", "b"], sort=False)
    kept.setup(["z"])
    assert kept.vocab == ["c", "a", "b"]
    assert kept.c == 3
    with pytest.raises(IndexError, match="category number 3, but the vocabulary has 3"):
        kept.decode(TensorCategory(3))
    with pytest.raises(ValueError, match="Categorize has no vocabulary yet"):
        Categorize()("a")


def test_only_the_training_split_is_learned_from():
    tl = TfmdLists(["a", "b", "c", "a"], Categorize(), splits=[[0, 1], [2, 3]])
    assert tl.vocab == ["a", "b"]
    assert tl.valid[1] == 0
    with pytest.raises(UnknownLabelError, match="label 'c'"):
        tl.valid[0]


@pytest.mark.parametrize(
    "transform",
    [
        Categorize(["b", "a"], sort=False, add_na=True),
        Categorize([3, 1, 2]),
        MultiCategorize(["b", "a"]),
        EncodedMultiCategorize(["y", "x"]),
    ],
)
def test_state_survives_json(transform):
    again = through_json(transform)
    assert type(again) is type(transform)
    assert again.vocab == transform.vocab
    assert again.vocab.o2i == transform.vocab.o2i
    assert describe(again) == describe(transform)


def test_a_transform_that_learned_keeps_its_state():
    categorize = Categorize(add_na=True)
    categorize.setup(["x", "y"])
    again = through_json(categorize)
    assert again("unknown") == 0
    assert again.vocab == categorize.vocab
    empty = through_json(Categorize())
    empty.setup(["q"])
    assert empty.vocab == ["q"]


# -- several at once -------------------------------------------------------------------------------


@given(items=st.lists(st.lists(st.sampled_from("abcdef"), unique=True), min_size=1))
def test_several_labels_come_back_through_one_hot(items):
    multi, encode = MultiCategorize(), OneHotEncode()
    multi.setup(items)
    encode.setup(multi)
    for labels in items:
        numbers = multi(labels)
        assert type(numbers) is TensorMultiCategory
        assert multi.decode(numbers) == labels
        if multi.vocab:
            row = encode(numbers)
            assert (row.dtype, row.shape) == (torch.float32, (len(multi.vocab),))
            decoded = multi.decode(encode.decode(row))
            assert type(decoded) is MultiCategory
            assert sorted(decoded) == sorted(labels)


def test_several_labels_details():
    multi = MultiCategorize()
    multi.setup([["b", "a"], [], "cc", None] if False else [["b", "a"], [], "cc"])
    assert multi.vocab == ["a", "b", "cc"]
    assert multi("cc").tolist() == [2]
    assert multi(None).tolist() == multi([]).tolist() == []
    with pytest.raises(UnknownLabelError, match="labels 'x', 'y' not in"):
        multi(["a", "x", "y"])
    assert MultiCategorize(["b", "a"]).vocab == ["b", "a"]


def test_one_hot_needs_to_know_how_many():
    with pytest.raises(ValueError, match="does not know the number of categories"):
        OneHotEncode()(TensorMultiCategory([0]))
    assert OneHotEncode(3)(TensorMultiCategory([0, 2])).tolist() == [1, 0, 1]


def test_encoded_targets():
    encoded = EncodedMultiCategorize(["a", "b", "c"])
    assert encoded.c == 3
    for row in ([0, 1, 1], np.array([0, 1, 1]), torch.tensor([0, 1, 1]), [False, True, True]):
        result = encoded(row)
        assert type(result) is TensorMultiCategory
        assert result.dtype == torch.float32
        assert encoded.decode(result) == ["b", "c"]
    with pytest.raises(ValueError, match=r"a row of 3 numbers was expected, got shape \(2,\)"):
        encoded([0, 1])


@given(numbers=st.sets(st.integers(0, 9)))
def test_one_hot_and_back(numbers):
    row = one_hot(sorted(numbers), 10)
    assert row.dtype == torch.uint8
    assert int(row.sum()) == len(numbers)
    for number in numbers:
        assert one_hot(number, 10).tolist() == [place == number for place in range(10)]
    assert one_hot_decode(row) == sorted(numbers)
    assert one_hot_decode(row, "abcdefghij") == ["abcdefghij"[n] for n in sorted(numbers)]


class Loaders:
    def __init__(self, **attributes):
        vars(self).update(attributes)


def test_how_many_outputs_a_model_needs():
    assert get_c(Loaders(c=3)) == 3
    assert get_c(Loaders(vocab=CategoryMap("abc"))) == 3
    assert get_c(Loaders(vocab=[["x"] * 50, CategoryMap("ab")])) == 2
    with pytest.raises(ValueError, match="the number of outputs is not known"):
        get_c(Loaders())


def test_plain_numbers_decode_too():
    transform = Categorize(["a", "b"])
    for number in (1, torch.tensor(1), torch.tensor([1])):
        label = transform.decode(number)
        assert (label, type(label)) == ("b", Category)
    several = torch.tensor([0, 1])
    assert transform.decode(several) is several


def test_a_vocabulary_is_indexed_by_several_numbers():
    vocab = CategoryMap(["c", "a", "b"])
    assert vocab[[0, 2]] == ["a", "c"]
    assert vocab[torch.tensor([2, 1])] == ["c", "b"]
    assert vocab[torch.tensor(1)] == "b"


def test_a_titled_tuple_takes_its_items_either_way():
    assert TitledTuple(1, 2) == TitledTuple((1, 2)) == (1, 2)
    assert (TitledTuple(), TitledTuple(1)) == ((), (1,))
    copied = pickle.loads(pickle.dumps(TitledTuple(1, (2, 3))))
    assert (copied, type(copied)) == ((1, (2, 3)), TitledTuple)
