"""The recipe: blocks, getters, splitters, and what it says when something does not fit."""

import random
import re
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torte.data.blocks import (
    CategoryBlock,
    MultiCategoryBlock,
    RegressionBlock,
    TransformBlock,
)
from torte.data.categories import Categorize
from torte.data.data_block import DataBlock, merge_tfms
from torte.data.downloads import untar_data
from torte.data.getters import ColReader, ItemGetter
from torte.data.images import PILImage, PILMask
from torte.data.labellers import RegexLabeller, parent_label, using_attr
from torte.data.numeric import IntToFloatTensor, Normalize, ToTensor
from torte.data.sources import get_image_files
from torte.data.splitters import (
    ColSplitter,
    EndSplitter,
    FuncSplitter,
    GrandparentSplitter,
    IndexSplitter,
    RandomSplitter,
)
from torte.data.summary import describe_value, summarize
from torte.data.tensors import TensorCategory, TensorImage, TensorMask, TensorMultiCategory
from torte.data.tfmd_loader import TfmdDL
from torte.data.urls import URLs
from torte.dispatch import DisplayedTransform, ItemTransform, Pipeline, Transform


def ImageBlock():
    return TransformBlock(type_tfms=PILImage.create, batch_tfms=IntToFloatTensor)


@pytest.fixture
def folder(tmp_path):
    """Twelve images, dark cats and bright dogs, under train and valid."""
    for part, count in (("train", 4), ("valid", 2)):
        for label, level in (("cat", 10), ("dog", 200)):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((8, 8, 3), level + number, np.uint8)
                PILImage.create(pixels).save(tmp_path / part / label / f"{label}_{number}.png")
    return tmp_path


def classifier(**kwargs):
    settings = {
        "blocks": (ImageBlock, CategoryBlock),
        "get_items": get_image_files,
        "splitter": GrandparentSplitter(),
        "get_y": parent_label,
    }
    return DataBlock(**{**settings, **kwargs})


def loaders(block, source, **kwargs):
    return block.dataloaders(source, **{"bs": 4, "num_workers": 0, "device": "cpu", **kwargs})


# -- from source to batch --------------------------------------------------------------------------


def test_files_to_batches(folder):
    dls = loaders(classifier(), folder)
    x, y = dls.one_batch()
    assert (type(x), type(y)) == (TensorImage, TensorCategory)
    assert (x.dtype, x.shape) == (torch.float32, (4, 3, 8, 8))
    assert dls.vocab == ["cat", "dog"]
    assert [len(ds) for ds in (dls.train_ds, dls.valid_ds)] == [8, 4]
    for image, label in zip(x, y, strict=True):
        assert (image.mean() > 0.5) == (dls.vocab[label] == "dog")
    assert [y.tolist() for _, y in dls.valid] == [[0, 0, 1, 1]]


def test_the_shipped_sample():
    dls = loaders(classifier(), untar_data(URLs.FASHION_SAMPLE), bs=64)
    assert (len(dls.train_ds), len(dls.valid_ds), dls.c) == (1200, 400, 10)
    x, _ = dls.one_batch()
    assert x.shape == (64, 3, 28, 28)
    assert 0 <= x.min() <= x.max() <= 1
    labels = torch.cat([y for _, y in dls.valid])
    assert torch.bincount(labels).tolist() == [40] * 10


def test_transforms_given_late_replace_the_blocks_own(folder):
    norm = Normalize.from_stats([0.5] * 3, [0.5] * 3)
    dls = loaders(classifier(batch_tfms=norm), folder)
    assert dls.one_batch()[0].min() < 0
    plain = loaders(classifier(batch_tfms=norm), folder, batch_tfms=[])
    assert plain.one_batch()[0].min() >= 0
    small = loaders(
        classifier(), folder, item_tfms=lambda x: x.resize((4, 4)) if isinstance(x, PILImage) else x
    )
    assert small.one_batch()[0].shape[-2:] == (4, 4)
    assert classifier().new(batch_tfms=norm).batch_tfms[-1] is norm


def test_frames_with_columns():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "y": list("pqp"), "is_valid": [False, False, True]})
    block = DataBlock(
        (RegressionBlock, CategoryBlock),
        get_x=ColReader("a"),
        get_y=ColReader("y"),
        splitter=ColSplitter(),
    )
    dls = loaders(block, frame, bs=2)
    assert [x.tolist() for x, _ in dls.valid] == [[3.0]]
    assert dls.vocab == ["p", "q"]


