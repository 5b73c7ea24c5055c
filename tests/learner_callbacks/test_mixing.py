"""Mixed batches: exact losses for soft targets, repeatable draws, everything put back."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from support.learners import assert_same, everything, line_learner
from torch import nn
from torch.nn import functional as F
from torte.data import DataLoader
from torte.learner import Callback
from torte.learner.callbacks.mixing import CutMix, MixedLoss, MixHandler, MixUp
from torte.learner.losses import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    FocalLossFlat,
    LabelSmoothingCrossEntropyFlat,
    MSELossFlat,
)


def images(batches=4, size=6, classes=3):
    torch.manual_seed(5)
    return [(torch.rand(size, 2, 8, 8), torch.randint(classes, (size,))) for _ in range(batches)]


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 3))


class Look(Callback):
    order = 10

    def before_fit(self):
        self.seen = []

    def after_loss(self):
        if self.learn.training:
            self.seen.append((self.learn.xb[0], self.learn.pred.detach(), self.learn.loss))


def learner(*cbs, loss=None, batches=None):
    batches = images() if batches is None else batches
    loss = CrossEntropyLossFlat() if loss is None else loss
    return line_learner(list(cbs), model=classifier(), dls=(batches, batches), loss_func=loss)


# --- the loss ------------------------------------------------------------------------------------

share = torch.tensor([0.9, 0.5, 0.7, 1.0], dtype=torch.float64)


def mixed(loss, y, other):
    made = MixedLoss(loss)
    made.share, made.other = share, (other,)
    return made


@pytest.mark.parametrize("weight", [None, [0.2, 1.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_is_that_of_the_soft_target(weight, smoothing, reduction):
    pred = torch.randn(4, 3, dtype=torch.float64)
    y, other = torch.randint(3, (4,)), torch.randint(3, (4,))
    soft = share[:, None] * F.one_hot(y, 3) + (1 - share[:, None]) * F.one_hot(other, 3)
    tensor = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    settings = {"weight": tensor, "reduction": reduction, "label_smoothing": smoothing}
    expected = F.cross_entropy(pred, soft, **settings)
    for loss in (CrossEntropyLossFlat(**settings), nn.CrossEntropyLoss(**settings)):
        torch.testing.assert_close(mixed(loss, y, other)(pred, y), expected)
    smooth = LabelSmoothingCrossEntropyFlat(smoothing, weight=tensor, reduction=reduction)
    torch.testing.assert_close(mixed(smooth, y, other)(pred, y), expected)


def test_functions_without_a_reduction_attribute_are_mixed_too():
    pred, y, other = torch.randn(4, 3).double(), torch.randint(3, (4,)), torch.randint(3, (4,))
    parts = [F.cross_entropy(pred, t, reduction="none") for t in (y, other)]
    expected = (share * parts[0] + (1 - share) * parts[1]).mean()
    torch.testing.assert_close(mixed(F.cross_entropy, y, other)(pred, y), expected)


def test_segmentation_masks_are_mixed_pixel_by_pixel_and_ignored_pixels_do_not_count():
    pred = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    y, other = torch.randint(3, (4, 5, 5)), torch.randint(3, (4, 5, 5))
    loss = CrossEntropyLossFlat(axis=1)
    parts = [F.cross_entropy(pred, t, reduction="none") for t in (y, other)]
    s = share[:, None, None]
    expected = (s * parts[0] + (1 - s) * parts[1]).mean()
    torch.testing.assert_close(mixed(loss, y, other)(pred, y), expected)
    y[0, 0] = other[1, 1] = 255
    loss = CrossEntropyLossFlat(axis=1, ignore_index=255)
    parts = [F.cross_entropy(pred, t, reduction="none", ignore_index=255) for t in (y, other)]
    count = (s * (y != 255) + (1 - s) * (other != 255)).sum()
    expected = (s * parts[0] + (1 - s) * parts[1]).sum() / count
    torch.testing.assert_close(mixed(loss, y, other)(pred, y), expected)


def test_the_mixed_loss_passes_for_the_loss():
    loss = CrossEntropyLossFlat()
    made = MixedLoss(loss)
    assert made.decodes(torch.tensor([[0.0, 1.0]])).item() == 1
    made.reduction = "none"
    assert loss.reduction == "none"
    x, y = torch.randn(2, 3), torch.tensor([0, 1])
    assert torch.equal(made(x, y), loss(x, y))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = made.nonsense


# --- mixup ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", [CrossEntropyLossFlat(), FocalLossFlat(), F.cross_entropy], ids=["ce", "focal", "fn"]
)
def test_mixup_averages_each_sample_with_another(loss):
    look = Look()
    learn = learner(MixUp(0.4), look, loss=loss)
    learn.fit(1)
    assert learn.loss_func is loss
    for (x, _), (got, _, loss_value) in zip(images(), look.seen, strict=True):
        assert loss_value.isfinite()
        for i, sample in enumerate(got):
            found = []
            for j in range(len(x)):
                if j == i:
                    continue
                difference = (x[i] - x[j]).flatten()
                lam = ((sample - x[j]).flatten() @ difference / (difference @ difference)).item()
                if torch.allclose(sample, lam * x[i] + (1 - lam) * x[j], atol=1e-5):
                    found.append(lam)
            unmixed = torch.allclose(sample, x[i], atol=1e-5)
            assert unmixed or (len(found) == 1 and 0.5 - 1e-5 <= found[0] <= 1 + 1e-5)


def test_mixup_gives_the_soft_targets_loss():
    class Soft(MixUp):
        def before_batch(self):
            y = self.learn.y
            super().before_batch()
            handler = self._mixed
            s = handler.share[:, None]
            self.soft = s * F.one_hot(y, 3) + (1 - s) * F.one_hot(handler.other[0], 3)

        def after_loss(self):
            expected = F.cross_entropy(self.learn.pred, self.soft)
            torch.testing.assert_close(self.learn.loss_grad, expected)
            self.checked = True
            super().after_loss()

    mix = Soft()
    learner(mix).fit(1)
    assert mix.checked


@pytest.mark.parametrize("loss", [MSELossFlat(), BCEWithLogitsLossFlat()])
def test_floating_targets_are_averaged(loss):
    targets = []

    class Targets(Callback):
        order = 10

        def before_batch(self):
            if self.learn.training:
                targets.append(self.learn.y)

    torch.manual_seed(2)
    batches = [(torch.rand(6, 2, 8, 8), torch.rand(6, 3)) for _ in range(3)]
    learner(MixUp(1.0), Targets(), loss=loss, batches=batches).fit(1)
    assert not any(torch.equal(t, y) for t, (_, y) in zip(targets, batches, strict=True))
    for t, (_, y) in zip(targets, batches, strict=True):
        torch.testing.assert_close(t.clamp(0, 1), t)
        assert ((t - y).abs() <= 0.5 + 1e-6).all()


def test_shares_follow_the_beta_distribution():
    handler, order = MixUp(0.4), torch.arange(4000)
    handler.learn = SimpleNamespace(xb=(torch.zeros(4000, 1),))
    kept = handler.mix_inputs(order, np.random.default_rng(0))
    folded = lambda x: scipy.stats.beta(0.4, 0.4).cdf(x) * 2 - 1
    assert scipy.stats.kstest(kept.double().numpy(), folded).pvalue > 0.01


def test_draws_follow_from_the_loaders_seed():
    def run(seed, disturb=False):
        items = [(x, y) for xs, ys in images() for x, y in zip(xs, ys, strict=True)]
        dl = DataLoader(items, bs=6, seed=seed)
        look = Look()
        learn = line_learner(
            [MixUp(), look], model=classifier(), dls=(dl, dl), loss_func=CrossEntropyLossFlat()
        )
        if disturb:
            torch.rand(10)
        learn.fit(2)
        return [x for x, _, _ in look.seen]

    one, two, other = run(1), run(1, disturb=True), run(2)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[0], other[0])
    assert not torch.equal(one[0], one[4])


def test_draws_from_plain_loaders_follow_torchs_generator():
    def run():
        torch.manual_seed(11)
        look = Look()
        learner(MixUp(), look).fit(1)
        return [x for x, _, _ in look.seen]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


def test_validation_and_predictions_are_not_mixed():
    x, targets = (torch.cat(parts) for parts in zip(*images(), strict=True))
    learn = learner(MixUp())
    learn.fit(1)
    before = everything(learn)
    preds = learn.get_preds()[0]
    torch.testing.assert_close(preds, learn.model(x).softmax(1))
    expected = F.nll_loss(preds.log(), targets).item()
    assert learn.validate()[0] == pytest.approx(expected, rel=1e-5)
    assert_same(before, everything(learn))


class Fails(Callback):
    def __init__(self, event):
        super().__init__()
        setattr(self, event, self.fail)

    def fail(self):
        raise RuntimeError("boom")


@pytest.mark.parametrize("event", ["after_pred", "after_loss", "after_batch", "before_validate"])
def test_the_loss_is_put_back_after_an_exception(event):
    loss = CrossEntropyLossFlat()
    learn = learner(MixUp(), Fails(event), loss=loss)
    with pytest.raises(RuntimeError, match="boom"):
        learn.fit(1)
    assert learn.loss_func is loss
    assert loss.reduction == "mean"
    learn.remove_cbs(Fails)
    learn.fit(1)


# --- cutmix --------------------------------------------------------------------------------------


def test_cutmix_pastes_one_box_and_weighs_by_its_area():
    class Area(CutMix):
        def before_batch(self):
            x = self.learn.x
            super().before_batch()
            changed = (self.learn.x != x).any(1)
            self.areas = [*getattr(self, "areas", []), (changed, self._mixed.share)]

    cut = Area()
    learner(cut).fit(2)
    assert len(cut.areas) == 8
    for changed, kept in cut.areas:
        assert len(set(kept.tolist())) == 1
        union = changed.any(0)
        box = union.nonzero()
        area = 0 if not len(box) else (box.max(0).values - box.min(0).values + 1).prod().item()
        assert area in (0, round((1 - kept[0].item()) * 64))
        assert union.sum() == area


def test_boxes_have_the_area_asked_for_and_stay_inside():
    generator = np.random.default_rng(0)
    for lam in (0.0, 0.3, 0.75, 1.0):
        for _ in range(50):
            x1, y1, x2, y2 = CutMix.rand_bbox(40, 20, lam, generator)
            assert 0 <= x1 <= x2 <= 40
            assert 0 <= y1 <= y2 <= 20
            assert (x2 - x1) * (y2 - y1) <= (1 - lam) * 800 + 1e-9
    assert CutMix.rand_bbox(40, 20, 1.0, generator)[2] is not None


# --- what users do wrong -------------------------------------------------------------------------


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="alpha must be greater than 0, not 0"):
        MixUp(0)
    batches = [(torch.zeros(4, 128, dtype=torch.uint8), torch.zeros(4, dtype=torch.long))]
    with pytest.raises(TypeError, match=r"only floating-point tensors .* not torch.uint8"):
        learner(MixUp(), batches=batches).fit(1)
    with pytest.raises(NotImplementedError, match="MixHandler must write mix_inputs"):
        learner(MixHandler()).fit(1)
