"""What is drawn and what is written: the contents of axes and tables."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torte.data import display, tfmd_loader
from torte.data.display import (
    display_df,
    get_empty_df,
    get_grid,
    show_batch,
    show_image,
    show_images,
    show_results,
    show_title,
    subplots,
)
from torte.data.tensors import (
    Category,
    MultiCategory,
    TensorBBox,
    TensorCategory,
    TensorImage,
    TensorMask,
    TensorMultiCategory,
    TensorPoint,
    TensorRegression,
    TitledFloat,
    TitledStr,
)
from torte.data.tfmd_loader import TfmdDL
from torte.dispatch import TypeDispatch, typedispatch


@pytest.fixture
def the_layer_alone(monkeypatch):
    """Only this layer's own functions: those above register more in the same tables."""
    for name in ("show_batch", "show_results"):
        functions = [each.function for each in getattr(display, name).implementations()]
        own = [each for each in functions if each.__module__ == display.__name__]
        monkeypatch.setattr(tfmd_loader, name, TypeDispatch(own))


class Labelled:
    """Image n is n tenths bright; its target is made by a function and decoded by another."""

    n_inp = 1

    def __init__(self, target, decoded=lambda target: target):
        self.target, self.decoded = target, decoded

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return TensorImage(torch.full((3, 6, 8), index / 10)), self.target(index)

    def decode(self, sample, full=True):
        return sample[0], self.decoded(sample[1])


def loader(target, decoded=lambda target: target, bs=4):
    return TfmdDL(Labelled(target, decoded), bs=bs, num_workers=0)


def drawn():
    """The axes of the current figure that show something."""
    return [ax for ax in plt.gcf().axes if ax.axison or ax.images]


# -- one thing at a time ----


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (torch.rand(3, 5, 6), (5, 6, 3)),
        (torch.rand(1, 5, 6), (5, 6)),
        (torch.rand(5, 6), (5, 6)),
        (torch.rand(4, 5, 6), (5, 6, 4)),
        (torch.rand(3, 3, 3), (3, 3, 3)),
        (torch.rand(3, 4, 4, dtype=torch.bfloat16), (4, 4, 3)),
        (torch.randint(0, 255, (3, 5, 6), dtype=torch.uint8), (5, 6, 3)),
        (np.zeros((5, 6, 3)), (5, 6, 3)),
        (np.zeros((3, 5, 6)), (5, 6, 3)),
        (np.zeros((5, 6, 1)), (5, 6)),
        (np.zeros((5, 6), dtype=bool), (5, 6)),
        (Image.new("RGB", (6, 5)), (5, 6, 3)),
        (TensorImage(torch.rand(3, 5, 6)), (5, 6, 3)),
    ],
)
def test_images_of_every_layout(image, shape):
    ax = show_image(image)
    assert ax.images[0].get_array().shape == shape
    assert not ax.axison


def test_tensors_are_drawn_right_side_up_and_unchanged():
    image = torch.rand(3, 5, 6, requires_grad=True)
    ax = show_image(image, title="t", cmap="gray", figsize=(4, 2))
    np.testing.assert_allclose(ax.images[0].get_array(), image.detach().permute(1, 2, 0))
    assert ax.get_title() == "t"
    assert ax.figure.get_size_inches().tolist() == [4, 2]
    assert show_image(image, ctx=ax) is ax
    clipped = show_image(torch.tensor([-1.0, 0.5, 2.0])[:, None, None].expand(3, 2, 2))
    assert clipped.images[0].get_array()[0, 0].tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("shape", [(2, 5, 6), (5,), (2, 3, 4, 5), (7, 8, 9)])
def test_what_is_no_image(shape):
    with pytest.raises(ValueError, match=r"an image has"):
        show_image(torch.zeros(shape))


def test_titles(capsys):
    _, ax = plt.subplots()
    show_title("one", ax=ax)
    show_title("two", ctx=ax, color="red")
    assert ax.get_title() == "one\ntwo"
    assert ax.title.get_color() == "red"
    row = show_title(1, ctx=pd.Series({"a": 0}), label="a")
    assert row.to_dict() == {"a": 0, "a_1": 1}
    assert show_title("printed") is None
    assert capsys.readouterr().out == "printed\n"


