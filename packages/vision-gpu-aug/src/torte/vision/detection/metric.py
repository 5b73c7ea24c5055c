"""Mean average precision of detections."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torte.data.tensors import plain
from torte.learner.metrics import Metric

if TYPE_CHECKING:
    from torte.learner.learner import Learner

__all__ = ["BoxMeanAveragePrecision"]

Image = dict[str, Tensor]


class BoxMeanAveragePrecision(Metric):
    """Mean average precision as COCO defines it, computed by torchmetrics.

    Args:
        which: Which of torchmetrics' results is the value: "map" (the mean over IoU thresholds
            0.50 to 0.95), "map_50", "map_75", "mar_100" and so on.

    Raises:
        ImportError: At the first batch, if the extra `detection` is not installed.
    """

    def __init__(self, which: str = "map") -> None:
        self.which = which
        self.reset()

    @property
    def default_name(self) -> str:
        """The result's name."""
        return self.which

    def reset(self) -> None:
        """Forget all images."""
        self.found: list[Image] = []
        self.true: list[Image] = []

    def accumulate(self, learn: "Learner") -> None:
        """Take in a batch's detections and boxes, in pixels of the batch's images."""
        _new_metric()
        boxes, labels = (plain(part).detach().cpu() for part in learn.yb)
        loss: Any = learn.loss_func
        rows = loss.activation(plain(learn.pred).detach()).cpu()
        height, width = learn.xb[0].shape[-2:]
        scale = torch.tensor([width, height, width, height]) / 2
        for row, box, label in zip(rows, boxes.float(), labels, strict=True):
            kept, real = row[:, 5] > 0, (box[:, 2:] > box[:, :2]).all(1)
            boxes_found, numbers, scores = row[kept].split([4, 1, 1], 1)
            self.found.append(
                {
                    "boxes": (boxes_found + 1) * scale,
                    "labels": numbers[:, 0].long(),
                    "scores": scores[:, 0],
                }
            )
            self.true.append({"boxes": (box[real] + 1) * scale, "labels": label[real]})

    @property
    def value(self) -> float | None:
        """The precision; None before the first image."""
        return self.results()[self.which] if self.found else None

    def results(self) -> dict[str, float]:
        """All of torchmetrics' results for the images so far, by name; -1 where undefined."""
        metric = _new_metric()
        metric.update(self.found, self.true)
        return {name: float(v) for name, v in metric.compute().items() if v.numel() == 1}

    def state(self) -> dict[str, Any]:
        """The images so far."""
        return {"found": self.found, "true": self.true}

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Replace the images by those of several processes."""
        self.found = [image for state in states for image in state["found"]]
        self.true = [image for state in states for image in state["true"]]


def _new_metric() -> Any:
    try:
        from torchmetrics.detection import MeanAveragePrecision

        return MeanAveragePrecision()
    except ModuleNotFoundError as error:
        raise ImportError(
            "mean average precision needs torchmetrics and pycocotools: "
            'pip install "torte-vision-gpu-aug[detection]"'
        ) from error
