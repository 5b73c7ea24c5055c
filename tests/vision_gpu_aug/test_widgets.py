"""The cleaner of images: what it shows and what it says was chosen (a browser: integration)."""

import sys

import pytest
import torch
from support.learners import everything
from support.pictures import draw_class_folders
from torch import nn
from torte.vision.all import ImageClassifierCleaner, ImageDataLoaders, ImagesCleaner, Learner


@pytest.fixture
def learn(tmp_path):
    folder = draw_class_folders(tmp_path)
    dls = ImageDataLoaders.from_folder(folder, bs=4, seed=1, num_workers=0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    return Learner(dls, model)


def losses_of(learn, files, name):
    number = torch.tensor([learn.dls.vocab.o2i[name]])
    preds = learn.get_preds(dl=learn.dls.test_dl(files), act=lambda x: x)[0]
    return [float(learn.loss_func(p[None], number)) for p in preds]


def test_choices_are_told_by_number_and_nothing_is_changed(learn):
    files = list(learn.dls.valid_ds.items)
    cleaner = ImagesCleaner(opts=["red", "blue"], height=16, max_n=4)
    cleaner.set_fns(files)
    assert list(cleaner.fns) == files[:4]
    assert cleaner.values() == ["<Keep>"] * 4
    assert (cleaner.delete(), cleaner.change()) == ([], [])
    menus = [child.children[1] for child in cleaner.widget.children]
    menus[1].value, menus[3].value = "<Delete>", "blue"
    assert cleaner.delete() == [1]
    assert cleaner.change() == [(3, "blue")]
    assert all(file.exists() for file in files)
    picture = cleaner.widget.children[0].children[0]
    assert bytes(picture.value).startswith(b"\x89PNG")
    assert picture.layout.height == "16px"


def test_the_worst_of_the_chosen_class_and_set_come_first(learn):
    before = everything(learn)
    cleaner = ImageClassifierCleaner(learn)
    after = everything(learn)
    for what in ("weights", "modes", "torch"):
        torch.testing.assert_close(after[what], before[what])
    category, which, _ = cleaner._box.children
    assert category.options == tuple(learn.dls.vocab)
    for name in learn.dls.vocab:
        for part, count in (("Train", 6), ("Valid", 3)):
            category.value, which.label = name, part
            files = list(cleaner.fns)
            assert len(files) == count
            assert {(f.parent.parent.name, f.parent.name) for f in files} == {(part.lower(), name)}
            losses = losses_of(learn, files, name)
            assert losses == sorted(losses, reverse=True)
    assert cleaner._menus[0].options == ("<Keep>", "<Delete>", *learn.dls.vocab)


def test_a_file_that_cannot_be_read_is_seen(tmp_path):
    broken = tmp_path / "<broken>.png"
    broken.write_bytes(b"no image")
    cleaner = ImagesCleaner()
    cleaner.set_fns([broken])
    assert "&lt;broken&gt;.png" in cleaner.widget.children[0].children[0].value


def test_mistakes_are_named(learn, monkeypatch):
    with pytest.raises(ValueError, match="name no classes"):
        ImageClassifierCleaner(Learner([(torch.rand(2, 3), torch.rand(2, 1))], nn.Linear(3, 1)))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"torte-vision-gpu-aug\[notebook\]"):
        ImagesCleaner()
