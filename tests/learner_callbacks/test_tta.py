"""Test-time augmentation, against predictions averaged by hand."""

import random

import pytest
import torch
from torch import nn
from torte.data import CategoryBlock, DataBlock, IndexSplitter, TransformBlock
from torte.data.seeding import current_keys, sample_key, uniform
from torte.dispatch import Transform
from torte.learner import Learner


class Shift(Transform):
    """In training, adds another number to each item."""

    split_idx = 0

    def __init__(self, size=1.0):
        self.size = size

    def encodes(self, x: torch.Tensor):
        if x.dtype != torch.float32:
            return x
        return x + self.size * uniform(current_keys(len(x)), 1).T


def learner(item_tfms=None, batch_tfms=None):
    torch.manual_seed(0)
    x = torch.randn(12, 3)
    block = DataBlock(
        (TransformBlock(item_tfms=item_tfms, batch_tfms=batch_tfms), CategoryBlock),
        get_x=x.__getitem__,
        get_y=lambda number: number % 2,
        splitter=IndexSplitter([1, 4, 5, 8, 9]),
    )
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    learn = Learner(block.dataloaders(list(range(12)), bs=3, num_workers=0), model)
    return learn, x[[1, 4, 5, 8, 9]]


def shifted(learn, rows, epoch, size=1.0):
    """The probabilities of validation rows as training has them, by hand."""
    keys = torch.tensor(
        [sample_key(learn.dls.valid.seed, epoch, place) for place in range(len(rows))]
    )
    with torch.no_grad():
        return learn.model(rows + size * uniform(keys, 1).T).softmax(1)


def test_copies_and_the_item_itself():
    learn, rows = learner(batch_tfms=[Shift()])
    copies = torch.stack([shifted(learn, rows, epoch) for epoch in range(3)])
    itself = learn.model(rows).softmax(1).detach()
    preds, targets = learn.tta(n=3)
    torch.testing.assert_close(preds, 0.75 * copies.mean(0) + 0.25 * itself)
    assert targets.tolist() == [1, 0, 1, 0, 1]
    (mean, alone), _ = learn.tta(n=3, beta=None)
    torch.testing.assert_close(mean, copies.mean(0))
    torch.testing.assert_close(alone, itself)
    most, _ = learn.tta(n=3, use_max=True)
    torch.testing.assert_close(most, torch.maximum(copies.amax(0), itself))


def test_other_transforms_in_their_place():
    learn, rows = learner(batch_tfms=[Shift()])
    preds, _ = learn.tta(n=1, beta=0, batch_tfms=[Shift(5.0)])
    torch.testing.assert_close(preds, shifted(learn, rows, 0, 5.0))


def test_transforms_of_items_and_nothing_is_left_changed():
    drawn = []

    class Item(Transform):
        split_idx = 0

        def encodes(self, x: torch.Tensor):
            if x.dtype == torch.float32:
                drawn.append(random.random())
            return x

    learn, _ = learner(item_tfms=[Item()])
    drawn.clear()
    state = torch.get_rng_state()
    first = learn.tta(n=2)[0]
    assert len(set(drawn)) == 2 * 5
    assert torch.equal(torch.get_rng_state(), state)
    assert learn.dls.valid.dataset.split_idx == 1
    before, drawn[:] = list(drawn), []
    torch.testing.assert_close(learn.tta(n=2)[0], first)
    assert drawn == before
    drawn.clear()
    learn.get_preds()
    assert not drawn


def test_without_anything_random_it_is_get_preds():
    learn, _ = learner()
    torch.testing.assert_close(learn.tta()[0], learn.get_preds()[0])
    test = learn.dls.test_dl([0, 1])
    preds, targets = learn.tta(dl=test)
    assert preds.shape == (2, 2)
    assert targets is None


def test_errors():
    learn, rows = learner()
    with pytest.raises(ValueError, match="at least one copy"):
        learn.tta(n=0)
    with pytest.raises(TypeError, match="list is not"):
        learn.tta(dl=[(rows, torch.zeros(5))])