def test_several_labels_and_numbers():
    frame = pd.DataFrame({"n": [[1, 2], [3, 4], [5, 6]], "tags": ["x y", "y", "x"]})
    block = DataBlock(
        (RegressionBlock, MultiCategoryBlock),
        get_x=ColReader("n"),
        get_y=ColReader("tags", label_delim=" "),
        splitter=IndexSplitter([2]),
    )
    dsets = block.datasets(frame)
    x, y = dsets.train[0]
    assert x.tolist() == [1, 2]
    assert (type(y), y.tolist()) == (TensorMultiCategory, [1, 1])
    encoded = DataBlock(
        (RegressionBlock, MultiCategoryBlock(encoded=True, vocab=["x", "y"])),
        get_x=ColReader("n"),
        get_y=lambda row: [0, 1],
        splitter=IndexSplitter([2]),
    )
    assert encoded.datasets(frame).decode(encoded.datasets(frame)[0])[1] == ["y"]
    with pytest.raises(ValueError, match=r"MultiCategoryBlock\(encoded=True\) needs `vocab`"):
        MultiCategoryBlock(encoded=True)


def test_images_with_masks(folder):
    def mask_of(file):
        return np.full((8, 8), 3, np.uint8)

    block = DataBlock(
        (ImageBlock, TransformBlock(type_tfms=PILMask.create)),
        get_items=get_image_files,
        get_y=mask_of,
        splitter=EndSplitter(),
    )
    y = loaders(block, folder).one_batch()[1]
    assert (type(y), y.dtype, y.shape) == (TensorMask, torch.int64, (4, 8, 8))
    assert y.unique().tolist() == [3]


def test_several_inputs_and_targets():
    items = [(1, 2, "a", "b"), (3, 4, "b", "a")]
    block = DataBlock(
        (RegressionBlock, RegressionBlock, CategoryBlock, CategoryBlock),
        n_inp=2,
        get_x=[ItemGetter(0), lambda o: o[1]],
        get_y=[lambda o: o[2], ItemGetter(3)],
        splitter=IndexSplitter([]),
    )
    dsets = block.datasets(items)
    assert dsets.n_inp == 2
    assert [float(v) for v in dsets[1]] == [3, 4, 1, 0]
    assert dsets.vocab == [["a", "b"], ["a", "b"]]


def test_a_getter_that_returns_a_list_for_a_tuple():
    block = DataBlock(
        (TransformBlock, RegressionBlock), get_y=lambda o: [o[0], o[1]], splitter=IndexSplitter([])
    )
    assert block.datasets([(1, 2)])[0][1].tolist() == [1, 2]


def test_columns_as_source():
    block = DataBlock.from_columns((RegressionBlock, CategoryBlock), splitter=IndexSplitter([0]))
    dsets = block.datasets(([1, 2, 3], list("aba")))
    assert [(float(x), int(y)) for x, y in dsets] == [(1, 0), (2, 1), (3, 0)]
    halved = DataBlock.from_columns(
        (RegressionBlock, CategoryBlock),
        get_items=lambda d: (d["x"], d["y"]),
        splitter=IndexSplitter([]),
    )
    assert float(halved.datasets({"x": [7, 8], "y": "ab"})[1][0]) == 8


@pytest.mark.parametrize(
    "get_y",
    [
        using_attr(RegexLabeller(r"^(.*)_\d+\.png$"), "name"),
        Pipeline([attrgetter("name"), RegexLabeller(r"^(.*)_\d+")]),
        RegexLabeller(r"/([^/_]+)_\d+\.png$"),
        lambda o: o.parent.name,
    ],
    ids=["using_attr", "pipeline", "regex", "lambda"],
)
def test_labellers_of_every_kind(folder, get_y):
    assert classifier(get_y=get_y).datasets(folder).vocab == ["cat", "dog"]


def test_subclasses_define_the_steps_as_methods(folder):
    class Cats(DataBlock):
        blocks = (ImageBlock, CategoryBlock)

        def get_items(self, source):
            return get_image_files(source)

        def splitter(self, items):
            return RandomSplitter(0.5, seed=0)(items)

        def get_y(self, item):
            return item.parent.name

    dsets = Cats().datasets(folder)
    assert len(dsets.train) == len(dsets.valid) == 6
    assert dsets.vocab == ["cat", "dog"]


def test_a_block_teaches_its_transforms_afresh_each_time():
    block = DataBlock(
        (RegressionBlock, CategoryBlock),
        getters=[ItemGetter(0), ItemGetter(1)],
        splitter=IndexSplitter([]),
        batch_tfms=Normalize(),
    )
    one = block.datasets([(1, "a"), (2, "b")])
    two = block.datasets([(1, "x"), (2, "y")])
    assert (one.vocab, two.vocab) == (["a", "b"], ["x", "y"])
    shared = Categorize()
    twice = DataBlock((TransformBlock(shared), TransformBlock(shared)), splitter=IndexSplitter([]))
    dsets = twice.datasets(["a", "b"])
    assert dsets.tls[0].tfms[1] is dsets.tls[1].tfms[1]
    assert shared.vocab is None


