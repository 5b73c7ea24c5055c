"""Blocks from files to batches and back, on pictures whose content is known."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.pictures import Scene, draw_scenes
from torte.data import DataBlock, IndexSplitter, PILImageBW, TensorBBox, TensorMask, TensorPoint
from torte.data.tensors import TensorImage, TensorImageBW, TensorMultiCategory, plain
from torte.dispatch import describe, rebuild
from torte.vision.annotations import AnnotationFileError, bb_pad, clip_remove_empty, get_annotations
from torte.vision.augment import aug_transforms
from torte.vision.blocks import BBoxBlock, BBoxLblBlock, ImageBlock, MaskBlock, PointBlock
from torte.vision.items import Resize
from torte.vision.target_tfms import AddMaskCodes, CheckMask, MaskValueError, PointScaler

CODES = ["ground", "red", "blue", "green"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> list[Scene]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"), count=8)


def loaders(scenes, blocks, get_y, n_inp=1, **kwargs):
    by_path = {scene.path: scene for scene in scenes}
    wrapped = [lambda p, g=g: g(by_path[p]) for g in get_y]
    block = DataBlock(
        blocks=blocks,
        get_y=wrapped if len(wrapped) > 1 else wrapped[0],
        n_inp=n_inp,
        splitter=IndexSplitter(range(4, 8)),
        **kwargs,
    )
    paths = [scene.path for scene in scenes]
    return block.dataloaders(paths, bs=4, seed=1, num_workers=0)


def bright_box(image: torch.Tensor) -> tuple[float, float, float, float]:
    """Where the box is in an image, from its pixels."""
    rows, columns = torch.where(plain(image).max(0).values > 0.5)
    return (
        float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("block", "channels", "kind"),
    [(ImageBlock, 3, TensorImage), (ImageBlock(PILImageBW), 1, TensorImageBW)],
)
def test_images_become_float_batches(scenes, block, channels, kind):
    dls = loaders(scenes, (block, PointBlock), [lambda s: [s.centre]])
    images = dls.one_batch()[0]
    assert type(images) is kind
    assert images.shape == (4, channels, 40, 48)
    assert images.dtype == torch.float32
    assert 0.3 < float(images.max()) <= 1


def test_masks_stay_on_their_images(scenes):
    augmentations = aug_transforms(max_lighting=0)
    dls = loaders(
        scenes, (ImageBlock, MaskBlock(CODES)), [lambda s: s.mask],
        item_tfms=Resize(64), batch_tfms=augmentations,
    )  # fmt: skip
    images, masks = dls.one_batch()
    assert type(masks) is TensorMask
    assert masks.dtype == torch.int64
    assert set(masks.unique().tolist()) <= {0, 1, 2, 3}
    bright = plain(images).max(1).values > 0.5
    agree = (bright == (plain(masks) > 0)).float().mean()
    assert agree > 0.97
    assert dls.vocab == CODES
    assert dls.c == 4


def test_masks_get_their_codes_when_decoded(scenes):
    dls = loaders(scenes, (ImageBlock, MaskBlock(CODES)), [lambda s: s.mask])
    sample = dls.valid.decode_batch(dls.valid.one_batch())[0]
    assert sample[1].codes == CODES
    assert torch.equal(plain(sample[1]), torch.tensor(np.array(Image.open(scenes[4].mask))).long())


def test_masks_beyond_the_codes_name_file_and_values(scenes):
    dls = loaders(scenes, (ImageBlock, MaskBlock(CODES[:2])), [lambda s: s.mask])
    with pytest.raises(Exception, match=r"class numbers [23]") as caught:
        list(dls.train)
    assert "there are 2 codes, 0 to 1" in str(caught.value)
    assert str(scenes[0].path.parent) in str(caught.value)
    assert isinstance(caught.value.__cause__, MaskValueError)


def two_valued(tmp_path, top: int) -> Image.Image:
    mask = np.zeros((6, 6), np.uint8)
    mask[2:] = 1
    mask[4:] = top
    Image.fromarray(mask).save(tmp_path / "m.png")
    from torte.data import PILMask

    return PILMask.create(tmp_path / "m.png")


def test_values_to_ignore_and_to_divide_by(tmp_path):
    mask = two_valued(tmp_path, 255)
    with pytest.raises(MaskValueError, match=r"class numbers 255.*ignore=255.*div_mask=255"):
        CheckMask(["no", "yes"])(mask)
    assert CheckMask(["no", "yes"], ignore=255)(mask) is mask
    assert CheckMask(["no", "yes"], div_mask=255)(mask) is mask
    assert CheckMask()(mask) is mask


def test_masks_of_0_and_255(scenes, tmp_path):
    def binary(scene):
        mask = np.array(Image.open(scene.mask))
        path = tmp_path / scene.mask.name
        Image.fromarray(((mask > 0) * 255).astype(np.uint8)).save(path)
        return path

    dls = loaders(scenes, (ImageBlock, MaskBlock(["no", "yes"], div_mask=255)), [binary])
    assert dls.one_batch()[1].unique().tolist() == [0, 1]


@pytest.mark.parametrize("item_tfms", [None, Resize(64), Resize(64, method="pad")])
def test_points_stay_on_their_images(scenes, item_tfms):
    dls = loaders(
        scenes, (ImageBlock, PointBlock), [lambda s: [s.centre, s.box[:2]]],
        item_tfms=item_tfms, batch_tfms=aug_transforms(max_lighting=0, max_warp=0) if item_tfms
        else None,
    )  # fmt: skip
    images, points = dls.one_batch()
    assert type(points) is TensorPoint
    assert points.shape == (4, 2, 2)
    for image, point in dls.train.decode_batch((images, points)):
        x, y = (round(float(v)) for v in plain(point)[0])
        height, width = image.shape[-2:]
        if 0 <= x < width and 0 <= y < height:
            assert float(plain(image).float()[:, y, x].max()) > 100


def test_points_come_back_in_pixels(scenes):
    dls = loaders(scenes, (ImageBlock, PointBlock), [lambda s: [s.centre]])
    samples = dls.valid.decode_batch(dls.valid.one_batch())
    for (_, point), scene in zip(samples, scenes[4:], strict=True):
        torch.testing.assert_close(plain(point), torch.tensor([scene.centre]))
        assert point.img_size == (48, 40)


@given(
    st.integers(2, 500), st.integers(2, 500), st.lists(st.floats(0, 400), min_size=4, max_size=4)
)
def test_point_scaler_round_trip(width, height, values):
    image = TensorImage(torch.zeros(3, height, width))
    for kind in (TensorPoint, TensorBBox):
        points = kind.create(values)
        scaled = PointScaler()((image, points))
        assert type(scaled[1]) is kind
        back = PointScaler().decode(scaled)[1]
        torch.testing.assert_close(plain(back), plain(points), atol=1e-3, rtol=1e-5)


def test_point_scaler_options():
    image = TensorImage(torch.zeros(3, 10, 20))
    edges = TensorPoint.create([[0, 0], [20, 10]])
    assert plain(PointScaler()((image, edges))[1]).tolist() == [[-1, -1], [1, 1]]
    flipped = TensorPoint.create([[0, 0], [10, 20]])
    assert plain(PointScaler(y_first=True)((image, flipped))[1]).tolist() == [[-1, -1], [1, 1]]
    unit = TensorPoint.create([[0.5, -0.5]])
    assert plain(PointScaler(do_scale=False)((image, unit))[1]).tolist() == [[0.5, -0.5]]
    with pytest.raises(ValueError, match="needs the image beside its points"):
        PointScaler()((edges,))


def test_boxes_are_padded_and_keep_their_labels(scenes):
    dls = loaders(
        scenes,
        (ImageBlock, BBoxBlock, BBoxLblBlock),
        [
            lambda s: [s.box] + ([[1, 1, 5, 5]] if s.kind == "red" else []),
            lambda s: [s.kind] + (["spot"] if s.kind == "red" else []),
        ],
    )
    _, boxes, labels = dls.valid.one_batch()
    assert type(boxes) is TensorBBox
    assert boxes.shape == (4, 2, 4)
    assert labels.shape == (4, 2)
    assert dls.vocab[0] == "#na#"
    for row, scene in enumerate(scenes[4:]):
        assert dls.vocab[int(labels[row, 0])] == scene.kind
        has_spot = scene.kind == "red"
        assert bool(plain(boxes)[row, 1].any()) == has_spot
        assert (int(labels[row, 1]) != 0) == has_spot


def test_boxes_follow_crops_and_flips(scenes):
    dls = loaders(
        scenes, (ImageBlock, BBoxBlock, BBoxLblBlock), [lambda s: [s.box], lambda s: [s.kind]],
        item_tfms=Resize((40, 48)), batch_tfms=aug_transforms(max_rotate=0, max_warp=0,
        max_lighting=0, max_zoom=1.0),
    )  # fmt: skip
    for image, box, _ in dls.train.decode_batch(dls.train.one_batch()):
        seen = bright_box(image.float() / 255)
        torch.testing.assert_close(plain(box)[0], torch.tensor(seen), atol=1.01, rtol=0)


def test_clipping_leaves_out_what_is_outside():
    boxes = TensorBBox(
        torch.tensor([[-2, -0.5, 0, 0.5], [1.1, 0, 1.5, 1], [0, 0, 0, 1], [0, 0, 0.5, 0.5]]),
        img_size=(4, 4),
    )
    kept, labels = clip_remove_empty(boxes, torch.tensor([1, 2, 3, 4]))
    assert plain(kept).tolist() == [[-1, -0.5, 0, 0.5], [0, 0, 0.5, 0.5]]
    assert labels.tolist() == [1, 4]
    assert kept.img_size == (4, 4)


def test_padding_by_hand():
    image = torch.zeros(3, 2, 2)
    one = (image, TensorBBox(torch.tensor([[0, 0, 1.0, 1]])), TensorMultiCategory([3]), "extra")
    none = (image, TensorBBox(torch.zeros(0, 4)), TensorMultiCategory(torch.zeros(0).long()), "e")
    padded = bb_pad([one, none], pad_idx=9)
    assert [tuple(sample[1].shape) for sample in padded] == [(1, 4), (1, 4)]
    assert padded[1][2].tolist() == [9]
    assert type(padded[1][1]) is TensorBBox
    assert padded[0][3] == "extra"


def coco(**changes):
    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 8, "category_id": 3, "bbox": [1, 2, 10, 20]},
            {"id": 2, "image_id": 8, "category_id": 1, "bbox": [0, 0, 5.5, 5]},
        ],
    }
    return json.dumps(content | changes)


def test_boxes_without_labels_are_padded_too():
    image = torch.zeros(3, 8, 8)
    boxes = [torch.tensor([[-2.0, 0, 0.5, 0.5], [1.5, 0, 2, 1]]), torch.zeros(0, 4)]
    padded = bb_pad([(image, each) for each in boxes])
    assert [len(sample) for sample in padded] == [2, 2]
    assert padded[0][1].tolist() == [[-1, 0, 0.5, 0.5]]
    assert padded[1][1].tolist() == [[0, 0, 0, 0]]


def test_annotations_in_cocos_format(tmp_path):
    (tmp_path / "train.json").write_text(coco())
    images, targets = get_annotations(tmp_path / "train.json")
    assert images == ["b.jpg"]
    assert targets == [([[1, 2, 11, 22], [0, 0, 5.5, 5]], ["dog", "cat"])]
    assert get_annotations(tmp_path / "train.json", prefix="train/")[0] == ["train/b.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", "lacks images, annotations, categories"),
        ('{"images": [], "annotations": []}', "lacks categories"),
        (coco(images=[]), "annotation 1 .*belongs to image 8"),
        (coco(categories=[{"id": 1, "name": "cat"}]), "annotation 1 .*category 3"),
        (
            coco(annotations=[{"id": 5, "image_id": 7, "category_id": 1, "bbox": [1, 2]}]),
            r"annotation 5 .*bbox=\[1, 2\], expected \[left, top, width, height\]",
        ),
    ],
)
def test_bad_annotation_files_are_named(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(AnnotationFileError, match=message) as caught:
        get_annotations(path)
    assert "bad.json" in str(caught.value)


def test_missing_annotation_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no annotation file at .*gone\.json"):
        get_annotations(tmp_path / "gone.json")


@pytest.mark.parametrize(
    "transform",
    [
        AddMaskCodes(CODES), AddMaskCodes(np.array(CODES)), CheckMask(CODES, ignore=255),
        CheckMask(), PointScaler(y_first=True),
    ],
)  # fmt: skip
def test_transforms_can_be_described_and_rebuilt(transform):
    description = json.loads(json.dumps(describe(transform)))
    again = rebuild(description)
    assert type(again) is type(transform)
    assert describe(again) == describe(transform)
