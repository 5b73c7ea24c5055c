"""Crops of whole batches, on the device, composed into the same sampling as everything else."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torte.dispatch import serializable
from torte.vision.augment.augmentation import Augmentation, Size, size_pair
from torte.vision.augment.coordinates import Frame, from_rows
from torte.vision.augment.declaration import Drawn, Homography
from torte.vision.augment.sampling import MODES, PAD_MODES, Sampling

__all__ = ["RandomCropGPU", "RandomResizedCropGPU", "crop_matrix"]

_TRIES = 10


def crop_matrix(
    left: Tensor, top: Tensor, width: Tensor, height: Tensor, source: Frame, output: Frame
) -> Tensor:
    """(n, 3, 3) that show the crop [left, left + width] x [top, top + height] in a whole output.

    Args:
        left: (n,) pixels, as the rest.
        top: Rows above the crop.
        width: Of the crop.
        height: Of the crop.
        source: Frame that is cropped.
        output: Frame that the crop is resized to.
    """
    x, y = width / output.width, height / output.height
    centre_x = left + width / 2 - source.width / 2
    centre_y = top + height / 2 - source.height / 2
    return from_rows([[x, 0, centre_x], [0, y, centre_y], [0, 0, 1]], left)


@serializable
class RandomResizedCropGPU(Augmentation):
    """Crop a random share of the area, with a random aspect ratio, and resize it.

    Of ten pairs of area and ratio the first that fits in the image is taken, and the largest
    central crop with a ratio in range if none does, as in Szegedy et al., "Going deeper with
    convolutions", 2015. In validation: that central crop, shrunk to `valid_scale` of its area.

    Args:
        size: Of the result: int, or height and width.
        min_scale: The least share of the area.
        ratio: The range of width / height.
        mode: Interpolation of images.
        valid_scale: The share of the central crop's area that is kept in validation.
        max_scale: The largest share of the area.
        mode_mask: Interpolation of masks; only "nearest" keeps class numbers.
        p: Probability of a random crop; the other samples get the central one.
        batch: One draw for all samples.
    """

    draws = 2 * _TRIES + 2
    split_idx = None

    def __init__(
        self,
        size: Size,
        min_scale: float = 0.08,
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        mode: str = "bilinear",
        valid_scale: float = 1.0,
        max_scale: float = 1.0,
        mode_mask: str = "nearest",
        p: float = 1.0,
        batch: bool = False,
    ) -> None:
        super().__init__(p=p, batch=batch)
        if not 0 < min_scale <= max_scale <= 1 or not 0 < valid_scale <= 1:
            raise ValueError(
                "RandomResizedCropGPU: need 0 < min_scale <= max_scale <= 1 and 0 < valid_scale <= "
                f"1, got {min_scale=}, {max_scale=}, {valid_scale=}"
            )
        if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"RandomResizedCropGPU: {ratio=} must be (least, largest), above 0")
        if mode not in MODES or mode_mask != "nearest":
            raise ValueError(
                f"RandomResizedCropGPU: {mode=} must be one of {', '.join(MODES)}, and "
                f"{mode_mask=} 'nearest': anything else invents class numbers"
            )
        self.size, self.min_scale, self.max_scale = size, min_scale, max_scale
        self.ratio, self.mode, self.mode_mask = tuple(ratio), mode, mode_mask
        self.valid_scale = valid_scale
        self._output = Frame(*(size_pair(size) or ()), align_corners=False)

    @property
    def sampling(self) -> Sampling:
        """A crop never looks beyond the frame."""
        return Sampling(self.mode)

    def _central(self, frame: Frame, share: float) -> tuple[float, float]:
        """(width, height) of the largest crop with a ratio in range, times the root of `share`."""
        whole = frame.width / frame.height
        ratio = min(max(whole, self.ratio[0]), self.ratio[1])
        width, height = (
            min(frame.width, frame.height * ratio),
            min(frame.height, frame.width / ratio),
        )
        root = math.sqrt(share)
        return max(1.0, round(width * root)), max(1.0, round(height * root))

    def _cut(self, frame: Frame, width: Tensor, height: Tensor, x: Tensor, y: Tensor) -> Homography:
        left = (x * (frame.width - width + 1)).floor().clamp(max=frame.width - 1)
        top = (y * (frame.height - height + 1)).floor().clamp(max=frame.height - 1)
        left = torch.minimum(left, frame.width - width)
        top = torch.minimum(top, frame.height - height)
        matrix = crop_matrix(left, top, width, height, frame, self._output)
        shrink = max(frame.width / self._output.width, frame.height / self._output.height, 1.0)
        return Homography(matrix, self._output, shrink)

    def declare(self, drawn: Drawn, frame: Frame) -> Homography:
        """The first of the drawn crops that fits."""
        shares = drawn.uniform[:_TRIES] * (self.max_scale - self.min_scale) + self.min_scale
        least, largest = (math.log(r) for r in self.ratio)
        ratios = (drawn.uniform[_TRIES : 2 * _TRIES] * (largest - least) + least).exp()
        area = shares * (frame.width * frame.height)
        widths, heights = (area * ratios).sqrt().round(), (area / ratios).sqrt().round()
        fits = (widths >= 1) & (widths <= frame.width) & (heights >= 1) & (heights <= frame.height)
        fits = fits & drawn.active
        first = fits.to(torch.uint8).argmax(0, keepdim=True)
        any_fits = fits.any(0)
        width, height = self._central(frame, 1.0)
        widths = torch.where(any_fits, widths.gather(0, first)[0], width)
        heights = torch.where(any_fits, heights.gather(0, first)[0], height)
        half = drawn.ones * 0.5
        x = torch.where(any_fits, drawn.uniform[2 * _TRIES], half)
        y = torch.where(any_fits, drawn.uniform[2 * _TRIES + 1], half)
        return self._cut(frame, widths, heights, x, y)

    def settled(self, like: Tensor, frame: Frame) -> Homography:
        """The central crop."""
        width, height = self._central(frame, self.valid_scale)
        half = like * 0.5
        return self._cut(frame, like * width, like * height, half, half)


@serializable
class RandomCropGPU(Augmentation):
    """Crop to a size at a random place, without resizing; in validation the central crop.

    An image that is smaller than the crop lies somewhere in it, and `pad_mode` fills the rest.

    Args:
        size: Of the crop: int, or height and width.
        p: Probability of a random place; the other samples get the central one.
        pad_mode: "reflection", "border" or "zeros".
        batch: One draw for all samples.
    """

    draws = 2
    split_idx = None

    def __init__(
        self, size: Size, p: float = 1.0, pad_mode: str = "zeros", batch: bool = False
    ) -> None:
        super().__init__(p=p, batch=batch)
        if pad_mode not in PAD_MODES:
            raise ValueError(f"RandomCropGPU: {pad_mode=} is not one of {', '.join(PAD_MODES)}")
        self.size, self.pad_mode = size, pad_mode
        self._output = Frame(*(size_pair(size) or ()), align_corners=False)

    @property
    def sampling(self) -> Sampling:
        """Padding only matters where images may be smaller than the crop."""
        return Sampling(pad_mode=self.pad_mode)

    def _at(self, x: Tensor, y: Tensor, frame: Frame) -> Homography:
        output = self._output
        places = []
        for fraction, whole, part in (
            (x, frame.width, output.width),
            (y, frame.height, output.height),
        ):
            room = whole - part
            steps = (fraction * (abs(room) + 1)).floor().clamp(max=abs(room))
            places.append(steps if room >= 0 else -steps)
        width, height = torch.full_like(x, output.width), torch.full_like(x, output.height)
        matrix = crop_matrix(places[0], places[1], width, height, frame, output)
        return Homography(matrix, output)

    def declare(self, drawn: Drawn, frame: Frame) -> Homography:
        """A random place, in whole pixels."""
        x = drawn.value(drawn.uniform[0], 0.5)
        return self._at(x, drawn.value(drawn.uniform[1], 0.5), frame)

    def settled(self, like: Tensor, frame: Frame) -> Homography:
        """The central place."""
        return self._at(like * 0.5, like * 0.5, frame)
