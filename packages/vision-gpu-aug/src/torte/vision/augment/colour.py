"""Colour maps that merge: however many follow each other, they cost one pass.

Two spaces. In RGB a map is linear, v -> A v + b. In *logit* space, where light is changed so that
nothing saturates, z = log(v / (1 - v)) is mapped by

    z -> gain (saturation z + (1 - saturation) grey(z)) + shift,    v = 1 / (1 + exp(-z)),

which is closed under composition: gains and saturations multiply, and a gain multiplies the shifts
before it. `Brightness` states a shift, `Contrast` a gain, `Saturation` a saturation. `Hue` turns
HSV's angle, which neither space makes linear, so it stays a pass of its own.

Greys weigh red, green and blue as ITU-R BT.601 does: 0.2989, 0.587, 0.114 (torchvision's digits).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torte.dispatch import serializable
from torte.vision.augment.augmentation import Augmentation
from torte.vision.augment.coordinates import Frame
from torte.vision.augment.declaration import (
    DrawHook,
    Drawn,
    PixelMap,
    where_active,
)

__all__ = [
    "EPSILON",
    "Brightness",
    "ChannelAffine",
    "ColourMatrix",
    "Contrast",
    "Grayscale",
    "Hue",
    "HueTurn",
    "LogitColour",
    "Saturation",
    "adjust_hue",
    "grey",
]

EPSILON = 1e-6
"""How far values stay from 0 and 1 before their logit is taken (about 1 / 4000 of 1 / 255)."""

_GREY = (0.2989, 0.587, 0.114)


def _spread(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.dtype).view(-1, *(1,) * (images.ndim - 1))


def grey(images: Tensor) -> Tensor:
    """(n, 1, h, w) luma of (n, 3, h, w); images of another number of channels: their mean."""
    if images.shape[1] != len(_GREY):
        return images.mean(1, keepdim=True)
    red, green, blue = (images[:, i : i + 1] * weight for i, weight in enumerate(_GREY))
    return red + green + blue


@dataclass(frozen=True, eq=False)
class ChannelAffine(PixelMap):
    """v * scale + offset, channel by channel: conversion to float, `Normalize`.

    Attributes:
        scale: (1 or n, channels or 1).
        offset: (1 or n, channels or 1).
    """

    scale: Tensor
    offset: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Scale and shift each channel."""
        scale, offset = (v.to(images.dtype)[..., None, None] for v in (self.scale, self.offset))
        return images * scale + offset

    def merged(self, following: PixelMap) -> PixelMap | None:
        """One map for two of this kind."""
        if not isinstance(following, ChannelAffine):
            return None
        scale = self.scale * following.scale
        return ChannelAffine(scale, self.offset * following.scale + following.offset)


