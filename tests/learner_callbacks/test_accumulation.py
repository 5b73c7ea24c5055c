"""Small batches accumulated equal large ones."""

import pytest
import torch
from support.learners import line_batches, line_learner
from torch import nn
from torch.nn import functional as F
from torte.learner import Callback
from torte.learner.callbacks.accumulation import GradientAccumulation
from torte.learner.callbacks.clipping import GradientClip
from torte.learner.callbacks.precision import AMPMode, MixedPrecision


def data(count=40):
    torch.manual_seed(3)
    x = torch.randn(count, 3, dtype=torch.float64)
    return x, torch.randn(count, 2, dtype=torch.float64)


def batches(sizes):
    x, y = data(sum(sizes))
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


def trained(sizes, *cbs, epochs=2, loss_func=F.mse_loss, loader=None, **kwargs):
    torch.manual_seed(1)
    model = nn.Linear(3, 2).double()
    dls = (loader or batches(sizes), batches([4]))
    settings = {"opt_func": torch.optim.SGD, "lr": 0.1, **kwargs}
    learn = line_learner(list(cbs), model=model, dls=dls, loss_func=loss_func, **settings)
    learn.fit(epochs)
    return learn


def assert_equal_weights(one, other):
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


class CountSteps(Callback):
    def before_fit(self):
        self.steps = 0

    def after_step(self):
        self.steps += 1


@pytest.mark.parametrize(
    ("small", "large", "n_acc"),
    [
        ([4] * 10, [20, 20], 20),
        ([4] * 10, [16, 16, 8], 16),
        ([4] * 10, [12, 12, 12, 4], 10),
        ([3, 5, 4, 7, 1, 6, 2], [12, 14, 2], 11),
        ([8, 8, 3], [19], 100),
        ([8, 8], [8, 8], 1),
    ],
)
@pytest.mark.parametrize("opt_func", [torch.optim.SGD, torch.optim.Adam])
def test_accumulated_batches_equal_one_batch(small, large, n_acc, opt_func):
    count = CountSteps()
    one = trained(small, GradientAccumulation(n_acc), count, opt_func=opt_func)
    other = trained(large, opt_func=opt_func)
    assert count.steps == 2 * len(large)
    assert_equal_weights(one, other)


def test_sums_are_added_up_as_they_are():
    loss = nn.MSELoss(reduction="sum")
    settings = {"loss_func": loss, "lr": 1e-3}
    one = trained([4] * 5, GradientAccumulation(8), **settings)
    assert_equal_weights(one, trained([8, 8, 4], **settings))


def test_loaders_without_a_length_step_for_the_rest_too():
    class Stream:
        def __iter__(self):
            return iter(batches([4] * 5))

    count = CountSteps()
    one = trained(None, GradientAccumulation(8), count, loader=Stream(), epochs=1)
    assert count.steps == 3
    assert_equal_weights(one, trained([8, 8, 4], epochs=1))
    two = trained(None, GradientAccumulation(8), loader=Stream(), epochs=3)
    assert_equal_weights(two, trained([8, 8, 4], epochs=3))


def test_clipping_acts_on_whole_groups():
    clip = GradientClip(0.05)
    one = trained([4] * 5, GradientAccumulation(8), clip)
    assert_equal_weights(one, trained([8, 8, 4], GradientClip(0.05)))
    assert not torch.equal(one.model.weight, trained([8, 8, 4]).model.weight), (
        "the clipping should matter"
    )


def test_the_recorded_losses_are_those_of_the_batches():
    learn = trained([4] * 4, GradientAccumulation(8), epochs=1, lr=0.0)
    torch.manual_seed(1)
    model = nn.Linear(3, 2).double()
    expected = [F.mse_loss(model(x), y).item() for x, y in batches([4] * 4)]
    assert learn.recorder.raw_losses == pytest.approx(expected)


def test_an_exception_leaves_no_gradient_behind():
    class Fails(Callback):
        def after_backward(self):
            if self.learn.iter == 1 and not getattr(self, "failed", False):
                self.failed = True
                raise RuntimeError("boom")

    accumulate = GradientAccumulation(100)
    torch.manual_seed(1)
    model = nn.Linear(3, 2).double()
    settings = {"dls": (batches([4] * 4), batches([4])), "opt_func": torch.optim.SGD, "lr": 0.1}
    learn = line_learner([accumulate, Fails()], model=model, **settings)
    with pytest.raises(RuntimeError, match="boom"):
        learn.fit(1)
    assert accumulate.count == 0
    learn.fit(1)
    assert_equal_weights(learn, trained([16], epochs=1))


def test_with_loss_scaling_too():
    amp = MixedPrecision(AMPMode.FP16, init_scale=64.0)
    x, y = line_batches(4)[0]
    dls = ([(x, y)] * 4, [(x, y)])
    torch.manual_seed(0)
    one = line_learner([GradientAccumulation(32), amp], dls=dls, opt_func=torch.optim.SGD)
    one.fit(1)
    big = ([(x.repeat(4, 1), y.repeat(4, 1))], [(x, y)])
    torch.manual_seed(0)
    amp = MixedPrecision(AMPMode.FP16, init_scale=64.0)
    other = line_learner(amp, dls=big, opt_func=torch.optim.SGD)
    other.fit(1)
    torch.testing.assert_close(one.model.weight, other.model.weight, rtol=1e-3, atol=1e-3)


def test_n_acc_must_be_positive():
    with pytest.raises(ValueError, match="n_acc must be at least 1, not 0"):
        GradientAccumulation(0)
