"""Semantic tensors: the class and the metadata survive; values are torch's own."""

import copy
import io
import pickle

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torte.data.tensors import (
    Category,
    LabeledBBox,
    MultiCategory,
    TensorBase,
    TensorBBox,
    TensorCategory,
    TensorFlowField,
    TensorImage,
    TensorImageBase,
    TensorImageBW,
    TensorMask,
    TensorMultiCategory,
    TensorPoint,
    TensorRegression,
    TitledFloat,
    TitledInt,
    TitledStr,
    TitledTensorScalar,
    TitledTuple,
    plain,
)

KINDS = [
    TensorBase,
    TensorImageBase,
    TensorImage,
    TensorImageBW,
    TensorMask,
    TensorFlowField,
    TensorPoint,
    TensorBBox,
    TensorCategory,
    TensorMultiCategory,
    TensorRegression,
    TitledTensorScalar,
]

OPERATIONS = {
    "index": lambda x: x[0],
    "slice": lambda x: x[:, 1:],
    "mask": lambda x: x[x > 0.5],
    "add": lambda x: x + 1,
    "add_from_left": lambda x: 1 - x,
    "add_tensor": lambda x: torch.ones(3, 4) * x,
    "power": lambda x: x**2,
    "matmul": lambda x: x @ x.T,
    "compare": lambda x: x > 0.5,
    "mean": lambda x: x.mean(),
    "sum_dim": lambda x: x.sum(0),
    "view": lambda x: x.view(-1),
    "reshape": lambda x: x.reshape(2, 6),
    "permute": lambda x: x.permute(1, 0),
    "transpose": lambda x: x.T,
    "clone": lambda x: x.clone(),
    "detach": lambda x: x.detach(),
    "dtype": lambda x: x.to(torch.float64),
    "half": lambda x: x.half(),
    "device": lambda x: x.to("meta"),
    "cpu": lambda x: x.cpu(),
    "contiguous": lambda x: x.T.contiguous(),
    "stack": lambda x: torch.stack([x, x]),
    "cat": lambda x: torch.cat([x, x]),
    "where": lambda x: torch.where(x > 0.5, x, torch.zeros_like(x)),
    "clamp": lambda x: x.clamp(0, 0.5),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "interpolate": lambda x: nn.functional.interpolate(x[None, None], size=(2, 2)),
    "grid": lambda x: nn.functional.grid_sample(
        x[None, None], torch.zeros(1, 2, 2, 2), align_corners=False
    ),
    "data": lambda x: x.data,
    "new_zeros": lambda x: x.new_zeros(3),
    "unsqueeze": lambda x: x[None],
    "expand": lambda x: x[None].expand(4, -1, -1),
    "roll": lambda x: x.roll(1),
    "flip": lambda x: x.flip(0),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("kind", [TensorImage, TensorMask, TensorPoint])
def test_class_and_metadata_survive(kind, name):
    values = torch.rand(3, 4)
    x = kind(values, img_size=(4, 3))
    result = OPERATIONS[name](x)
    expected = OPERATIONS[name](values)
    assert type(result) is kind
    assert result.img_size == (4, 3)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    if expected.device.type != "meta":
        assert torch.equal(plain(result), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_wraps_without_copying(kind):
    values = torch.arange(4.0)
    x = kind(values)
    assert type(x) is kind
    assert x.data_ptr() == values.data_ptr()
    assert type(kind([1, 2])) is kind
    assert repr(x).startswith(kind.__name__)


def test_hierarchy():
    assert issubclass(TensorImageBW, TensorImage)
    assert issubclass(TensorImage, TensorImageBase)
    assert issubclass(TensorMask, TensorImageBase)
    assert not issubclass(TensorMask, TensorImage)
    assert issubclass(TensorBBox, TensorPoint)
    assert issubclass(TensorMultiCategory, TensorCategory)


def test_structured_results():
    x = TensorImage(torch.rand(3, 4), k=1)
    highest = x.max(dim=0)
    assert type(highest.values) is TensorImage
    assert torch.equal(plain(highest.indices), plain(x).max(0).indices)
    parts = x.unbind()
    assert isinstance(parts, tuple)
    assert [type(part) for part in parts] == [TensorImage] * 3
    assert isinstance(x.shape, torch.Size)
    assert x.size() == (3, 4)
    assert x.tolist() == plain(x).tolist()


def test_conversions_to_python():
    x = TensorCategory(torch.tensor(3))
    assert int(x) == 3
    assert float(x) == 3.0
    assert f"{x:03d}" == "003"
    assert x.item() == 3
    assert [10, 20, 30, 40][x] == 40
    assert TensorImage(torch.ones(2)).numpy().tolist() == [1, 1]
    assert bool(TensorBase(torch.tensor(True))) is True
    assert len(TensorImage(torch.ones(2, 3))) == 2
    assert [type(row) for row in TensorImage(torch.ones(2, 3))] == [TensorImage] * 2


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (TensorImage, TensorImageBW, TensorImage),
        (TensorImageBW, TensorImage, TensorImage),
        (TensorImage, TensorMask, TensorImage),
        (TensorMask, TensorImage, TensorMask),
        (TensorBase, TensorImage, TensorBase),
        (TensorImageBase, TensorMask, TensorImageBase),
        (TensorRegression, TensorCategory, TensorRegression),
    ],
)
def test_mixed_operands(first, second, kind):
    left, right = first(torch.ones(2, 2)), second(torch.ones(2, 2))
    assert type(left + right) is kind
    assert type(torch.stack([left, right])) is kind
    left += right
    assert type(left) is first
    assert torch.equal(plain(left), torch.full((2, 2), 2.0))


