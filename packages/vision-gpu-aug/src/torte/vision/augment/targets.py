"""Masks, points and boxes, moved by the very map that their image is sampled with.

* Masks are sampled at the nearest pixel, so they hold no number that was not in them.
* Points are exact: homographies are inverted in closed form, displacements by iteration.
* A box becomes the smallest upright box around its transformed outline.

What leaves the frame is flagged, and never moved silently. `outside` says what to do with it:
"keep" leaves coordinates as they come out (the flags tell), "clip" cuts boxes at the frame (points
stay: a clipped point would be a wrong one), "drop" makes points NaN and boxes zero. A box without
area is padding and stays as it is.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from torte.vision.augment.coordinates import Frame, centred_from_pixels
from torte.vision.augment.declaration import Displacement
from torte.vision.augment.sampling import CoordinateMap, Sampling, forward_points, grid_of

__all__ = [
    "OUTSIDE",
    "check_boxes",
    "check_masks",
    "check_points",
    "move_boxes",
    "move_points",
    "sample_masks",
]

OUTSIDE = ("keep", "clip", "drop")

_EXACT_IN_FLOAT32 = (
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.bool,
    torch.float16,
    torch.bfloat16,
)
_EDGE_SAMPLES = 17


def check_masks(masks: Tensor, images: Tensor) -> None:
    """Raise ValueError unless `masks` are (n, h, w) or (n, c, h, w) of the size of the images."""
    fits = masks.ndim in (3, 4) and masks.shape[0] == images.shape[0]
    if not fits or masks.shape[-2:] != images.shape[-2:]:
        raise ValueError(
            f"masks of shape {tuple(masks.shape)} do not belong to images of shape "
            f"{tuple(images.shape)}: give (n, height, width) or (n, channels, height, width)"
        )
    if masks.is_complex():
        raise TypeError(f"masks cannot be of dtype {masks.dtype}")


def _check_coordinates(values: Tensor, images: Tensor, width: int, what: str) -> None:
    if values.ndim != 3 or values.shape[0] != images.shape[0] or values.shape[-1] != width:
        raise ValueError(
            f"{what} of shape {tuple(values.shape)} do not belong to {images.shape[0]} images: "
            f"give (n, number of {what}, {width}); pad with "
            + ("NaN" if width == 2 else "zeros")
            + " where samples have unequal numbers"
        )
    if not values.is_floating_point():
        raise TypeError(f"{what} must be floating point pixel coordinates, got {values.dtype}")


def check_points(points: Tensor, images: Tensor) -> None:
    """Raise unless `points` are floating point (n, k, 2)."""
    _check_coordinates(points, images, 2, "points")


def check_boxes(boxes: Tensor, images: Tensor) -> None:
    """Raise unless `boxes` are floating point (n, k, 4) with corners in order."""
    _check_coordinates(boxes, images, 4, "boxes")


def sample_masks(
    masks: Tensor,
    maps: Sequence[CoordinateMap],
    source: Frame,
    output: Frame,
    sampling: Sampling,
) -> Tensor:
    """Masks (n, h, w) or (n, c, h, w) of any real dtype, sampled at the nearest pixel."""
    grid = grid_of(maps, source, output, sampling.corners)
    exact = masks.dtype in _EXACT_IN_FLOAT32 or masks.dtype == torch.float32
    # Class numbers below 2**24 are exact in float32; MPS has nothing wider.
    wide = torch.float32 if exact or masks.device.type == "mps" else torch.float64
    values = masks.to(wide)
    planes = values if values.ndim == 4 else values[:, None]
    moved = F.grid_sample(
        planes, grid.to(wide), "nearest", sampling.padding, align_corners=sampling.corners
    )
    return (moved if values.ndim == 4 else moved[:, 0]).to(masks.dtype)


def _inside(points: Tensor, frame: Frame) -> Tensor:
    limits = points.new_tensor([frame.width, frame.height]) / 2
    return (points.abs() <= limits).all(-1)


def _pixels(points: Tensor, frame: Frame) -> Tensor:
    return points + points.new_tensor([frame.width, frame.height]) / 2


def move_points(
    points: Tensor, maps: Sequence[CoordinateMap], source: Frame, output: Frame
) -> tuple[Tensor, Tensor]:
    """Send points from the source to the output.

    Args:
        points: (n, k, 2) pixel coordinates in the source.
        maps: The map, outermost first.
        source: Frame of the source.
        output: Frame of the result.

    Returns:
        Pixel coordinates in the output, (n, k, 2), NaN where a point has no image; and bool (n, k),
        whether it lies in the frame.
    """
    wide = points.float()
    moved, seen = forward_points(maps, centred_from_pixels(wide, source), source)
    moved = torch.where(seen[..., None], moved, torch.nan)
    return _pixels(moved, output).to(points.dtype), seen & _inside(moved, output)


def _outline(boxes: Tensor, curved: bool) -> Tensor:
    """(n, k * m, 2): the corners of boxes, or `_EDGE_SAMPLES` points on each edge."""
    left, top, right, bottom = boxes.unbind(-1)
    if not curved:
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        return torch.stack([torch.stack(c, -1) for c in corners], dim=2).flatten(1, 2)
    steps = torch.linspace(0, 1, _EDGE_SAMPLES, device=boxes.device, dtype=boxes.dtype)
    x = left[..., None] + (right - left)[..., None] * steps
    y = top[..., None] + (bottom - top)[..., None] * steps
    edges = [
        torch.stack([x, top[..., None].expand_as(x)], -1),
        torch.stack([x, bottom[..., None].expand_as(x)], -1),
        torch.stack([left[..., None].expand_as(y), y], -1),
        torch.stack([right[..., None].expand_as(y), y], -1),
    ]
    return torch.cat(edges, dim=2).flatten(1, 2)


def move_boxes(
    boxes: Tensor,
    maps: Sequence[CoordinateMap],
    source: Frame,
    output: Frame,
    outside: str = "keep",
    min_visible: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Send boxes from the source to the output.

    Args:
        boxes: (n, k, 4), x1, y1, x2, y2 in pixels of the source.
        maps: The map, outermost first.
        source: Frame of the source.
        output: Frame of the result.
        outside: "keep", "clip" or "drop".
        min_visible: A box is valid if more than this fraction of its area is in the frame.

    Returns:
        Boxes in pixels of the output, (n, k, 4), and bool (n, k), which of them are valid: have an
        area, an image, and enough of it in the frame.
    """
    wide = boxes.float()
    has_area = (wide[..., 2] > wide[..., 0]) & (wide[..., 3] > wide[..., 1])
    curved = _is_curved(maps)
    outline = centred_from_pixels(_outline(wide, curved), source)
    moved, seen = forward_points(maps, outline, source)
    each = (boxes.shape[1], 4 * _EDGE_SAMPLES if curved else 4)
    moved = _pixels(moved, output).unflatten(1, each)
    seen = seen.unflatten(1, each).all(-1)
    found = torch.cat([moved.amin(2), moved.amax(2)], dim=-1)
    clipped = _clipped(found, output)
    visible = _area(clipped) > min_visible * _area(found)
    valid = has_area & seen & visible & (_area(clipped) > 0)
    result = clipped if outside == "clip" else found
    if outside == "drop":
        result = torch.where(valid[..., None], result, torch.zeros_like(result))
    result = torch.where(has_area[..., None], result, wide)
    return result.to(boxes.dtype), valid


def _is_curved(maps: Sequence[CoordinateMap]) -> bool:
    return any(isinstance(part, Displacement) for part in maps)


def _clipped(boxes: Tensor, frame: Frame) -> Tensor:
    limits = boxes.new_tensor([frame.width, frame.height] * 2)
    return torch.minimum(boxes.clamp(min=0), limits)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
