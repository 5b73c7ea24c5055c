"""Elastic deformation: a smooth random field of shifts."""

import torch

from torte.data.seeding import uniform
from torte.dispatch import serializable
from torte.vision.augment.augmentation import Augmentation
from torte.vision.augment.coordinates import Frame
from torte.vision.augment.declaration import Displacement, Drawn
from torte.vision.augment.sampling import MODES, PAD_MODES, Sampling

__all__ = ["Elastic"]

_STRONGEST = 0.2


@serializable
class Elastic(Augmentation):
    """Shift the points of a coarse lattice at random, and everything between them smoothly.

    After Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to
    visual document analysis", ICDAR 2003, with a lattice instead of a blurred field: the shifts are
    then a function that can be evaluated, and inverted, anywhere, so points and boxes follow.

    Args:
        magnitude: The largest shift, as a fraction of the distance between lattice points, in
            [0, 0.2]: beyond that the image could fold over itself and a point have two places.
        grid: Lattice points a side, at least 3.
        p: Probability that a sample is deformed.
        mode: "bilinear", "bicubic" or "nearest", for images.
        pad_mode: What lies beyond the frame: "reflection", "border" or "zeros".
        batch: One draw for all samples.
    """

    def __init__(
        self,
        magnitude: float = 0.1,
        grid: int = 5,
        p: float = 0.5,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        batch: bool = False,
    ) -> None:
        super().__init__(p=p, batch=batch)
        if not 0 <= magnitude <= _STRONGEST:
            raise ValueError(
                f"Elastic: {magnitude=} must be in [0, {_STRONGEST}], or the image may fold over"
            )
        if grid < 3:
            raise ValueError(f"Elastic: {grid=} must be at least 3 points a side")
        if mode not in MODES or pad_mode not in PAD_MODES:
            raise ValueError(f"Elastic: unknown {mode=} or {pad_mode=}")
        self.magnitude, self.grid, self.mode, self.pad_mode = magnitude, grid, mode, pad_mode

    @property
    def sampling(self) -> Sampling:
        """As its arguments say."""
        return Sampling(self.mode, self.pad_mode)

    def declare(self, drawn: Drawn, frame: Frame) -> Displacement:
        """Shifts of the lattice points, uniform in a square."""
        count = 2 * self.grid * self.grid
        numbers = uniform(drawn.keys, count, stream=1).T.unflatten(1, (2, self.grid, self.grid))
        spacing = numbers.new_tensor([frame.width, frame.height]) / (self.grid - 1)
        shifts = (2 * numbers - 1) * (self.magnitude * spacing)[:, None, None]
        return Displacement(torch.where(drawn.active[:, None, None, None], shifts, 0.0))
