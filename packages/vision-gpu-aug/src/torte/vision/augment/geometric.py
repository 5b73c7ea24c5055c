"""Augmentations that move pixels: flips, rotation, zoom, shift, shear, perspective.

Each states one homography a sample. Rotation and shear act in pixels, so that an image that is not
square is not distorted by them; shifts and zoom centres are fractions of the image. Angles are in
degrees, counter-clockwise as seen on the screen, as in torchvision and PIL.
"""

import math

import torch
from torch import Tensor

from torte.dispatch import serializable
from torte.vision.augment.augmentation import Size, SpatialAugmentation
from torte.vision.augment.coordinates import (
    Frame,
    diagonal,
    from_rows,
    quadrilateral,
    rescaled,
    translation,
)
from torte.vision.augment.declaration import DrawHook, Drawn

__all__ = ["Dihedral", "Flip", "Rotate", "Shear", "Translate", "Warp", "Zoom"]


@serializable
class Flip(SpatialAugmentation):
    """Mirror left and right.

    Args:
        p: Probability that a sample is flipped.
        draw: 1 to flip and 0 not to, or a function of the images that gives it; then `p` decides
            which samples it is asked for.
        size: See `SpatialAugmentation`, as for the rest.
        mode: Interpolation.
        pad_mode: What lies beyond the frame.
        align_corners: What relative amounts refer to.
        batch: One draw for all samples.
    """

    def __init__(
        self,
        p: float = 0.5,
        draw: DrawHook | None = None,
        size: Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        align_corners: bool = True,
        batch: bool = False,
    ) -> None:
        super().__init__(p, batch, size, mode, pad_mode, align_corners)
        self.draw = draw

    def matrix(self, drawn: Drawn, frame: Frame) -> Tensor:
        """X -> -x where the sample is to be flipped."""
        flipped = drawn.value(drawn.ones, 0.0, self.draw)
        return diagonal(1 - 2 * flipped, torch.ones_like(flipped))


@serializable
class Dihedral(SpatialAugmentation):
    """One of the eight symmetries of the square: 0 none, 1 left-right, 2 up-down, 3 both.

    The four from 4 on also exchange x and y; an image that is not square is stretched to fit.

    Args:
        p: Probability that a sample is changed (to any of the eight).
        draw: The number of the symmetry, or a function of the images that gives it.
        size: See `SpatialAugmentation`, as for the rest.
        mode: Interpolation.
        pad_mode: What lies beyond the frame.
        align_corners: What relative amounts refer to.
        batch: One draw for all samples.
    """

    draws = 1

    def __init__(
        self,
        p: float = 0.5,
        draw: DrawHook | None = None,
        size: Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        align_corners: bool = True,
        batch: bool = False,
    ) -> None:
        super().__init__(p, batch, size, mode, pad_mode, align_corners)
        self.draw = draw

    def matrix(self, drawn: Drawn, frame: Frame) -> Tensor:
        """The symmetry, from the three bits of its number."""
        number = drawn.value(drawn.between(0, 0, 8).floor(), 0.0, self.draw)
        across, down, swapped = (torch.floor(number / 2**bit) % 2 for bit in range(3))
        x, y = 1 - 2 * across, 1 - 2 * down
        matrix = from_rows(
            [[(1 - swapped) * x, swapped * x, 0], [swapped * y, (1 - swapped) * y, 0], [0, 0, 1]],
            number,
        )
        return rescaled(matrix, *frame.half)


@serializable
class Rotate(SpatialAugmentation):
    """Rotate about the centre by up to `max_deg` degrees either way.

    Args:
        max_deg: The largest angle, degrees.
        p: Probability that a sample is rotated.
        draw: The angle in degrees, or a function of the images that gives it.
        size: See `SpatialAugmentation`, as for the rest.
        mode: Interpolation.
        pad_mode: What lies beyond the frame.
        align_corners: What relative amounts refer to.
        batch: One draw for all samples.
    """

    draws = 1

    def __init__(
        self,
        max_deg: float = 10,
        p: float = 0.5,
        draw: DrawHook | None = None,
        size: Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        align_corners: bool = True,
        batch: bool = False,
    ) -> None:
        super().__init__(p, batch, size, mode, pad_mode, align_corners)
        self.max_deg, self.draw = max_deg, draw

    def matrix(self, drawn: Drawn, frame: Frame) -> Tensor:
        """Rotation of the output's coordinates back to the input's."""
        degrees = drawn.value(drawn.between(0, -self.max_deg, self.max_deg), 0.0, self.draw)
        angle = degrees * (math.pi / 180)
        cosine, sine = angle.cos(), angle.sin()
        return from_rows([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], angle)