def test_blocks_may_ask_for_a_loader_and_its_arguments():
    class Own(TfmdDL):
        pass

    block = TransformBlock(dl_type=Own, dls_kwargs={"bs": 3, "shuffle": False})
    made = DataBlock(
        (block, CategoryBlock), splitter=IndexSplitter([4]), getters=[ItemGetter(0), ItemGetter(1)]
    )
    items = [(torch.tensor(i), "ab"[i % 2]) for i in range(5)]
    dls = made.dataloaders(items, num_workers=0)
    assert type(dls.train) is Own
    assert dls.train.bs == 3
    assert made.dataloaders(items, bs=2, num_workers=0).train.bs == 2
    assert type(DataBlock(block, dl_type=TfmdDL).dl_type) is type(TfmdDL)


def test_merging_transforms():
    class A(Transform):
        pass

    class B(Transform):
        pass

    one, two, three = A(), A(), B()
    assert merge_tfms([one], [two]) == [two]
    assert merge_tfms([one, two]) == [one, two]
    assert merge_tfms([one], [A]) == [one]
    assert merge_tfms([A, three], [one]) == [one, three]
    made = merge_tfms([A], [A])
    assert [type(tfm) for tfm in made] == [A]
    functions = merge_tfms([abs, len], [abs])
    assert functions == [abs, len]
    assert [type(t) for t in DataBlock((ImageBlock, ImageBlock)).item_tfms] == [ToTensor]


# -- what does not fit -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"get_z": 1}, TypeError, "DataBlock has no argument 'get_z'"),
        (
            {"blocks": (ImageBlock, 3)},
            TypeError,
            "blocks must be TransformBlocks or make them, not 3",
        ),
        ({"n_inp": 5}, ValueError, "n_inp=5, but there are 2 blocks"),
        (
            {"get_y": [len, len]},
            ValueError,
            "get_y has 2 functions, but of the 2 blocks 1 need one",
        ),
        ({"getters": [len]}, ValueError, "getters has 1 functions"),
        ({"getters": [len, len], "get_x": len}, ValueError, "either getters, or get_x and get_y"),
    ],
)
def test_recipes_that_contradict_themselves(arguments, error, message):
    with pytest.raises(error, match=message):
        DataBlock(**arguments)


def test_a_getter_that_is_no_function():
    with pytest.raises(TypeError, match="a getter must be a function or a Transform, not 3"):
        DataBlock(get_x=3, splitter=IndexSplitter([])).datasets([1])


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder '.*nowhere'"):
        classifier().dataloaders(tmp_path / "nowhere")


def test_an_empty_folder_and_one_of_other_files(tmp_path):
    with pytest.raises(
        ValueError, match=rf"folder '{tmp_path}': get_image_files found no items in it; it is empty"
    ):
        classifier().dataloaders(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"it holds \['notes.txt'\]"):
        classifier().dataloaders(tmp_path)
    with pytest.raises(ValueError, match="the source has no items: list"):
        DataBlock().datasets([])


def test_a_folder_with_one_class(folder):
    import shutil

    for part in ("train", "valid"):
        shutil.rmtree(folder / part / "dog")
    with pytest.raises(
        ValueError, match=rf"all 4 training items in '{folder}' .* \['cat'\]: at least two"
    ):
        classifier().dataloaders(folder)
    with pytest.raises(ValueError, match="at least two classes were expected"):
        classifier(blocks=(ImageBlock, CategoryBlock(add_na=True))).dataloaders(folder)
    meant = classifier(blocks=(ImageBlock, CategoryBlock(vocab=["cat"])))
    assert meant.datasets(folder).c == 1


def test_no_training_items():
    with pytest.raises(
        ValueError, match=r"FuncSplitter.* put none of the 2 items into the training set"
    ):
        DataBlock(splitter=FuncSplitter(lambda o: True)).datasets([1, 2])


def test_broken_images_are_named(folder):
    broken = folder / "train/cat/cat_0.png"
    broken.write_bytes(broken.read_bytes()[:40])
    dls = loaders(classifier(), folder, shuffle=False)
    with pytest.raises(Exception, match=re.escape(str(broken))):
        dls.one_batch()


# -- the account -----------------------------------------------------------------------------------


