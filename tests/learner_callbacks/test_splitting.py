"""Batches that do not fit are computed in parts, with the gradients of the whole."""

import pytest
import torch
from support.learners import line_learner
from torch import nn
from torte.data import TfmdDL
from torte.learner import (
    AccumMetric,
    CrossEntropyLossFlat,
    GradientAccumulation,
    MixUp,
    SplitBatchWarning,
    SplitOnOutOfMemory,
    accuracy,
)

LIMIT = 3


def accumulation():
    return GradientAccumulation(15)


class Small(nn.Module):
    """A device with room for three samples, in the forward or in the backward pass."""

    def __init__(self, limit=LIMIT, backward=False, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)
        self.limit, self.backward = limit, backward
        self.register_buffer("calls", torch.zeros(()))
        self.memory = torch.zeros(())

    def forward(self, x):
        self.calls += 1
        self.memory = self.memory + len(x)
        out = self.net(x)
        if len(x) > self.limit:
            if not self.backward or not torch.is_grad_enabled():
                raise torch.OutOfMemoryError("simulated")
            out.register_hook(fail)
        return out


def fail(grad):
    raise torch.OutOfMemoryError("simulated")


def batches(count=4, size=10):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count * size, 3, generator=generator, dtype=torch.float64)
    y = (x.sum(1) > 0).long()
    return TfmdDL(list(zip(x, y, strict=True)), bs=size, seed=1)


def trained(limit, cbs=(), split=True, backward=False, n_epoch=2, **kwargs):
    learn = line_learner(
        [*cbs, *([SplitOnOutOfMemory()] if split else [])],
        model=Small(limit, backward),
        dls=(batches(), batches(2)),
        loss_func=kwargs.pop("loss_func", CrossEntropyLossFlat()),
        metrics=[accuracy, AccumMetric(count_samples, flatten=False)],
        **kwargs,
    )
    learn.fit_one_cycle(n_epoch, 0.1)
    return learn


def count_samples(preds, targs):
    return len(preds)


def same(one, other):
    close = {"rtol": 1e-12, "atol": 1e-14}
    for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, **close)
    torch.testing.assert_close(one.recorder.raw_losses, other.recorder.raw_losses, **close)
    torch.testing.assert_close(one.recorder.values, other.recorder.values, **close)
    assert one.recorder.lrs == other.recorder.lrs
    assert one.train_iter == other.train_iter


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    "cbs",
    [[], [accumulation], [MixUp], [accumulation, MixUp]],
)
def test_gradients_losses_and_metrics_are_those_of_the_whole(cbs, backward):
    expected = trained(100, [make() for make in cbs], split=False)
    with pytest.warns(SplitBatchWarning) as told:
        learn = trained(LIMIT, [make() for make in cbs], backward=backward)
    assert [str(each.message) for each in told] == [
        f"out of memory: batches of 10 are computed in {parts} parts from here on"
        for parts in (2, 4)
    ]
    assert learn.split_on_out_of_memory.parts == 4
    same(expected, learn)


def test_summed_losses_are_summed():
    loss = CrossEntropyLossFlat(reduction="sum")
    expected = trained(100, split=False, loss_func=loss)
    with pytest.warns(SplitBatchWarning):
        same(expected, trained(LIMIT, loss_func=loss))


@pytest.mark.filterwarnings("ignore::torte.learner.SplitBatchWarning")
def test_what_a_failed_attempt_changed_is_put_back():
    learn = trained(LIMIT, n_epoch=1)
    # The first batch: one part, two parts, four; only the last attempt counts. Then four each.
    assert float(learn.model.calls) == 4 * 6
    assert float(learn.model.memory) == 10 * 6


def test_nothing_is_changed_where_there_is_room():
    same(trained(100, split=False), trained(100))


def test_batches_of_any_structure():
    class Keyed(Small):
        def forward(self, left, right, size=None):
            return {"logits": super().forward(left + right)}

    def loaders():
        rows = [{"left": x, "right": x * 2, "labels": y} for x, y in batches()]
        return (rows, rows[:2])

    ends = []
    for limit in (100, LIMIT):
        learn = line_learner(
            SplitOnOutOfMemory(), model=Keyed(limit), dls=loaders(), metrics=accuracy,
            loss_func=CrossEntropyLossFlat(),
        )  # fmt: skip
        if limit == LIMIT:
            with pytest.warns(SplitBatchWarning):
                learn.fit(2)
        else:
            learn.fit(2)
        ends.append(learn)
    same(*ends)


def test_parts_have_a_smallest_size_and_the_learner_is_left_alone():
    learn = line_learner(
        SplitOnOutOfMemory(smallest=4), model=Small(), dls=(batches(), batches(2)),
        loss_func=CrossEntropyLossFlat(),
    )  # fmt: skip
    with pytest.warns(SplitBatchWarning), pytest.raises(torch.OutOfMemoryError) as error:
        learn.fit(1)
    assert any("may not make them smaller than 4" in note for note in error.value.__notes__)
    assert "_compute" not in vars(learn)
    assert all(parameter.grad is None for parameter in learn.model.parameters())


@pytest.mark.filterwarnings("ignore::torte.learner.SplitBatchWarning")
def test_predictions_and_validation_too():
    expected, learn = trained(100, split=False), trained(LIMIT)
    learn.model.load_state_dict(expected.model.state_dict())
    torch.testing.assert_close(learn.validate(), expected.validate(), rtol=1e-12, atol=0)
    for one, other in zip(learn.get_preds(), expected.get_preds(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
