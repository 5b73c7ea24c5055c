"""Detection: who answers for which box, the loss, the way back, the learner end to end."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou, nms
from torte.dispatch import serializable
from torte.vision.all import (
    BBoxBlock,
    BBoxLblBlock,
    BoxMeanAveragePrecision,
    DataBlock,
    DetectionLoss,
    Detector,
    ImageBlock,
    IndexSplitter,
    aug_transforms,
    create_body,
    detection_learner,
    load_learner,
    match_boxes,
    set_seed,
    xresnet18,
)

CLASSES = 3


def grid(side: int, strides: list[int]) -> tuple[Tensor, Tensor]:
    """Locations and strides of a square image's levels, between -1 and 1."""
    rows = [
        ((x + 0.5) * s * 2 / side - 1, (y + 0.5) * s * 2 / side - 1, 2 * s / side, 2 * s / side)
        for s in strides
        for y in range(side // s)
        for x in range(side // s)
    ]
    numbers = torch.tensor(rows, dtype=torch.float64)
    return numbers[:, :2], numbers[:, 2:]


def unit(boxes: list[list[float]], side: int) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4) * 2 / side - 1


def matched_by_hand(side: int, strides: list[int], boxes: list[list[float]]) -> list[int]:
    """The rule of `match_boxes`, one location and one box after another, in pixels."""
    found = []
    for s in strides:
        for y in range(side // s):
            for x in range(side // s):
                px, py, best, area = (x + 0.5) * s, (y + 0.5) * s, -1, math.inf
                for number, (x1, y1, x2, y2) in enumerate(boxes):
                    w, h = x2 - x1, y2 - y1
                    longest = max(w, h) / s
                    level_fits = (longest > 4 or s == min(strides)) and (
                        longest <= 8 or s == max(strides)
                    )
                    reach = [s * min(max(v / s / 2, 0.5), 1.5) for v in (w, h)]
                    near = (
                        abs(px - (x1 + x2) / 2) <= reach[0] and abs(py - (y1 + y2) / 2) <= reach[1]
                    )
                    if w > 0 and h > 0 and level_fits and near and w * h < area:
                        best, area = number, w * h
                found.append(best)
    return found


SCENE = [[3, 5, 30, 21], [10, 9, 22, 20], [0, 0, 125, 90], [61, 61, 63, 63], [40, 40, 100, 118]]


def test_locations_answer_for_the_boxes_of_their_level():
    locations, strides = grid(128, [8, 16, 32])
    boxes = unit(SCENE, 128)
    wanted = matched_by_hand(128, [8, 16, 32], SCENE)
    assert match_boxes(locations, strides, boxes[None])[0].tolist() == wanted
    assert set(wanted) == {-1, 0, 1, 2, 3, 4}, "some box has no location"


def test_padding_and_images_without_boxes_are_background():
    locations, strides = grid(64, [8, 16])
    padded = torch.zeros(2, 3, 4, dtype=torch.float64)
    assert (match_boxes(locations, strides, padded) == -1).all()
    assert match_boxes(locations, strides, padded[:, :0]).shape == (2, len(locations))
    assert (match_boxes(locations, strides, padded[:, :0]) == -1).all()


def outputs(n: int, side: int, strides: list[int], seed: int = 0) -> Tensor:
    """What a network might say: boxes around each location, random logits."""
    random = torch.Generator().manual_seed(seed)
    locations, steps = grid(side, strides)
    size = (n, len(locations))
    half = steps * torch.empty(*size, 2, dtype=torch.float64).uniform_(0.5, 3, generator=random)
    centres = locations + steps * torch.randn(*size, 2, generator=random, dtype=torch.float64)
    logits = torch.randn(*size, CLASSES, generator=random, dtype=torch.float64)
    fixed = torch.cat([locations, steps], -1).expand(n, -1, -1)
    return torch.cat([logits, centres - half, centres + half, fixed], -1)


def loss_by_hand(pred: Tensor, targets: list[list[int]], boxes: Tensor, labels: Tensor) -> float:
    """The formulas of the two papers in plain loops of floats."""
    total, count = 0.0, 0
    for image, rows in enumerate(pred.tolist()):
        for place, row in enumerate(rows):
            wanted, number = [0.0] * CLASSES, targets[image][place]
            if number >= 0:
                count += 1
                a, b = row[CLASSES : CLASSES + 4], boxes[image, number].tolist()
                w = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
                h = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
                union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
                hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
                wanted[int(labels[image, number])] = w * h / union
                total += 2 * (1 - w * h / union + (hull - union) / hull)
            for logit, y in zip(row[:CLASSES], wanted, strict=True):
                p = 1 / (1 + math.exp(-logit))
                entropy = -(y * math.log(p) + (1 - y) * math.log(1 - p))
                total += (y - p) ** 2 * entropy
    return total / max(count, 1)


def test_the_loss_is_that_of_the_formulas():
    scenes = [SCENE, [*SCENE[1:3], *[[0, 0, 0, 0]] * 3]]
    boxes = torch.stack([unit(scene, 128) for scene in scenes])
    boxes[1, 2:] = 0  # padding as `bb_pad` writes it
    labels = torch.tensor([[1, 2, 1, 2, 1], [2, 1, 0, 0, 0]])
    pred = outputs(2, 128, [8, 16, 32])
    by_hand = [matched_by_hand(128, [8, 16, 32], scene) for scene in scenes]
    found = DetectionLoss()(pred, boxes, labels)
    assert found.item() == pytest.approx(loss_by_hand(pred, by_hand, boxes, labels), rel=1e-5)
    each = DetectionLoss(reduction="none")(pred, boxes, labels)
    assert each.shape == (2,)
    assert each.mean().item() == pytest.approx(found.item(), rel=1e-6)


@pytest.mark.parametrize("boxes", [torch.zeros(2, 0, 4), torch.zeros(2, 3, 4)])
def test_images_without_boxes_give_finite_gradients(boxes):
    pred = outputs(2, 64, [8, 16]).float().requires_grad_()
    DetectionLoss()(pred, boxes, torch.zeros(boxes.shape[:2], dtype=torch.long)).backward()
    assert pred.grad is not None
    assert pred.grad.isfinite().all()
    assert pred.grad[..., :CLASSES].abs().sum() > 0
    assert pred.grad[..., CLASSES:].abs().sum() == 0


def test_detections_are_what_torchvision_keeps_class_by_class():
    pred = outputs(2, 64, [8, 16])
    loss = DetectionLoss(threshold=0.4, nms=0.5, max_boxes=60, background=0)
    for rows, image in zip(loss.activation(pred), pred, strict=True):
        boxes, scores = image[:, CLASSES : CLASSES + 4].clamp(-1, 1), image[:, :CLASSES].sigmoid()
        wanted = []
        for label in range(1, CLASSES):
            real = (boxes[:, 2:] > boxes[:, :2]).all(1)
            sure = ((scores[:, label] > 0.4) & real).nonzero()[:, 0]
            kept = sure[nms(boxes[sure], scores[sure, label], 0.5)]
            wanted += [[*boxes[k].tolist(), label, scores[k, label].item()] for k in kept]
        wanted.sort(key=lambda row: -row[5])
        found = rows[rows[:, 5] > 0]
        assert len(found) == min(len(wanted), 60)
        assert np.allclose(found.numpy(), wanted[:60], atol=1e-5)
        assert (rows[len(found) :] == 0).all()


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (50, 70)])
def test_a_detector_takes_any_size_and_knows_where_its_locations_are(size):
    torch.manual_seed(0)
    detector = Detector(create_body(xresnet18()), CLASSES, (3, 64, 64), width=32).eval()
    height, width = size
    with torch.no_grad():
        rows = detector(torch.rand(2, 3, height, width))
        with torch.autocast("cpu", torch.bfloat16):
            halved = detector(torch.rand(2, 3, height, width))
    assert detector.strides == [8, 16, 32]
    places = sum(math.ceil(height / s) * math.ceil(width / s) for s in detector.strides)
    assert rows.shape == halved.shape == (2, places, CLASSES + 8)
    assert rows.dtype == halved.dtype == torch.float32
    first = [8 / width - 1, 8 / height - 1, 16 / width, 16 / height]
    assert rows[0, 0, -4:].tolist() == pytest.approx(first)
    assert torch.equal(rows[..., -4:], halved[..., -4:])
    assert rows[..., :CLASSES].sigmoid().mean().item() == pytest.approx(0.01, abs=0.01)


SIDE = 64


@serializable("test_detection.picture")
def picture(item):
    return item["image"] if isinstance(item, dict) else item


@serializable("test_detection.boxes")
def boxes_of(item):
    return item["boxes"]


@serializable("test_detection.names")
def names_of(item):
    return item["names"]


def scene(index: int) -> dict:
    """A red square or a green tall rectangle or both or nothing, on grey."""
    random = np.random.default_rng(index)
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    found: dict = {"image": image, "boxes": [], "names": []}
    kinds = [[("square", 20, 20)], [("tall", 12, 28)], [("square", 20, 20), ("tall", 12, 28)], []]
    for number, (name, width, height) in enumerate(kinds[index % 4]):
        x = int(random.integers(0, 32 - width + 1)) + 32 * number
        y = int(random.integers(0, SIDE - height + 1))
        image[y : y + height, x : x + width] = (220, 30, 30) if name == "square" else (30, 220, 30)
        found["boxes"].append([x, y, x + width, y + height])
        found["names"].append(name)
    return found


@pytest.fixture(scope="module")
def scenes():
    return [scene(index) for index in range(32)]


def loaders(scenes, batch_tfms=None):
    block = DataBlock(
        blocks=(ImageBlock, BBoxBlock, BBoxLblBlock), n_inp=1, get_x=picture,
        get_y=[boxes_of, names_of], splitter=IndexSplitter(range(24, 32)), batch_tfms=batch_tfms,
    )  # fmt: skip
    return block.dataloaders(scenes, bs=8, seed=2, device="cpu")


@pytest.fixture(scope="module")
def learn(scenes, tmp_path_factory):
    set_seed(1)
    learn = detection_learner(
        loaders(scenes), xresnet18, pretrained=False, width=32, depth=1,
        metrics=BoxMeanAveragePrecision("map_50"), path=tmp_path_factory.mktemp("learn"),
    )  # fmt: skip
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(20, 4e-3)
    return learn


def test_it_learns_where_things_are(learn, scenes):
    loss, precision = learn.validate()
    assert math.isfinite(loss)
    assert precision > 0.8
    item = scenes[26]
    boxes, names, scores = learn.predict(item["image"])
    assert set(names[:2]) == {"square", "tall"}
    assert (scores[:-1] >= scores[1:]).all()
    for box, name in zip(item["boxes"], item["names"], strict=True):
        best = names.index(name)
        assert box_iou(torch.Tensor(boxes[best : best + 1]), torch.tensor([box]).float()) > 0.6


def numbers(learn, names) -> Tensor:
    vocab = list(learn.dls.vocab)
    return torch.tensor([vocab.index(name) for name in names], dtype=torch.long)


def test_map_is_that_of_torchmetrics(learn, scenes):
    from torchmetrics.detection import MeanAveragePrecision

    wanted = MeanAveragePrecision()
    for item in scenes[24:]:
        boxes, names, scores = learn.predict(item["image"])
        true = torch.tensor(item["boxes"]).reshape(-1, 4).float()
        wanted.update(
            [{"boxes": torch.Tensor(boxes), "scores": scores, "labels": numbers(learn, names)}],
            [{"boxes": true, "labels": numbers(learn, item["names"])}],
        )
    assert learn.validate()[1] == pytest.approx(wanted.compute()["map_50"].item(), abs=1e-3)


def test_merged_processes_measure_as_one():
    random = torch.Generator().manual_seed(3)

    class Learn:
        loss_func = DetectionLoss(background=0)

    def batch(seed):
        learn = Learn()
        learn.pred = outputs(3, 64, [8, 16], seed)
        learn.xb = (torch.zeros(3, 3, 64, 64),)
        corner = torch.rand(3, 2, 2, generator=random) - 1
        boxes = torch.cat([corner, corner + 0.6], -1)
        learn.yb = (boxes, torch.tensor([[1, 2]] * 3))
        return learn

    batches = [batch(seed) for seed in range(4)]
    whole, parts = BoxMeanAveragePrecision(), [BoxMeanAveragePrecision() for _ in range(2)]
    assert whole.value is None
    for number, each in enumerate(batches):
        whole.accumulate(each)
        parts[number % 2].accumulate(each)
    merged = BoxMeanAveragePrecision()
    merged.merge([part.state() for part in parts])
    assert whole.value is not None
    assert merged.value == pytest.approx(whole.value, abs=1e-6)


def test_an_exported_detector_predicts_the_same(learn, scenes):
    wanted = learn.predict(scenes[26]["image"])
    again = load_learner(learn.export("detector.safetensors")).predict(scenes[26]["image"])
    assert torch.allclose(torch.Tensor(again[0]), torch.Tensor(wanted[0]), atol=1e-3)
    assert again[1] == wanted[1]
    assert torch.allclose(again[2], wanted[2], atol=1e-5)


def test_predictions_and_losses_by_image(learn):
    found, _, decoded, losses = learn.get_preds(with_decoded=True, with_loss=True)
    assert found.shape == (8, 100, 6)
    assert decoded[0].shape == (8, 100, 4)
    assert losses.shape == (8,)


def test_results_are_drawn_with_names_and_scores(learn):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    learn.show_results(max_n=4, shuffle=False)
    axes = plt.gcf().axes
    true, found = ([text.get_text() for text in axes[side].texts] for side in (4, 5))
    assert sorted(true) == ["square", "tall"]
    assert {text.split()[0] for text in found} >= {"square", "tall"}
    assert all(0 <= float(text.split()[1]) <= 1 for text in found)
    plt.close("all")


def test_boxes_go_with_augmented_pictures_and_bodies_freeze(scenes, tmp_path):
    set_seed(1)
    dls = loaders(scenes, aug_transforms(max_rotate=0, max_warp=0))
    learn = detection_learner(
        dls, "tf_efficientnet_lite0", pretrained=True, width=32, depth=1, path=tmp_path
    )
    frozen = [p for p in learn.model.encoder.parameters() if not p.requires_grad]
    assert frozen
    assert all(p.requires_grad for p in learn.model.scores.parameters())
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(1, 1e-3)
    assert len(learn.opt.param_lists) == 3
    assert math.isfinite(learn.validate()[0])
