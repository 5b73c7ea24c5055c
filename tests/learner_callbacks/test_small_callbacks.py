"""Dropout at inference, frozen batch norm, recurrent models, collecting, statistics."""

import pytest
import torch
from support.learners import assert_same, everything, line_batches, line_learner
from torch import nn
from torch.nn import functional as F
from torte.learner import Callback
from torte.learner.callbacks.batchnorm import BnFreeze
from torte.learner.callbacks.collecting import CollectDataCallback, ShortEpochCallback
from torte.learner.callbacks.dropout import MCDropoutCallback
from torte.learner.callbacks.rnn import ModelResetter, RNNCallback, RNNRegularizer, rnn_cbs
from torte.learner.callbacks.statistics import ActivationStats

# --- dropout -------------------------------------------------------------------------------------


class WordDropout(nn.Dropout):
    pass


def dropping():
    return nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 1))


def test_predictions_vary_under_dropout_and_nothing_else_changes():
    learn = line_learner(model=dropping())
    learn.fit(1)
    before = everything(learn)
    plain = [learn.get_preds()[0] for _ in range(2)]
    drawn = [learn.get_preds(cbs=MCDropoutCallback())[0] for _ in range(3)]
    assert torch.equal(plain[0], plain[1])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])
    assert_same(before, everything(learn))


def test_dropout_classes_of_ones_own_take_part_and_batch_norm_does_not():
    modes = {}

    class Look(Callback):
        run_after = MCDropoutCallback

        def before_batch(self):
            modes.update({type(m).__name__: m.training for m in self.learn.model})

    learn = line_learner(model=nn.Sequential(WordDropout(), nn.BatchNorm1d(1), nn.Linear(1, 1)))
    learn.get_preds(cbs=[MCDropoutCallback(), Look()])
    assert modes == {"WordDropout": True, "BatchNorm1d": False, "Linear": False}


def test_dropout_is_off_again_after_an_exception():
    class Fails(Callback):
        def after_pred(self):
            raise RuntimeError("boom")

    learn = line_learner(model=dropping())
    learn.fit(1)
    before = everything(learn)
    with pytest.raises(RuntimeError, match="boom"):
        learn.get_preds(cbs=[MCDropoutCallback(), Fails()])
    assert_same(before, everything(learn))


# --- batch normalisation -------------------------------------------------------------------------


def test_frozen_batch_norm_keeps_its_statistics():
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    learn = line_learner(BnFreeze(), model=model)
    model[1].requires_grad_(False)
    before = [model[i].running_mean.clone() for i in (1, 2)]
    learn.fit(1)
    assert torch.equal(model[1].running_mean, before[0])
    assert not torch.equal(model[2].running_mean, before[1])


# --- recurrent models ----------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.resets = 0

    def reset(self):
        self.resets += 1

    def forward(self, x):
        raw = self.layer(x)
        return raw, [raw * 0, raw], [raw * 0, 2 * raw]


def sequences():
    torch.manual_seed(0)
    return [(torch.randn(4, 6, 1), torch.randn(4, 6, 1)) for _ in range(3)]


def test_models_are_reset_between_phases():
    learn = line_learner(ModelResetter(), model=Recurrent(), dls=(sequences(), sequences()))
    learn.add_cb(RNNCallback())
    # Beside the reset that every fit begins with: training, validation, twice, and the end.
    learn.fit(2)
    assert learn.model.resets == 1 + 2 * 2 + 1


def test_a_model_without_reset_is_named():
    with pytest.raises(TypeError, match="method reset, which Linear has not"):
        line_learner(ModelResetter()).fit(1)


def test_penalties_equal_their_formulae():
    seen = []

    class Look(Callback):
        order = 10

        def after_loss(self):
            if self.learn.training:
                raw = self.learn.rnn.raw_out
                steps = (raw[:, 1:] - raw[:, :-1]).square().mean()
                expected = self.learn.loss + 2.0 * (2 * raw).square().mean() + 3.0 * steps
                seen.append((self.learn.loss_grad, expected))

    cbs = [*rnn_cbs(alpha=2.0, beta=3.0), Look()]
    learn = line_learner(cbs, model=Recurrent(), dls=(sequences(), sequences()))
    learn.fit(1)
    assert len(seen) == 3
    for found, expected in seen:
        torch.testing.assert_close(found, expected)
    assert learn.rnn.raw_out is None


def test_no_penalty_needs_no_regulariser_and_other_outputs_are_refused():
    assert [type(cb) for cb in rnn_cbs()] == [ModelResetter, RNNCallback]
    assert type(rnn_cbs(beta=1.0)[-1]) is RNNRegularizer
    with pytest.raises(ValueError, match=r"prediction, raw outputs, outputs.*got Tensor"):
        line_learner(RNNCallback()).fit(1)


# --- collecting ----------------------------------------------------------------------------------


def test_every_batch_is_collected():
    collect = CollectDataCallback()
    learn = line_learner(collect)
    learn.fit(1)
    assert len(collect.data) == 7
    (x,), (y,), pred, loss = collect.data[0]
    assert torch.equal(x, line_batches(5)[0][0])
    torch.testing.assert_close(loss, F.mse_loss(pred, y))
    assert not pred.requires_grad


@pytest.mark.parametrize(("short_valid", "valid"), [(True, 1), (False, 2)])
def test_epochs_can_be_cut_short(short_valid, valid):
    collect = CollectDataCallback()
    learn = line_learner([ShortEpochCallback(0.4, short_valid=short_valid), collect])
    learn.fit(1)
    # The batch at which the share is reached is done: 3 of 5, and 1 or all of 2.
    assert len(learn.recorder.raw_losses) == 3
    assert len(learn.recorder.values) == 1


# --- statistics ----------------------------------------------------------------------------------


def test_activation_statistics_equal_direct_ones():
    stats, collect = ActivationStats(with_hist=True, modules=None), CollectDataCallback()
    model = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))
    learn = line_learner([stats, collect], model=model, lr=0.0)
    learn.fit(1)
    assert len(stats.stats) == 5
    assert len(stats.stats[0]) == 2
    mean, std, near_zero = stats.layer_stats(0)
    for i, (x, _) in enumerate(line_batches(5)):
        out = model[0](x)
        assert mean[i] == pytest.approx(out.mean().item(), abs=1e-6)
        assert std[i] == pytest.approx(out.std().item(), abs=1e-6)
        assert near_zero[i] == pytest.approx((out <= 0.05).float().mean().item())
        expected = torch.histc(out, 40, 0, 10).log1p()
        torch.testing.assert_close(stats.hist(0)[:, i], expected)


def test_some_batches_can_be_looked_at_and_layers_without_parameters():
    stats = ActivationStats(every=2, include_paramless=True)
    model = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))
    learn = line_learner(stats, model=model)
    learn.fit(2)
    assert len(stats.stats) == 5
    assert len(stats.stats[0]) == 3
    assert all(not m._forward_hooks for m in model.modules())
    with pytest.raises(ValueError, match="with_hist=True"):
        stats.hist(0)


def test_statistics_of_a_users_own_and_plots():
    stats = ActivationStats(with_hist=True, hook=lambda m, i, o: {"max": o.max()})
    line_learner(stats, model=nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))).fit(1)
    assert set(stats.stats[0][0]) == {"max"}
    stats = ActivationStats(with_hist=True)
    line_learner(stats, model=nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))).fit(1)
    assert stats.color_dim(0).images[0].get_array().shape == (40, 5)
    assert [len(ax.lines) for ax in stats.plot_layer_stats(1)] == [1, 1, 1]
