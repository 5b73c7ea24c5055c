"""Trackers on prescribed values."""

import math
import operator

import numpy as np
import pytest
import torch
from support.learners import line_batches, line_learner
from torch import nn
from torte.learner import Callback
from torte.learner.callbacks.tracking import (
    EarlyStoppingCallback,
    ReduceLROnPlateau,
    SaveModelCallback,
    TerminateOnNaNCallback,
    TrackerCallback,
)
from torte.learner.metrics import ValueMetric


class Says(Callback):
    """Makes the metric "score" take prescribed values."""

    def __init__(self, values):
        super().__init__()
        self.values = values


def learner(values, *cbs, **kwargs):
    says = Says(values)
    metric = ValueMetric(lambda: says.values[says.learn.epoch], "score")
    return line_learner([says, *cbs], metrics=metric, **kwargs)


# --- divergence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_fit_before_it_reaches_the_weights(bad):
    batches = line_batches(5)
    batches[3][0][0] = bad
    learn = line_learner(TerminateOnNaNCallback(), dls=(batches, batches[:1]))
    learn.fit(4)
    assert len(learn.recorder.raw_losses) == 3
    assert all(math.isfinite(loss) for loss in learn.recorder.losses)
    assert all(p.isfinite().all() for p in learn.model.parameters())


def test_a_finite_loss_goes_on_and_validation_is_not_looked_at():
    valid = line_batches(1)
    valid[0][0][0] = math.nan
    learn = line_learner(TerminateOnNaNCallback(), dls=(line_batches(5), valid))
    learn.fit(2)
    assert len(learn.recorder.raw_losses) == 10


# --- trackers ------------------------------------------------------------------------------------


class Watch(TrackerCallback):
    def after_epoch(self):
        super().after_epoch()
        self.seen = [*getattr(self, "seen", []), (self.new_best, self.best)]


def test_trackers_keep_the_best():
    watch = Watch("score")
    learner([1.0, 3.0, 2.0, math.nan, None, 4.0], watch).fit(6)
    assert watch.seen == [
        (True, 1.0),
        (True, 3.0),
        (False, 3.0),
        (False, 3.0),
        (False, 3.0),
        (True, 4.0),
    ]


@pytest.mark.parametrize("comp", [operator.lt, np.less])
def test_the_comparison_and_its_margin_can_be_chosen(comp):
    watch = Watch("score", comp=comp, min_delta=0.5)
    learner([5.0, 4.6, 4.4, 4.0, 3.0], watch).fit(5)
    assert [new for new, _ in watch.seen] == [True, False, True, False, True]


def test_names_with_loss_or_error_are_to_be_small():
    assert TrackerCallback("train_loss").comp(1, 2)
    assert TrackerCallback("error_rate").comp(1, 2)
    assert TrackerCallback("accuracy").comp(2, 1)


def test_the_best_is_forgotten_at_the_next_fit_unless_kept():
    forgets, keeps = Watch("score"), Watch("score", reset_on_fit=False)
    keeps.name = "keeps"
    learn = learner([5.0, 1.0], forgets, keeps)
    learn.fit(1)
    says = next(cb for cb in learn.cbs if isinstance(cb, Says))
    says.values = [2.0]
    learn.fit(1)
    assert forgets.seen[-1] == (True, 2.0)
    assert keeps.seen[-1] == (False, 5.0)


def test_unknown_columns_are_named_with_those_there_are():
    learn = line_learner(EarlyStoppingCallback(monitor="accuracy"))
    with pytest.raises(ValueError, match=r"cannot monitor 'accuracy': .*'train_loss'"):
        learn.fit(1)


def test_validating_leaves_trackers_alone():
    watch = Watch("score")
    learn = learner([1.0, 3.0], watch)
    learn.fit(2)
    learn.validate()
    assert (watch.best, len(watch.seen)) == (3.0, 2)


