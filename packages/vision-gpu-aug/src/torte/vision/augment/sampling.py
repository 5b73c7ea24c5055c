"""The plain PyTorch path: a coordinate map turned into a grid, and one `grid_sample`.

This is the reference that the fused kernels (`kernels/`) are held to, the path that `torch.compile`
sees, and the one that gradients flow through.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torte.vision.augment.antialiasing import filter_widths, resample
from torte.vision.augment.coordinates import (
    Frame,
    apply_homography,
    compose,
    index_homography,
    inverse,
)
from torte.vision.augment.declaration import Displacement, Homography

__all__ = [
    "MODES",
    "PAD_MODES",
    "CoordinateMap",
    "Sampling",
    "collapsed",
    "displaced",
    "forward_points",
    "grid_of",
    "is_identity",
    "sample",
    "spread_of",
    "supersampling",
]

MODES = ("bilinear", "nearest", "bicubic")
PAD_MODES = ("reflection", "border", "zeros")

CoordinateMap = Homography | Displacement

_FREE_SHRINK = 1.25  # up to this a bilinear sample misses next to nothing
_MOST_SUBSAMPLES = 16
_FIXED_POINT_STEPS = 40
_FIXED_POINT_ERROR = 0.01


class Sampling(NamedTuple):
    """How a source is sampled.

    Attributes:
        mode: How images are interpolated: "bilinear", "bicubic" or "nearest".
        pad_mode: What lies beyond the frame: "reflection", "border" or "zeros"; None: a transform
            that never looks there does not mind.
        align_corners: Where reflection has its mirrors, see `coordinates.py`; None: as above.
    """

    mode: str = "bilinear"
    pad_mode: str | None = None
    align_corners: bool | None = None

    def agreed(self, other: "Sampling") -> "Sampling | None":
        """The sampling that suits both, or None.

        Where they differ in `align_corners` alone, the first one's mirrors are taken: half a pixel
        at the edge is not worth a second interpolation.
        """
        padding = self.pad_mode or other.pad_mode
        if self.mode != other.mode or (other.pad_mode or padding) != padding:
            return None
        corners = other.align_corners if self.align_corners is None else self.align_corners
        return Sampling(self.mode, padding, corners)

    @property
    def padding(self) -> str:
        """The padding, reflection where none was asked for."""
        return self.pad_mode or "reflection"

    @property
    def corners(self) -> bool:
        """`align_corners`, True where none was asked for."""
        return True if self.align_corners is None else self.align_corners


def collapsed(maps: Sequence[CoordinateMap]) -> list[CoordinateMap]:
    """The same map with neighbouring homographies multiplied into one."""
    result: list[CoordinateMap] = []
    for part in maps:
        last = result[-1] if result else None
        if isinstance(part, Homography) and isinstance(last, Homography):
            matrix = compose(last.matrix, part.matrix)
            result[-1] = Homography(matrix, part.frame, last.shrink * part.shrink)
        else:
            result.append(part)
    return result


def is_identity(matrix: Tensor, source: Frame, output: Frame) -> Tensor | None:
    """Bool (n,): which homographies change nothing; None if the frames differ."""
    if source[:2] != output[:2]:
        return None
    eye = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    return (matrix == eye).flatten(1).all(1)


def supersampling(shrink: float) -> int:
    """How many samples a side to take and average for each output pixel."""
    if shrink <= _FREE_SHRINK:
        return 1
    return min(math.ceil(shrink - (_FREE_SHRINK - 1)), _MOST_SUBSAMPLES)


def displaced(control: Tensor, points: Tensor, frame: Frame) -> Tensor:
    """Shifts (n, ..., 2) at centred `points` (n, ..., 2) of a frame.

    Cubic convolution between the control points (Keys, "Cubic convolution interpolation for digital
    image processing", 1981, with the constant -0.75 of `grid_sample`).
    """
    half = points.new_tensor([frame.width / 2, frame.height / 2])
    places = (points / half).reshape(points.shape[0], 1, -1, 2)
    shifts = F.grid_sample(control, places, "bicubic", padding_mode="border", align_corners=True)
    return shifts[:, :, 0].transpose(1, 2).reshape(points.shape)


def spread_of(maps: Sequence[CoordinateMap]) -> Tensor:
    """How far apart the subsamples of an output pixel lie, along x and y: (n, 2), 0 to 1.4 pixels.

    Where a pixel stands for s source pixels, the box from which bilinear samples are averaged is
    sqrt(2 (s² - 1)) source pixels wide, so that box and triangle together have the variance of a
    triangle s times as wide, the filter of an exact shrink (`antialiasing.py`). It is nothing where
    the image is not shrunk (then all subsamples are one). s is taken at the centre of the image.
    """
    matrix = next(part.matrix for part in maps if isinstance(part, Homography))
    for part in maps:
        if isinstance(part, Homography) and part.matrix is not matrix:
            matrix = compose(matrix, part.matrix)
    depth = matrix[:, 2:, 2:]
    columns = matrix[:, :2, :2] / depth
    columns = columns - matrix[:, :2, 2:] * matrix[:, 2:, :2] / depth**2
    squared = columns.square().sum(1)
    return (2 - 2 / squared.clamp(min=1)).sqrt()


def _lattice(
    frame: Frame, density: int, like: Tensor, spread: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Array indices (with fractions) of the samples along x and y: (n or 1, size * density)."""
    axes = []
    for axis, size in enumerate((frame.width, frame.height)):
        steps = torch.arange(size * density, device=like.device, dtype=like.dtype)
        if density > 1 and spread is not None:
            whole = (steps / density).floor()
            inside = (steps - whole * density + 0.5) / density - 0.5
            axes.append(whole + inside * spread[:, axis, None].to(like.dtype))
        else:
            axes.append(steps[None])
    return axes[0], axes[1]


def _normaliser(source: Frame, align_corners: bool, like: Tensor) -> Tensor:
    """Array indices of the source as the coordinates that `grid_sample` wants."""
    matrix = torch.eye(3, dtype=like.dtype, device=like.device)
    for axis, size in enumerate((source.width, source.height)):
        if align_corners:
            matrix[axis, axis], matrix[axis, 2] = 2 / max(size - 1, 1), -1.0
        else:
            matrix[axis, axis], matrix[axis, 2] = 2 / size, 1 / size - 1
    return matrix


def _homography_grid(matrix: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(n, 2, h, w): where a homography sends the lattice, as two sums an axis and one division."""
    columns = matrix[:, :, 0, None] * x[:, None]
    rows = matrix[:, :, 1, None] * y[:, None] + matrix[:, :, 2, None]
    moved = columns[:, :, None, :] + rows[:, :, :, None]
    return moved[:, :2] / moved[:, 2:]


def grid_of(
    maps: Sequence[CoordinateMap],
    source: Frame,
    output: Frame,
    align_corners: bool,
    density: int = 1,
    spread: Tensor | None = None,
) -> Tensor:
    """The grid for `grid_sample`: (n, h, w, 2), x and y in two planes of memory.

    Two planes because that is what the CPU kernel reads fastest.

    Args:
        maps: A collapsed map, outermost (nearest to the source) first.
        source: Frame that is sampled.
        output: Frame of the result.
        align_corners: For which convention of `grid_sample`.
        density: Samples a side for each output pixel.
        spread: How far apart these lie; see `spread_of`.
    """
    if len(maps) == 1 and isinstance(maps[0], Homography):
        matrix = index_homography(maps[0].matrix, output, source)
        normaliser = _normaliser(source, align_corners, matrix)
        x, y = _lattice(output, density, matrix, spread)
        return _homography_grid(compose(normaliser, matrix), x, y).permute(0, 2, 3, 1)
    return _curved_grid(maps, source, output, align_corners, (density, spread))


def _curved_grid(
    maps: Sequence[CoordinateMap],
    source: Frame,
    output: Frame,
    align_corners: bool,
    subsamples: tuple[int, Tensor | None],
) -> Tensor:
    first = maps[0].matrix if isinstance(maps[0], Homography) else maps[0].control
    x, y = _lattice(output, subsamples[0], first, subsamples[1])
    n, h, w = first.shape[0], y.shape[1], x.shape[1]
    points = torch.stack(
        [
            (x - (output.width - 1) / 2)[:, None].expand(n, h, w),
            (y - (output.height - 1) / 2)[:, :, None].expand(n, h, w),
        ],
        dim=-1,
    )
    frame = output
    for index in range(len(maps) - 1, -1, -1):
        part = maps[index]
        if isinstance(part, Displacement):
            points = points + displaced(part.control, points, frame)
        else:
            points = apply_homography(part.matrix, points.flatten(1, 2))[0].view(n, h, w, 2)
            frame = _frame_before(maps, index, source)
    centre = points.new_tensor([(source.width - 1) / 2, (source.height - 1) / 2])
    normaliser = _normaliser(source, align_corners, points)
    return (points + centre) * normaliser.diagonal()[:2] + normaliser[:2, 2]


def _frame_before(maps: Sequence[CoordinateMap], index: int, source: Frame) -> Frame:
    for part in reversed(maps[:index]):
        if isinstance(part, Homography):
            return part.frame
    return source


def sample(
    images: Tensor,
    maps: Sequence[CoordinateMap],
    source: Frame,
    output: Frame,
    sampling: Sampling,
    density: int = 1,
    filtered: bool = False,
) -> Tensor:
    """Sample a source once.

    Args:
        images: Floating point (n, channels, height, width).
        maps: The collapsed map.
        source: Frame of `images`.
        output: Frame of the result.
        sampling: How.
        density: Samples a side for each output pixel; their mean is the result. Where a sample is
            not shrunk, they are all the same one.
        filtered: Whether samples that are shrunk along the axes take the exact filter of
            `antialiasing.py`.

    Returns:
        (n, channels, output height, output width); samples whose map is the identity are returned
        to the bit.
    """
    single = maps[0] if len(maps) == 1 and isinstance(maps[0], Homography) else None
    if single is None or not filtered:
        return _sampled(images, maps, source, output, sampling, density)
    widths = filter_widths(single.matrix)
    chosen = (widths > 0).any(1)
    known = images.device.type == "cpu" and not torch.compiler.is_compiling()  # costs no wait
    if known and not chosen.any():
        return _sampled(images, maps, source, output, sampling, density)
    padding = sampling.padding, sampling.corners
    cubic = sampling.mode == "bicubic"
    exact = resample(images, single.matrix, (source, output), padding, widths, cubic)
    if known and chosen.all():
        return exact
    rest = _sampled(images, maps, source, output, sampling, density)
    return torch.where(chosen[:, None, None, None], exact, rest)


def _sampled(
    images: Tensor,
    maps: Sequence[CoordinateMap],
    source: Frame,
    output: Frame,
    sampling: Sampling,
    density: int,
) -> Tensor:
    """`sample` by `grid_sample` alone."""
    spread = spread_of(maps) if density > 1 else None
    grid = grid_of(maps, source, output, sampling.corners, density, spread).to(images.dtype)
    result = F.grid_sample(
        images, grid, sampling.mode, sampling.padding, align_corners=sampling.corners
    )
    if density > 1:
        result = F.avg_pool2d(result, density)
    if len(maps) == 1 and isinstance(maps[0], Homography):
        same = is_identity(maps[0].matrix, source, output)
        if same is not None:
            result = torch.where(same[:, None, None, None], images, result)
    return result


def forward_points(
    maps: Sequence[CoordinateMap], points: Tensor, source: Frame
) -> tuple[Tensor, Tensor]:
    """Where points of the source end up.

    A homography is inverted in closed form, a displacement by fixed-point iteration, which halves
    the error at each step or better as long as the field does not fold.

    Args:
        maps: The map, outermost first.
        points: (n, k, 2), centred coordinates of the source.
        source: Frame of the source.

    Returns:
        The points in centred coordinates of the output, (n, k, 2), and bool (n, k): which of them
        have an image at all.
    """
    seen = ~points.isnan().any(-1)
    frame = source
    for part in maps:
        if isinstance(part, Homography):
            points, depth = apply_homography(inverse(part.matrix), points)
            seen = seen & (depth > 0)
            frame = part.frame
        else:
            points, converged = _undisplaced(part.control, points, frame)
            seen = seen & converged
    return points, seen


def _undisplaced(control: Tensor, points: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
    """Solve q + d(q) = p for q."""
    found = points
    for _ in range(_FIXED_POINT_STEPS):
        found = points - displaced(control, found, frame)
    error = (found + displaced(control, found, frame) - points).abs().amax(-1)
    return found, error < _FIXED_POINT_ERROR
