"""Interpretation against direct computation, on typed and on plain data."""

import numpy as np
import pytest
import sklearn.metrics as skm
import torch
from support.learners import assert_same, everything, line_learner
from torch import nn
from torch.nn import functional as F
from torte.data import Categorize, Datasets, TensorImage, TensorMask
from torte.learner.interpretation import (
    ClassificationInterpretation,
    Interpretation,
    SegmentationInterpretation,
)
from torte.learner.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat

NAMES = ["ape", "bee", "cat"]


def pictures(count=30, size=6):
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(3, (count,), generator=generator)
    images = torch.rand(count, 3, size, size, generator=generator)
    images[torch.arange(count), labels] += 0.3
    return images, labels


def typed_learner(trained=True):
    images, labels = pictures()
    dsets = Datasets(
        list(range(30)),
        [[lambda i: TensorImage(images[i])], [lambda i: NAMES[labels[i]], Categorize(NAMES)]],
        splits=[list(range(20)), list(range(20, 30))],
    )
    dls = dsets.dataloaders(bs=4, num_workers=0, drop_last=True)
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    learn = line_learner(model=model, dls=dls, loss_func=CrossEntropyLossFlat(), lr=0.3)
    if trained:
        learn.fit(3)
    return learn


def direct(learn, part=slice(20, 30)):
    images, labels = pictures()
    with torch.no_grad():
        scores = learn.model(images[part])
    return scores, labels[part], F.cross_entropy(scores, labels[part], reduction="none")


def test_losses_are_those_of_each_sample_and_nothing_changes():
    learn = typed_learner()
    before = everything(learn)
    interp = Interpretation.from_learner(learn)
    scores, labels, losses = direct(learn)
    torch.testing.assert_close(interp.losses, losses)
    top, idxs = interp.top_losses(3)
    torch.testing.assert_close(top, losses.sort(descending=True).values[:3])
    assert torch.equal(losses[idxs], top)
    assert len(interp.top_losses()[0]) == 10
    assert interp.top_losses(99, largest=False)[0][0] == losses.min()
    assert interp.top_losses(2, items=True)[2] == [20 + i for i in idxs[:2].tolist()]
    inputs, preds, targets, decoded, some = interp[[7, 2, 5]]
    torch.testing.assert_close(inputs, pictures()[0][[27, 22, 25]])
    torch.testing.assert_close(preds, scores[[7, 2, 5]].softmax(1))
    assert torch.equal(targets, labels[[7, 2, 5]])
    assert torch.equal(decoded, scores[[7, 2, 5]].argmax(1))
    torch.testing.assert_close(some, losses[[7, 2, 5]])
    assert_same(before, everything(learn))


def test_training_data_are_taken_whole_and_in_order():
    learn = typed_learner()
    interp = Interpretation.from_learner(learn, ds_idx=0)
    torch.testing.assert_close(interp.losses, direct(learn, slice(0, 20))[2])
    with pytest.raises(ValueError, match="no loader number 5"):
        Interpretation.from_learner(learn, ds_idx=5)


def test_confusion_equals_scikit_learn():
    learn = typed_learner()
    interp = ClassificationInterpretation.from_learner(learn)
    scores, labels, _ = direct(learn)
    expected = skm.confusion_matrix(labels, scores.argmax(1), labels=[0, 1, 2])
    np.testing.assert_array_equal(interp.confusion_matrix(), expected)
    assert interp.vocab == NAMES
    pairs = [(NAMES[r], NAMES[c], expected[r, c]) for r in range(3) for c in range(3) if r != c]
    found = interp.most_confused()
    assert sorted(found) == sorted(pair for pair in pairs if pair[2])
    assert [n for _, _, n in found] == sorted((n for _, _, n in found), reverse=True)
    assert interp.most_confused(min_val=2) == [pair for pair in found if pair[2] >= 2]


def test_the_report_is_scikit_learns(capsys):
    learn = typed_learner()
    ClassificationInterpretation.from_learner(learn).print_classification_report()
    scores, labels, _ = direct(learn)
    expected = skm.classification_report(
        labels, scores.argmax(1), labels=[0, 1, 2], target_names=NAMES, zero_division=0
    )
    assert capsys.readouterr().out.strip() == expected.strip()


