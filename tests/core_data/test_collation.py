"""Batches of every structure, against torch's own collation where that has an answer."""

import dataclasses
from collections import OrderedDict, UserDict, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.utils.data import default_collate
from torte.data.collation import collate, convert, fa_collate, fa_convert
from torte.data.errors import CollationError
from torte.data.images import PILImage
from torte.data.tensors import LabeledBBox, TensorBBox, TensorCategory, TensorImage, TensorMask
from torte.data.titles import Category, TitledFloat, TitledInt
from torte.dispatch import L

Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass
class Sample:
    image: torch.Tensor
    label: int
    name: str = "n"


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: float


class Encoding(UserDict):
    """As Hugging Face's `BatchEncoding`: a dict-like with state of its own."""

    def __init__(self, data=None, encodings="tokens"):
        super().__init__(data)
        self.encodings = encodings


scalars = st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.booleans())


def structures(leaf):
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.tuples(inner, inner), st.dictionaries(st.sampled_from("abc"), inner, min_size=1)
        ),
        max_leaves=5,
    )


@given(structures(scalars), st.integers(1, 5))
def test_agrees_with_torch(item, count):
    mine, theirs = collate([item] * count), default_collate([item] * count)
    torch.testing.assert_close(_as_lists(mine), _as_lists(theirs), rtol=0, atol=0)
    assert _dtypes(mine) == _dtypes(theirs)


def _as_lists(batch):
    if isinstance(batch, dict):
        return {key: _as_lists(value) for key, value in batch.items()}
    return [_as_lists(each) for each in batch] if isinstance(batch, (tuple, list)) else batch


def _dtypes(batch):
    if isinstance(batch, dict):
        return {key: _dtypes(value) for key, value in batch.items()}
    return [_dtypes(each) for each in batch] if isinstance(batch, (tuple, list)) else batch.dtype


@given(arrays(np.float32, (3, 2), elements=st.floats(-1, 1, width=32)), st.integers(1, 4))
def test_arrays_are_stacked(array, count):
    batch = collate([array] * count)
    assert batch.dtype == torch.float32
    assert torch.equal(batch, torch.from_numpy(np.stack([array] * count)))


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([1, 2], torch.tensor([1, 2])),
        ([1.0, 2], torch.tensor([1.0, 2.0], dtype=torch.float64)),
        ([True, False], torch.tensor([True, False])),
        ([np.float32(1), np.float32(2)], torch.tensor([1.0, 2.0])),
        ([np.bool_(True)], torch.tensor([True])),
        ([TitledInt(3), TitledInt(4)], torch.tensor([3, 4])),
        ([TitledFloat(0.5)], torch.tensor([0.5], dtype=torch.float64)),
    ],
)
def test_numbers(items, expected):
    batch = collate(items)
    assert batch.dtype == expected.dtype
    assert torch.equal(batch, expected)


def test_what_cannot_be_a_tensor_becomes_a_list():
    assert collate(["a", "b"]) == ["a", "b"]
    assert collate([b"a", b"b"]) == [b"a", b"b"]
    assert collate([Category("a")]) == ["a"]
    assert collate([None, None]) == [None, None]
    dates = [np.array("2020-01-01", dtype="datetime64[D]")]
    assert collate(dates) == dates


def test_kinds_of_containers_stay():
    assert collate([(1, "a"), (2, "b")])[1] == ["a", "b"]
    assert type(collate([(1, 2)])) is tuple
    assert type(collate([[1, 2]])) is list
    assert type(collate([L(1, 2)])) is L
    pair = collate([Pair(1, 2.0), Pair(3, 4.0)])
    assert type(pair) is Pair
    assert pair.x.tolist() == [1, 3]
    ordered = collate([OrderedDict(b=1, a=2)])
    assert type(ordered) is OrderedDict
    assert list(ordered) == ["b", "a"]
    encoding = collate([Encoding({"ids": [1, 2]}, "kept"), Encoding({"ids": [3, 4]})])
    assert type(encoding) is Encoding
    assert encoding.encodings == "kept"
    assert [column.tolist() for column in encoding["ids"]] == [[1, 3], [2, 4]]


