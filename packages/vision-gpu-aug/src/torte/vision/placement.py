"""Where a part of an item goes in the result: one rule for pictures, masks, points and boxes.

A `Placement` says that the rectangle `source` of an image, in pixels, is shown in the rectangle
`target` of an output of a given size, and how the rest of the output is filled. Points travel by
the same two rectangles, so they are exact (coordinates as in `torte.vision.augment.coordinates`:
pixel (0, 0) covers [0, 1] x [0, 1]).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from torte.data.images import PILBase, PILMask
from torte.data.tensors import TensorBBox, TensorPoint, plain

__all__ = ["PadMode", "Placement", "move_item", "size_of", "turn_item", "with_position"]

Rectangle = tuple[float, float, float, float]

TURNS = (
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_180,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
)
"""The eight symmetries of the square, numbered as in `torte.vision.augment.Dihedral`."""


class PadMode:
    """What fills the part of the output where there is no image."""

    Zeros = "zeros"
    Border = "border"
    Reflection = "reflection"


_NUMPY_MODES = {"zeros": "constant", "border": "edge", "reflection": "reflect"}


@dataclass(frozen=True)
class Placement:
    """A rectangle of an image shown in a rectangle of an output.

    Attributes:
        source: (left, top, right, bottom), in pixels, within the image.
        target: (left, top, right, bottom), whole pixels, within the output.
        size: (width, height) of the output.
        pad_mode: "zeros", "border" or "reflection".
    """

    source: Rectangle
    target: tuple[int, int, int, int]
    size: tuple[int, int]
    pad_mode: str = PadMode.Zeros

    def image(self, image: Image.Image, resample: int) -> Image.Image:
        """Place a Pillow image."""
        left, top, right, bottom = self.target
        shown = self._shown(image, (right - left, bottom - top), resample)
        if shown.size == self.size:
            return shown
        values = np.asarray(shown)
        width, height = self.size
        edges = [(top, height - bottom), (left, width - right), (0, 0)][: values.ndim]
        mode: Any = _NUMPY_MODES[self.pad_mode]
        padded = Image.fromarray(np.pad(values, edges, mode=mode))
        return type(image).create(padded, mode=image.mode) if isinstance(image, PILBase) else padded

    def _shown(self, image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
        left, top, right, bottom = self.source
        whole = all(float(edge).is_integer() for edge in self.source)
        if whole and (right - left, bottom - top) != image.size:
            # Cut first, as torchvision and fastai do: a resize with `box` looks beyond its edges.
            image = image.crop((int(left), int(top), int(right), int(bottom)))
        if whole:
            return image if size == image.size else image.resize(size, resample)
        return image.resize(size, resample, box=self.source)

    def points(self, points: Tensor) -> Tensor:
        """Place (..., 2) points given in pixels of the image."""
        source = points.new_tensor(self.source)
        target = points.new_tensor([float(edge) for edge in self.target])
        scale = (target[2:] - target[:2]) / (source[2:] - source[:2])
        return (points - source[:2]) * scale + target[:2]


def size_of(item: Any) -> tuple[int, int] | None:
    """(width, height) of an image or of the image that points lie in; None if unknown."""
    if isinstance(item, Image.Image):
        return item.size
    size = getattr(item, "img_size", None) if isinstance(item, TensorPoint) else None
    return None if size is None else (int(size[0]), int(size[1]))


def move_item(item: Any, placement: Placement, resamples: tuple[int, int]) -> Any:
    """Place an image, a mask, points or boxes; anything else comes back as it is.

    Args:
        item: The item.
        placement: Where to.
        resamples: Pillow's resampling for images and for masks.
    """
    if isinstance(item, Image.Image):
        return placement.image(item, resamples[isinstance(item, PILMask)])
    if isinstance(item, TensorPoint):
        values = plain(item).float()
        moved = placement.points(values.unflatten(-1, (-1, 2))).flatten(-2)
        return with_position(item, moved, placement.size)
    return item


def turn_item(item: Any, number: int, size: tuple[int, int]) -> Any:
    """Apply a symmetry of the square to an image, a mask, points or boxes.

    Args:
        item: The item.
        number: Which of `TURNS`.
        size: (width, height) of the image.
    """
    turn = TURNS[number]
    if turn is None:
        return item
    if isinstance(item, Image.Image):
        return item.transpose(turn)
    if not isinstance(item, TensorPoint):
        return item
    x, y = plain(item).float().unflatten(-1, (-1, 2)).unbind(-1)
    width, height = size
    x = width - x if number & 1 else x
    y = height - y if number & 2 else y
    if number & 4:
        x, y, width, height = y, x, height, width
    return with_position(item, torch.stack([x, y], -1).flatten(-2), (width, height))


def with_position(item: TensorPoint, moved: Tensor, size: tuple[int, int]) -> TensorPoint:
    """Points or boxes at new places in an image of a new size, flagged.

    The result carries the metadata of `item`, the new `img_size`, and `valid`: bool, one a point or
    box, whether it lies in the image (a box: whether some of its area does). Nothing is clipped.
    """
    width, height = size
    if isinstance(item, TensorBBox):
        corners = moved.unflatten(-1, (2, 2))
        moved = torch.cat([corners.amin(-2), corners.amax(-2)], -1)
        left, top, right, bottom = moved.unbind(-1)
        inside = (left < width) & (top < height) & (right > 0) & (bottom > 0)
        valid = inside & (right > left) & (bottom > top)
    else:
        limits = moved.new_tensor([width, height])
        valid = ((moved >= 0) & (moved <= limits)).all(-1)
    result = moved.as_subclass(type(item))
    vars(result).update({**vars(item), "img_size": (width, height), "valid": valid})
    return result