@serializable
class Zoom(SpatialAugmentation):
    """Zoom in (factors above 1) or out, about a random point that stays where it is.

    Args:
        min_zoom: The least factor.
        max_zoom: The largest factor.
        p: Probability that a sample is zoomed.
        draw: The factor, or a function of the images that gives it.
        draw_x: Where the fixed point is from left (0) to right (1).
        draw_y: Where it is from top to bottom.
        size: See `SpatialAugmentation`, as for the rest.
        mode: Interpolation.
        pad_mode: What lies beyond the frame.
        batch: One draw for all samples.
        align_corners: What relative amounts refer to.
    """

    draws = 3

    def __init__(
        self,
        min_zoom: float = 1.0,
        max_zoom: float = 1.1,
        p: float = 0.5,
        draw: DrawHook | None = None,
        draw_x: DrawHook | None = None,
        draw_y: DrawHook | None = None,
        size: Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        batch: bool = False,
        align_corners: bool = True,
    ) -> None:
        super().__init__(p, batch, size, mode, pad_mode, align_corners)
        if not 0 < min_zoom <= max_zoom:
            raise ValueError(f"Zoom: need 0 < min_zoom <= max_zoom, got {min_zoom=}, {max_zoom=}")
        self.min_zoom, self.max_zoom = min_zoom, max_zoom
        self.draw, self.draw_x, self.draw_y = draw, draw_x, draw_y

    def shrink(self, frame: Frame) -> float:
        """What the least factor makes of it."""
        return max(1.0, 1 / self.min_zoom)

    def matrix(self, drawn: Drawn, frame: Frame) -> Tensor:
        """Scale by one over the factor, about the fixed point."""
        scale = 1 / drawn.value(drawn.between(0, self.min_zoom, self.max_zoom), 1.0, self.draw)
        x = drawn.value(drawn.uniform[1], 0.5, self.draw_x)
        y = drawn.value(drawn.uniform[2], 0.5, self.draw_y)
        width, height = frame.extent
        shift_x, shift_y = (1 - scale) * (x - 0.5) * width, (1 - scale) * (y - 0.5) * height
        return from_rows([[scale, 0, shift_x], [0, scale, shift_y], [0, 0, 1]], scale)


@serializable
class Translate(SpatialAugmentation):
    """Shift the image, by fractions of its size: positive to the right and down.

    Args:
        max_x: The largest horizontal shift, as a fraction of the width.
        max_y: The largest vertical shift, as a fraction of the height.
        p: Probability that a sample is shifted.
        draw_x: The horizontal fraction, or a function of the images that gives it.
        draw_y: The vertical one.
        size: See `SpatialAugmentation`, as for the rest.
        mode: Interpolation.
        pad_mode: What lies beyond the frame.
        align_corners: What relative amounts refer to.
        batch: One draw for all samples.
    """

    draws = 2

    def __init__(
        self,
        max_x: float = 0.1,
        max_y: float = 0.1,
        p: float = 0.5,
        draw_x: DrawHook | None = None,
        draw_y: DrawHook | None = None,
        size: Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        align_corners: bool = True,
        batch: bool = False,
    ) -> None:
        super().__init__(p, batch, size, mode, pad_mode, align_corners)
        self.max_x, self.max_y, self.draw_x, self.draw_y = max_x, max_y, draw_x, draw_y

    def matrix(self, drawn: Drawn, frame: Frame) -> Tensor:
        """The shift back."""
        x = drawn.value(drawn.between(0, -self.max_x, self.max_x), 0.0, self.draw_x)
        y = drawn.value(drawn.between(1, -self.max_y, self.max_y), 0.0, self.draw_y)
        width, height = frame.extent
        return translation(-x * width, -y * height)