@pytest.mark.parametrize(
    ("n", "arguments", "rows_and_columns"),
    [
        (9, {}, (3, 3)),
        (4, {}, (2, 2)),
        (5, {}, (2, 3)),
        (1, {}, (1, 1)),
        (6, {"ncols": 2}, (3, 2)),
        (6, {"nrows": 1}, (1, 6)),
        (4, {"nrows": 2, "ncols": 3}, (2, 3)),
        (2, {"double": True}, (1, 4)),
    ],
)
def test_grids(n, arguments, rows_and_columns):
    axes = get_grid(n, **arguments)
    assert len(axes) == n * (2 if arguments.get("double") else 1)
    grid = axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == rows_and_columns
    blank = [ax for ax in plt.gcf().axes if ax not in axes]
    assert not any(ax.axison for ax in blank)


def test_grids_in_full():
    figure, axes = get_grid(3, title="all", figsize=(5, 4), return_fig=True, flatten=False)
    assert axes.shape == (1, 3)
    assert figure.get_size_inches().tolist() == [5, 4]
    assert figure._suptitle.get_text() == "all"
    figure, _ = subplots(2, 3, imsize=2)
    assert figure.get_size_inches().tolist() == [6, 4]


def test_several_images():
    axes = show_images([torch.rand(3, 4, 4), TensorMask(torch.ones(4, 4))], titles=["a", "b"])
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    assert axes[1].images[0].get_alpha() == 0.5


def test_tables_outside_a_notebook_are_printed(capsys):
    display_df(pd.DataFrame({"a": [1], "b": ["x"]}))
    assert capsys.readouterr().out.split() == ["a", "b", "0", "1", "x"]
    assert [len(row) for row in get_empty_df(3)] == [0, 0, 0]


# -- batches ----


def test_images_with_labels():
    names = ["cat", "dog", "owl"]
    dl = loader(lambda n: TensorCategory(torch.tensor(n % 3)), lambda y: Category(names[int(y)]))
    assert dl.show_batch(max_n=3, figsize=(4, 4)) is None
    assert [ax.get_title() for ax in drawn()] == ["cat", "dog", "owl"]
    assert [float(ax.images[0].get_array().max()) for ax in drawn()] == pytest.approx([0, 0.1, 0.2])
    assert plt.gcf().get_size_inches().tolist() == [4, 4]


def test_images_with_several_labels():
    dl = loader(lambda n: TensorMultiCategory(torch.ones(2)), lambda y: MultiCategory(["a", "b"]))
    dl.show_batch(max_n=2)
    assert [ax.get_title() for ax in drawn()] == ["a;b", "a;b"]


@pytest.mark.usefixtures("the_layer_alone")
def test_images_with_masks_points_boxes_and_numbers():
    mask = TensorMask(torch.arange(48).reshape(6, 8) % 3, codes=["a", "b", "c"])
    loader(lambda n: mask).show_batch(max_n=2)
    assert [len(ax.images) for ax in drawn()] == [2, 2]
    np.testing.assert_array_equal(drawn()[0].images[1].get_array(), mask.numpy())
    loader(lambda n: TensorPoint.create([[n, 2]])).show_batch(max_n=2)
    assert drawn()[1].collections[0].get_offsets().tolist() == [[1, 2]]
    loader(lambda n: TensorBBox.create([[0, 0, 1 + n, 2]])).show_batch(max_n=2)
    assert drawn()[1].patches[0].get_width() == 2
    loader(lambda n: TensorRegression(torch.tensor([n / 2]))).show_batch(max_n=2)
    assert drawn()[1].get_title() == "[0.5]"


def test_pairs_of_images():
    loader(lambda n: TensorImage(torch.full((3, 6, 8), 1.0 - n / 10))).show_batch(max_n=2)
    levels = [float(ax.images[0].get_array().max()) for ax in drawn()]
    assert levels == pytest.approx([0, 1, 0.1, 0.9])


def test_contexts_of_the_callers():
    _, axes = plt.subplots(1, 4)
    loader(lambda n: n).show_batch(ctxs=list(axes), max_n=4)
    assert [ax.get_title() for ax in axes] == ["0", "1", "2", "3"]
    assert plt.get_fignums() == [axes[0].figure.number]


def test_words_and_numbers_in_a_table(capsys):
    items = [(TitledStr(f"text {n}"), TitledFloat(n / 2)) for n in range(3)]
    rows = show_batch(items[0][0], items[0][1], items)
    assert [row.to_dict() for row in rows] == [
        {"text": f"text {n}", "text_1": str(n / 2)} for n in range(3)
    ]
    assert capsys.readouterr().out.splitlines()[1].split() == ["0", "text", "0", "0.0"]
    assert not plt.get_fignums()


def test_plain_values_in_a_table(capsys):
    data = torch.utils.data.TensorDataset(torch.arange(6.0).reshape(3, 2), torch.arange(3))
    TfmdDL(data, bs=3, num_workers=0).show_batch()
    assert "[2.0, 3.0]" in capsys.readouterr().out.splitlines()[2]


