"""Loaders as JSON and back: what a loaded learner works with."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader as TorchLoader
from torte.data.blocks import CategoryBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from torte.data.data_block import DataBlock
from torte.data.data_loaders import DataLoaders
from torte.data.getters import ColReader
from torte.data.images import PILImage
from torte.data.labellers import parent_label
from torte.data.numeric import IntToFloatTensor, Normalize
from torte.data.splitters import EndSplitter, IndexSplitter
from torte.data.state import describe_loaders, rebuild_loaders, undescribable_loaders
from torte.data.tensors import TensorBase, TensorImage
from torte.dispatch import StateError, Transform, UndescribableError, UnknownNameError


@pytest.fixture
def folder(tmp_path):
    for label, level in (("cat", 10), ("dog", 200)):
        (tmp_path / label).mkdir()
        for number in range(4):
            pixels = np.full((6, 6, 3), level + number, np.uint8)
            pixels[number] = 0
            PILImage.create(pixels).save(tmp_path / label / f"{number}.png")
    return tmp_path


def loaders(folder, **changes):
    files = sorted(folder.rglob("*.png"))
    settings = {
        "blocks": (TransformBlock(PILImage.create, batch_tfms=IntToFloatTensor), CategoryBlock),
        "get_y": parent_label,
        "splitter": IndexSplitter([0, 7]),
        "batch_tfms": Normalize(),
    }
    block = DataBlock(**{**settings, **changes})
    return block.dataloaders(files, bs=4, num_workers=0, device="cpu"), files


def there_and_back(dls):
    return rebuild_loaders(json.loads(json.dumps(describe_loaders(dls))))


def test_new_items_give_the_same_batch(folder):
    dls, files = loaders(folder)
    again = there_and_back(dls)
    expected = dls.test_dl(files).one_batch()[0]
    result = again.test_dl(files).one_batch()[0]
    assert type(result) is TensorImage
    assert torch.equal(result, expected)
    opened = [PILImage.create(file) for file in files[:4]]
    assert torch.equal(again.test_dl(opened).one_batch()[0], expected[:4])


def test_vocabulary_sizes_and_decoding(folder):
    dls, _ = loaders(folder)
    again = there_and_back(dls)
    assert again.vocab == ["cat", "dog"]
    assert (again.c, again.n_inp, again.train.bs) == (2, 1, 4)
    assert len(again.train_ds) == len(again.valid_ds) == 0
    x, y = dls.valid.one_batch()
    # Predictions are plain tensors: their meaning was noted.
    decoded = again.valid.decode_batch((x.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor)))
    assert [label for _, label in decoded] == ["cat", "dog"]
    assert describe_loaders(again) == describe_loaders(dls)


def test_labels_with_the_items_after_loading(folder):
    dls, files = loaders(folder)
    assert there_and_back(dls).test_dl(files, with_labels=True).one_batch()[1].tolist() == [0] * 4


def test_a_labeller_that_cannot_be_described_is_left_out(folder):
    dls, files = loaders(folder, get_y=lambda file: file.parent.name)
    assert undescribable_loaders(dls) == []
    again = there_and_back(dls)
    assert again.vocab == ["cat", "dog"]
    assert torch.equal(again.test_dl(files).one_batch()[0], dls.test_dl(files).one_batch()[0])


def test_transforms_that_cannot_be_described_are_all_named(folder):
    class Local(Transform):
        pass

    dls, _ = loaders(folder, get_x=lambda file: file, item_tfms=Local())
    culprits = undescribable_loaders(dls)
    assert any("the lambda" in culprit for culprit in culprits)
    assert any("Local" in culprit for culprit in culprits)
    with pytest.raises(UndescribableError, match=r"(?s)lambda.*Local|Local.*lambda"):
        describe_loaders(dls)


def test_no_paths_or_items_are_written(folder):
    text = json.dumps(describe_loaders(loaders(folder)[0]))
    assert str(folder) not in text
    assert ".png" not in text


def test_frames_with_several_targets():
    frame = pd.DataFrame({"x": [1.0, 2, 3], "tags": ["a b", "b", ""], "y": [1.5, 2.5, 3.5]})
    block = DataBlock(
        (RegressionBlock, MultiCategoryBlock, RegressionBlock),
        n_inp=1,
        get_x=ColReader("x"),
        get_y=[ColReader("tags", label_delim=" "), ColReader("y")],
        splitter=EndSplitter(0.34),
    )
    again = there_and_back(block.dataloaders(frame, bs=2, num_workers=0, device="cpu"))
    x, tags, y = again.test_dl(frame, with_labels=True).one_batch()
    assert (x.tolist(), tags.tolist(), y.tolist()) == ([1, 2], [[1, 1], [0, 1]], [1.5, 2.5])
    assert again.test_dl(frame).one_batch()[0].tolist() == [1, 2]


def test_plain_loaders_keep_the_number_of_inputs():
    data = [(torch.ones(2), torch.ones(1), torch.tensor(1))] * 4
    dls = DataLoaders(TorchLoader(data, 2), TorchLoader(data, 2), device="cpu")
    again = there_and_back(dls)
    assert again.n_inp == 2
    assert list(again.train) == []


class Spectrum(TensorBase):
    """A tensor class that nobody registered."""


def test_unregistered_tensor_classes_are_named():
    block = DataBlock(
        (TransformBlock, CategoryBlock), get_x=Spectrum_of, get_y=str, splitter=IndexSplitter([])
    )
    dls = block.dataloaders([1, 2], bs=2, num_workers=0, device="cpu")
    assert any("Spectrum" in culprit for culprit in undescribable_loaders(dls))


def Spectrum_of(item):
    return Spectrum([float(item)])


def test_what_is_no_description_is_refused(folder):
    description = describe_loaders(loaders(folder)[0])
    newer = json.loads(json.dumps(description).replace('"format": 1', '"format": 99'))
    with pytest.raises(StateError, match="described in format 99, but this version"):
        rebuild_loaders(newer)
    with pytest.raises(StateError, match="not a description"):
        rebuild_loaders({})
    with pytest.raises(StateError, match="describes no loaders"):
        rebuild_loaders({"name": "value", "config": {"value": 3}, "state": {}})
    renamed = json.loads(json.dumps(description).replace("torte.data.Categorize", "os.system"))
    with pytest.raises(UnknownNameError, match=r"nothing is registered as 'os\.system'"):
        rebuild_loaders(renamed)