@serializable
class Shear(SpatialAugmentation):
    """Shear about the centre: by a positive angle the top goes right (x), the right goes up (y).

    Args:
        max_deg: The largest angle along x, degrees.
        max_deg_y: The largest angle along y, degrees.
        p: Probability that a sample is sheared.
        draw: The angle along x, or a function of the images that gives it.
        draw_y: The angle along y.
        size: See `SpatialAugmentation`, as for the rest.
        mode: Interpolation.
        pad_mode: What lies beyond the frame.
        align_corners: What relative amounts refer to.
        batch: One draw for all samples.
    """

    draws = 2

    def __init__(
        self,
        max_deg: float = 10,
        max_deg_y: float = 0,
        p: float = 0.5,
        draw: DrawHook | None = None,
        draw_y: DrawHook | None = None,
        size: Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        align_corners: bool = True,
        batch: bool = False,
    ) -> None:
        super().__init__(p, batch, size, mode, pad_mode, align_corners)
        if max(abs(max_deg), abs(max_deg_y)) >= 45:
            raise ValueError(f"Shear: angles must be below 45°, got {max_deg=}, {max_deg_y=}")
        self.max_deg, self.max_deg_y, self.draw, self.draw_y = max_deg, max_deg_y, draw, draw_y

    def matrix(self, drawn: Drawn, frame: Frame) -> Tensor:
        """The inverse of x -> x - a y, y -> y - b x (y downwards)."""
        x = drawn.value(drawn.between(0, -self.max_deg, self.max_deg), 0.0, self.draw)
        y = drawn.value(drawn.between(1, -self.max_deg_y, self.max_deg_y), 0.0, self.draw_y)
        a, b = ((angle * (math.pi / 180)).tan() for angle in (x, y))
        whole = 1 / (1 - a * b)
        return from_rows([[whole, a * whole, 0], [b * whole, whole, 0], [0, 0, 1]], x)


@serializable
class Warp(SpatialAugmentation):
    """Change the perspective: tilt the image about its vertical and its horizontal axis.

    The output's corners show the source at (±1 ± y, ±1 ± x) in unit coordinates: one edge is
    stretched and the opposite one squeezed by the magnitude.

    Args:
        magnitude: The largest magnitude, in [0, 1).
        p: Probability that a sample is warped.
        draw_x: The magnitude along x, or a function of the images that gives it.
        draw_y: The magnitude along y.
        size: See `SpatialAugmentation`, as for the rest.
        mode: Interpolation.
        pad_mode: What lies beyond the frame.
        batch: One draw for all samples.
        align_corners: What relative amounts refer to.
    """

    draws = 2

    def __init__(
        self,
        magnitude: float = 0.2,
        p: float = 0.5,
        draw_x: DrawHook | None = None,
        draw_y: DrawHook | None = None,
        size: Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        batch: bool = False,
        align_corners: bool = True,
    ) -> None:
        super().__init__(p, batch, size, mode, pad_mode, align_corners)
        if not 0 <= magnitude < 0.5:
            raise ValueError(
                f"Warp: {magnitude=} must be in [0, 0.5): from 0.5 on the image may fold over"
            )
        self.magnitude, self.draw_x, self.draw_y = magnitude, draw_x, draw_y

    def matrix(self, drawn: Drawn, frame: Frame) -> Tensor:
        """The homography that its four corners determine."""
        reach = self.magnitude
        x = drawn.value(drawn.between(0, -reach, reach), 0.0, self.draw_x)
        y = drawn.value(drawn.between(1, -reach, reach), 0.0, self.draw_y)
        corners = torch.stack(
            [
                torch.stack([-1 - y, -1 - x], -1),
                torch.stack([1 + y, -1 + x], -1),
                torch.stack([1 - y, 1 - x], -1),
                torch.stack([-1 + y, 1 + x], -1),
            ],
            dim=1,
        )
        return rescaled(quadrilateral(corners), *frame.half)
