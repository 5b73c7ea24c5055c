"""Random erasing: rectangles of noise."""

import math

import torch
from torch import Tensor

from torte.dispatch import serializable
from torte.vision.augment.augmentation import Augmentation
from torte.vision.augment.coordinates import Frame
from torte.vision.augment.declaration import Drawn, Effect
from torte.vision.augment.noise import normal_at, normal_images

__all__ = ["RandomErasing", "erase"]


def erase(images: Tensor, boxes: Tensor, keys: Tensor) -> Tensor:
    """Fill rectangles with standard normal noise.

    Args:
        images: (n, channels, height, width).
        boxes: int64 (n, k, 4): left, top, right, bottom; empty ones erase nothing.
        keys: int64 (n,), what the noise of a sample comes from.

    Returns:
        New images; the noise at a place depends on the sample's key and the place alone.
    """
    if images.device.type == "cpu" and not torch.compiler.is_compiling():
        return _erase_boxes(images, boxes, keys)
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device)
    y = torch.arange(height, device=images.device)
    left, top, right, bottom = boxes[..., None].unbind(2)
    columns, rows = (x >= left) & (x < right), (y >= top) & (y < bottom)
    inside = (columns[:, :, None, :] & rows[:, :, :, None]).any(1)
    return torch.where(inside[:, None], normal_images(keys, images), images)


def _erase_boxes(images: Tensor, boxes: Tensor, keys: Tensor) -> Tensor:
    """`erase`, drawing noise only where it is needed."""
    result = images.clone()
    channels, height, width = images.shape[1:]
    places = torch.arange(channels * height * width).view(channels, height, width)
    for sample, rectangles in enumerate(boxes.tolist()):
        for left, top, right, bottom in rectangles:
            if right > left and bottom > top:
                part = (slice(None), slice(top, bottom), slice(left, right))
                noise = normal_at(keys[sample], places[part])
                result[sample][part] = noise.to(images.dtype)
    return result


@serializable
class RandomErasing(Augmentation):
    """Replace random rectangles with noise, after normalization, so the noise is standard normal.

    Zhong et al., "Random erasing data augmentation", AAAI 2020. Targets stay as they are.

    Args:
        p: Probability that a sample is changed.
        sl: The least share of the area that is erased.
        sh: The largest share.
        min_aspect: The least aspect ratio of a rectangle; the largest is its reciprocal.
        max_count: At most so many rectangles, sharing the area.
    """

    order = 100

    def __init__(
        self,
        p: float = 0.5,
        sl: float = 0.0,
        sh: float = 0.3,
        min_aspect: float = 0.3,
        max_count: int = 1,
    ) -> None:
        super().__init__(p=p)
        if not 0 <= sl <= sh <= 1:
            raise ValueError(f"RandomErasing: need 0 <= sl <= sh <= 1, got {sl=}, {sh=}")
        if not 0 < min_aspect <= 1 or max_count < 1:
            raise ValueError(
                f"RandomErasing: need 0 < min_aspect <= 1 and max_count >= 1, got {min_aspect=}, "
                f"{max_count=}"
            )
        self.sl, self.sh, self.min_aspect, self.max_count = sl, sh, min_aspect, max_count
        self.draws = 1 + 4 * max_count

    def declare(self, drawn: Drawn, frame: Frame) -> Effect:
        """The rectangles."""
        count = (drawn.uniform[0] * self.max_count).floor() + 1
        bound = math.log(1 / self.min_aspect)
        boxes = []
        for place in range(self.max_count):
            share, ratio, x, y = drawn.uniform[1 + 4 * place : 5 + 4 * place].unbind(0)
            area = (self.sl + share * (self.sh - self.sl)) * frame.height * frame.width / count
            aspect = ((2 * ratio - 1) * bound).exp()
            height = (area * aspect).sqrt().round().clamp(max=frame.height)
            width = (area / aspect).sqrt().round().clamp(max=frame.width)
            used = drawn.active & (place < count)
            width = torch.where(used, width, torch.zeros_like(width))
            left = (x * (frame.width - width + 1)).floor()
            top = (y * (frame.height - height + 1)).floor()
            boxes.append(torch.stack([left, top, left + width, top + height], dim=1))
        return Effect(erase, (torch.stack(boxes, dim=1).long(), drawn.keys))
