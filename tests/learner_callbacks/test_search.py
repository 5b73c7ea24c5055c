import functools
import math

import numpy as np
import pytest
import torch
from support.learners import EventLog, assert_same, everything, line_batches, line_learner
from torch import nn
from torte.data import DataLoader, DataLoaders
from torte.learner import (
    Callback,
    ParamScheduler,
    SchedLin,
    SuggestionMethod,
    minimum,
    slide,
    steep,
    valley,
)
from torte.learner.suggestions import usable

RATES = list(np.logspace(-7, 1, 100))
VALLEY = [
    1.0 if rate < 1e-5 else 1 - 0.15 * (math.log10(rate) + 5) if rate < 0.1 else 0.4 + rate
    for rate in RATES
]


def longest_fall(values):
    """The longest strictly falling subsequence, by the quadratic definition."""
    length = [1] * len(values)
    for i in range(len(values)):
        for j in range(i):
            if values[i] < values[j]:
                length[i] = max(length[i], length[j] + 1)
    return max(length)


def test_valley_is_the_middle_of_the_longest_fall():
    rate, (x, y) = valley(RATES, VALLEY, 100)
    assert rate == x
    falling = [r for r in RATES if 1e-5 <= r < 0.1]
    # Within two of the rates tried, of which each is 1.2 times the last.
    assert rate == pytest.approx(falling[len(falling) // 2], rel=0.4)
    assert y == VALLEY[RATES.index(x)]


def test_the_longest_fall_is_found_through_noise():
    from torte.learner.suggestions import _longest_fall

    generator = np.random.default_rng(0)
    for _ in range(50):
        values = generator.integers(0, 20, 30).tolist()
        length, end = _longest_fall(values)
        assert length == longest_fall(values) == longest_fall(values[: end + 1])
        assert longest_fall(values[:end]) < length


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_plateau_does_not_pull_the_valley_down(seed):
    noise = np.random.default_rng(seed).normal(0, 0.01, 85)
    rates = np.logspace(-7, 1, 85)
    place = np.linspace(0, 1, 85)
    losses = 2.5 - 1.5 / (1 + np.exp(-20 * (place - 0.55))) + noise
    losses += np.maximum(place - 0.85, 0) * 20
    rate, _ = valley(rates.tolist(), losses.tolist(), 100)
    # The fall is centred on 10 ** (-7 + 8 * 0.55).
    assert math.log10(rate) == pytest.approx(-2.6, abs=0.5)


def test_minimum_is_a_tenth_of_the_lowest():
    rate, (x, y) = minimum(RATES, VALLEY, 100)
    assert y == min(VALLEY)
    assert rate == pytest.approx(x / 10)


def test_steep_is_where_the_loss_falls_fastest():
    losses = [math.exp(-((math.log10(rate) + 3) ** 2)) for rate in RATES]
    rate, _ = steep(RATES, losses, 100)
    # The steepest fall of exp(-(u + 3)^2) is where u + 3 = 1/sqrt(2).
    assert math.log10(rate) == pytest.approx(-3 + math.sqrt(0.5), abs=0.1)


def test_slide_stops_before_the_divergence():
    rate, _ = slide(RATES, VALLEY, 100)
    assert 1e-5 < rate < 1
    half, _ = slide(RATES, VALLEY, 100, adjust_value=0.5)
    assert half == pytest.approx(rate / 2)


@pytest.mark.parametrize("suggest", [valley, minimum, steep, slide])
@pytest.mark.parametrize("points", [1, 2, 3, 6])
def test_few_points_are_enough(suggest, points):
    rate, (x, y) = suggest(RATES[:points], VALLEY[:points], 100)
    assert math.isfinite(rate)
    assert x in RATES[:points]
    assert y in VALLEY


def test_usable_points():
    losses = [*VALLEY[:50], math.nan, *VALLEY[51:]]
    lrs, kept = usable(RATES, losses, 100)
    assert len(lrs) == len(kept) == 84
    assert usable(RATES[:4], [1.0, 2.0, math.inf, 3.0], 100)[1] == [1.0, 2.0, 3.0]


def test_lr_find_tries_rates_from_first_to_last():
    seen = []
    learn = line_learner()
    learn.add_cb(Callback(before_step=lambda cb: seen.append(cb.opt.hypers[0]["lr"])))
    found = learn.lr_find(1e-6, 1e-1, num_it=30, stop_div=False, show_plot=False)
    assert seen == pytest.approx(list(np.logspace(-6, -1, 30)))
    assert found._fields == ("valley",)
    assert 1e-6 <= found.valley <= 1e-1
    assert learn.last_search.suggestions["valley"][0] == found.valley


def test_all_suggestions_and_none():
    learn = line_learner()
    every = (valley, SuggestionMethod.Steep, minimum, functools.partial(slide, lr_diff=5))
    found = learn.lr_find(suggest_funcs=every, show_plot=False)
    assert found._fields == ("valley", "steep", "minimum", "slide")
    assert all(math.isfinite(rate) for rate in found)
    assert learn.lr_find(suggest_funcs=None, show_plot=False) is None
    assert learn.lr_find(suggest_funcs=minimum, show_plot=False)._fields == ("minimum",)


def test_plot():
    import matplotlib.pyplot as plt

    learn = line_learner()
    learn.lr_find()
    axes = plt.gcf().axes[0]
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["valley"]


def test_plot_again():
    learn = line_learner()
    with pytest.raises(ValueError, match=r"call learn\.lr_find first"):
        learn.recorder.plot_lr_find()
    learn.lr_find(show_plot=False)
    line = learn.recorder.plot_lr_find(skip_end=3).get_lines()[0]
    assert list(line.get_ydata()) == learn.last_search.losses[:-3]


def test_stops_when_the_loss_diverges():
    learn = line_learner()
    learn.lr_find(1e-3, 1e6, num_it=100, show_plot=False)
    assert len(learn.last_search.lrs) < 90


class Exploding(nn.Module):
    """A loss that is not finite from a given batch on."""

    def __init__(self, after):
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.after, self.batches = after, 0

    def forward(self, x):
        self.batches += 1
        return self.linear(x) * (math.inf if self.batches > self.after else 1)


@pytest.mark.parametrize("after", [1, 2, 4])
@pytest.mark.parametrize("num_it", [5, 100])
def test_divergence_in_the_first_steps(after, num_it):
    learn = line_learner(model=Exploding(after))
    every = (valley, steep, minimum, slide)
    found = learn.lr_find(num_it=num_it, suggest_funcs=every, show_plot=False)
    assert all(math.isfinite(rate) for rate in found)
    assert learn.model.batches == 0


def test_no_finite_loss_at_all_warns_and_suggests_nothing():
    learn = line_learner(model=Exploding(0))
    with pytest.warns(UserWarning, match="not finite from the first batch"):
        found = learn.lr_find(show_plot=True)
    assert math.isnan(found.valley)


def messy_learner(trained=True, **kwargs):
    """A learner with all the state there is: statistics, gradients, modes, callbacks, positions."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))
    model.hidden = [torch.zeros(3)]
    dls = DataLoaders(
        DataLoader([(torch.tensor([float(i)]), torch.tensor([i + 1.0])) for i in range(24)], bs=4,
                   shuffle=True),
        DataLoader([(torch.tensor([1.0]), torch.tensor([2.0]))] * 6, bs=4),
        device="cpu",
    )  # fmt: skip
    learn = line_learner(
        [EventLog(), ParamScheduler({"wd": SchedLin(0.0, 0.1)})], model=model, dls=dls, **kwargs
    )
    if trained:
        learn.fit_one_cycle(1)
        learn.model[0].eval()
        learn.model[3].weight.grad = torch.ones(1, 4)
        learn.freeze_to(0)
    return learn


LOOKING = {
    "lr_find": lambda learn: learn.lr_find(num_it=20, show_plot=False),
    "validate": lambda learn: learn.validate(),
    "get_preds": lambda learn: learn.get_preds(with_input=True, with_loss=True),
    "get_preds of training data": lambda learn: learn.get_preds(0),
    "predict": lambda learn: learn.predict(torch.tensor([1.0])),
}


def dirty(self):
    if self.learn.model.training or self.learn.iter == 0:
        self.learn.model.hidden[0] += 1
        self.learn.model.extra = 1
        self.note = torch.rand(1)


@pytest.mark.parametrize("look", LOOKING)
@pytest.mark.parametrize("trained", [True, False])
def test_looking_changes_nothing(look, trained):
    learn = messy_learner(trained)
    learn.add_cb(Callback(after_pred=dirty))
    before = everything(learn)
    LOOKING[look](learn)
    assert_same(before, everything(learn))
    assert learn.model.hidden[0].tolist() == [0, 0, 0]
    assert not hasattr(learn.model, "extra")
    if trained:
        learn.fit(1)


@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
@pytest.mark.parametrize("look", LOOKING)
@pytest.mark.parametrize("event", ["before_fit", "before_batch", "after_pred", "after_batch"])
def test_looking_changes_nothing_when_it_fails(look, event, error):
    learn = messy_learner()

    def fail(self):
        if event == "before_fit" or self.learn.iter == 1 or look == "predict":
            dirty(self)
            raise error("boom")

    with learn.added_cbs(Callback(**{event: fail})):
        before = everything(learn)
        with pytest.raises(error, match="boom"):
            LOOKING[look](learn)
        assert_same(before, everything(learn))
    learn.fit(1)


def test_the_same_fit_follows_with_and_without_a_search():
    plain, searched = messy_learner(), messy_learner()
    searched.lr_find(show_plot=False)
    for learn in (plain, searched):
        torch.manual_seed(3)
        learn.fit(1)
    assert plain.recorder.raw_losses == searched.recorder.raw_losses


def test_search_without_optimizer_recorder_length_and_validation():
    class Stream:
        def __iter__(self):
            return iter(line_batches(7))

    learn = line_learner(dls=(Stream(),), default_cbs=True)
    learn.remove_cb(learn.recorder)
    found = learn.lr_find(num_it=40, show_plot=False)
    assert math.isfinite(found.valley)
    assert learn.opt is None
    assert not hasattr(learn, "recorder")


def test_callbacks_for_fits_alone_are_left_out():
    class Writes(Callback):
        fit_only = True
        count = 0

        def before_fit(self):
            self.count += 1

    learn = line_learner(Writes())
    for look in LOOKING.values():
        look(learn)
    assert learn.writes.count == 0
    learn.fit(1)
    assert learn.writes.count == 1
