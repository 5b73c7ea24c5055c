"""What real folders hold, through a whole loader: the right batch, or one error naming the file."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torte.data import CategoryBlock, DataBlock, IndexSplitter, RegressionBlock
from torte.data.errors import ItemError
from torte.data.tensors import plain
from torte.data.vocabularies import UnknownLabelError
from torte.vision.annotations import AnnotationFileError, bb_pad, get_annotations
from torte.vision.blocks import BBoxBlock, BBoxLblBlock, ImageBlock, MaskBlock, PointBlock
from torte.vision.items import Resize

WIDTH, HEIGHT = 40, 30


def pixels(size: tuple[int, int] = (WIDTH, HEIGHT), top: int = 256) -> np.ndarray:
    """A smooth coloured picture, (height, width, 3), so that JPEG hardly changes it."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    return (np.stack([x, y, 1 - x], -1) * (top - 1)).astype(np.uint8)


def batch_of(items: list[Any], *blocks: Any, item_tfms: Any = None) -> Any:
    """The only batch of a training set with all the items but the last, nothing swallowed."""
    data = DataBlock(
        blocks=blocks,
        n_inp=1,
        getters=[lambda item, place=place: item[place] for place in range(len(blocks))],
        splitter=IndexSplitter([len(items) - 1]),
        item_tfms=item_tfms,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dls = data.dataloaders(
            items, bs=len(items) - 1, num_workers=0, device="cpu", shuffle=False, drop_last=False
        )
        return dls.train.one_batch()


@pytest.fixture
def good(tmp_path) -> Path:
    Image.fromarray(pixels()).save(tmp_path / "good.png")
    return tmp_path / "good.png"


def two_labels(path: Path, good: Path) -> list[Any]:
    return [(path, "bad"), (good, "good"), (good, "bad")]


def grey(image: Image.Image) -> Image.Image:
    return image.convert("L")


def wide(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def see_through(image: Image.Image) -> Image.Image:
    return image.quantize(200)


KINDS: dict[str, tuple[str, Callable[[Image.Image], Image.Image], dict[str, Any], float]] = {
    "grey": ("png", grey, {}, 0),
    "grey with alpha": ("png", lambda i: i.convert("LA"), {}, 0),
    "alpha": ("png", lambda i: i.convert("RGBA"), {}, 0),
    "palette": ("png", see_through, {}, 0.06),
    "transparent palette": ("png", see_through, {"transparency": 3}, 0.06),
    "transparent palette, one a colour": (
        "png",
        see_through,
        {"transparency": bytes(range(200))},
        0.06,
    ),
    "one bit": ("png", lambda i: i.convert("1"), {}, 0),
    "sixteen bits": ("png", wide, {}, 0.005),
    "floats": ("tif", lambda i: i.convert("F"), {}, 0.005),
    "CMYK JPEG": ("jpg", lambda i: i.convert("CMYK"), {"quality": 98}, 0.04),
    "CMYK TIFF": ("tif", lambda i: i.convert("CMYK"), {}, 0.01),
    "YCbCr": ("jpg", lambda i: i.convert("YCbCr"), {"quality": 98}, 0.04),
    "GIF": ("gif", lambda i: i, {}, 0.06),
    "animated GIF": ("gif", lambda i: i, {"save_all": True}, 0.06),
    "animated WebP": ("webp", lambda i: i, {"save_all": True, "lossless": True}, 0.01),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_three_channels_of_the_right_colours(tmp_path, good, kind):
    ending, change, options, tolerance = KINDS[kind]
    path = tmp_path / f"bad.{ending}"
    image = change(Image.fromarray(pixels()))
    if options.get("save_all"):
        options = {**options, "append_images": [Image.fromarray(255 - pixels())]}
    image.save(path, **options)
    x, y = batch_of(two_labels(path, good), ImageBlock, CategoryBlock)
    assert x.shape == (2, 3, HEIGHT, WIDTH)
    assert y.tolist() == [0, 1]
    seen = pixels() / 255
    if kind in ("grey", "grey with alpha", "sixteen bits", "floats"):
        seen = np.repeat(np.asarray(Image.fromarray(pixels()).convert("L"))[..., None], 3, 2) / 255
    elif kind == "one bit":
        seen = np.repeat(np.asarray(image)[..., None], 3, 2).astype(float)
    found = plain(x[0]).permute(1, 2, 0).numpy()
    assert np.abs(found - seen).max() <= tolerance + 1e-6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_held_in_any_way(tmp_path, good, orientation):
    """An upright picture is stored turned as each EXIF number says; it has to come back upright."""
    # Which of NumPy's moves undoes what the reader does (EXIF 2.3, tag 274).
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](pixels())
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    x, _ = batch_of(two_labels(path, good), ImageBlock, CategoryBlock)
    assert torch.equal(plain(x[0]), plain(x[1]))


def truncated(path: Path) -> None:
    Image.fromarray(pixels((300, 300))).save(path)
    path.write_bytes(path.read_bytes()[:2000])


BROKEN = {
    "empty": (lambda path: path.touch(), "is not an image"),
    "text": (lambda path: path.write_text("no image"), "is not an image"),
    "truncated": (truncated, "truncated"),
    "missing": (lambda path: None, "there is no image file"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named(tmp_path, good, kind):
    make, message = BROKEN[kind]
    path = tmp_path / "broken.jpg"
    make(path)
    with pytest.raises(Exception, match=message) as caught:
        batch_of(two_labels(path, good), ImageBlock, CategoryBlock)
    assert str(path) in str(caught.value)


def test_enormous_images_are_named(tmp_path, good, monkeypatch):
    path = tmp_path / "enormous.png"
    Image.new("1", (900, 900)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)
    with pytest.raises(Exception, match="decompression bomb") as caught:
        batch_of(two_labels(path, good), ImageBlock, CategoryBlock)
    assert str(path) in str(caught.value)


def test_unequal_sizes_in_a_batch_say_what_to_do(tmp_path, good):
    path = tmp_path / "narrow.png"
    Image.fromarray(pixels((20, 30))).save(path)
    with pytest.raises(Exception, match=r"\(3, 30, 20\).*\(3, 30, 40\).*resize or pad"):
        batch_of(two_labels(path, good), ImageBlock, CategoryBlock)
    x, _ = batch_of(two_labels(path, good), ImageBlock, CategoryBlock, item_tfms=Resize(16))
    assert x.shape == (2, 3, 16, 16)


def mask_file(path: Path, size: tuple[int, int], top: int) -> Path:
    Image.fromarray((pixels(size)[..., 0] // 128 * top).astype(np.uint8)).save(path)
    return path


def test_masks_of_another_size_or_shape(tmp_path, good):
    half = mask_file(tmp_path / "half.png", (WIDTH // 2, HEIGHT // 2), 1)
    whole = mask_file(tmp_path / "whole.png", (WIDTH, HEIGHT), 1)
    blocks = (ImageBlock, MaskBlock(["ground", "thing"]))
    items = [(good, half), (good, whole), (good, whole)]
    with pytest.raises(Exception, match=r"TensorMask of shape.*resize or pad"):
        batch_of(items, *blocks)
    _, y = batch_of(items, *blocks, item_tfms=Resize((HEIGHT, WIDTH)))
    assert torch.equal(plain(y[0]), plain(y[1]))
    narrow = mask_file(tmp_path / "narrow.png", (20, HEIGHT), 1)
    with pytest.raises(Exception, match=r"size 20x30 belongs to no image of size 40x30"):
        batch_of([(good, narrow), (good, whole), (good, whole)], *blocks, item_tfms=Resize(16))


def test_masks_beyond_the_codes_and_empty_ones(tmp_path, good):
    blocks = (ImageBlock, MaskBlock(["ground", "thing"]))
    empty = mask_file(tmp_path / "empty.png", (WIDTH, HEIGHT), 0)
    _, y = batch_of([(good, empty), (good, empty)], *blocks)
    assert y.shape == (1, HEIGHT, WIDTH)
    assert not y.any()
    beyond = mask_file(tmp_path / "beyond.png", (WIDTH, HEIGHT), 7)
    with pytest.raises(Exception, match="class numbers 7, but there are 2 codes") as caught:
        batch_of([(good, beyond), (good, empty)], *blocks)
    assert str(beyond) in str(caught.value)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 2], [3, float("nan")]], r"finite numbers, got \[3\.0, nan\] \(number 1\)"),
        ([[float("inf"), 2]], "finite numbers"),
        ([[1, 2, 3]], "2 numbers each, got 3"),
        ("one, two", "are made of numbers, got 'one, two'"),
        ([["a", "b"]], "are made of numbers"),
    ],
)
def test_points_that_are_none_name_their_file(good, points, message):
    with pytest.raises(Exception, match=message) as caught:
        batch_of([(good, points), (good, [[1, 2]])], ImageBlock, PointBlock)
    assert str(good) in str(caught.value)


def boxes_of(good: Path, boxes: Any, labels: list[Any]) -> tuple[Any, Any]:
    items = [(good, boxes, labels), (good, [[4, 3, 20, 15]], ["dog"]), (good, [], [])]
    _, found, classes = batch_of(items, ImageBlock, BBoxBlock, BBoxLblBlock(vocab=["cat", "dog"]))
    return plain(found), plain(classes)


@pytest.mark.parametrize(
    "useless",
    [[5, 5, 5, 9], [5, 5, 9, 5], [50, 40, 60, 50], [-9, -9, -1, -1], [9, 9, 5, 5]],
    ids=["no width", "no height", "beyond", "before", "turned round"],
)
def test_boxes_with_no_area_in_the_image_go_with_their_labels(good, useless):
    boxes, classes = boxes_of(good, [useless, [10, 15, 60, 30]], ["cat", "dog"])
    assert boxes[0].tolist() == [[-0.5, 0, 1, 1]]
    assert classes.tolist() == [[2], [2]]
    boxes, classes = boxes_of(good, [useless], ["cat"])
    assert boxes[0].tolist() == [[0, 0, 0, 0]]
    assert classes.tolist() == [[0], [2]]


def test_an_image_without_boxes_is_padding_alone(good):
    boxes, classes = boxes_of(good, [], [])
    assert boxes.shape == (2, 1, 4)
    assert classes.tolist() == [[0], [2]]


def test_boxes_that_are_none(good):
    with pytest.raises(Exception, match="finite numbers") as caught:
        boxes_of(good, [[float("nan"), 1, 2, 3]], ["cat"])
    assert str(good) in str(caught.value)
    with pytest.raises(ValueError, match="2 boxes and 1 labels"):
        boxes_of(good, [[1, 1, 5, 5], [2, 2, 6, 6]], ["cat"])
    with pytest.raises(ValueError, match="1 boxes and 2 labels"):
        bb_pad([(torch.zeros(3, 4, 4), torch.tensor([[0, 0, 1.0, 1]]), torch.tensor([1, 2]))])


@pytest.mark.parametrize("vocab", [["cat", "dog"], None], ids=["given", "learned"])
@pytest.mark.parametrize("add_na", [True, False])
def test_a_box_of_an_unknown_class_is_named_with_its_file(tmp_path, good, vocab, add_na):
    """Not taken for "#na#", which is the padding: the detector would learn to see nothing there."""
    other = tmp_path / "other.png"
    other.write_bytes(good.read_bytes())
    boxes = [[1, 1, 9, 9], [2, 3, 20, 20]]
    items = [(good, boxes, ["cat", "dog"]), (other, boxes, ["cat", "dragon"])]
    dls = DataBlock(
        blocks=(ImageBlock, BBoxBlock, BBoxLblBlock(vocab=vocab, add_na=add_na)),
        n_inp=1,
        getters=[lambda item, place=place: item[place] for place in range(3)],
        splitter=IndexSplitter([1]),
    ).dataloaders(items, bs=1, num_workers=0, device="cpu")
    assert plain(dls.train.one_batch()[2]).tolist() == [[1, 2] if add_na else [0, 1]]
    with pytest.raises(ItemError, match=r"label 'dragon' not in the vocabulary") as caught:
        dls.valid.one_batch()
    assert isinstance(caught.value.__cause__, UnknownLabelError)
    assert "BBoxLblBlock(vocab=…)" in str(caught.value)
    assert str(other) in str(caught.value)


def test_a_box_without_a_class_is_named_with_its_file(good):
    boxes = [[1, 1, 9, 9], [2, 3, 20, 20]]
    with pytest.raises(
        ItemError, match=r"has no label \(\[None\]\).*leave such boxes out"
    ) as error:
        boxes_of(good, boxes, ["cat", None])
    assert str(good) in str(error.value)


def test_targets_of_another_kind_are_named(good):
    with pytest.raises((TypeError, ValueError)) as caught:
        batch_of([(good, "much"), (good, 1.0), (good, 2.0)], ImageBlock, RegressionBlock)
    assert "RegressionSetup" in " ".join([str(caught.value), *caught.value.__notes__])
    with pytest.raises(Exception, match=r"PILImage\.create takes a path.*NoneType"):
        batch_of([(None, 1.0), (good, 2.0)], ImageBlock, RegressionBlock)


def annotation(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3], **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [annotation(image_id=9)]}, "annotation 1 .* image 9, which"),
        ({"annotations": [annotation(category_id=9)]}, "annotation 1 .* category 9, which"),
        ({"annotations": [annotation(bbox=None)]}, "bbox=None, expected"),
        ({"annotations": [annotation(bbox=["1", 1, 3, 3])]}, "expected .left, top"),
        ({"annotations": [annotation(bbox=[1, 1, -3, 3])]}, "expected .left, top"),
        ({"annotations": [annotation(bbox=[1, 1, float("nan"), 3])]}, "expected .left, top"),
        ({"images": [{"file_name": "a.png"}]}, "entry 0 of 'images' .* lacks 'id'"),
        ({"images": {"a.png": 1}}, "entry 0 of 'images' .* lacks 'id' and 'file_name'"),
        ({"images": [{"id": 1, "file_name": n} for n in "ab"]}, "entry 1 .* has the id 1 of one"),
        ({"categories": [{"id": 1}]}, "entry 0 of 'categories' .* lacks 'name'"),
    ],
)
def test_annotation_files_that_contradict_themselves(tmp_path, changes, message):
    path = tmp_path / "annotations.json"
    content = {
        "images": [{"id": 1, "file_name": "gone.png"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [annotation()],
    }
    path.write_text(json.dumps(content | changes))
    with pytest.raises(AnnotationFileError, match=message) as caught:
        get_annotations(path)
    assert str(path) in str(caught.value)


def test_annotated_images_that_are_not_there_are_named(tmp_path, good):
    path = tmp_path / "annotations.json"
    images = [{"id": 1, "file_name": "gone.png"}, {"id": 2, "file_name": good.name}]
    categories = [{"id": 1, "name": "cat"}]
    both = [annotation(), annotation(id=2, image_id=2)]
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": both}))
    names, targets = get_annotations(path, prefix=f"{tmp_path}/")
    items = [(name, *target) for name, target in zip(names, targets, strict=True)]
    with pytest.raises(Exception, match=r"there is no image file '.*gone\.png'"):
        batch_of(items, ImageBlock, BBoxBlock, BBoxLblBlock(vocab=["cat"]))