@given(st.sampled_from(KINDS), st.sampled_from(KINDS))
def test_no_pair_of_kinds_raises(first, second):
    left, right = first(torch.ones(3)), second(torch.ones(3))
    for result in (left * right, left == right, torch.cat([left, right]), torch.dot(left, right)):
        assert isinstance(result, TensorBase)


def test_looking_up_by_categories_gives_what_is_looked_up():
    categories, table = TensorCategory(torch.tensor([2, 0])), torch.rand(3, 5)
    for rows in (
        table[categories],
        table.index_select(0, categories),
        nn.functional.embedding(categories, table),
        nn.Embedding.from_pretrained(table)(categories),
    ):
        assert type(rows) is Tensor
        assert torch.equal(rows, table[[2, 0]])
    weights = TensorRegression(table)
    assert type(weights[categories]) is TensorRegression
    assert type(weights.gather(1, TensorCategory(torch.zeros(3, 1).long()))) is TensorRegression


def test_metadata():
    mask = TensorMask(torch.zeros(2, 2), codes=["sky", "road"])
    assert mask.metadata == {"codes": ["sky", "road"]}
    assert TensorMask(mask, name="m").metadata == {"codes": ["sky", "road"], "name": "m"}
    assert mask.as_subclass(TensorImage).codes == ["sky", "road"]
    assert type(mask.as_subclass(Tensor)) is Tensor
    assert not hasattr(TensorMask(torch.zeros(1)), "codes")
    copied = copy.deepcopy(mask)
    copied.codes.append("tree")
    assert mask.codes == ["sky", "road"]
    first_with_any = TensorImage(torch.ones(2, 2)) + mask
    assert first_with_any.codes == ["sky", "road"]


def test_autograd_is_torchs():
    values = torch.rand(3, requires_grad=True)
    x = TensorImage(values, k=1)
    loss = (plain(x) ** 2).sum() + (x * 2).sum()
    loss.backward()
    assert type(values.grad) is Tensor
    assert torch.allclose(values.grad, 2 * values.detach() + 2)
    leaf = TensorImage(torch.rand(2)).requires_grad_()
    (leaf * 3).sum().backward()
    assert torch.equal(plain(leaf.grad), torch.full((2,), 3.0))
    again = pickle.loads(pickle.dumps(leaf))
    assert again.requires_grad
    assert copy.deepcopy(leaf).requires_grad


def test_in_place_and_out():
    x = TensorImage(torch.ones(2), k=1)
    same = x.add_(1)
    assert same is x
    x[0] = 5
    assert x.tolist() == [5, 2]
    out = torch.empty(2)
    torch.add(x, 1, out=out)
    assert type(out) is Tensor
    assert out.tolist() == [6, 3]


def test_plain():
    image = TensorImage(torch.rand(2, 2))
    assert type(plain(image)) is Tensor
    assert plain(image).data_ptr() == image.data_ptr()
    unchanged = (torch.ones(1), {"a": torch.ones(1), "b": "text"}, [1, None])
    assert plain(unchanged) is unchanged
    tensor = torch.ones(1)
    assert plain(tensor) is tensor
    parameter = nn.Parameter(torch.ones(1))
    assert plain(parameter) is parameter
    mixed = plain((image, {"mask": TensorMask(torch.ones(1)), "n": 3}, [image]))
    assert [type(mixed[0]), type(mixed[1]["mask"]), type(mixed[2][0])] == [Tensor] * 3
    assert mixed[1]["n"] == 3


def test_compiles_after_plain():
    calls = []

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    function = torch.compile(lambda x: x * 2 + 1, backend=backend, fullgraph=True)
    result = function(plain(TensorImage(torch.ones(3))))
    assert len(calls) == 1
    assert result.tolist() == [3, 3, 3]


def test_safe_file_of_plain_values():
    buffer = io.BytesIO()
    torch.save(plain(TensorImage(torch.ones(2))), buffer)
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True).tolist() == [1, 1]


