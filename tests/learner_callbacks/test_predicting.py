"""One item at a time: the short way gives what a pass over a loader gives."""

import random

import numpy as np
import pytest
import torch
from support.learners import EventLog, line_learner
from torch import nn
from torte.data import (
    CategoryBlock,
    DataBlock,
    DataLoader,
    DataLoaders,
    ItemError,
    RandomSplitter,
    RegressionBlock,
    TfmdDL,
    TransformBlock,
)
from torte.dispatch import Transform
from torte.learner import Callback, CrossEntropyLossFlat, Learner, MSELossFlat


class Shift(Transform):
    """Adds what it draws, in validation too: the seeds of item and batch have to be the same."""

    def encodes(self, x: torch.Tensor):
        return x + random.random() + np.random.rand() + torch.rand(())  # noqa: NPY002


def row_of(number):
    if number == 13:
        raise OSError("no such row")
    return torch.tensor([number, number % 3, 1.0])


def model(width=3, out=2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, out))


def learner(type_tfms=None, **kwargs):
    torch.manual_seed(3)  # what the loaders draw from
    block = DataBlock(
        (TransformBlock(type_tfms=type_tfms), CategoryBlock),
        get_x=row_of,
        get_y=lambda number: "odd" if number % 2 else "even",
        splitter=RandomSplitter(seed=1),
    )
    numbers = [number for number in range(40) if number != 13]
    return Learner(block.dataloaders(numbers, bs=8, num_workers=0), model(), **kwargs)


def by_a_pass(learn, item):
    """What the same learner predicts when somebody listens."""
    heard = []
    with learn.added_cbs(Callback(after_pred=lambda callback: heard.append(1))):
        found = learn.predict(item, with_input=True)
    assert heard == [1]
    return found


def same(one, other):
    assert len(one) == len(other)
    for mine, its in zip(one, other, strict=True):
        assert type(mine) is type(its)
        assert torch.equal(mine, its) if isinstance(mine, torch.Tensor) else mine == its


@pytest.mark.parametrize("tfms", [None, [Shift()]])
def test_the_same_as_by_a_pass(tfms):
    learn = learner(tfms)
    for number in (3, 8, 39):
        same(learn.predict(number, with_input=True), by_a_pass(learn, number))


def test_several_inputs_and_targets():
    block = DataBlock(
        (TransformBlock, TransformBlock, RegressionBlock),
        n_inp=2,
        getters=[row_of, lambda n: row_of(n) * 2, lambda n: n / 2],
        splitter=RandomSplitter(seed=1),
    )

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 1)

        def forward(self, one, other):
            return self.linear(one + other)

    learn = Learner(block.dataloaders(list(range(12)), bs=4), Both(), loss_func=MSELossFlat())
    mine, its = learn.predict(5, with_input=True), by_a_pass(learn, 5)
    same(mine[0], its[0])
    same(mine[1:], its[1:])


def test_items_further_on_in_the_pipeline():
    learn = learner()
    same(learn.predict(7)[1:], learn.predict(row_of(7), rm_type_tfms=1)[1:])
    batches = learn.dls.test_dl([row_of(7)], rm_type_tfms=1)
    assert torch.equal(learn.predict(7)[2], learn.get_preds(dl=batches)[0][0])


def test_loaders_over_plain_items_and_batches():
    x = torch.randn(6, 3)
    items = [(row, torch.tensor(0)) for row in x]
    loaders = [TfmdDL(items, bs=2), TfmdDL(items, bs=2)]
    for dls in (DataLoaders(*loaders), DataLoaders(*[DataLoader(items, bs=2)] * 2)):
        learn = Learner(dls, model(), loss_func=CrossEntropyLossFlat())
        same(learn.predict(x[1], with_input=True), by_a_pass(learn, x[1]))


def test_a_bad_item_is_named_as_a_loader_names_it():
    learn = learner()
    with pytest.raises(ItemError, match=r"item 0 .*\(13\).*no such row") as short:
        learn.predict(13)
    with pytest.raises(ItemError) as long:
        by_a_pass(learn, 13)
    assert str(short.value) == str(long.value)
    assert isinstance(short.value.__cause__, OSError)


class Draws(nn.Module):
    """Draws, counts and keeps what it has seen, whatever its mode."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen, self.modes = model(), 0, []
        self.first, self.hidden = True, ("h", (torch.zeros(1), 2))

    def reset(self):
        self.seen = 100

    def forward(self, x):
        self.seen += 1
        self.modes.append(self.training)
        self.last = x
        if hasattr(self, "first"):  # as many attributes as before, of other names
            del self.first, self.last
            self.second = self.third = x
        self.hidden[1][0].add_(1)
        return self.inner(x) + torch.rand(2) + self.seen


def test_nothing_is_left_changed():
    learn = learner([Shift()])
    learn.model = Draws()
    learn.fit(1, 1e-3)
    learn.model.train()
    learn.model.inner[1].eval()
    learn.model.first = True
    hidden = learn.model.hidden[1][0].item()
    its = by_a_pass(learn, 4)[1:]
    fields = {name: value for name, value in vars(learn).items() if name != "model"}
    attributes = {**vars(learn.model), "modes": list(learn.model.modes)}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    positions = [loader.state_dict() for loader in learn.dls.loaders]
    kinds = learn.dls.valid.kinds
    one = learn.predict(4)
    same(one, learn.predict(4))
    same(one, its)
    assert all(getattr(learn, name) is value for name, value in fields.items())
    assert vars(learn.model) == attributes
    assert learn.model.hidden[1][0].item() == hidden
    assert [each.training for each in learn.model.inner] == [True, False, True]
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert [loader.state_dict() for loader in learn.dls.loaders] == positions
    assert learn.dls.valid.kinds is kinds


def test_in_the_middle_of_a_fit():
    plain, looked = learner(), learner()
    for learn, more in (
        (plain, None),
        (looked, Callback(after_step=lambda cb: cb.learn.predict(4))),
    ):
        torch.manual_seed(0)
        learn.fit(2, 1e-3, cbs=more)
    assert plain.recorder.raw_losses == looked.recorder.raw_losses


def test_who_listens_is_heard():
    learn = learner()
    for callback in (EventLog(), Callback(before_validate=lambda cb: None)):
        with learn.added_cbs(callback):
            assert learn._predicted_directly(3, None) is None
    silent = Callback(before_fit=lambda cb: pytest.fail("a callback of fits alone"))
    silent.fit_only = True
    with learn.added_cbs(silent):
        learn.predict(3)

    class Own(Learner):
        def one_batch(self, i, b):
            self.batches = i + 1
            super().one_batch(i, b)

    own = Own(learn.dls, learn.model)
    same(own.predict(3), learn.predict(3))
    assert own.batches == 1


def test_an_error_leaves_the_learner_as_it_was():
    learn = line_learner()
    learn.model.to(torch.float64)
    with pytest.raises(RuntimeError, match="dtype"):
        learn.predict(torch.tensor([1.0]))
    assert learn.xb == ()