def test_the_confusion_matrix_is_drawn():
    interp = ClassificationInterpretation.from_learner(typed_learner())
    ax = interp.plot_confusion_matrix(figsize=(4, 4))
    matrix = interp.confusion_matrix()
    assert [t.get_text() for t in ax.texts] == [str(n) for n in matrix.reshape(-1)]
    assert [t.get_text() for t in ax.get_xticklabels()] == NAMES
    assert ax.get_title() == "Confusion matrix"
    shares = interp.plot_confusion_matrix(normalize=True, norm_dec=1, title="Shares")
    rows = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    assert [t.get_text() for t in shares.texts] == [f"{v:.1f}" for v in rows.reshape(-1)]
    assert len(interp.plot_confusion_matrix(plot_txt=False).texts) == 0


def test_top_losses_are_drawn_with_names():
    learn = typed_learner()
    interp = ClassificationInterpretation.from_learner(learn)
    grid = interp.plot_top_losses(4)
    scores, labels, losses = direct(learn)
    for ax, i in zip(grid, losses.argsort(descending=True)[:4], strict=True):
        probability = scores[i].softmax(0).max().item()
        names = f"{NAMES[scores[i].argmax()]}/{NAMES[labels[i]]}"
        assert ax.get_title() == f"{names} / {losses[i]:.2f} / {probability:.2f}"
        assert len(ax.images) == 1
    assert len(interp.plot_top_losses(range(2, 5), largest=False)) == 3
    assert grid[0].figure.get_suptitle() == "Prediction/Actual/Loss/Probability"


def test_chosen_samples_are_shown():
    import matplotlib.pyplot as plt

    interp = Interpretation.from_learner(typed_learner())
    interp.show_results([1, 2, 3])
    interp.show_at(4)
    assert len(plt.get_fignums()) == 2


def test_plain_loaders_do():
    images, labels = pictures()
    batches = list(zip(images.split(7), labels.split(7), strict=True))
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    learn = line_learner(model=model, dls=(batches, batches), loss_func=CrossEntropyLossFlat())
    interp = ClassificationInterpretation.from_learner(learn)
    scores, labels, losses = direct(learn, slice(0, 30))
    torch.testing.assert_close(interp.losses, losses)
    np.testing.assert_array_equal(
        interp.confusion_matrix(), skm.confusion_matrix(labels, scores.argmax(1))
    )
    assert interp.vocab == [0, 1, 2]
    assert torch.equal(interp[[29, 8]][2], labels[[29, 8]])
    table = interp.plot_top_losses(2)
    assert list(table.columns) == ["input", "target", "prediction", "loss"]
    assert table.loss[0] == pytest.approx(losses.max().item())
    with pytest.raises(IndexError, match=r"30 samples, none numbered \[30\]"):
        interp[torch.tensor([3, 30])]


def test_losses_without_classes_are_told_apart():
    images = pictures()[0]
    batches = [(images[:8], (images[:8].mean((2, 3)) > 0.5).float())]
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    learn = line_learner(model=model, dls=(batches, batches), loss_func=BCEWithLogitsLossFlat())
    interp = ClassificationInterpretation.from_learner(learn)
    assert interp.losses.shape == (8,)
    with pytest.raises(TypeError, match="a confusion matrix needs class numbers"):
        interp.confusion_matrix()


def segmenter():
    images, _ = pictures(12)
    masks = (images.mean(1) > 0.55).long()
    masks[:, 0, 0] = 255
    dsets = Datasets(
        list(range(12)),
        [[lambda i: TensorImage(images[i])], [lambda i: TensorMask(masks[i])]],
        splits=[list(range(6)), list(range(6, 12))],
    )
    torch.manual_seed(0)
    learn = line_learner(
        model=nn.Conv2d(3, 2, 3, padding=1),
        dls=dsets.dataloaders(bs=4, num_workers=0, drop_last=False),
        loss_func=CrossEntropyLossFlat(axis=1, ignore_index=255),
    )
    return learn, images[6:], masks[6:]


def test_segmentation_confuses_pixels():
    learn, images, masks = segmenter()
    interp = SegmentationInterpretation.from_learner(learn)
    with torch.no_grad():
        decoded = learn.model(images).argmax(1)
    known = masks != 255
    expected = skm.confusion_matrix(masks[known], decoded[known])
    np.testing.assert_array_equal(interp.confusion_matrix(), expected)
    assert interp.losses.shape == (6,)
    grid = interp.plot_top_losses(2)
    assert len(grid) == 4
    assert all(len(ax.images) == 2 for ax in grid)
