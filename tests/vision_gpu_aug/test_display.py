"""What is drawn for each kind of target: the artists on the axes, not their pixels."""

import matplotlib as mpl
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba
from torte.data.display import show_batch, show_results
from torte.data.tensors import (
    Category,
    LabeledBBox,
    MultiCategory,
    TensorBBox,
    TensorCategory,
    TensorImage,
    TensorMask,
    TensorMultiCategory,
    TensorPoint,
    TensorRegression,
)
from torte.vision.display import mask_colours, show_legend, with_labelled_boxes

CODES = ["ground", "tree", "road"]


@pytest.fixture(autouse=True)
def no_window():
    mpl.use("Agg")


def image(seed: int = 0) -> TensorImage:
    return TensorImage(torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(seed)))


def mask(values) -> TensorMask:
    rows = torch.tensor(values).repeat_interleave(20 // len(values))[:, None].expand(20, 30)
    return TensorMask(rows.clone(), codes=CODES)


def batch(*parts):
    return torch.stack(list(parts))


def legend_of(ctxs) -> dict[str, tuple[float, ...]]:
    legends = ctxs[0].figure.legends
    assert len(legends) == 1
    return {
        text.get_text(): patch.get_facecolor()
        for text, patch in zip(legends[0].get_texts(), legends[0].get_patches(), strict=True)
    }


def test_masks_lie_over_their_images_with_a_legend_of_the_codes_present():
    samples = [(image(i), mask(m)) for i, m in enumerate(([0, 1], [0, 2], [0, 0]))]
    x, y = batch(*(s[0] for s in samples)), batch(*(s[1] for s in samples))
    ctxs = show_batch(x, y, samples, max_n=2)
    assert len(ctxs) == 2
    for ctx, (_, drawn) in zip(ctxs, samples, strict=False):
        assert len(ctx.images) == 2
        overlay = ctx.images[1]
        assert 0 < overlay.get_alpha() < 1
        assert torch.equal(
            torch.as_tensor(overlay.get_array().data), drawn.as_subclass(torch.Tensor)
        )
    legend = legend_of(ctxs)
    assert list(legend) == CODES
    # The colour in the legend is the one that the overlay maps the number to.
    overlay = ctxs[0].images[1]
    for number, code in enumerate(CODES):
        mapped = overlay.cmap(overlay.norm(number))
        assert legend[code][:3] == pytest.approx(mapped[:3])


def test_legend_leaves_out_absent_codes():
    samples = [(image(), mask([0, 2]))]
    ctxs = show_batch(batch(samples[0][0]), batch(samples[0][1]), samples)
    assert list(legend_of(ctxs)) == ["ground", "road"]


def test_masks_without_codes_have_no_legend():
    plain_mask = TensorMask(torch.zeros(20, 30, dtype=torch.long))
    ctxs = show_batch(batch(image()), batch(plain_mask), [(image(), plain_mask)])
    assert ctxs[0].figure.legends == []
    assert len(ctxs[0].images) == 2


def test_mask_results_are_side_by_side():
    samples = [(image(i), mask([0, 1])) for i in range(3)]
    outs = [(mask([0, 2]),) for _ in range(3)]
    x, y = batch(*(s[0] for s in samples)), batch(*(s[1] for s in samples))
    ctxs = show_results(x, y, samples, outs)
    assert len(ctxs) == 6
    assert ctxs[0].figure.get_suptitle() == "Target/Prediction"
    for place in range(3):
        target, predicted = ctxs[2 * place], ctxs[2 * place + 1]
        assert target.images[1].get_array().max() == 1
        assert predicted.images[1].get_array().max() == 2
        assert (target.images[0].get_array() == predicted.images[0].get_array()).all()
    assert list(legend_of(ctxs)) == CODES


@pytest.mark.parametrize("n", [1, 2, 10, 11, 20, 33, 150])
def test_every_code_has_a_colour_of_its_own(n):
    colours = mask_colours(n)
    assert len({colours((i + 0.5) / n) for i in range(n)}) == n


def test_legend_of_many_long_names_fits_below_the_axes():
    _, axes = plt.subplots(1, 2)
    codes = [f"a rather long name {i}" for i in range(12)]
    show_legend(list(axes), codes, range(12))
    figure = axes[0].figure
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y1 <= axes[0].get_window_extent().y0


def offsets(ctx) -> list[list[float]]:
    return [list(map(float, xy)) for xy in ctx.collections[0].get_offsets()]


def test_points_are_drawn_where_they_are_and_do_not_shrink_the_image():
    points = TensorPoint.create([[3, 4], [29, 19], [100, 100]], img_size=(30, 20))
    samples = [(image(), points)]
    (ctx,) = show_batch(batch(image()), batch(points), samples)
    assert offsets(ctx) == [[3, 4], [29, 19], [100, 100]]
    assert ctx.get_xlim() == (-0.5, 29.5)
    assert ctx.get_ylim() == (19.5, -0.5)
    other = TensorPoint.create([[1, 2], [3, 4], [5, 6]])
    target, predicted = show_results(batch(image()), batch(points), samples, [(other,)])
    assert offsets(target)[0] == [3, 4]
    assert offsets(predicted)[0] == [1, 2]


def rectangles(ctx) -> list[tuple[float, ...]]:
    return [(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in ctx.patches]


def words(ctx) -> list[str]:
    return [text.get_text() for text in ctx.texts]


def test_boxes_carry_their_names_and_padding_is_not_drawn():
    boxes = TensorBBox.create([[1, 2, 11, 12], [0, 0, 0, 0]])
    sample = (image(), boxes, MultiCategory(["cat", "#na#"]))
    y = (batch(boxes), TensorMultiCategory(torch.tensor([[1, 0]])))
    (ctx,) = show_batch(batch(image()), y, [sample])
    assert rectangles(ctx) == [(1, 2, 10, 10)]
    assert words(ctx) == ["cat"]
    out = (TensorBBox.create([[5, 5, 8, 9]]), MultiCategory(["dog"]))
    target, predicted = show_results(batch(image()), y, [sample], [out])
    assert (words(target), words(predicted)) == (["cat"], ["dog"])
    assert rectangles(predicted) == [(5, 5, 3, 4)]


def test_boxes_without_labels():
    boxes = TensorBBox.create([[1, 2, 11, 12]])
    (ctx,) = show_batch(batch(image()), batch(boxes), [(image(), boxes)])
    assert rectangles(ctx) == [(1, 2, 10, 10)]


def test_only_boxes_are_joined_with_what_follows():
    boxes = TensorBBox.create([[1, 2, 11, 12]])
    joined = with_labelled_boxes((image(), boxes, MultiCategory(["a"]), Category("c")))
    assert [type(part) for part in joined] == [TensorImage, LabeledBBox, Category]
    assert len(with_labelled_boxes((image(), Category("c")))) == 2


def test_numbers_are_short_and_predictions_below_targets():
    samples = [(image(), TensorRegression(torch.tensor([0.123456, 12345.678])))]
    y = batch(samples[0][1])
    (ctx,) = show_batch(batch(image()), y, samples)
    assert ctx.get_title() == "0.1235, 1.235e+04"
    (ctx,) = show_results(batch(image()), y, samples, [(TensorRegression([1.0, 2.0]),)])
    assert ctx.get_title() == "0.1235, 1.235e+04\n1, 2"


def test_numbers_of_every_form_are_shown():
    for value in (TensorRegression(torch.tensor(0.5)), TensorRegression(torch.arange(9.0))):
        (ctx,) = show_batch(batch(image()), batch(value), [(image(), value)])
        assert ctx.get_title() in ("0.5", "0, 1, 2, 3, …")


def test_categories_are_coloured_right_or_wrong():
    samples = [(image(), Category("cat")), (image(1), Category("dog"))]
    y = TensorCategory(torch.tensor([0, 1]))
    outs = [(Category("cat"),), (Category("cat"),)]
    right, wrong = show_results(batch(image(), image(1)), y, samples, outs)
    assert right.get_title() == "cat\ncat"
    assert wrong.get_title() == "dog\ncat"
    assert to_rgba(right.title.get_color()) == to_rgba("green")
    assert to_rgba(wrong.title.get_color()) == to_rgba("red")


def test_images_from_images_are_pairs():
    samples = [(image(i), image(i + 10)) for i in range(2)]
    x, y = (batch(*(s[side] for s in samples)) for side in (0, 1))
    ctxs = show_batch(x, y, samples)
    assert len(ctxs) == 4
    ctxs = show_results(x, y, samples, [(image(5),), (image(6),)])
    assert [len(ctx.images) for ctx in ctxs] == [1] * 4


def test_given_axes_are_used():
    _, axes = plt.subplots(1, 2)
    points = TensorPoint.create([[1, 1]])
    shown = show_results(
        batch(image()), batch(points), [(image(), points)], [(points,)], ctxs=list(axes)
    )
    assert shown[0] is axes[0]
    assert shown[1] is axes[1]