@dataclass(frozen=True, eq=False)
class ColourMatrix(PixelMap):
    """v -> A v + b on the three channels; images of another number of channels stay as they are.

    Attributes:
        matrix: (n, 3, 3).
        offset: (n, 3).
        active: bool (n,); None: all.
    """

    matrix: Tensor
    offset: Tensor
    active: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Mix the channels."""
        if images.shape[1] != self.matrix.shape[-1]:
            return images
        mixed = torch.einsum("nij,njhw->nihw", self.matrix.to(images.dtype), images)
        new = mixed + self.offset.to(images.dtype)[..., None, None]
        return where_active(self.active, new, images)

    def merged(self, following: PixelMap) -> PixelMap | None:
        """One map for two of this kind."""
        if not isinstance(following, ColourMatrix):
            return None
        matrix = (following.matrix[..., :, :, None] * self.matrix[..., None, :, :]).sum(-2)
        offset = (following.matrix * self.offset[..., None, :]).sum(-1) + following.offset
        return ColourMatrix(matrix, offset, _either(self.active, following.active))


def _either(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else first | second


@dataclass(frozen=True, eq=False)
class LogitColour(PixelMap):
    """Brightness, contrast and saturation in logit space (see the module), values in [0, 1].

    Attributes:
        gain: (n,).
        shift: (n,).
        saturation: (n,), or None where it is 1 for all.
    """

    gain: Tensor
    shift: Tensor
    saturation: Tensor | None = None

    @property
    def active(self) -> Tensor:
        """Bool (n,): which samples change at all."""
        changed = (self.gain != 1) | (self.shift != 0)
        return changed if self.saturation is None else changed | (self.saturation != 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Change the light."""
        logits = torch.logit(images, eps=EPSILON)
        if self.saturation is not None:
            amount = _spread(self.saturation, images)
            logits = torch.lerp(grey(logits).expand_as(logits), logits, amount)
        logits = logits * _spread(self.gain, images) + _spread(self.shift, images)
        return where_active(self.active, logits.sigmoid(), images)

    def merged(self, following: PixelMap) -> PixelMap | None:
        """One map for two of this kind."""
        if not isinstance(following, LogitColour):
            return None
        gain = self.gain * following.gain
        shift = self.shift * following.gain + following.shift
        if self.saturation is None or following.saturation is None:
            saturation = following.saturation if self.saturation is None else self.saturation
        else:
            saturation = self.saturation * following.saturation
        return LogitColour(gain, shift, saturation)


@dataclass(frozen=True, eq=False)
class HueTurn(PixelMap):
    """A turn of the hue in HSV.

    Attributes:
        turn: (n,), fractions of a full turn.
    """

    turn: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Turn the hue where there is a turn."""
        return where_active(self.turn != 0, adjust_hue(images, self.turn), images)


def adjust_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of RGB images in HSV by (n,) fractions of a full turn.

    Smith, "Color gamut transform pairs", SIGGRAPH 1978. Images of one channel are returned as is.
    """
    if images.shape[1] != len(_GREY):
        return images
    high, low = images.amax(1), images.amin(1)
    spread = high - low
    safe = torch.where(spread == 0, torch.ones_like(spread), spread)
    red, green, blue = ((high - channel) / safe for channel in images.unbind(1))
    hue = torch.where(
        images[:, 0] == high,
        blue - green,
        torch.where(images[:, 1] == high, 2 + red - blue, 4 + green - red),
    )
    hue = torch.remainder(hue / 6 + turn.to(images.dtype)[:, None, None], 1.0) * 6
    # One channel of a pure hue is a trapezoid of the angle; the others lag by a third of a turn.
    sectors = (torch.remainder(hue + shift, 6.0) for shift in (5.0, 3.0, 1.0))
    return torch.stack(
        [high - spread * torch.minimum(k, 4 - k).clamp(0, 1) for k in sectors], dim=1
    )


class _Lighting(Augmentation):
    """What `Brightness`, `Contrast` and `Saturation` share: one amount, in logit space."""

    draws = 1
    order = 40

    def __init__(
        self,
        max_lighting: float = 0.2,
        p: float = 0.75,
        draw: DrawHook | None = None,
        batch: bool = False,
    ) -> None:
        if not 0 <= max_lighting < 1:
            raise ValueError(f"max_lighting={max_lighting!r}: it must be in [0, 1)")
        super().__init__(p=p, batch=batch)
        self.max_lighting, self.draw = max_lighting, draw

    def _factor(self, drawn: Drawn) -> Tensor:
        """(n,) factors, log-uniform between 1 - max_lighting and its reciprocal."""
        bound = -math.log(1 - self.max_lighting)
        return drawn.value(drawn.between(0, -bound, bound).exp(), 1.0, self.draw)