def test_a_users_own_way_to_show():
    class TensorSound(TensorRegression):
        pass

    seen = []

    @typedispatch
    def show_batch(x: TensorSound, y, samples, ctxs=None, max_n=9, **kwargs):
        seen.append((type(x), len(samples), kwargs))

    items = [(TensorSound(torch.zeros(2)), 1)] * 4
    show_batch(*TfmdDL(items, bs=4, num_workers=0).show_batch(show=False), rate=3)
    assert seen == [(TensorSound, 4, {"rate": 3})]


def test_registered_ways_to_show_are_used_by_loaders():
    class TensorGraph(TensorRegression):
        pass

    seen = []

    @show_batch.register
    def _(x: TensorGraph, y, samples, ctxs=None, max_n=9, **kwargs):
        seen.append(max_n)

    TfmdDL([(TensorGraph(torch.zeros(2)), 1)] * 4, bs=4, num_workers=0).show_batch(max_n=2)
    assert seen == [2]


# -- results ----


def test_right_and_wrong_labels():
    names = ["cat", "dog", "owl"]
    dl = loader(lambda n: TensorCategory(torch.tensor(n % 3)), lambda y: Category(names[int(y)]))
    dl.show_results(dl.one_batch(), torch.tensor([0, 1, 1, 0]), max_n=4)
    assert [ax.get_title() for ax in drawn()] == ["cat\ncat", "dog\ndog", "owl\ndog", "cat\ncat"]
    assert [ax.title.get_color() for ax in drawn()] == ["green", "green", "red", "green"]


def test_right_and_wrong_sets_of_labels():
    def names(y):
        return MultiCategory([name for name, there in zip("ab", y, strict=True) if there])

    dl = loader(lambda n: TensorMultiCategory(torch.tensor([1, n % 2])), names)
    dl.show_results(dl.one_batch(), torch.tensor([[1, 0], [1, 0], [1, 0], [1, 1]]))
    assert [ax.get_title() for ax in drawn()] == ["a\na", "a;b\na", "a\na", "a;b\na;b"]
    assert [ax.title.get_color() for ax in drawn()] == ["green", "red", "green", "green"]


def test_masks_side_by_side():
    dl = loader(lambda n: TensorMask(torch.full((6, 8), n)))
    dl.show_results(dl.one_batch(), torch.ones(4, 6, 8).long(), max_n=3)
    assert len(drawn()) == 6
    assert [len(ax.images) for ax in drawn()] == [2] * 6
    levels = [int(ax.images[1].get_array().max()) for ax in drawn()]
    assert levels == [0, 1, 1, 1, 2, 1]
    assert plt.gcf()._suptitle.get_text() == "Target/Prediction"


def test_images_side_by_side():
    dl = loader(lambda n: TensorImage(torch.full((3, 6, 8), n / 10)))
    dl.show_results(dl.one_batch(), torch.ones(4, 3, 6, 8), max_n=2)
    levels = [float(ax.images[-1].get_array().max()) for ax in drawn()]
    assert levels == pytest.approx([0, 1, 0.1, 1])


@pytest.mark.usefixtures("the_layer_alone")
def test_points_and_numbers_together():
    dl = loader(lambda n: TensorPoint.create([[n, 1]]))
    dl.show_results(dl.one_batch(), torch.full((4, 1, 2), 3.0), max_n=2)
    offsets = [c.get_offsets().tolist() for c in drawn()[1].collections]
    assert offsets == [[[1, 1]], [[3, 3]]]


def test_results_in_a_table(capsys):
    samples = [(TitledStr("good"), Category("pos")), (TitledStr("bad"), Category("neg"))]
    outs = [(Category("pos"),), (Category("pos"),)]
    rows = show_results(samples[0][0], samples[0][1], samples, outs)
    assert [row.to_dict() for row in rows] == [
        {"text": "good", "category": "pos", "prediction": "pos"},
        {"text": "bad", "category": "neg", "prediction": "pos"},
    ]
    assert "prediction" in capsys.readouterr().out


def test_a_single_plot_comes_in_an_array_and_grids_take_a_suptitle():
    _, axes = subplots()
    assert axes.shape == (1,)
    assert get_grid(2, suptitle="above")[0].figure.get_suptitle() == "above"
    titled = show_images([torch.rand(3, 4, 4)] * 2, nrows=2, suptitle="both")
    assert titled[0].figure.get_suptitle() == "both"
