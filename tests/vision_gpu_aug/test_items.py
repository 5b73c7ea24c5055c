"""Item transforms: against Pillow, in step, random in training and central in validation."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.augmenting import blobs, centroid
from torte.data.images import PILImage, PILImageBW, PILMask
from torte.data.seeding import drawing
from torte.data.tensors import TensorBBox, TensorPoint
from torte.dispatch import describe, rebuild
from torte.vision.items import (
    CenterCrop,
    CropPad,
    DihedralItem,
    FlipItem,
    RandomCrop,
    RandomResizedCrop,
    RatioResize,
    ReducedDecode,
    Resize,
)

BILINEAR = Image.Resampling.BILINEAR


def picture(width=90, height=60, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height // 6, width // 6, 3), np.uint8)
    small = Image.fromarray(values)
    return PILImage.create(small.resize((width, height), Image.Resampling.BICUBIC))


def array(image):
    return np.asarray(image).astype(int)


EVERY = {
    "crop": lambda: Resize(32),
    "pad": lambda: Resize((40, 32), "pad", pad_mode="zeros"),
    "squish": lambda: Resize((40, 32), "squish"),
    "crop pad": lambda: CropPad((50, 100)),
    "center crop": lambda: CenterCrop(40),
    "random crop": lambda: RandomCrop((50, 44)),
    "resized crop": lambda: RandomResizedCrop(40, min_scale=0.3),
    "ratio": lambda: RatioResize(45),
    "flip": lambda: FlipItem(p=1.0),
    "dihedral": lambda: DihedralItem(),
}
every_transform = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)


@pytest.mark.parametrize("split_idx", [0, 1])
@every_transform
def test_points_and_masks_are_where_the_image_shows_them(make, split_idx):
    places = torch.tensor([[45.0, 30.0], [30.5, 20.0], [62.0, 40.0]])
    shades = blobs(places, 60, 90, sigma=2.5)
    image = PILImage.create((shades.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    mask = PILMask.create((shades[0] > 0.5).to(torch.uint8))
    points = TensorPoint(places, img_size=(90, 60))
    for key in range(4):
        with drawing(key):
            shown, classes, moved, label = make()((image, mask, points, "x"), split_idx=split_idx)
        assert label == "x"
        assert type(shown) is PILImage
        assert type(classes) is PILMask
        assert shown.size == classes.size
        assert getattr(moved, "img_size", shown.size) == shown.size
        assert set(np.unique(array(classes))) <= {0, 1}
        values = torch.from_numpy(np.asarray(shown).copy()).permute(2, 0, 1)
        for place, (x, y) in enumerate(moved.as_subclass(torch.Tensor).tolist()):
            if 8 < x < shown.size[0] - 8 and 8 < y < shown.size[1] - 8:
                at = centroid(values[place])
                assert abs(at[0] - x) < 0.3
                assert abs(at[1] - y) < 0.3
                if place == 0:
                    inside = torch.from_numpy(np.asarray(classes).copy())
                    at = centroid(inside.float())
                    assert abs(at[0] - x) < 0.6
                    assert abs(at[1] - y) < 0.6


@every_transform
def test_boxes_move_as_their_corners_do(make):
    image = picture()
    boxes = TensorBBox(torch.tensor([[10.0, 12.0, 50.0, 40.0]]), img_size=(90, 60))
    corners = torch.tensor([[10.0, 12.0], [50.0, 12.0], [50.0, 40.0], [10.0, 40.0]])
    points = TensorPoint(corners, img_size=(90, 60))
    with drawing(3):
        _, box, moved = make()((image, boxes, points), split_idx=0)
    moved = moved.as_subclass(torch.Tensor)
    expected = torch.cat([moved.amin(0), moved.amax(0)])[None]
    torch.testing.assert_close(box.as_subclass(torch.Tensor), expected)
    assert isinstance(box, TensorBBox)


def test_squish_is_pillows_resize():
    image = picture()
    found = Resize((20, 30), "squish")(image, split_idx=0)
    assert np.array_equal(array(found), array(image.resize((30, 20), BILINEAR)))


def test_central_crop_is_pillows_resize_of_the_middle():
    image = picture()
    found = Resize(20)(image, split_idx=1)
    expected = image.crop((15, 0, 75, 60)).resize((20, 20), BILINEAR)
    assert np.array_equal(array(found), array(expected))


def test_crops_are_random_in_training_and_repeat_with_the_key():
    image = picture(120, 40)
    resize = Resize(40)
    seen = set()
    for key in range(20):
        with drawing(key):
            first = resize(image, split_idx=0)
        with drawing(key):
            assert np.array_equal(array(first), array(resize(image, split_idx=0)))
        seen.add(array(first).tobytes())
    assert len(seen) > 10


def test_pad_fits_the_image_and_fills_around():
    image = picture(60, 30)
    for mode, numpy_mode in (("zeros", "constant"), ("border", "edge"), ("reflection", "reflect")):
        found = Resize(40, "pad", pad_mode=mode)(image)
        inner = array(image.resize((40, 20), BILINEAR))
        expected = np.pad(inner, [(10, 10), (0, 0), (0, 0)], mode=numpy_mode)
        assert np.array_equal(array(found), expected)


def test_crop_pad_keeps_every_pixel_that_fits():
    image = picture(60, 30)
    found = array(CropPad((50, 40))(image))
    assert found.shape == (50, 40, 3)
    assert np.array_equal(found[10:40], array(image)[:, 10:50])
    assert not found[:10].any()
    assert not found[40:].any()
    assert np.array_equal(array(CenterCrop(20)(image)), array(image)[5:25, 20:40])


@given(st.integers(8, 60), st.integers(8, 60), st.integers(4, 70), st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_random_crops_are_parts_of_the_image(width, height, size, key):
    values = np.arange(width * height, dtype=np.int32).reshape(height, width) + 256
    mask = PILMask.create(values)
    with drawing(key):
        found = array(RandomCrop(size)(mask, split_idx=0))
    assert found.shape == (size, size)
    rows, columns = np.nonzero(found)
    block = found[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert block.shape == (min(size, height), min(size, width))
    top, left = divmod(int(block[0, 0]) - 256, width)
    assert np.array_equal(block, values[top : top + block.shape[0], left : left + block.shape[1]])


def test_resized_crops_have_shares_and_ratios_in_range():
    crop = RandomResizedCrop(32, min_scale=0.2, max_scale=0.6, ratio=(0.5, 2.0))
    shares, ratios = [], []
    for key in range(300):
        with drawing(key):
            place = crop.placing(__import__("random").Random(key), False)((200, 100))
        left, top, right, bottom = place.source
        assert 0 <= left < right <= 200
        assert 0 <= top < bottom <= 100
        shares.append((right - left) * (bottom - top) / 20000)
        ratios.append((right - left) / (bottom - top))
    assert 0.19 < min(shares) < 0.25
    assert 0.5 < max(shares) < 0.61
    assert 0.48 < min(ratios) < 0.7
    assert 1.7 < max(ratios) < 2.05


def test_resized_crop_in_validation_is_central():
    image = picture(90, 60)
    found = RandomResizedCrop(32)(image, split_idx=1)
    assert found.size == (32, 32)
    again = RandomResizedCrop(32)(image, split_idx=1)
    assert np.array_equal(array(found), array(again))
    # 80 x 60 is the largest crop with a ratio up to 4 / 3; 32 of 40 pixels of it are kept.
    box = (5 + 80 * 0.1, 60 * 0.1, 85 - 80 * 0.1, 60 * 0.9)
    expected = image.resize((32, 32), BILINEAR, box=box)
    assert np.array_equal(array(found), array(expected))


def test_ratio_resize_keeps_the_ratio():
    assert RatioResize(45)(picture(90, 60)).size == (45, 30)
    assert RatioResize(45)(picture(60, 90)).size == (30, 45)
    assert RatioResize(180)(picture(90, 60)).size == (180, 120)


def test_flip_and_dihedral_act_in_training_alone():
    image = picture()
    flipped = FlipItem(p=1.0)(image, split_idx=0)
    assert np.array_equal(array(flipped), array(image)[:, ::-1])
    assert FlipItem(p=1.0)(image, split_idx=1) is image
    assert FlipItem(p=0.0)(image, split_idx=0) is image
    shapes = set()
    for key in range(60):
        with drawing(key):
            shapes.add(array(DihedralItem()(image, split_idx=0)).tobytes())
    assert len(shapes) == 8


def test_grey_images_and_nested_items_keep_their_kind():
    image = picture()
    grey = PILImageBW.create(image)
    found = Resize(20)(((image, grey), 3), split_idx=1)
    assert type(found[0][1]) is PILImageBW
    assert found[0][1].mode == "L"
    assert found[0][0].size == found[0][1].size == (20, 20)


def test_wide_class_numbers_survive():
    mask = PILMask.create(np.full((40, 40), 3000, np.int32))
    assert set(array(Resize(20)(mask)).flatten()) == {3000}
    assert set(array(CropPad(50)(mask)).flatten()) == {0, 3000}


def test_a_smaller_mask_of_the_same_field_is_placed_alike():
    image, mask = picture(90, 60), PILMask.create(np.zeros((30, 45), np.uint8))
    shown, classes = Resize(20)((image, mask), split_idx=0)
    assert shown.size == classes.size


def test_targets_of_another_field_are_refused():
    mask = PILMask.create(np.zeros((60, 60), np.uint8))
    with pytest.raises(ValueError, match="PILMask of size 60x60 belongs to no image of size 90x60"):
        Resize(20)((picture(90, 60), mask), split_idx=0)
    points = TensorPoint(torch.zeros(1, 2), img_size=(50, 50))
    with pytest.raises(ValueError, match="TensorPoint of size 50x50"):
        Resize(20)((picture(90, 60), points), split_idx=0)


def test_what_is_no_image_is_left_alone():
    assert Resize(20)(3) == 3
    assert Resize(20)((1, "a")) == (1, "a")


def test_flags_tell_what_left_the_frame():
    points = TensorPoint(torch.tensor([[2.0, 30.0], [45.0, 30.0]]), img_size=(90, 60))
    boxes = TensorBBox(torch.tensor([[0.0, 0, 4, 4], [0, 10, 40, 40.0]]), img_size=(90, 60))
    _, points, boxes = CenterCrop(40)((picture(), points, boxes))
    assert points.valid.tolist() == [False, True]
    assert points[0].tolist() == [-23, 20]
    assert boxes.valid.tolist() == [False, True]
    assert boxes[1].tolist() == [-25, 0, 15, 30]


def test_reduced_decode_is_near_the_exact_result(tmp_path):
    path = tmp_path / "large.jpg"
    picture(960, 720).save(path, quality=95)
    reduced = ReducedDecode(96)(path)
    assert reduced.size[0] < 960
    assert min(reduced.size) >= 2 * 96
    exact = array(Resize(96)(PILImage.create(path), split_idx=1))
    found = array(Resize(96)(reduced, split_idx=1))
    assert abs(found - exact).mean() < 2


def test_item_transforms_are_described_and_rebuilt():
    for make in EVERY.values():
        transform = make()
        again = rebuild(json.loads(json.dumps(describe(transform))))
        assert type(again) is type(transform)
        image = picture()
        with drawing(5):
            expected = transform(image, split_idx=0)
        with drawing(5):
            assert np.array_equal(array(again(image, split_idx=0)), array(expected))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Resize(0), "size=0"),
        (lambda: Resize(None), "Resize needs a size"),
        (lambda: Resize(20, "stretch"), "method='stretch'"),
        (lambda: Resize(20, pad_mode="mirror"), "pad_mode='mirror'"),
        (lambda: CropPad(20, pad_mode="mirror"), "CropPad: pad_mode='mirror'"),
        (lambda: RandomResizedCrop(20, min_scale=2.0), "min_scale=2.0"),
        (lambda: RandomResizedCrop(20, ratio=(2, 1)), r"ratio=\(2, 1\)"),
        (lambda: RatioResize(0), "at least 1"),
        (lambda: FlipItem(p=2), "no probability"),
        (lambda: ReducedDecode(20, margin=0.5), "margin=0.5"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
