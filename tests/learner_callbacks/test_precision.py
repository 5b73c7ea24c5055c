"""Mixed precision and memory formats on the CPU."""

import pytest
import torch
from support.learners import assert_same, everything, line_learner
from torch import nn
from torte.learner import Callback
from torte.learner.callbacks.clipping import GradientClip
from torte.learner.callbacks.precision import AMPMode, ChannelsLast, MixedPrecision


class Look(Callback):
    order = 20

    def before_fit(self):
        self.inside, self.preds, self.grads, self.losses = [], [], [], []

    def after_pred(self):
        self.inside.append(torch.get_autocast_dtype("cpu") if autocast() else None)
        self.preds.append(self.learn.pred.dtype)

    def before_step(self):
        self.grads.append(max(p.grad.abs().max().item() for p in self.learn.model.parameters()))

    def after_batch(self):
        self.inside.append(autocast())
        self.losses.append(self.learn.loss.item())


def autocast():
    return torch.is_autocast_enabled("cpu")


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))


@pytest.mark.parametrize(
    ("make", "settings", "dtype"),
    [("to_fp16", {"init_scale": 64.0}, torch.float16), ("to_bf16", {}, torch.bfloat16)],
)
def test_training_happens_in_sixteen_bits(make, settings, dtype):
    look = Look()
    learn = line_learner(look, model=model())
    assert getattr(learn, make)(**settings) is learn
    learn.fit(2)
    assert look.inside[::2] == [dtype] * 14
    assert not any(look.inside[1::2])
    assert set(look.preds) == {torch.float32}
    assert all(p.dtype == torch.float32 for p in learn.model.parameters())
    exact = line_learner(model=model())
    exact.fit(2)
    assert learn.recorder.losses[-1] == pytest.approx(exact.recorder.losses[-1], rel=0.05)


def test_full_precision_comes_back_bit_by_bit():
    one, other = line_learner(model=model()), line_learner(model=model())
    one.to_fp16().to_bf16().to_fp32()
    assert not [cb for cb in one.cbs if isinstance(cb, MixedPrecision)]
    one.fit(1)
    other.fit(1)
    assert one.recorder.raw_losses == other.recorder.raw_losses


def test_gradients_are_unscaled_before_anybody_sees_them_and_losses_are_recorded_unscaled():
    one, two = Look(), Look()
    scaled = line_learner([one, MixedPrecision(init_scale=2.0**10)], model=model())
    exact = line_learner([two], model=model())
    scaled.fit(1)
    exact.fit(1)
    assert one.grads == pytest.approx(two.grads, rel=0.05)
    assert one.losses == pytest.approx(two.losses, rel=0.05)


def test_clipping_works_with_scaling():
    look = Look()
    line_learner([look, GradientClip(0.01), MixedPrecision()], model=model()).fit(1)
    assert max(look.grads) <= 0.0101


def test_steps_that_overflow_are_skipped_and_the_scale_falls():
    learn = line_learner(MixedPrecision(init_scale=2.0**40), model=model())
    before = [p.detach().clone() for p in learn.model.parameters()]
    learn.fit(1)
    assert learn.mixed_precision.scaler.get_scale() == 2.0**35
    assert all(torch.equal(a, b) for a, b in zip(before, learn.model.parameters(), strict=True))
    learn.fit(10)
    assert not torch.equal(before[0], learn.model[0].weight)


@pytest.mark.parametrize("event", ["before_batch", "after_pred", "after_loss", "before_step"])
def test_exceptions_leave_mixed_precision(event):
    class Fails(Callback):
        order = 30

    setattr(Fails, event, lambda self: exec("raise RuntimeError('boom')"))
    learn = line_learner([MixedPrecision(), Fails()], model=model())
    with pytest.raises(RuntimeError, match="boom"):
        learn.fit(1)
    assert not autocast()
    assert "step" not in vars(learn)
    learn.remove_cbs(Fails)
    learn.fit(1)
    assert not autocast()


def test_cancelled_batches_leave_mixed_precision():
    from torte.learner import CancelBatchException

    class Skips(Callback):
        order = 30

        def before_batch(self):
            raise CancelBatchException

    learn = line_learner([MixedPrecision(AMPMode.BF16), Skips()], model=model())
    learn.fit(1)
    assert not autocast()


def test_looking_changes_nothing():
    learn = line_learner(model=model()).to_fp16()
    learn.fit(1)
    before = everything(learn)
    scale = learn.mixed_precision.scaler.state_dict()
    learn.validate()
    learn.get_preds()
    learn.lr_find(num_it=8, show_plot=False)
    learn.summary()
    assert_same(before, everything(learn))
    assert learn.mixed_precision.scaler.state_dict() == scale


def test_the_scale_goes_through_a_checkpoint():
    one = line_learner(model=model()).to_fp16(init_scale=2.0**40)
    one.fit(1)
    other = line_learner(model=model()).to_fp16()
    other.mixed_precision.load_state(one.mixed_precision.state())
    with other.no_bar():
        other.fit(1, lr=0.0)
    assert other.mixed_precision.scaler.get_scale() <= 2.0**35


def test_images_and_weights_get_their_channels_last():
    formats = []

    class Layout(Callback):
        def before_batch(self):
            formats.append(self.learn.x.is_contiguous(memory_format=torch.channels_last))

    torch.manual_seed(0)
    batches = [(torch.rand(4, 3, 8, 8), torch.rand(4, 1)) for _ in range(2)]
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 1))
    learn = line_learner(Layout(), model=net, dls=(batches, batches))
    learn.to_channelslast(use_amp=False)
    learn.fit(1)
    assert formats == [True] * 4
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    learn.to_contiguous()
    assert net[0].weight.is_contiguous()
    assert not [cb for cb in learn.cbs if isinstance(cb, ChannelsLast)]
    assert [type(cb) for cb in learn.to_channelslast().cbs[-2:]] == [ChannelsLast, MixedPrecision]
    learn.to_contiguous(to_fp32=True)
    assert not [cb for cb in learn.cbs if isinstance(cb, ChannelsLast | MixedPrecision)]


def test_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="'fp8' is not a valid AMPMode"):
        MixedPrecision("fp8")
