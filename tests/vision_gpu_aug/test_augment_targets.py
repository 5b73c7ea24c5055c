"""Masks, points and boxes in step with their image: rasterise, transform, locate again."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.augmenting import blobs, centroid
from torte.vision.augment import (
    Augment,
    Brightness,
    Dihedral,
    Elastic,
    Flip,
    RandAugment,
    RandomCropGPU,
    RandomErasing,
    RandomResizedCropGPU,
    Rotate,
    Shear,
    Translate,
    TrivialAugment,
    Warp,
    Zoom,
    aug_transforms,
)

HEIGHT, WIDTH = 64, 80
ZEROS = {"pad_mode": "zeros"}
GEOMETRIC = {
    "flip": lambda: Flip(p=1, **ZEROS),
    "dihedral": lambda: Dihedral(p=1, **ZEROS),
    "rotate": lambda: Rotate(40, p=1, **ZEROS),
    "zoom": lambda: Zoom(0.8, 1.4, p=1, **ZEROS),
    "translate": lambda: Translate(0.2, 0.2, p=1, **ZEROS),
    "shear": lambda: Shear(20, 15, p=1, **ZEROS),
    "warp": lambda: Warp(0.25, p=1, **ZEROS),
    "elastic": lambda: Elastic(0.15, 5, p=1, **ZEROS),
    "resized crop": lambda: RandomResizedCropGPU((70, 60), min_scale=0.4),
    "crop": lambda: RandomCropGPU((50, 60)),
    "resize": lambda: Rotate(20, p=1, size=(80, 64), **ZEROS),
    "resize by edges": lambda: Rotate(20, p=1, size=(80, 64), align_corners=False, **ZEROS),
    "trivial": lambda: TrivialAugment(**ZEROS),
    "randaugment": lambda: RandAugment(**ZEROS),
}
PURE = [name for name in GEOMETRIC if name not in ("trivial", "randaugment")]  # colours stay
every_transform = pytest.mark.parametrize("make", GEOMETRIC.values(), ids=GEOMETRIC)


def points_of(n: int = 3) -> torch.Tensor:
    """(n, 5, 2) places in the frame, the same for each sample."""
    places = [(40.0, 32.0), (20.5, 20.0), (60.0, 25.25), (25.0, 45.5), (57.5, 44.0)]
    return torch.tensor(places).expand(n, 5, 2)


def located(engine: Augment, seed: int, n: int = 3) -> list[tuple[float, float]]:
    """Distances (x, y) between moved points and the blobs that were drawn at them."""
    points = points_of(n)
    images = blobs(points[0], HEIGHT, WIDTH).expand(n, 5, HEIGHT, WIDTH)
    result = engine(images, points=points, seed=seed)
    height, width = result.images.shape[-2:]
    distances = []
    for sample in range(n):
        for place in range(5):
            x, y = result.points[sample, place].tolist()
            margin = 9  # blobs cut by the edge, or by what has no image, have another centre
            if margin < x < width - margin and margin < y < height - margin:
                assert result.points_valid[sample, place]
                at = centroid(result.images[sample, place])
                distances.append((at[0] - x, at[1] - y))
    return distances


@every_transform
def test_points_are_where_the_image_shows_them(make):
    engine = Augment(make())
    distances = torch.tensor([d for seed in range(3) for d in located(engine, seed)])
    assert len(distances) >= 10
    # A blob's own centre shifts where the map is curved; it does not shift all one way.
    assert distances.abs().max() < 0.45
    assert distances.mean(0).abs().max() < 0.1


@given(
    st.lists(st.sampled_from(PURE), min_size=2, max_size=4),
    st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_points_follow_any_composition(names, seed):
    engine = Augment(*(GEOMETRIC[name]() for name in names))
    for x, y in located(engine, seed, n=2):
        assert abs(x) < 0.9
        assert abs(y) < 0.9


@every_transform
def test_masks_follow_the_image(make):
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    inside = ((x - 40) / 22) ** 2 + ((y - 30) / 15) ** 2 < 1
    images = inside.float().expand(4, 3, HEIGHT, WIDTH)
    masks = inside.long().expand(4, HEIGHT, WIDTH) * 7
    moves = make()
    if hasattr(moves, "num_magnitude_bins"):
        moves = type(moves)(**ZEROS)
    engine = Augment(moves)
    plan = engine.plan(images, seed=3)
    for segment in plan.segments:
        segment.pixels.clear()  # policies also change colours
    shown = engine.render(plan, images)[:, 0]
    found = plan.masks(masks)
    assert found.dtype == torch.int64
    assert set(found.unique().tolist()) <= {0, 7}
    assert found.shape == shown.shape
    sure = (shown < 0.02) | (shown > 0.98)
    assert sure.float().mean() > 0.8
    assert torch.equal((found == 7)[sure], (shown > 0.5)[sure])


@every_transform
def test_boxes_enclose_what_was_in_them(make):
    boxes = torch.tensor([[[20.0, 15.0, 45.0, 40.0], [50.0, 30.0, 70.0, 50.0]]]).expand(3, 2, 4)
    masks = torch.zeros(3, 2, HEIGHT, WIDTH)
    for place in range(2):
        left, top, right, bottom = boxes[0, place].int().tolist()
        masks[:, place, top:bottom, left:right] = 1
    engine = Augment(make())
    images = torch.rand(3, 3, HEIGHT, WIDTH)
    result = engine(images, masks=masks, boxes=boxes, seed=6)
    assert result.images.shape[-2:] == result.masks.shape[-2:]
    height, width = result.masks.shape[-2:]
    for sample in range(3):
        for place in range(2):
            rows = result.masks[sample, place].any(1).nonzero().flatten()
            columns = result.masks[sample, place].any(0).nonzero().flatten()
            box = result.boxes[sample, place]
            if not len(rows):
                continue
            seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            frame = [width, height, width, height]
            for edge, (found, limit) in enumerate(zip(seen, frame, strict=True)):
                expected = float(box[edge].clamp(0, limit))
                assert abs(float(found) - expected) < 1.6


def test_what_leaves_the_frame_is_flagged_and_not_moved():
    images = torch.rand(1, 3, 40, 40)
    points = torch.tensor([[[5.0, 20.0], [30.0, 20.0]]])
    boxes = torch.tensor([[[2.0, 10.0, 10.0, 20.0], [8.0, 10.0, 24.0, 20.0], [30.0, 5, 38, 15]]])
    shift = Translate(p=1, draw_x=-0.5, draw_y=0.0, align_corners=False)
    result = Augment(shift)(images, points=points, boxes=boxes)
    torch.testing.assert_close(result.points, points - torch.tensor([20.0, 0.0]))
    assert result.points_valid.tolist() == [[False, True]]
    torch.testing.assert_close(result.boxes, boxes - torch.tensor([20.0, 0, 20, 0]))
    assert result.boxes_valid.tolist() == [[False, True, True]]


def test_outside_clip_and_drop():
    images = torch.rand(1, 3, 40, 40)
    points = torch.tensor([[[5.0, 20.0], [30.0, 20.0]]])
    boxes = torch.tensor([[[2.0, 10.0, 10.0, 20.0], [8.0, 10.0, 24.0, 20.0]]])
    shift = Translate(p=1, draw_x=-0.5, draw_y=0.0, align_corners=False)
    clipped = Augment(shift, outside="clip")(images, points=points, boxes=boxes)
    torch.testing.assert_close(clipped.boxes[0, 1], torch.tensor([0.0, 10, 4, 20]))
    assert clipped.points[0, 0, 0] == -15
    dropped = Augment(shift, outside="drop")(images, points=points, boxes=boxes)
    assert dropped.points[0, 0].isnan().all()
    assert dropped.points[0, 1].tolist() == [10, 20]
    assert dropped.boxes[0, 0].tolist() == [0, 0, 0, 0]
    assert dropped.boxes_valid.tolist() == [[False, True]]


def test_min_visible_asks_for_a_share_of_the_box():
    images = torch.rand(1, 3, 40, 40)
    boxes = torch.tensor([[[10.0, 10.0, 30.0, 20.0]]])
    shift = Translate(p=1, draw_x=-0.5, draw_y=0.0, align_corners=False)
    assert Augment(shift, min_visible=0.4)(images, boxes=boxes).boxes_valid.item()
    assert not Augment(shift, min_visible=0.6)(images, boxes=boxes).boxes_valid.item()


def test_padding_of_points_and_boxes_stays_padding():
    images = torch.rand(2, 3, 40, 40)
    points = torch.full((2, 3, 2), torch.nan)
    boxes = torch.zeros(2, 3, 4)
    result = Augment(*aug_transforms(p_affine=1.0))(images, points=points, boxes=boxes)
    assert result.points.isnan().all()
    assert not result.points_valid.any()
    assert torch.equal(result.boxes, boxes)
    assert not result.boxes_valid.any()


def test_points_behind_the_horizon_have_no_place():
    images = torch.rand(1, 1, 40, 40)
    points = torch.tensor([[[20.0, 20.0]]])
    from torte.vision.augment import SpatialAugmentation
    from torte.vision.augment.coordinates import from_rows

    class Tilt(SpatialAugmentation):
        def matrix(self, drawn, frame):
            return from_rows([[1, 0, 0], [0, 1, 0], [0.2, 0, -1]], drawn.ones)

    result = Augment(Tilt(p=1))(images, points=points)
    assert result.points.isnan().all()
    assert not result.points_valid.any()


def test_elastic_inversion_is_exact():
    images = torch.rand(4, 1, HEIGHT, WIDTH)
    engine = Augment(Elastic(0.2, 5, p=1))
    plan = engine.plan(images, seed=8)
    from torte.vision.augment.coordinates import Frame
    from torte.vision.augment.sampling import displaced, forward_points

    frame = Frame(HEIGHT, WIDTH)
    points = points_of(4) - torch.tensor([WIDTH / 2, HEIGHT / 2])
    moved, seen = forward_points(plan.maps, points, frame)
    assert seen.all()
    back = moved + displaced(plan.maps[0].control, moved, frame)
    torch.testing.assert_close(back, points, atol=1e-3, rtol=0)
    assert (moved - points).abs().max() > 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.bool])
def test_masks_keep_their_dtype_and_their_numbers(dtype):
    masks = torch.randint(0, 2, (2, 30, 30)).to(dtype)
    result = Augment(Rotate(30, p=1))(torch.rand(2, 3, 30, 30), masks=masks)
    assert result.masks.dtype == dtype
    assert set(result.masks.unique().tolist()) <= {0, 1}


def test_large_class_numbers_survive():
    masks = torch.full((1, 8, 8), 2**40 + 1)
    result = Augment(Rotate(30, p=1))(torch.rand(1, 3, 8, 8), masks=masks)
    assert torch.equal(result.masks, masks)


def test_empty_targets():
    images = torch.rand(2, 3, 16, 16)
    engine = Augment(*aug_transforms())
    result = engine(
        images,
        masks=torch.zeros(2, 16, 16, dtype=torch.long),
        points=torch.zeros(2, 0, 2),
        boxes=torch.zeros(2, 0, 4),
    )
    assert result.points.shape == (2, 0, 2)
    assert result.boxes_valid.shape == (2, 0)
    assert not result.masks.any()


def test_colour_and_erasing_leave_targets_alone():
    images = torch.rand(2, 3, 16, 16)
    masks = torch.randint(0, 9, (2, 16, 16))
    points = torch.rand(2, 4, 2) * 16
    engine = Augment(Brightness(p=1), RandomErasing(p=1, sl=0.2))
    result = engine(images, masks=masks, points=points)
    assert torch.equal(result.masks, masks)
    torch.testing.assert_close(result.points, points)
    assert not torch.equal(result.images, images)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ({"masks": torch.zeros(2, 9, 8)}, ValueError, "do not belong to images"),
        ({"masks": torch.zeros(3, 8, 8)}, ValueError, "do not belong to images"),
        ({"masks": torch.zeros(2, 8, 8, dtype=torch.complex64)}, TypeError, "complex64"),
        ({"points": torch.zeros(2, 2)}, ValueError, "pad with NaN"),
        ({"points": torch.zeros(2, 3, 2).long()}, TypeError, "floating point pixel"),
        ({"boxes": torch.zeros(2, 3, 5)}, ValueError, "pad with zeros"),
        ({"boxes": torch.zeros(1, 3, 4)}, ValueError, "belong to 2 images"),
    ],
)
def test_targets_that_do_not_fit_are_refused(targets, error, message):
    with pytest.raises(error, match=message):
        Augment(Flip())(torch.rand(2, 3, 8, 8), **targets)
