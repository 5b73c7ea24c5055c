"""Detection learners as their users have them: any channels and sizes, resumed, drawn, in bf16."""

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from support.processes import run_processes
from torch import Tensor
from torte.data.tensors import plain
from torte.vision.all import (
    BBoxBlock,
    BBoxLblBlock,
    BoxMeanAveragePrecision,
    Callback,
    CheckpointCallback,
    DataBlock,
    DetectionLoss,
    ImageBlock,
    IndexSplitter,
    Interpretation,
    ItemGetter,
    Normalize,
    PILImageBW,
    aug_transforms,
    default_split,
    detection_learner,
    load_learner,
    model_meta,
    set_seed,
    xresnet18,
)

EPOCHS = 2
BATCHES = 3


def scene(index: int, side: int = 48) -> dict[str, Any]:
    """One, two, three or no bright boxes, overlapping, on noise."""
    random = np.random.default_rng(index)
    image = random.integers(0, 60, (side, side, 3), dtype=np.uint8)
    boxes, names = [], []
    for _ in range(index % 4):
        w, h = random.integers(10, 24, 2)
        x, y = random.integers(0, side - w + 1), random.integers(0, side - h + 1)
        image[y : y + h, x : x + w] = (220, 40, 40) if w > h else (40, 220, 40)
        boxes.append([float(v) for v in (x, y, x + w, y + h)])
        names.append("wide" if w > h else "tall")
    return {"image": image, "boxes": boxes, "names": names}


def loaders(scenes=None, cls=None, **kwargs):
    """Training batches of 4 scenes, validation batches of 3, 3 and 2, with unequal boxes."""
    scenes = [scene(index) for index in range(20)] if scenes is None else scenes
    block = DataBlock(
        blocks=(ImageBlock if cls is None else ImageBlock(cls), BBoxBlock, BBoxLblBlock),
        n_inp=1,
        get_x=ItemGetter("image"),
        get_y=[ItemGetter("boxes"), ItemGetter("names")],
        splitter=IndexSplitter(range(12, 20)),
        batch_tfms=kwargs.pop("batch_tfms", None),
    )
    options = {"bs": 4, "val_bs": 3, "seed": 2, "device": "cpu", **kwargs}
    return block.dataloaders(scenes, **options)


def detector(dls=None, **kwargs):
    set_seed(1)
    options = {"pretrained": False, "width": 16, "depth": 1, **kwargs}
    learn = detection_learner(loaders() if dls is None else dls, xresnet18, **options)
    learn.logger = quiet
    learn.remove_cb(learn.progress)
    return learn


def quiet(row):
    """Logs nothing."""


@pytest.fixture(scope="module")
def learn(tmp_path_factory):
    loss = DetectionLoss(threshold=0.001, max_boxes=5, background=0)
    return detector(path=tmp_path_factory.mktemp("learn"), loss_func=loss)


def test_predictions_over_batches_with_unequal_numbers_of_boxes(learn):
    found, (boxes, labels), decoded, losses = learn.get_preds(with_decoded=True, with_loss=True)
    assert len({batch[1].shape[1] for batch in learn.dls.valid}) > 1, "the batches are alike"
    assert boxes.shape == (8, 3, 4)
    assert found.shape == (8, 5, 6)
    assert decoded[0].shape == (8, 5, 4)
    assert losses.shape == (8,)
    for index, box, label in zip(range(12, 20), boxes, labels, strict=True):
        item = scene(index)
        real = (box[:, 2:] > box[:, :2]).all(1)
        wanted = torch.tensor(item["boxes"]).reshape(-1, 4)
        torch.testing.assert_close((box[real] + 1) * 24, wanted)
        assert [learn.dls.vocab[n] for n in label[real]] == item["names"]
        assert not label[~real].any()


def test_top_losses_are_drawn_with_names_and_scores_above_the_threshold(learn):
    mpl.use("Agg")
    interp = Interpretation.from_learner(learn)
    axes = interp.plot_top_losses(4, threshold=0.0)
    losses, numbers = interp.top_losses(4)
    assert [ax.get_title() for ax in axes[::2]] == [f"loss {loss:.3g}" for loss in losses]
    for number, left, right in zip(numbers, axes[::2], axes[1::2], strict=True):
        assert [t.get_text() for t in left.texts] == scene(12 + int(number))["names"]
        assert len(right.texts) > 0
        for text in right.texts:
            name, score = text.get_text().split()
            assert name in ("wide", "tall")
            assert 0.0 <= float(score) <= 1.0
    assert not any(ax.texts for ax in interp.show_results([0, 1], threshold=1.0)[1::2])
    mpl.pyplot.close("all")


