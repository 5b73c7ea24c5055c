"""Gradients that are not finite: the fit stops or the step is left out, and the cause is named."""

import pytest
import torch
from support.learners import line_learner
from torch import nn
from torch.nn import functional as F
from torte.data import DataLoaders, TfmdDL
from torte.learner import (
    CheckpointCallback,
    GradientAccumulation,
    NonFiniteCallback,
    NonFiniteWarning,
)

BAD = 13
"""Which item spoils its batch."""


class Root(nn.Module):
    """The gradient of a square root is infinite at 0."""

    def forward(self, x):
        return x.abs().sqrt()


class Shaky(nn.Module):
    def __init__(self, layer=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(1, 4), nn.Linear(4, 1)
        self.middle = layer or nn.Identity()

    def forward(self, x):
        return self.last(self.middle(self.first(x)))


class Log(nn.Module):
    """Infinite where a marked item comes by."""

    def forward(self, x):
        return x + torch.where(x.detach().abs() > 1e3, float("inf"), 0.0)


def loaders(value=1e6):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 1, generator=generator)
    x[BAD] = value
    items = list(zip(x, 3 * x.clamp(-2, 2), strict=True))
    return DataLoaders(
        TfmdDL(items, bs=4, shuffle=True, seed=3), TfmdDL(items[:4], bs=4), device="cpu"
    )


def learner(cbs, layer=None, value=1e6, **kwargs):
    return line_learner(cbs, model=Shaky(layer), dls=loaders(value), **kwargs)


def test_stop_names_the_layer_and_the_items_before_the_step():
    learn = learner(NonFiniteCallback(), Log())
    with pytest.warns(NonFiniteWarning, match=r"output of 'middle' \(Log\) is not finite") as w:
        learn.fit(3)
    assert len(w) == 1
    (found,) = learn.non_finite.found
    assert BAD in found.items
    assert len(found.items) == 4
    assert (found.epoch, found.batch) == (0, learn.train_iter)
    assert all(bool(torch.isfinite(p).all()) for p in learn.model.parameters())


def test_skip_leaves_weights_and_optimizer_as_they_are():
    kept = []

    class Watch(NonFiniteCallback):
        def before_step(self):
            before = [p.detach().clone() for p in self.learn.model.parameters()]
            state = str(self.learn.opt.state_dict())
            try:
                super().before_step()
            except Exception:
                kept.append((before, state))
                raise

        def after_step(self):
            if kept and len(kept[-1]) == 2:
                before, state = kept.pop()
                now = list(self.learn.model.parameters())
                assert all(map(torch.equal, before, now))
                assert str(self.learn.opt.state_dict()) == state
                kept.append("compared")

    learn = learner(Watch("skip"), Log())
    with pytest.warns(NonFiniteWarning, match="the step is skipped"):
        learn.fit(3)
    assert kept == ["compared"] * 3
    assert [found.epoch for found in learn.watch.found] == [0, 1, 2]
    assert len(learn.recorder.losses) == 18
    assert all(bool(torch.isfinite(p).all()) for p in learn.model.parameters())


def test_a_gradient_that_is_not_finite_while_the_loss_is():
    learn = learner(NonFiniteCallback(), Root(), value=1.0)
    with torch.no_grad():
        learn.model.first.weight.zero_()
        learn.model.first.bias.zero_()
    with pytest.warns(NonFiniteWarning, match=r"the gradient of 'first.bias' is not finite"):
        learn.fit(1)
    assert float(learn.model.first.weight.detach().abs().sum()) == 0


def test_inputs_and_losses_are_named():
    with pytest.warns(NonFiniteWarning, match="the inputs are not finite"):
        learner(NonFiniteCallback(), value=float("nan")).fit(1)

    def loss(pred, target):
        return F.mse_loss(pred, target) / (0 if len(target) == 4 else 1)

    with pytest.warns(NonFiniteWarning, match="batch 0: the loss is not finite"):
        learner(NonFiniteCallback(), loss_func=loss).fit(1)


def test_the_batch_of_an_accumulation_that_was_bad_is_named():
    learn = learner([NonFiniteCallback("skip"), GradientAccumulation(12)], Log())
    with pytest.warns(NonFiniteWarning):
        learn.fit(1)
    assert BAD in learn.non_finite.found[0].items


def test_skipping_has_an_end():
    learn = learner(NonFiniteCallback("skip", limit=2), value=1.0)
    with torch.no_grad():
        learn.model.first.weight.fill_(float("nan"))
    with pytest.warns(NonFiniteWarning) as told:
        learn.fit(3)
    assert len(told) == 3
    assert "the fit is stopped" in str(told[-1].message)


def test_looking_for_the_layer_changes_nothing():
    torch.manual_seed(5)
    ends = []
    for cbs in ([], [NonFiniteCallback("skip")]):
        learn = learner(cbs, nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.2)), value=1.0)
        torch.manual_seed(7)
        learn.fit(2)
        ends.append(learn)
    one, other = (learn.model.state_dict() for learn in ends)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_no_checkpoint_of_what_is_not_finite(tmp_path):
    learn = learner(NonFiniteCallback(), Log(), path=tmp_path)
    with pytest.warns(NonFiniteWarning):
        learn.fit(2, cbs=CheckpointCallback(every=1))
    for path in learn.path.rglob("state.safetensors"):
        from torte.learner.packing import read_file

        model = read_file(path, "checkpoint")["model"]
        assert all(bool(torch.isfinite(tensor).all()) for tensor in model.values())


def test_the_action_is_checked():
    with pytest.raises(ValueError, match="action must be 'stop' or 'skip', got 'go'"):
        NonFiniteCallback("go")
