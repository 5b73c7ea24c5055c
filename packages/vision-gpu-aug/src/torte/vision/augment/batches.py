"""A batch of semantic tensors, augmented as one.

The images, masks, points and boxes of a tuple share one draw. Points and boxes in a batch are in
unit coordinates (-1 and 1 are the image's edges), as `PointScaler` leaves them.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torte.data.numeric import IntToFloatTensor
from torte.data.seeding import current_keys
from torte.data.tensors import (
    TensorBBox,
    TensorCategory,
    TensorImage,
    TensorMask,
    TensorPoint,
    plain,
)
from torte.vision.augment.coordinates import Frame, pixels_from_unit, unit_from_pixels
from torte.vision.augment.planning import Plan

if TYPE_CHECKING:
    from torte.vision.augment.composing import Augment

__all__ = ["augment_batch"]


def augment_batch(
    engine: "Augment", batch: tuple[Any, ...], split_idx: int | None, keys: Tensor | None
) -> tuple[Any, ...]:
    """Every image, mask, point and box of a batch, from one draw.

    Raises:
        TypeError: The batch holds no image that says so.
    """
    leaves: list[Any] = []
    _collect(batch, leaves)
    images = [leaf for leaf in leaves if isinstance(leaf, TensorImage)]
    if not images:
        kinds = ", ".join(type(leaf).__name__ for leaf in leaves)
        raise TypeError(
            f"a batch of ({kinds}) holds no TensorImage, so what is image and what is target is "
            "not known: wrap them (TensorImage, TensorMask, TensorPoint, TensorBBox), or call the "
            "engine with augment(images, masks=..., points=..., boxes=...)"
        )
    if keys is None:
        keys = current_keys(images[0].shape[0], images[0].device)
    _check_one_size(images)
    changed: dict[int, Any] = {}
    plans = [engine.plan(plain(image), split_idx, keys) for image in images]
    for image, plan in zip(images, plans, strict=True):
        changed[id(image)] = engine.render(plan, plain(image)).as_subclass(type(image))
    _change_targets(engine, leaves, plans[0], changed)
    return _rebuilt(batch, changed)


def _check_one_size(images: list[TensorImage]) -> None:
    sizes = {tuple(image.shape[-2:]) for image in images}
    if len(sizes) > 1:
        raise ValueError(f"the images of one batch differ in size: {sorted(sizes)}")


def _change_targets(
    engine: "Augment", leaves: list[Any], plan: Plan, changed: dict[int, Any]
) -> None:
    source, output = plan.segments[0].source, plan.frame
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, TensorMask):
            mask = plan.masks(plain(_prepared(engine, leaf)))
            changed[id(leaf)] = mask.as_subclass(type(leaf))
        elif isinstance(leaf, TensorBBox):
            corners = plain(leaf).unflatten(-1, (2, 2))
            boxes = pixels_from_unit(corners, source).flatten(-2)
            moved, valid = plan.boxes(boxes, engine.outside, engine.min_visible)
            moved = unit_from_pixels(moved.unflatten(-1, (2, 2)), output).flatten(-2)
            changed[id(leaf)] = _like(_padding_kept(moved, plain(leaf)), leaf, valid, output)
            _drop_labels(engine, leaves, place, valid, changed)
        elif isinstance(leaf, TensorPoint):
            points = pixels_from_unit(plain(leaf), source)
            moved, valid = plan.points(points, engine.outside)
            changed[id(leaf)] = _like(unit_from_pixels(moved, output), leaf, valid, output)


def _prepared(engine: "Augment", mask: TensorMask) -> Any:
    """The mask as the engine's own conversions to float leave masks."""
    for transform in engine.transforms:
        if isinstance(transform, IntToFloatTensor):
            mask = transform(mask)
    return mask


def _padding_kept(moved: Tensor, boxes: Tensor) -> Tensor:
    """A box without area keeps its very numbers: converted to pixels and back they would drift."""
    has_area = (boxes[..., 2:] > boxes[..., :2]).all(-1, keepdim=True)
    return torch.where(has_area, moved, boxes)


def _like(moved: Tensor, old: TensorPoint, valid: Tensor, output: Frame) -> TensorPoint:
    """`moved` as the class of `old`, with its metadata, the flags and the new size."""
    new = moved.as_subclass(type(old))
    metadata = dict(vars(old))
    if "img_size" in metadata:
        metadata["img_size"] = (output.width, output.height)
    vars(new).update(metadata, valid=valid)
    return new


def _drop_labels(
    engine: "Augment", leaves: list[Any], place: int, valid: Tensor, changed: dict[int, Any]
) -> None:
    """With `outside="drop"`, the labels that follow the boxes become 0 where a box is dropped."""
    if engine.outside != "drop" or place + 1 >= len(leaves):
        return
    labels = leaves[place + 1]
    if isinstance(labels, TensorCategory) and labels.shape == valid.shape:
        kept = torch.where(valid, plain(labels), torch.zeros_like(plain(labels)))
        changed[id(labels)] = kept.as_subclass(type(labels))


def _collect(value: Any, leaves: list[Any]) -> None:
    if isinstance(value, tuple | list):
        for each in value:
            _collect(each, leaves)
    else:
        leaves.append(value)


def _rebuilt(value: Any, changed: dict[int, Any]) -> Any:
    if id(value) in changed:
        return changed[id(value)]
    if not isinstance(value, tuple | list):
        return value
    parts = [_rebuilt(each, changed) for each in value]
    kind: Any = type(value)
    return kind._make(parts) if hasattr(kind, "_make") else kind(parts)