def test_augmentation_at_test_time_is_refused(learn):
    with pytest.raises(TypeError, match="lie elsewhere"):
        learn.tta()


@pytest.mark.parametrize("changes", [{}, {"batch_tfms": aug_transforms(max_rotate=0)}])
def test_grey_images_train_and_others_are_refused(tmp_path, changes):
    dls = loaders(cls=PILImageBW, **changes)
    with pytest.raises(ValueError, match=r"the images have 1 channels.*n_in=1"):
        detector(dls)
    learn = detector(dls, n_in=1, path=tmp_path)
    learn.fit_one_cycle(1, 1e-3)
    assert math.isfinite(learn.validate()[0])
    again = load_learner(learn.export("grey.safetensors"))
    for mine, other in zip(again.predict(scene(3)), learn.predict(scene(3)), strict=True):
        assert torch.equal(plain(mine), plain(other)) if isinstance(mine, Tensor) else mine == other


def test_an_entry_of_model_meta_settles_splitter_and_cut():
    def halves(model):
        return [list(model.encoder.parameters()), list(model.boxes.parameters())]

    assert detector().splitter is default_split
    model_meta[xresnet18] = {"cut": None, "split": halves, "stats": None}
    try:
        assert detector().splitter is halves
        assert detector(splitter=default_split).splitter is default_split
    finally:
        del model_meta[xresnet18]


def test_pretrained_weights_bring_their_statistics_for_any_number_of_channels():
    dls = loaders(cls=PILImageBW)
    learn = detection_learner(dls, "tf_efficientnet_lite0", n_in=1, width=16, depth=1)
    (normalize,) = [t for t in learn.dls.train.after_batch.fs if isinstance(t, Normalize)]
    assert normalize.mean.numel() == 1
    assert [len(group) > 0 for group in learn.splitter(learn.model)] == [True] * 3
    assert not next(learn.model.encoder.parameters()).requires_grad


def test_images_of_several_sizes_one_a_batch():
    scenes = [scene(index, side=(40, 48, 72)[index % 3]) for index in range(20)]
    learn = detector(loaders(scenes, bs=1, val_bs=1), metrics=BoxMeanAveragePrecision("map_50"))
    learn.fit_one_cycle(1, 1e-3)
    loss, precision = learn.validate()
    assert math.isfinite(loss)
    assert 0.0 <= precision <= 1.0
    assert learn.get_preds()[0].shape == (8, 100, 6)


def test_half_precision_trains():
    learn = detector().to_bf16()
    learn.fit_one_cycle(1, 1e-3)
    rows = learn.get_preds()[0]
    assert rows.dtype == torch.float32
    assert torch.isfinite(rows).all()
    assert all(p.dtype == torch.float32 for p in learn.model.parameters())


class Killed(Exception):
    pass


class KillAfter(Callback):
    """Ends the fit after a training batch, as if the process were gone."""

    order = 99
    run_valid = False

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch

    def after_batch(self) -> None:
        if self.learn.train_iter == self.batch:
            raise Killed


@pytest.mark.slow
@pytest.mark.parametrize("batch", [BATCHES, BATCHES + 2])
def test_a_detector_goes_on_to_the_bit(batch, tmp_path):
    def made(*cbs):
        dls = loaders(batch_tfms=aug_transforms(max_rotate=0, max_warp=0))
        return detector(dls, metrics=BoxMeanAveragePrecision(), cbs=list(cbs), path=tmp_path)

    expected = made()
    expected.fit_one_cycle(EPOCHS, 1e-3)
    with pytest.raises(Killed):
        made(CheckpointCallback(every=1), KillAfter(batch)).fit_one_cycle(EPOCHS, 1e-3)
    learn = made(CheckpointCallback(every=1))
    learn.fit_one_cycle(EPOCHS, 1e-3, resume=True)
    for name, value in expected.model.state_dict().items():
        assert torch.equal(learn.model.state_dict()[name], value), name
    assert learn.recorder.raw_losses == expected.recorder.raw_losses
    assert learn.recorder.values == expected.recorder.values


def two_processes(rank, world, folder):
    alone, learn = detector(), detector()
    with learn.distributed():
        shared = learn.get_preds(with_decoded=True)
    own = alone.get_preds(with_decoded=True)
    for mine, other in zip(_flat(shared), _flat(own), strict=True):
        torch.testing.assert_close(plain(mine), plain(other))


def _flat(results):
    for each in results:
        yield from each if isinstance(each, tuple) else (each,)


@pytest.mark.slow
def test_two_processes_predict_as_one_does(tmp_path):
    run_processes(2, tmp_path, two_processes)
