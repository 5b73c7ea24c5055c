"""`detection_learner`: a Learner for boxes and their labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torte.data import get_c
from torte.data.display import show_results
from torte.data.tensors import plain
from torte.dispatch import serializable
from torte.learner.learner import Learner
from torte.vision.detection.loss import DetectionLoss
from torte.vision.detection.network import detector_model
from torte.vision.learner import (
    Splitter,
    check_channels,
    device_of,
    learner_of_built,
    model_meta,
)
from torte.vision.models.architectures import ArchitectureLike, find_architecture
from torte.vision.models.body_and_head import Cut, create_body
from torte.vision.models.building import BuiltModel, fast_memory_format
from torte.vision.models.weights import load_pretrained

__all__ = ["DetectionLearner", "detection_learner"]

SHOWN_FROM = 0.3
"""Scores from which detections are drawn."""


@serializable("torte.vision.DetectionLearner")
class DetectionLearner(Learner):
    """A Learner whose predictions are boxes, names and scores.

    `get_preds` returns detections as `DetectionLoss.activation` has them. Pictures (`show_results`,
    `plot_top_losses`) have the true boxes on the left and on the right the detections whose score
    is at least `threshold=0.3`.
    """

    def predict(
        self, item: Any, rm_type_tfms: int | None = None, with_input: bool = False
    ) -> tuple[Any, ...]:
        """Return what is in one image, best first.

        Args:
            item: What the data were made from: a path, an image.
            rm_type_tfms: As for `Learner.predict`.
            with_input: Whether to return the decoded image too, first.

        Returns:
            (boxes, names, scores): x1, y1, x2, y2 in pixels of the image that the item transforms
            make, (k, 4); the k names; (k,).
        """
        *image, target, _, rows = super().predict(item, rm_type_tfms, with_input)
        boxes, names = target
        scores = rows[rows[:, 5] > 0, 5]
        return (*image, boxes[: len(scores)], list(names)[: len(scores)], scores)

    def tta(self, *_: Any, **__: Any) -> tuple[Any, ...]:
        """Refuses: boxes found on augmented copies lie elsewhere, so that they have no mean.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "test-time augmentation takes the mean of predictions, and the boxes that are found in "
            "flipped or zoomed copies of an image lie elsewhere: use get_preds or predict"
        )

    def _joined_targets(self, parts: Sequence[Any], dim: int) -> Any:
        """Targets of all batches, padded to as many boxes as the image that has most."""
        most = max(boxes.shape[1] for boxes, *_ in parts)
        return super()._joined_targets([tuple(_padded(t, most) for t in p) for p in parts], dim)

    def _draw_results(
        self, dl: Any, batch: Any, preds: Any, decoded: Any, max_n: int, **kwargs: Any
    ) -> None:
        n = min(max_n, len(preds))
        parts = self._parts_to_show(dl, batch, preds, decoded, n, kwargs)
        show_results(*parts, max_n=n, **kwargs)

    def _parts_to_show(
        self, dl: Any, batch: Any, preds: Any, decoded: Any, max_n: int, options: dict[str, Any]
    ) -> tuple[Any, Any, Any, Any]:
        """Only the detections that are sure enough are drawn, their scores beside their names."""
        threshold = options.pop("threshold", SHOWN_FROM)
        *parts, outs = super()._parts_to_show(dl, batch, preds, decoded, max_n, options)
        scores = plain(preds)[: len(outs), :, 5]
        shown = [
            _sure(out[0], out[1], each, threshold) for out, each in zip(outs, scores, strict=True)
        ]
        return (*parts, shown)


def _padded(target: Tensor, most: int) -> Tensor:
    """(n, k, …) as (n, most, …): the rest is 0, which is no box."""
    padding = target.new_zeros(len(target), most - target.shape[1], *target.shape[2:])
    return torch.cat([target, padding], 1)


def _sure(boxes: Any, names: Any, scores: Tensor, threshold: float) -> tuple[Any, list[str]]:
    kept = [i for i, score in enumerate(scores.tolist()) if score >= threshold]
    return boxes[kept], [f"{names[i]} {scores[i]:.2f}" for i in kept]


def detection_learner(
    dls: Any,
    arch: ArchitectureLike,
    normalize: bool = True,
    n_out: int | None = None,
    pretrained: bool = True,
    weights: Any = None,
    loss_func: DetectionLoss | None = None,
    cut: Cut = None,
    n_in: int = 3,
    width: int = 128,
    levels: int = 3,
    depth: int = 2,
    path: str | Path | None = None,
    splitter: Splitter | None = None,
    options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> DetectionLearner:
    """Makes a Learner that finds boxes and their labels in the images of `dls`.

    Args:
        dls: Loaders of (images, boxes, labels), as `DataBlock(blocks=(ImageBlock, BBoxBlock,
            BBoxLblBlock), n_inp=1, …)` makes them.
        arch: As for `vision_learner`; it must keep maps of several resolutions, as for a U-Net.
        normalize: Whether to normalize the images by the statistics of the weights, as
            `vision_learner` does.
        n_out: Classes; told by the data if they know.
        pretrained: Whether to start from pretrained weights, with the body frozen.
        weights: As for `vision_learner`.
        loss_func: A `DetectionLoss` of other settings.
        cut: See `create_body`.
        n_in: Channels of the images.
        width: See `Detector`, likewise the following two.
        levels: Resolutions.
        depth: Convolutions of the head before the last.
        path: Where files go.
        splitter: From the model to its parameter groups; by default early body, late body and the
            rest.
        options: Arguments for the architecture's function.
        **kwargs: For `Learner`.

    Raises:
        UnknownArchitectureError: If there is no such architecture.
        WeightsUnavailableError: If its weights are neither here nor to be downloaded.
        BodyCutError: If the architecture has no maps of several resolutions.
        ValueError: If the data do not say how many classes there are, or their images have another
            number of channels than `n_in`.
    """
    check_channels(dls, n_in)
    meta = model_meta.get(arch, {})
    cut = meta.get("cut") if cut is None else cut
    architecture = find_architecture(arch)
    named = architecture.full_name or architecture.function
    last = fast_memory_format(device_of(dls)) is fast_memory_format("cpu")
    classes = get_c(dls) if n_out is None else n_out
    model = detector_model(named, classes, n_in, cut, width, levels, depth, last, options)
    statistics = None
    if pretrained:
        loaded = load_pretrained(architecture, weights, **(options or {}))
        model.encoder.take_weights(create_body(loaded.model, n_in, True, cut))
        statistics = loaded.statistics
    loss = DetectionLoss(background=_background(dls)) if loss_func is None else loss_func
    return learner_of_built(
        dls,
        BuiltModel(model, statistics),
        meta,
        normalize,
        pretrained,
        n_in,
        splitter,
        cls=DetectionLearner,
        loss_func=loss,
        path=path,
        **kwargs,
    )


def _background(dls: Any) -> int | None:
    """The number of "#na#" among the classes."""
    names: list[Any] = list(getattr(dls, "vocab", None) or ())
    return names.index("#na#") if "#na#" in names else None
