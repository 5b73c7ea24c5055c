"""`detection_learner`: a Learner for boxes and their labels."""

from pathlib import Path
from typing import Any

from torch import Tensor

from torte.data import get_c
from torte.data.display import get_grid
from torte.data.tensors import LabeledBBox
from torte.dispatch import serializable
from torte.learner.learner import Learner
from torte.vision.detection.loss import DetectionLoss
from torte.vision.detection.network import detector_model
from torte.vision.display import show_labelled_boxes
from torte.vision.learner import add_normalization, device_of
from torte.vision.models.architectures import ArchitectureLike, find_architecture
from torte.vision.models.body_and_head import Cut, create_body, default_split
from torte.vision.models.building import fast_memory_format
from torte.vision.models.weights import load_pretrained

__all__ = ["DetectionLearner", "detection_learner"]


@serializable("torte.vision.DetectionLearner")
class DetectionLearner(Learner):
    """A Learner whose predictions are boxes, names and scores.

    `get_preds` returns detections as `DetectionLoss.activation` has them.
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

    def show_results(
        self,
        ds_idx: int = 1,
        dl: Any = None,
        max_n: int = 9,
        shuffle: bool = True,
        threshold: float = 0.3,
        **kwargs: Any,
    ) -> None:
        """Draw images with the true boxes, and beside them with the predicted ones and scores.

        Args:
            ds_idx: Of which of the learner's loaders.
            dl: Or of this one.
            max_n: How many images at most.
            shuffle: Whether to draw them at random.
            threshold: Detections with lower scores are not drawn.
            **kwargs: For `get_grid`: `figsize`, `imsize`, `title`, ….
        """
        dl = self._loader_to_look_at(ds_idx, dl)
        if hasattr(dl, "new"):
            dl = dl.new(shuffle=shuffle)
        with self.alone(), self.looking(dl):
            batch = dl.one_batch()
            found, _, decoded = self.get_preds(dl=[batch], with_decoded=True)
            n = min(max_n, len(found))
            true = dl.decode_batch(batch, max_n=n)
            predicted = dl.decode_batch((*batch[: dl.n_inp], *decoded), max_n=n)
        options = {"ncols": 1 if n < 4 else 2, "title": "Target/Prediction", **kwargs}
        axes = get_grid(n, double=True, **options)
        for place, (image, boxes, names) in enumerate(true):
            show_labelled_boxes(image, LabeledBBox(boxes, names), axes[2 * place])
            shown = _named(predicted[place][1:], found[place][:, 5], threshold)
            show_labelled_boxes(image, shown, axes[2 * place + 1])


def _named(target: tuple[Any, Any], scores: Tensor, threshold: float) -> LabeledBBox:
    """The detections that are sure enough, their scores beside their names."""
    boxes, names = target
    kept = [i for i, score in enumerate(scores.tolist()) if score >= threshold]
    return LabeledBBox(boxes[kept], [f"{names[i]} {scores[i]:.2f}" for i in kept])


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
    splitter: Any = default_split,
    options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> DetectionLearner:
    """Makes a Learner that finds boxes and their labels in the images of `dls`.

    Args:
        dls: Loaders of (images, boxes, labels), as `DataBlock(blocks=(ImageBlock, BBoxBlock,
            BBoxLblBlock), n_inp=1, …)` makes them.
        arch: As for `vision_learner`; it must keep maps of several resolutions, as for a U-Net.
        normalize: Whether to normalize the images.
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
        splitter: From the model to its parameter groups: early body, late body and the rest.
        options: Arguments for the architecture's function.
        **kwargs: For `Learner`.

    Raises:
        UnknownArchitectureError: If there is no such architecture.
        WeightsUnavailableError: If its weights are neither here nor to be downloaded.
        BodyCutError: If the architecture has no maps of several resolutions.
        ValueError: If the data do not say how many classes there are.
    """
    architecture = find_architecture(arch)
    named = architecture.full_name or architecture.function
    last = fast_memory_format(device_of(dls)) is fast_memory_format("cpu")
    classes = get_c(dls) if n_out is None else n_out
    model = detector_model(named, classes, n_in, cut, width, levels, depth, last, options)
    if pretrained:
        loaded = load_pretrained(architecture, weights, **(options or {}))
        model.encoder.take_weights(create_body(loaded.model, n_in, True, cut))
        if normalize:
            add_normalization(dls, loaded.statistics, n_in)
    loss = DetectionLoss(background=_background(dls)) if loss_func is None else loss_func
    learn = DetectionLearner(dls, model, loss, splitter=splitter, path=path, **kwargs)
    if pretrained:
        learn.freeze()
    return learn


def _background(dls: Any) -> int | None:
    """The number of "#na#" among the classes."""
    names: list[Any] = list(getattr(dls, "vocab", None) or ())
    return names.index("#na#") if "#na#" in names else None
