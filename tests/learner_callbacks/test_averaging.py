"""The averaged weights against the recurrence, and who sees which weights when."""

import copy

import pytest
import torch
from support.learners import assert_same, everything, line_learner
from torch import nn
from torte.learner import Callback
from torte.learner.callbacks.averaging import EMA
from torte.learner.callbacks.tracking import SaveModelCallback


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


class Trace(Callback):
    order = 500

    def before_fit(self):
        self.steps = [copy.deepcopy(self.learn.model.state_dict())]
        self.valid = []

    def after_step(self):
        self.steps.append(copy.deepcopy(self.learn.model.state_dict()))

    def before_validate(self):
        self.valid.append(copy.deepcopy(self.learn.model.state_dict()))


def expected_average(steps, decay, warm_up, every=1):
    average = {k: v.clone() for k, v in steps[0].items() if v.is_floating_point()}
    for t, state in enumerate(steps[1:][every - 1 :: every], 1):
        d = min(decay, (1 + t) / (10 + t)) if warm_up else decay
        average = {k: d * average[k] + (1 - d) * state[k] for k in average}
    return average


def assert_weights(state, expected):
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("warm_up", [False, True])
@pytest.mark.parametrize("every", [1, 2])
def test_averages_follow_the_recurrence(warm_up, every):
    ema, trace = EMA(0.7, every=every, warm_up=warm_up), Trace()
    learn = line_learner([ema, trace], model=model())
    learn.fit(2)
    expected = expected_average(trace.steps, 0.7, warm_up, every)
    assert_weights(learn.model.state_dict(), expected)
    assert_weights(trace.valid[1], expected)


def test_training_is_not_changed():
    one, other = line_learner(EMA(0.9), model=model()), line_learner(model=model())
    one.fit(3)
    other.fit(3)
    assert one.recorder.raw_losses == other.recorder.raw_losses


def test_the_trained_weights_can_be_kept():
    learn, other = line_learner(EMA(0.9, final=False), model=model()), line_learner(model=model())
    learn.fit(2)
    other.fit(2)
    for a, b in zip(learn.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_saved_model_is_the_validated_one(tmp_path):
    ema, trace = EMA(0.5), Trace()
    learn = line_learner([ema, trace, SaveModelCallback()], model=model(), path=tmp_path)
    learn.fit(3)
    best = min(range(3), key=lambda i: learn.recorder.values[i][1])
    assert_weights(learn.model.state_dict(), trace.valid[best])


def test_exceptions_put_the_trained_weights_back():
    class Fails(Callback):
        def after_pred(self):
            if not self.learn.training:
                raise RuntimeError("boom")

    learn, other = line_learner([EMA(0.5), Fails()], model=model()), line_learner(model=model())
    with pytest.raises(RuntimeError, match="boom"):
        learn.fit(1)
    other.dls.loaders = other.dls.loaders[:1]
    other.fit(1)
    for a, b in zip(learn.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_looking_changes_nothing():
    learn = line_learner(EMA(0.5), model=model())
    learn.fit(1)
    before = everything(learn)
    learn.validate()
    learn.lr_find(num_it=5, show_plot=False)
    assert_same(before, everything(learn))


def test_the_averages_go_through_a_checkpoint():
    one = line_learner(EMA(0.9, final=False), model=model())
    one.fit(2)
    other = line_learner(EMA(0.9, final=False), model=model())
    other.model.load_state_dict(one.model.state_dict())
    other.ema.load_state(one.ema.state())
    other.create_opt()
    one_state = {k: v.clone() for k, v in one.ema.averages.items()}

    class Stop(Callback):
        def before_batch(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), other.added_cbs(Stop()):
        other.fit(1)
    assert other.ema.updates == one.ema.updates == 10
    for name, value in one_state.items():
        assert torch.equal(other.ema.averages[name], value)


def test_decay_is_checked():
    with pytest.raises(ValueError, match="decay must be at least 0 and less than 1, not 1"):
        EMA(1)
