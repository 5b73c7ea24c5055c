"""Loaders from every layout of files, and the errors that wrong data give, from the top."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from support.pictures import draw_class_folders, draw_scenes
from torte.data import PILImageBW
from torte.data.errors import DataError, ImageReadError
from torte.data.tensors import (
    TensorCategory,
    TensorImageBW,
    TensorMask,
    TensorMultiCategory,
    TensorRegression,
    plain,
)
from torte.vision.items import Resize
from torte.vision.learner import vision_learner
from torte.vision.loaders import ImageDataLoaders, SegmentationDataLoaders

SMALL = {"bs": 4, "num_workers": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_class_folders(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return draw_scenes(tmp_path_factory.mktemp("scenes"), count=10, kinds=2)


def files_of(loader):
    return sorted(str(item) for item in loader.dataset.items)


def test_from_folder_takes_classes_and_parts_from_names(folder):
    dls = ImageDataLoaders.from_folder(folder, **SMALL)
    assert dls.vocab == ["blue", "red"]
    assert len(dls.train_ds) == 12
    assert len(dls.valid_ds) == 6
    assert all("/valid/" in name for name in files_of(dls.valid))
    assert dls.path == folder
    images, labels = dls.valid.one_batch()
    assert type(labels) is TensorCategory
    # The labels are those of the colours that are really in the pictures.
    reddish = plain(images)[:, 0].mean((1, 2)) > plain(images)[:, 2].mean((1, 2))
    assert [dls.vocab[n] == "red" for n in labels] == reddish.tolist()


def test_from_folder_with_other_names_leaves_other_folders_out(folder, tmp_path):
    shutil.copytree(folder / "train", tmp_path / "learn")
    shutil.copytree(folder / "valid", tmp_path / "check")
    shutil.copytree(folder / "valid", tmp_path / "test")
    dls = ImageDataLoaders.from_folder(tmp_path, train="learn", valid="check", **SMALL)
    assert (len(dls.train_ds), len(dls.valid_ds)) == (12, 6)


def test_from_folder_with_a_random_share(folder):
    dls = [ImageDataLoaders.from_folder(folder, valid_pct=0.5, seed=3, **SMALL) for _ in range(2)]
    assert len(dls[0].train_ds) == len(dls[0].valid_ds) == 9
    assert files_of(dls[0].valid) == files_of(dls[1].valid)
    other = ImageDataLoaders.from_folder(folder, valid_pct=0.5, seed=4, **SMALL)
    assert files_of(other.valid) != files_of(dls[0].valid)


def test_from_folder_with_vocabulary_and_one_channel(folder):
    dls = ImageDataLoaders.from_folder(
        folder, vocab=["red", "green", "blue"], img_cls=PILImageBW, **SMALL
    )
    assert dls.vocab == ["blue", "green", "red"]
    assert dls.c == 3
    assert type(dls.one_batch()[0]) is TensorImageBW


def test_batch_sizes_and_shuffling(folder):
    dls = ImageDataLoaders.from_folder(
        folder, bs=5, val_bs=2, shuffle=False, num_workers=0, device="cpu"
    )
    assert dls.train.bs == 5
    assert dls.valid.bs == 2
    assert [int(y) for y in dls.train.one_batch()[1]] == sorted(
        int(y) for y in dls.train.one_batch()[1]
    )


def kind_of(path):
    return path.name.split("_")[0]


def test_four_ways_to_take_labels_from_paths(scenes):
    paths = [scene.path for scene in scenes]
    root = paths[0].parent
    shared = {"valid_pct": 0.3, "seed": 1, **SMALL}
    ways = [
        ImageDataLoaders.from_path_func(root, paths, kind_of, **shared),
        ImageDataLoaders.from_name_func(root, paths, lambda n: n.split("_")[0], **shared),
        ImageDataLoaders.from_path_re(root, paths, r"/(\w+)_\d+\.png$", **shared),
        ImageDataLoaders.from_name_re(root, paths, r"^([a-z]+)_", **shared),
    ]
    wanted = [kind_of(scene.path) for scene in scenes]
    for dls in ways:
        assert dls.vocab == ["blue", "red"]
        assert len(dls.valid_ds) == 3
        every = {
            str(path): dls.vocab[int(y)]
            for part in (dls.train_ds, dls.valid_ds)
            for path, (_, y) in zip(part.items, part, strict=True)
        }
        assert [every[str(p)] for p in paths] == wanted


def test_a_pattern_that_does_not_fit_names_the_file(scenes):
    paths = [scene.path for scene in scenes]
    with pytest.raises(ValueError, match=r"'\^\(x\+\)' finds no label in '(red|blue)_\d+\.png'"):
        ImageDataLoaders.from_name_re(".", paths, r"^(x+)", **SMALL)


@pytest.fixture
def frame(scenes):
    return pd.DataFrame(
        {
            "name": [scene.path.stem for scene in scenes],
            "kind": [scene.kind for scene in scenes],
            "tags": [
                f"{scene.kind} any" if i % 2 else scene.kind for i, scene in enumerate(scenes)
            ],
            "left": [scene.box[0] / 48 for scene in scenes],
            "top": [scene.box[1] / 48 for scene in scenes],
            "check": [i < 4 for i in range(len(scenes))],
        }
    )


def test_from_df(scenes, frame):
    root = scenes[0].path.parents[1]
    dls = ImageDataLoaders.from_df(
        frame, root, folder="images", suff=".png", valid_col="check", **SMALL
    )
    assert dls.vocab == ["blue", "red"]
    assert list(dls.valid_ds.items["name"]) == [scene.path.stem for scene in scenes[:4]]
    wanted = np.array(Image.open(scenes[0].path).convert("RGB"))
    assert np.array_equal(np.array(dls.valid_ds[0][0]), wanted)


def test_from_df_with_several_labels(scenes, frame):
    root = scenes[0].path.parent
    dls = ImageDataLoaders.from_df(
        frame, root, suff=".png", label_col="tags", label_delim=" ", valid_pct=0.5, seed=1, **SMALL
    )
    assert dls.vocab == ["any", "blue", "red"]
    labels = dls.one_batch()[1]
    assert type(labels) is TensorMultiCategory
    assert set(plain(labels)[:, 1:].sum(1).tolist()) == {1.0}


def test_from_df_with_numbers_to_predict(scenes, frame):
    from torte.data import RegressionBlock

    root = scenes[0].path.parent
    dls = ImageDataLoaders.from_df(
        frame, root, suff=".png", label_col=["left", "top"], y_block=RegressionBlock,
        valid_pct=0.3, **SMALL,
    )  # fmt: skip
    numbers = dls.one_batch()[1]
    assert type(numbers) is TensorRegression
    assert numbers.shape == (4, 2)
    assert dls.c == 2


def test_from_csv(scenes, frame):
    root = scenes[0].path.parent
    frame.to_csv(root / "labels.csv", index=False)
    dls = ImageDataLoaders.from_csv(root, suff=".png", valid_pct=0.4, seed=0, **SMALL)
    assert (len(dls.train_ds), len(dls.valid_ds)) == (6, 4)
    frame[["name", "kind"]].to_csv(root / "bare.txt", index=False, header=False, sep=";")
    bare = ImageDataLoaders.from_csv(
        root, "bare.txt", header=None, delimiter=";", suff=".png", **SMALL
    )
    assert bare.vocab == ["blue", "red"]
    with pytest.raises(FileNotFoundError, match=r"no file of labels at .*none\.csv"):
        ImageDataLoaders.from_csv(root, "none.csv")


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["a", "b"] * 5, TensorCategory),
        ([1, 2] * 5, TensorCategory),
        ([0.5, 1.5] * 5, TensorRegression),
        ([["a"], ["a", "b"]] * 5, TensorMultiCategory),
    ],
)
def test_from_lists_tells_the_kind_of_target(scenes, labels, kind):
    paths = [scene.path for scene in scenes]
    dls = ImageDataLoaders.from_lists(paths[0].parent, paths, labels, **SMALL)
    assert type(dls.one_batch()[1]) is kind


def test_from_lists_of_unequal_length(scenes):
    with pytest.raises(ValueError, match="10 file names, but 2 labels"):
        ImageDataLoaders.from_lists(".", [s.path for s in scenes], ["a", "b"])


def test_segmentation_from_a_function(scenes):
    masks = {scene.path: scene.mask for scene in scenes}
    dls = SegmentationDataLoaders.from_label_func(
        scenes[0].path.parent, list(masks), masks.get, codes=["ground", "red", "blue"],
        item_tfms=Resize(32), **SMALL,
    )  # fmt: skip
    images, targets = dls.one_batch()
    assert type(targets) is TensorMask
    assert targets.shape == (4, 32, 32)
    assert dls.vocab == ["ground", "red", "blue"]
    bright = plain(images).max(1).values > 0.5
    assert float((bright == (plain(targets) > 0)).float().mean()) > 0.97


def test_a_mask_of_another_shape_names_both_sizes(scenes, tmp_path):
    wrong = tmp_path / "mask.png"
    Image.new("L", (30, 99)).save(wrong)
    with pytest.raises(DataError, match=r"30x99 belongs to no image of size 48x40"):
        SegmentationDataLoaders.from_label_func(
            tmp_path, [s.path for s in scenes], lambda _: wrong, item_tfms=Resize(32), **SMALL
        ).one_batch()


# Wrong data, from the top: one error each that names the culprit and says what was expected.


def train(path, **kwargs):
    dls = ImageDataLoaders.from_folder(path, item_tfms=Resize(32), **SMALL, **kwargs)
    learn = vision_learner(dls, "xresnet18", pretrained=False)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*/nowhere'.*nearest folder that"):
        train(tmp_path / "nowhere")


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match=r"folder '.*': get_image_files found no items.*is empty"):
        train(tmp_path)
    (tmp_path / "train/red").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"found no items in it; it holds \['train'\]"):
        train(tmp_path)


def test_folder_with_one_class(tmp_path):
    path = draw_class_folders(tmp_path, ("red",))
    with pytest.raises(ValueError, match=r"one label \['red'\]: at least two classes") as caught:
        train(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("missing", ["train", "valid"])
def test_folder_without_a_part(tmp_path, missing):
    path = draw_class_folders(tmp_path)
    shutil.rmtree(path / missing)
    with pytest.raises(ValueError, match=f"none of the .* has a grandparent folder '{missing}'"):
        train(path)


@pytest.mark.parametrize("damage", ["text", "truncated", "empty"])
@pytest.mark.parametrize("part", ["train", "valid"])
def test_file_that_is_no_image(tmp_path, damage, part):
    path = draw_class_folders(tmp_path)
    broken = path / part / "red/1.png"
    content = broken.read_bytes()
    broken.write_bytes({"text": b"hello", "truncated": content[:300], "empty": b""}[damage])
    with pytest.raises(DataError, match=r"red/1\.png.*expected a whole image file") as caught:
        train(path)
    assert isinstance(caught.value.__cause__, ImageReadError)


def test_class_that_is_only_in_the_validation_set(tmp_path):
    path = draw_class_folders(tmp_path)
    shutil.copytree(path / "valid/red", path / "valid/green")
    with pytest.raises(DataError, match=r"label 'green' not in the vocabulary.*\('blue', 'red'\)"):
        train(path)


def test_images_of_different_sizes_without_resizing(tmp_path):
    path = draw_class_folders(tmp_path)
    Image.new("RGB", (20, 33)).save(path / "train/red/0.png")
    dls = ImageDataLoaders.from_folder(path, bs=12, num_workers=0, device="cpu")
    with pytest.raises(DataError, match=r"\(3, 33, 20\)|33"):
        dls.one_batch()


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "I;16", "1"])
def test_every_kind_of_file_becomes_three_channels(tmp_path, mode):
    path = draw_class_folders(tmp_path)
    suffix = ".tif" if mode == "CMYK" else ".png"
    Image.new(mode, (32, 32)).save(path / f"train/red/unusual{suffix}")
    dls = ImageDataLoaders.from_folder(path, bs=13, num_workers=0, device="cpu", shuffle=False)
    assert dls.train.one_batch()[0].shape[1:] == (3, 32, 32)


def test_pictures_are_turned_as_their_camera_was_held(tmp_path):
    path = draw_class_folders(tmp_path)
    pixels = np.zeros((32, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    Image.fromarray(pixels).save(path / "valid/red/turned.jpg", exif=exif, quality=95)
    dls = ImageDataLoaders.from_folder(path, **SMALL)
    place = [p.name for p in dls.valid_ds.items].index("turned.jpg")
    image = torch.tensor(np.array(dls.valid_ds[place][0]))
    assert image.shape == (16, 32, 3)
    assert image[:, 26:].float().mean() > 240
    assert image[:, :20].float().mean() < 15