# --- early stopping ------------------------------------------------------------------------------


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (3, 7)])
def test_fits_stop_after_some_epochs_without_improvement(patience, epochs):
    values = [1.0, 2.0, 1.5, 1.4, 3.0, 1.0, 1.0, 1.0, 1.0]
    learn = learner(values, EarlyStoppingCallback("score", patience=patience))
    learn.fit(7)
    assert len(learn.recorder.values) == epochs


def test_stopping_is_told_unless_nothing_is_logged(capsys):
    learn = learner([2.0, 1.0, 1.0], EarlyStoppingCallback("score"))
    learn.fit(3)
    assert capsys.readouterr().out == "No improvement since epoch 0: early stopping\n"
    with learn.no_logging():
        learn.fit(3)
    assert capsys.readouterr().out == ""


# --- saving --------------------------------------------------------------------------------------


class Marks(Callback):
    """Writes the epoch into the weights after training."""

    def after_train(self):
        with torch.no_grad():
            self.learn.model.weight.fill_(float(self.learn.epoch))


def test_the_best_model_is_saved_and_loaded(tmp_path):
    save = SaveModelCallback("score", fname="best")
    learn = learner([1.0, 3.0, 2.0], Marks(), save, path=tmp_path)
    learn.fit(3)
    assert learn.model.weight.item() == 1.0
    assert save.last_saved_path.exists()
    assert save.last_saved_path.parent == tmp_path / "models"


def test_every_epoch_can_be_saved(tmp_path):
    learn = learner([1.0] * 5, Marks(), SaveModelCallback("score", every_epoch=2), path=tmp_path)
    learn.fit(5)
    assert sorted(p.stem for p in (tmp_path / "models").iterdir()) == [
        "model_0",
        "model_2",
        "model_4",
    ]
    assert learn.model.weight.item() == 4.0


def test_the_last_model_can_be_saved(tmp_path):
    learn = learner([3.0, 1.0], Marks(), SaveModelCallback("score", at_end=True), path=tmp_path)
    learn.fit(2)
    assert learn.model.weight.item() == 1.0
    learn.model.weight.data.zero_()
    learn.load("model")
    assert learn.model.weight.item() == 1.0
    with pytest.raises(ValueError, match="every_epoch and at_end"):
        SaveModelCallback(every_epoch=True, at_end=True)


def test_saving_and_stopping_work_together(tmp_path):
    cbs = [Marks(), EarlyStoppingCallback("score"), SaveModelCallback("score")]
    learn = learner([1.0, 2.0, 0.5, 9.0], *cbs, path=tmp_path)
    learn.fit(4)
    assert len(learn.recorder.values) == 3
    assert learn.model.weight.item() == 1.0


def test_an_interrupted_fit_loads_nothing(tmp_path):
    class Fails(Callback):
        def before_validate(self):
            if self.learn.epoch == 1:
                raise RuntimeError("boom")

    learn = learner([1.0, 2.0], Marks(), Fails(), SaveModelCallback("score"), path=tmp_path)
    with pytest.raises(RuntimeError, match="boom"):
        learn.fit(2)
    assert learn.model.weight.item() == 1.0


# --- learning rate -------------------------------------------------------------------------------


def test_the_learning_rate_falls_on_a_plateau():
    rates = []
    watch = Callback(after_epoch=lambda self: rates.append(self.opt.param_groups[0]["lr"]))
    watch.order = 100
    values = [1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 3.0]
    reduce = ReduceLROnPlateau("score", patience=2, factor=10, min_lr=2e-4)
    learner(values, reduce, watch, lr=1e-2).fit(7)
    assert rates == pytest.approx([1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 2e-4, 2e-4])


@pytest.mark.parametrize("opt_func", [torch.optim.SGD])
def test_optimizers_of_pytorch_are_reduced_too(opt_func):
    model = nn.Linear(1, 1)
    reduce = ReduceLROnPlateau("score")
    learn = learner([2.0, 1.0], reduce, lr=0.1, opt_func=opt_func, model=model)
    learn.fit(2)
    assert learn.opt.param_groups[0]["lr"] == pytest.approx(0.01)