def test_items_are_not_changed():
    first = Encoding({"ids": 1})
    collate([first, Encoding({"ids": 2})])
    assert first["ids"] == 1


def test_dataclasses():
    batch = collate([Sample(torch.ones(2), 3), Sample(torch.zeros(2), 4, "m")])
    assert type(batch) is Sample
    assert batch.image.tolist() == [[1, 1], [0, 0]]
    assert batch.label.tolist() == [3, 4]
    assert batch.name == ["n", "m"]
    assert collate([Frozen(1.0), Frozen(2.0)]).value.tolist() == [1, 2]


def test_semantic_types_and_metadata_stay():
    masks = [TensorMask(torch.full((2, 2), n), codes=["a"]) for n in range(3)]
    batch = collate([(mask, TensorCategory(torch.tensor(1))) for mask in masks])
    assert type(batch[0]) is TensorMask
    assert batch[0].codes == ["a"]
    assert batch[0].shape == (3, 2, 2)
    assert type(batch[1]) is TensorCategory
    boxes = collate([LabeledBBox(TensorBBox.create([[0, 0, 1, 1]]), torch.tensor([1]))] * 2)
    assert type(boxes) is LabeledBBox
    assert boxes.bbox.shape == (2, 1, 4)


def test_images_of_interleaved_memory_become_channels_last():
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 5, 3), dtype=np.uint8)
    items = [PILImage.create(image).to_tensor() for image in pixels]
    batch = collate(items)
    assert type(batch) is TensorImage
    assert batch.shape == (4, 3, 6, 5)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(batch.numpy(), pixels.transpose(0, 3, 1, 2))
    planar = collate([item.contiguous() for item in items])
    assert planar.is_contiguous()
    assert torch.equal(planar, batch)
    mixed = collate([items[0], items[1].contiguous()])
    assert torch.equal(mixed, batch[:2])


def test_gradients_pass_through():
    leaf = torch.ones(2, requires_grad=True)
    collate([leaf, leaf * 2]).sum().backward()
    assert leaf.grad.tolist() == [3, 3]


def test_batches_are_copies():
    item = torch.zeros(2)
    batch = collate([item])
    batch += 1
    assert item.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            [torch.zeros(2), torch.zeros(3), torch.zeros(2)],
            r"0 is a Tensor of shape \(2,\) and torch\.float32, .* 1 is a Tensor of shape \(3,\)",
        ),
        (
            [np.zeros(2), np.zeros((2, 2))],
            r"number 1 is a ndarray of shape \(2, 2\)",
        ),
        ([torch.zeros(2)] + [torch.zeros(3)] * 5, "and 2 more differ"),
        ([torch.zeros(2), "text"], r"number 1 is a str \('text'\)"),
        ([1, "text"], "number 1 is a str"),
        ([(1, 2), (1, 2, 3)], "number 0 is a tuple of 2, number 1 a tuple of 3"),
        ([{"a": 1}, {"b": 1}], "item number 1 of a batch lacks the key 'a'"),
        ([object()], "a object cannot be put into a batch.*create_batch"),
        ([np.array([object()])], "array of Python objects"),
    ],
)
def test_misfits_are_named(items, message):
    with pytest.raises(CollationError, match=message):
        collate(items)


def test_an_image_asks_for_a_tensor():
    image = PILImage.create(np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(CollationError, match=r"a PILImage cannot be put.*ToTensor\(\)"):
        collate([image])


def test_the_misfitting_field_is_named():
    with pytest.raises(CollationError) as info:
        collate([(1, {"image": torch.zeros(2)}), (1, {"image": torch.zeros(3)})])
    assert info.value.__notes__ == [
        "in element 'image' of the items",
        "in element 1 of the items",
    ]
    assert isinstance(info.value.__cause__, RuntimeError)


def test_ready_made_batches_keep_their_structure():
    array = np.zeros(3)
    batch = convert((array, {"a": array, "b": "text"}, 3))
    assert torch.is_tensor(batch[0])
    assert batch[0].data_ptr() == array.ctypes.data
    assert batch[1]["b"] == "text"
    assert batch[2] == 3
    unchanged = (1, [2, "x"])
    assert convert(unchanged) is unchanged


def test_names_of_the_documentation():
    assert fa_collate is collate
    assert fa_convert is convert
