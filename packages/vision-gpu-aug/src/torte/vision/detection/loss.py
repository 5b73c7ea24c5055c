"""The loss of a detector, and the way from its outputs to boxes."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from torte.data.tensors import TensorBBox, TensorMultiCategory, plain
from torte.dispatch import serializable
from torte.learner.losses.base import check_reduction, reduce_loss
from torte.vision.detection.matching import match_boxes

__all__ = ["DetectionLoss"]

_CANDIDATES = 1000


@serializable
class DetectionLoss:
    """Quality focal loss of the scores and generalized IoU of the boxes.

    The score that a location should give to its box's class is how well it predicts the box, the
    IoU; to all other classes 0 (Li et al. 2020, arXiv:2006.04388). Boxes are pulled to their target
    by 1 - GIoU (Rezatofighi et al. 2019, arXiv:1902.09630). Both are sums over all locations,
    divided by how many locations of the batch have a box.

    Args:
        box_weight: Weight of the boxes' part.
        threshold: Scores above which a prediction is a detection.
        nms: Of detections of one class that overlap by more than this IoU the best is kept.
        max_boxes: Detections an image at most, the best.
        background: Number of a class that is never detected ("#na#"); None for none.
        reduction: "mean" or "sum" over the images, or "none".
    """

    y_int: ClassVar[bool] = True

    def __init__(
        self,
        box_weight: float = 2.0,
        threshold: float = 0.05,
        nms: float = 0.6,
        max_boxes: int = 100,
        background: int | None = None,
        reduction: str = "mean",
    ) -> None:
        self.box_weight, self.threshold, self.nms = box_weight, threshold, nms
        self.max_boxes, self.background = max_boxes, background
        self.reduction = check_reduction(reduction)

    def __call__(self, pred: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a `Detector`'s outputs.

        Args:
            pred: (n, locations, classes + 8), see `Detector`.
            boxes: (n, boxes, 4), between -1 and 1; boxes without an area are padding.
            labels: (n, boxes), class numbers.
        """
        pred, labels = _wide(pred), plain(labels)
        boxes = plain(boxes).to(pred.dtype)
        logits, found, locations, strides = _parts(pred)
        boxes = boxes.clamp(-1, 1)
        numbers = match_boxes(locations, strides, boxes)
        image, place = (numbers >= 0).nonzero(as_tuple=True)
        of = numbers[image, place]
        iou, giou = _overlap(found[image, place], boxes[image, of])
        wanted = torch.zeros_like(logits)
        wanted[image, place, labels[image, of]] = iou.detach()
        scores = _quality_focal(logits, wanted).sum((1, 2))
        boxes_loss = torch.zeros_like(scores).index_add(0, image, 1 - giou)
        share = max(len(image), 1) / len(pred)
        return reduce_loss((scores + self.box_weight * boxes_loss) / share, self.reduction)

    def activation(self, x: Tensor) -> Tensor:
        """Return the detections in a `Detector`'s outputs, best first.

        Returns:
            (n, max_boxes, 6): x1, y1, x2, y2 between -1 and 1, class number, score; rows of zeros
            fill up. The number of rows is the same for images of any size.
        """
        logits, found, _, _ = _parts(_wide(x))
        rows = [self._detections(*image) for image in zip(logits.sigmoid(), found, strict=True)]
        return torch.stack([F.pad(r, (0, 0, 0, self.max_boxes - len(r))) for r in rows])

    def decodes(self, x: Tensor) -> tuple[TensorBBox, TensorMultiCategory]:
        """Return the boxes and labels of detections, as targets have them."""
        rows = plain(x)
        return TensorBBox(rows[..., :4]), TensorMultiCategory(rows[..., 4].long())

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(vars(self))

    def _detections(self, scores: Tensor, boxes: Tensor) -> Tensor:
        """One image's detections, (at most max_boxes, 6)."""
        from torchvision.ops import batched_nms

        if self.background is not None:
            scores = scores.clone()
            scores[:, self.background] = 0
        boxes = boxes.clamp(-1, 1)
        shown = (boxes[:, 2:] > boxes[:, :2]).all(1)
        place, label = ((scores > self.threshold) & shown[:, None]).nonzero(as_tuple=True)
        best = scores[place, label].topk(min(_CANDIDATES, len(place))).indices
        place, label = place[best], label[best]
        score = scores[place, label]
        kept = batched_nms(boxes[place], score, label, self.nms)[: self.max_boxes]
        return torch.cat([boxes[place], label[:, None].to(boxes), score[:, None]], 1)[kept]


def _wide(x: Tensor) -> Tensor:
    """Outputs as a plain tensor of at least float32."""
    return plain(x).to(torch.promote_types(x.dtype, torch.float32))


def _parts(pred: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits and boxes by image; locations and strides, which all images share."""
    classes = pred.shape[-1] - 8
    logits, boxes, locations, strides = pred.split([classes, 4, 2, 2], -1)
    return logits, boxes, locations[0].detach(), strides[0].detach()


def _quality_focal(logits: Tensor, wanted: Tensor) -> Tensor:
    distance = (wanted - logits.sigmoid()).abs()
    return distance**2 * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalized IoU of boxes pair by pair; no axis' scale matters to either."""
    common = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    around = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    shared, hull = common.prod(1), around.prod(1).clamp(min=1e-9)
    union = ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared).clamp(min=1e-9)
    return shared / union, shared / union - (hull - union) / hull
