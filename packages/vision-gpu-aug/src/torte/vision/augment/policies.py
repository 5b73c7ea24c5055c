"""Automatic augmentation: operations and strengths picked at random for each sample.

TrivialAugment: Müller and Hutter, ICCV 2021. RandAugment: Cubuk et al., CVPR Workshops 2020. The
operations and their ranges are torchvision's. Operations that move pixels act first and compose
into the one sampling, then those that change values act in their order.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torte.dispatch import serializable
from torte.vision.augment.augmentation import Augmentation
from torte.vision.augment.coordinates import Frame, compose, from_rows, translation
from torte.vision.augment.declaration import Drawn, Effect, Homography, Part
from torte.vision.augment.filters import adjust_sharpness
from torte.vision.augment.sampling import MODES, PAD_MODES, Sampling
from torte.vision.augment.tones import (
    autocontrast,
    blend_brightness,
    blend_colour,
    blend_contrast,
    equalize,
    posterize,
    solarize,
)

__all__ = ["RandAugment", "TrivialAugment"]

_SHEAR_X, _SHEAR_Y, _MOVE_X, _MOVE_Y, _TURN = range(1, 6)
_GEOMETRIC = 6  # operations below this number move pixels (0 is the identity)


def _blend(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda images, strength: function(images, 1 + strength)


_VALUES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _blend(blend_brightness),
    _blend(blend_colour),
    _blend(blend_contrast),
    _blend(adjust_sharpness),
    posterize,
    solarize,
    lambda images, strength: autocontrast(images),
    lambda images, strength: equalize(images),
)
_COUNT = _GEOMETRIC + len(_VALUES)


class _Policy(Augmentation):
    """What both policies share: operations by number, their strengths and signs."""

    def __init__(self, bins: int, p: float, mode: str, pad_mode: str) -> None:
        super().__init__(p=p)
        name = type(self).__name__
        if bins < 2:
            raise ValueError(f"{name}: num_magnitude_bins={bins!r} must be at least 2")
        if mode not in MODES or pad_mode not in PAD_MODES:
            raise ValueError(f"{name}: unknown {mode=} or {pad_mode=}")
        self.num_magnitude_bins, self.mode, self.pad_mode = bins, mode, pad_mode

    @property
    def sampling(self) -> Sampling:
        """As the arguments say."""
        return Sampling(self.mode, self.pad_mode)

    def _strengths(self, level: Tensor, sign: Tensor, limits: tuple[float, ...]) -> Tensor:
        """(operations, n): the strength of each operation at `level` in [0, 1]."""
        shear, x, y, degrees, blend, lost_bits = limits
        signed = [limit * level * sign for limit in (shear, shear, x, y, degrees)]
        blends = [blend * level * sign] * 4
        bits = 8 - (lost_bits * level).round()
        idle = torch.zeros_like(level)
        return torch.stack([idle, *signed, *blends, bits, 1 - level, idle, idle])


def _moves(operation: Tensor, strengths: Tensor) -> Tensor:
    """(n, 3, 3): the map, output to input, of whatever of the operations moves pixels."""

    def amount(number: int) -> Tensor:
        return torch.where(operation == number, strengths[number], 0.0)

    zeros = torch.zeros_like(strengths[0])
    shear = from_rows([[1, amount(_SHEAR_X), 0], [amount(_SHEAR_Y), 1, 0], [0, 0, 1]], zeros)
    angle = amount(_TURN) * (torch.pi / 180)
    cosine, sine = angle.cos(), angle.sin()
    turn = from_rows([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], zeros)
    return compose(translation(-amount(_MOVE_X), -amount(_MOVE_Y)), compose(shear, turn))


def _change_values(images: Tensor, operation: Tensor, strengths: Tensor) -> Tensor:
    """Apply to each sample its operation, where that changes values.

    Args:
        images: (n, channels, height, width) in [0, 1].
        operation: int64 (n,).
        strengths: (n, operations).
    """
    eager = images.device.type == "cpu" and not torch.compiler.is_compiling()
    result = images.clone() if eager else images
    for place, function in enumerate(_VALUES):
        number = _GEOMETRIC + place
        chosen = operation == number
        if eager:
            rows = chosen.nonzero()[:, 0]
            if len(rows):
                result[rows] = function(images[rows], strengths[rows, number])
        else:
            new = function(images, strengths[:, number])
            result = torch.where(chosen[:, None, None, None], new, result)
    return result


@serializable
class TrivialAugment(_Policy):
    """One random operation of random strength a sample ("wide" ranges).

    Args:
        num_magnitude_bins: How many strengths there are.
        p: Probability that a sample is changed.
        mode: Interpolation of images.
        pad_mode: What lies beyond the frame.
    """

    draws = 3

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        p: float = 1.0,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
    ) -> None:
        super().__init__(num_magnitude_bins, p, mode, pad_mode)

    def declare(self, drawn: Drawn, frame: Frame) -> list[Part]:
        """The operation, as a homography and an effect."""
        operation = drawn.value(drawn.between(0, 0, _COUNT).floor(), 0.0).long()
        bins = self.num_magnitude_bins
        level = drawn.between(1, 0, bins).floor() / (bins - 1)
        sign = torch.where(drawn.uniform[2] < 0.5, -1.0, 1.0)
        strengths = self._strengths(level, sign, (0.99, 32.0, 32.0, 135.0, 0.99, 6.0))
        move = Homography(_moves(operation, strengths), frame)
        return [move, Effect(_change_values, (operation, strengths.T))]


@serializable
class RandAugment(_Policy):
    """Several random operations of one strength a sample.

    Args:
        num_ops: How many operations one after the other.
        magnitude: The strength, below `num_magnitude_bins`.
        num_magnitude_bins: How many strengths there are.
        p: Probability that a sample is changed.
        mode: Interpolation of images.
        pad_mode: What lies beyond the frame.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        p: float = 1.0,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
    ) -> None:
        super().__init__(num_magnitude_bins, p, mode, pad_mode)
        if num_ops < 1 or not 0 <= magnitude < num_magnitude_bins:
            raise ValueError(
                "RandAugment: need num_ops >= 1 and 0 <= magnitude < num_magnitude_bins, got "
                f"{num_ops=}, {magnitude=}, {num_magnitude_bins=}"
            )
        self.num_ops, self.magnitude = num_ops, magnitude
        self.draws = 2 * num_ops

    def declare(self, drawn: Drawn, frame: Frame) -> list[Part]:
        """The operations, as homographies and effects."""
        level = drawn.ones * (self.magnitude / (self.num_magnitude_bins - 1))
        shift = 150.0 / 331.0
        limits = (0.3, shift * frame.width, shift * frame.height, 30.0, 0.9, 4.0)
        moves: list[Any] = []
        effects: list[Any] = []
        for place in range(self.num_ops):
            number = drawn.between(2 * place, 0, _COUNT).floor()
            operation = drawn.value(number, 0.0).long()
            sign = torch.where(drawn.uniform[2 * place + 1] < 0.5, -1.0, 1.0)
            strengths = self._strengths(level, sign, limits)
            moves.append(Homography(_moves(operation, strengths), frame))
            effects.append(Effect(_change_values, (operation, strengths.T)))
        return [*moves, *effects]