@serializable
class Brightness(_Lighting):
    """Shift light: an amount of 0.5 changes nothing, 0 is black, 1 is white.

    The amount is drawn between 0.5 (1 - max_lighting) and 0.5 (1 + max_lighting); its logit is
    added to the logits of the image.

    Args:
        max_lighting: How far to go, in [0, 1).
        p: Probability that a sample is changed.
        draw: The amount, or a function of the images that gives it.
        batch: One draw for all samples.
    """

    def declare(self, drawn: Drawn, frame: Frame) -> PixelMap:
        """The colour map."""
        reach = self.max_lighting
        drawn_amount = drawn.between(0, 0.5 * (1 - reach), 0.5 * (1 + reach))
        amount = drawn.value(drawn_amount, 0.5, self.draw)
        shift = torch.where(amount == 0.5, torch.zeros_like(amount), torch.logit(amount, EPSILON))
        return LogitColour(torch.ones_like(shift), shift)


@serializable
class Contrast(_Lighting):
    """Multiply the logits of the image: a factor of 1 changes nothing, 0 gives a flat grey.

    The factor is log-uniform between 1 - max_lighting and 1 / (1 - max_lighting).

    Args:
        max_lighting: How far to go, in [0, 1).
        p: Probability that a sample is changed.
        draw: The factor, or a function of the images that gives it.
        batch: One draw for all samples.
    """

    def declare(self, drawn: Drawn, frame: Frame) -> PixelMap:
        """The colour map."""
        factor = self._factor(drawn)
        return LogitColour(factor, torch.zeros_like(factor))


@serializable
class Saturation(_Lighting):
    """Blend each logit with the grey of its pixel: 1 changes nothing, 0 is grey.

    The factor is log-uniform between 1 - max_lighting and 1 / (1 - max_lighting).

    Args:
        max_lighting: How far to go, in [0, 1).
        p: Probability that a sample is changed.
        draw: The factor, or a function of the images that gives it.
        batch: One draw for all samples.
    """

    def declare(self, drawn: Drawn, frame: Frame) -> PixelMap:
        """The colour map."""
        factor = self._factor(drawn)
        return LogitColour(torch.ones_like(factor), torch.zeros_like(factor), factor)


@serializable
class Hue(Augmentation):
    """Turn the hue in HSV, by a fraction of a full turn.

    The fraction is uniform between -max_hue and max_hue.

    Args:
        max_hue: How far to turn, in [0, 0.5].
        p: Probability that a sample is changed.
        draw: The fraction, or a function of the images that gives it.
        batch: One draw for all samples.
    """

    draws = 1
    order = 40

    def __init__(
        self,
        max_hue: float = 0.1,
        p: float = 0.75,
        draw: DrawHook | None = None,
        batch: bool = False,
    ) -> None:
        if not 0 <= max_hue <= 0.5:
            raise ValueError(f"max_hue={max_hue!r}: it must be in [0, 0.5], a half turn")
        super().__init__(p=p, batch=batch)
        self.max_hue, self.draw = max_hue, draw

    def declare(self, drawn: Drawn, frame: Frame) -> PixelMap:
        """The colour map."""
        turn = drawn.value(drawn.between(0, -self.max_hue, self.max_hue), 0.0, self.draw)
        return HueTurn(turn)


@serializable
class Grayscale(Augmentation):
    """Replace the three channels by their luma, with probability `p`.

    Args:
        p: Probability that a sample is changed.
        batch: One draw for all samples.
    """

    order = 40

    def __init__(self, p: float = 0.1, batch: bool = False) -> None:
        super().__init__(p=p, batch=batch)

    def declare(self, drawn: Drawn, frame: Frame) -> PixelMap:
        """The colour map."""
        weights = drawn.ones.new_tensor(_GREY).expand(drawn.ones.shape[0], 3, 3)
        return ColourMatrix(weights, torch.zeros_like(weights[:, 0]), drawn.active)


def channel_affine(
    scale: Tensor | float | Sequence[float], offset: Tensor | float | Sequence[float], like: Tensor
) -> ChannelAffine:
    """`ChannelAffine` from numbers, shared by all samples, on the device of `like`."""
    rows = [
        torch.as_tensor(value, dtype=torch.float32).to(like.device).reshape(1, -1)
        for value in (scale, offset)
    ]
    return ChannelAffine(rows[0], rows[1])