def account_of(block, source, **kwargs):
    lines = []
    summarize(block, source, write=lines.append, **kwargs)
    return "".join(lines)


def test_a_summary_shows_every_step(folder, capsys):
    classifier(batch_tfms=Normalize()).summary(folder)
    text = capsys.readouterr().out
    steps = [
        "get_image_files -> 12 items",
        "GrandparentSplitter(train_name='train', valid_name='valid') -> 2 subsets of 8, 4 items",
        "Part 0 (input)",
        "-> PILImage mode=RGB size=8x8",
        "Part 1 (target)",
        "parent_label -> 'cat'",
        "Categorize -> TensorCategory(0)",
        "decoded again: 'cat'",
        "ToTensor -> (TensorImage uint8 of shape 3x8x8, TensorCategory(0))",
        "collating -> (TensorImage uint8 of shape 4x3x8x8, TensorCategory int64 of shape 4)",
        "IntToFloatTensor -> (TensorImage float32 of shape 4x3x8x8",
        "Normalize -> (TensorImage float32",
    ]
    places = [text.find(step) for step in steps]
    assert -1 not in places, text
    assert places == sorted(places)


class Failing(DisplayedTransform):
    def __init__(self, when, order=0):
        super().__init__(order=order)
        self.when = when

    def setups(self, items):
        self._fail("setup")

    def encodes(self, x: PILImage | TensorImage):
        self._fail("call")
        return x

    def _fail(self, stage):
        if stage == self.when:
            raise ZeroDivisionError("out of luck")


def fail(*args):
    raise ZeroDivisionError("out of luck")


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"get_items": fail}, "fail"),
        ({"splitter": fail}, "fail"),
        ({"get_y": fail}, "fail"),
        ({"get_x": fail}, "fail"),
        ({"item_tfms": Failing("call")}, "Failing"),
        ({"item_tfms": Failing("setup")}, "Failing (setting up)"),
        ({"batch_tfms": Failing("call", order=20)}, "Failing"),
        ({"batch_tfms": Failing("setup", order=20)}, "Failing (setting up)"),
    ],
)
def test_a_summary_points_at_the_failing_step_and_keeps_the_exception(folder, changes, step):
    lines = []
    with pytest.raises(ZeroDivisionError, match="out of luck") as caught:
        summarize(classifier(**changes), folder, write=lines.append)
    failed = [line for line in lines if "FAILED" in line]
    assert len(failed) == 1
    assert failed[0].strip().startswith(f"{step} FAILED: ZeroDivisionError: out of luck")
    assert f"DataBlock.summary: the failing step is {step}" in caught.value.__notes__


def test_a_summary_shows_what_does_not_collate(folder):
    pixels = np.zeros((5, 9, 3), np.uint8)
    PILImage.create(pixels).save(folder / "train/cat/cat_1.png")
    lines = []
    with pytest.raises(Exception, match="5"):
        summarize(classifier(), folder, write=lines.append)
    assert any(line.strip().startswith("collating FAILED") for line in lines)


def test_a_summary_changes_nothing(folder):
    class Noisy(ItemTransform):
        def encodes(self, x):
            random.random()
            np.random.rand()  # noqa: NPY002
            torch.rand(1)
            return x

    block = classifier(splitter=RandomSplitter(), item_tfms=Noisy(), batch_tfms=Normalize())
    before = (random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    account_of(block, folder)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert (np.random.get_state()[1] == before[2]).all()  # noqa: NPY002
    assert block.batch_tfms[-1].mean is None
    assert loaders(block, folder).vocab == ["cat", "dog"]


def test_a_summary_of_batches_that_are_dictionaries():
    def as_dictionary(item):
        return {"x": torch.ones(2), "y": item[0]}

    block = DataBlock(
        (TransformBlock, TransformBlock),
        splitter=IndexSplitter([]),
        item_tfms=ItemTransform(as_dictionary),
    )
    text = account_of(block, [1, 2, 3], bs=2)
    assert "{'x': Tensor float32 of shape 2x2, 'y': Tensor int64 of shape 2}" in text


def test_a_summary_shows_the_batch_on_request(folder, monkeypatch):
    import matplotlib.pyplot as plt

    account_of(classifier(), folder, show_batch=True, max_n=2)
    assert len(plt.gcf().axes) >= 2


def test_values_are_described_in_one_line():
    assert describe_value("a\nb") == r"'a\nb'"
    assert len(describe_value("x" * 1000)) == 300
    assert describe_value(torch.tensor(2.5)) == "Tensor(2.5)"
    assert describe_value([torch.ones(1), Path("a")]).startswith("[Tensor float32 of shape 1, ")
