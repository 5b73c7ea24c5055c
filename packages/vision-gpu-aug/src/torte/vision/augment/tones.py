"""Changes of tone as PIL has them: posterize, solarize, equalize, automatic contrast, blends.

They take float images in [0, 1] and give such images. Where PIL counts in whole numbers (posterize,
equalize), values are rounded to multiples of 1 / 255 first, so that the results agree.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from torte.dispatch import serializable
from torte.vision.augment.augmentation import Augmentation
from torte.vision.augment.colour import grey
from torte.vision.augment.coordinates import Frame
from torte.vision.augment.declaration import DrawHook, Drawn, Effect

__all__ = [
    "Equalize",
    "Posterize",
    "Solarize",
    "autocontrast",
    "blend_brightness",
    "blend_colour",
    "blend_contrast",
    "equalize",
    "posterize",
    "solarize",
]


def _spread(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.dtype).view(-1, 1, 1, 1)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the `bits` (n,) highest of the eight bits of each value."""
    step = _spread(2 ** (8 - bits), images)
    return ((images * 255).round() / step).floor() * step / 255


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values from `threshold` (n,) on."""
    return torch.where(images >= _spread(threshold, images), 1 - images, images)


def equalize(images: Tensor) -> Tensor:
    """Spread each channel's values so that their histogram becomes as flat as PIL makes it."""
    n, channels, height, width = images.shape
    values = (images * 255).round().clamp(0, 255).long().flatten(2)
    ones = torch.ones_like(values)
    histogram = values.new_zeros(n, channels, 256).scatter_add_(2, values, ones)
    last = histogram.gather(2, values.amax(2, keepdim=True))
    step = (height * width - last) // 255
    before = histogram.cumsum(2) - histogram
    table = ((before + step // 2) // step.clamp(min=1)).clamp(0, 255)
    table = torch.where(step == 0, torch.arange(256, device=images.device), table)
    return (table.gather(2, values).to(images.dtype) / 255).view(images.shape)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel to the whole range; a flat one stays as it is."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high == low
    scale = 1 / torch.where(flat, torch.ones_like(high), high - low)
    return torch.where(flat, images, (images - low) * scale).clamp(0, 1)


def blend_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by `factor` (n,): PIL's brightness."""
    return (images * _spread(factor, images)).clamp(0, 1)


def blend_colour(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the greys of the pixels: PIL's colour. 0 is grey, 1 unchanged."""
    return torch.lerp(grey(images).expand_as(images), images, _spread(factor, images)).clamp(0, 1)


def blend_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean grey of the image: PIL's contrast. 0 is flat, 1 unchanged."""
    mean = grey(images).mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(images), images, _spread(factor, images)).clamp(0, 1)


@serializable
class Posterize(Augmentation):
    """Reduce the number of bits of each value.

    Args:
        bits: How many to keep, 1 to 8: a number, or the range it is drawn from.
        p: Probability that a sample is changed.
        draw: The number, or a function of the images that gives it.
        batch: One draw for all samples.
    """

    draws = 1
    order = 40

    def __init__(
        self,
        bits: int | Sequence[int] = (4, 8),
        p: float = 0.5,
        draw: DrawHook | None = None,
        batch: bool = False,
    ) -> None:
        super().__init__(p=p, batch=batch)
        self._range = (bits, bits) if isinstance(bits, int) else tuple(bits)
        if len(self._range) != 2 or not 1 <= self._range[0] <= self._range[1] <= 8:
            raise ValueError(f"Posterize: {bits=} must be from 1 to 8, or (least, most)")
        self.bits, self.draw = bits, draw

    def declare(self, drawn: Drawn, frame: Frame) -> Effect:
        """The number of bits."""
        least, most = self._range
        bits = drawn.value(drawn.between(0, least, most + 1).floor(), 8.0, self.draw)
        return Effect(posterize, (bits,), bits < 8, local=True)


@serializable
class Solarize(Augmentation):
    """Invert the bright values.

    Args:
        threshold: From which value on, in [0, 1]: a number, or the range it is drawn from.
        p: Probability that a sample is changed.
        draw: The threshold, or a function of the images that gives it.
        batch: One draw for all samples.
    """

    draws = 1
    order = 40

    def __init__(
        self,
        threshold: float | Sequence[float] = 0.5,
        p: float = 0.5,
        draw: DrawHook | None = None,
        batch: bool = False,
    ) -> None:
        super().__init__(p=p, batch=batch)
        pair = (threshold,) * 2 if isinstance(threshold, int | float) else tuple(threshold)
        if len(pair) != 2 or not 0 <= pair[0] <= pair[1] <= 1:
            raise ValueError(f"Solarize: {threshold=} must be in [0, 1], or (least, largest)")
        self.threshold, self.draw = threshold, draw
        self._range = float(pair[0]), float(pair[1])

    def declare(self, drawn: Drawn, frame: Frame) -> Effect:
        """The threshold."""
        threshold = drawn.value(drawn.between(0, *self._range), 2.0, self.draw)
        return Effect(solarize, (threshold,), drawn.active, local=True)


@serializable
class Equalize(Augmentation):
    """Flatten each channel's histogram.

    Args:
        p: Probability that a sample is changed.
        batch: One draw for all samples.
    """

    order = 41

    def __init__(self, p: float = 0.5, batch: bool = False) -> None:
        super().__init__(p=p, batch=batch)

    def declare(self, drawn: Drawn, frame: Frame) -> Effect:
        """Equalize where active."""
        return Effect(equalize, (), drawn.active)
