"""What a transform states about itself; the page to read before writing one.

A transform draws nothing and touches no pixel. It says how many random numbers a sample costs it
(`draws`) and turns those numbers into *parts* (`declare`). The engine (`composing.py`) draws for
all transforms in one go, composes the parts, and then samples the source once:

    images ──> [ Homography · Displacement · Homography … ] ──> [ colour, colour, effect … ] ──> out
                 one coordinate map, one interpolation            adjacent colours are one pass

The parts:

* `Homography`: a 3 x 3 matrix a sample (affine maps and perspective), with the frame it leads to.
* `Displacement`: a smooth field of shifts (elastic deformation).
* a `PixelMap`: a colour map, an effect or an erasure; see `colour.py` for those that merge.

Coordinates are those of `coordinates.py`: matrices map the output to the input.

    class Squeeze(SpatialAugmentation):
        '''Squeeze the width by up to a third.'''

        draws = 1

        def matrix(self, drawn, frame):
            factor = drawn.value(drawn.between(0, 1.0, 1.5), neutral=1.0)
            return diagonal(factor, torch.ones_like(factor))
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from torte.vision.augment.coordinates import Frame

__all__ = [
    "Displacement",
    "DrawHook",
    "Drawn",
    "Effect",
    "Homography",
    "Part",
    "PixelMap",
    "where_active",
]

DrawHook = Callable[[Tensor], Any] | Sequence[float] | Tensor | float
"""What may replace a random draw: a value for all, one a sample, or a function of the images."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """The random numbers of one transform for one batch.

    Attributes:
        uniform: float32 (draws, n) in [0, 1).
        active: bool (n,), which samples the transform applies to.
        keys: int64 (n,), for a transform that needs more numbers than it can count beforehand.
        images: What the hooks are called with.
    """

    uniform: Tensor
    active: Tensor
    keys: Tensor
    images: Tensor

    @property
    def ones(self) -> Tensor:
        """(n,) ones: what to decorate where nothing is random."""
        return torch.ones_like(self.active, dtype=torch.float32)

    def between(self, row: int, low: float, high: float) -> Tensor:
        """(n,) numbers uniform in [low, high), from one row of the draws."""
        return low + (high - low) * self.uniform[row]

    def value(self, drawn: Tensor, neutral: float, hook: DrawHook | None = None) -> Tensor:
        """(n,) amounts: the hook's if there is one, else those `drawn`; `neutral` if not active.

        Raises:
            ValueError: The hook gives neither one number nor one a sample.
        """
        values = drawn if hook is None else self._hooked(hook, drawn)
        return torch.where(self.active, values, torch.full_like(drawn, neutral))

    def _hooked(self, hook: DrawHook, like: Tensor) -> Tensor:
        given = hook(self.images) if callable(hook) else hook
        values = torch.as_tensor(given, dtype=like.dtype, device=like.device).flatten()
        if values.numel() not in (1, like.shape[0]):
            raise ValueError(
                f"draw={hook!r} gave {values.numel()} numbers for a batch of {like.shape[0]}: "
                "give one number, or one a sample"
            )
        return values.expand(like.shape[0])


class Part:
    """Anything a transform may declare."""


@dataclass(frozen=True, eq=False)
class Homography(Part):
    """A projective map of coordinates.

    Attributes:
        matrix: (n, 3, 3), centred coordinates of the output frame to those of the input frame.
        frame: The output frame.
        shrink: The most input pixels, on a side, that an output pixel may stand for, as far as
            the transform's arguments tell (known without looking at the draws).
    """

    matrix: Tensor
    frame: Frame
    shrink: float = 1.0


@dataclass(frozen=True, eq=False)
class Displacement(Part):
    """A smooth field of shifts: the output at q shows the input at q + d(q).

    Attributes:
        control: (n, 2, rows, columns), shifts (x, y) in pixels at a lattice of control points over
            the frame, the outermost at its corners, interpolated by a cubic B-spline.
    """

    control: Tensor


def where_active(active: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    """`new` for active samples and `old`, to the bit, for the others (None: all are active)."""
    if active is None:
        return new
    return torch.where(active.view(-1, *(1,) * (new.ndim - 1)), new, old)


@dataclass(frozen=True, eq=False)
class PixelMap(Part):
    """A map of float images (n, channels, height, width) to images of the same shape.

    Every tensor field has one row a sample (or one row for all).
    """

    local = True
    """Whether a pixel's new value depends on its old value alone (so it commutes with sampling)."""

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """The changed images."""

    def merged(self, following: "PixelMap") -> "PixelMap | None":
        """One map that does this and then `following`, or None."""
        return None

    def rows(self, start: int, stop: int) -> Self:
        """The same map for the samples [start, stop) alone."""
        return replace(
            self,
            **{
                field.name: _narrowed(getattr(self, field.name), start, stop)
                for field in fields(self)
            },
        )


def _narrowed(value: Any, start: int, stop: int) -> Any:
    if isinstance(value, Tensor):
        return value if value.shape[0] == 1 else value[start:stop]
    if isinstance(value, tuple):
        return tuple(_narrowed(each, start, stop) for each in value)
    return value


@dataclass(frozen=True, eq=False)
class Effect(PixelMap):
    """Any function of images; it merges with nothing.

    Attributes:
        function: Called as `function(images, *parameters)`.
        parameters: Tensors with one row a sample.
        active: bool (n,), which samples to change; None: all.
        local: False where a pixel's new value depends on its place or on other pixels. Sampling
            after such an effect takes a second pass.
    """

    function: Callable[..., Tensor]
    parameters: tuple[Tensor, ...] = ()
    active: Tensor | None = None
    local: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """Apply the function to the active samples."""
        return where_active(self.active, self.function(images, *self.parameters), images)