def test_points_and_boxes():
    points = TensorPoint.create([[1, 2], [3, 4]], img_size=(10, 20))
    assert points.dtype == torch.float32
    assert points.shape == (2, 2)
    assert points.img_size == (10, 20)
    assert TensorPoint.create([1, 2, 3, 4]).tolist() == [[1, 2], [3, 4]]
    assert TensorBBox.create([[0, 0, 1, 2]]).shape == (1, 4)
    assert TensorPoint.create(torch.empty(0)).shape == (0, 2)
    with pytest.raises(ValueError, match="points take 2 numbers each, got 3 numbers"):
        TensorPoint.create([1, 2, 3])
    with pytest.raises(ValueError, match="boxes take 4 numbers each, got 6 numbers of shape"):
        TensorBBox.create([[1, 2], [1, 2], [3, 4]])
    boxes = TensorBBox.create([[0, 0, 1, 2]])
    labelled = LabeledBBox(boxes, ["cat"])
    assert labelled.bbox is boxes
    assert labelled.lbl == ["cat"]
    assert LabeledBBox((boxes, ["cat"])).lbl == ["cat"]
    with pytest.raises(TypeError, match="takes boxes and labels, got 3 values"):
        LabeledBBox(1, 2, 3)


def test_titled_values_are_what_they_title():
    assert TitledInt(3) + 1 == 4
    assert TitledFloat(0.5) * 2 == 1.0
    assert TitledStr("a b c").truncate(2) == "a b"
    assert type(TitledStr("a b c").truncate(2)) is TitledStr
    assert TitledTuple((1, 2)) == (1, 2)
    assert Category("cat") == "cat"
    assert MultiCategory(["cat", "dog"]) == ["cat", "dog"]
    assert MultiCategory("cat") == ["cat"]


def test_titles_on_axes_in_rows_and_printed(capsys):
    _, ax = plt.subplots()
    assert Category("cat").show(ctx=ax) is ax
    MultiCategory(["dog", "owl"]).show(ctx=ax, color="green")
    assert ax.get_title() == "cat\ndog;owl"
    assert ax.title.get_color() == "green"
    row = Category("cat").show(ctx=pd.Series(dtype=object))
    row = TitledStr("words").show(ctx=row)
    row = TitledInt(3).show(ctx=row, label="count")
    row = TitledInt(4).show(ctx=row, label="count")
    assert row.to_dict() == {"category": "cat", "text": "words", "count": "3", "count_1": "4"}
    assert Category("cat").show() is None
    TitledTuple((1, 2)).show()
    TitledTensorScalar(torch.tensor(2.5)).show()
    TensorRegression(torch.tensor([1.0, 2.0])).show()
    assert capsys.readouterr().out == "cat\n(1, 2)\n2.5\n[1.0, 2.0]\n"


def test_a_categorys_number_is_left_to_its_name():
    # Decoding stops at what can be shown; a number that shows itself would hide the label.
    assert not hasattr(TensorCategory(torch.tensor(1)), "show")
    assert not hasattr(TensorMultiCategory(torch.tensor([1])), "show")


def test_images_and_what_lies_on_them_are_drawn():
    image = TensorImage(torch.rand(3, 6, 8))
    ax = image.show(title="one")
    assert ax.get_title() == "one"
    drawn = ax.images[0].get_array()
    assert drawn.shape == (6, 8, 3)
    torch.testing.assert_close(torch.tensor(drawn.data), plain(image).permute(1, 2, 0))
    TensorMask(torch.ones(6, 8).long(), codes=["a", "b", "c"]).show(ctx=ax)
    assert len(ax.images) == 2
    assert ax.images[1].get_alpha() == 0.5
    assert ax.images[1].get_clim() == (0, 2)
    TensorPoint.create([[1, 2], [3, 4]]).show(ctx=ax)
    assert ax.collections[0].get_offsets().tolist() == [[1, 2], [3, 4]]
    boxes = TensorBBox.create([[1, 1, 4, 5], [0, 0, 0, 0]])
    LabeledBBox(boxes, ["cat", "#na#"]).show(ctx=ax)
    assert [patch.get_bbox().extents.tolist() for patch in ax.patches] == [[1, 1, 4, 5]]
    assert [text.get_text() for text in ax.texts] == ["cat"]
    plt.close("all")


def test_points_without_an_image_have_axes_of_their_size():
    ax = TensorPoint.create([[1, 2]], img_size=(30, 20)).show()
    assert ax.get_xlim() == (0, 30)
    assert ax.get_ylim() == (20, 0)
    upside_down = TensorBBox.create([[1, 1, 4, 5]]).show()
    low, high = upside_down.get_ylim()
    assert low > high
    plt.close("all")


def test_greyscale_is_drawn_in_grey():
    ax = TensorImageBW(torch.rand(1, 4, 4)).show()
    assert ax.images[0].get_array().shape == (4, 4)
    assert ax.images[0].get_cmap().name == "Greys_r"
    plt.close("all")
