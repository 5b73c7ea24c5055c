"""The coordinate convention of augmentation, and homographies written in it.

**Pixel coordinates.** The pixel in column i and row j covers the square [i, i + 1] x [j, j + 1];
its centre is (i + 0.5, j + 0.5). An image of width W and height H covers [0, W] x [0, H]. Points
and boxes are given in these coordinates, x before y, y downwards.

**Unit coordinates.** x' = 2 x / W - 1 and y' = 2 y / H - 1, so -1 and 1 are the outer *edges* of
the outermost pixels. Points in a batch are in unit coordinates (what `PointScaler` makes).

**Centred coordinates.** x - W / 2 and y - H / 2, in pixels. Every matrix here maps centred
coordinates of an output frame to centred coordinates of the input frame (the direction in which an
image is sampled); points travel along its inverse.

`align_corners` changes no coordinate. It chooses what a transform scales *by*: the extent of an
image between the centres of its outermost pixels (W - 1, True) or between their edges (W, False),
and where `pad_mode="reflection"` puts its mirrors: at those centres or at those edges.
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Frame",
    "apply_homography",
    "centred_from_pixels",
    "compose",
    "diagonal",
    "from_rows",
    "identity",
    "index_homography",
    "inverse",
    "pixels_from_unit",
    "quadrilateral",
    "rescaled",
    "resizing",
    "translation",
    "unit_from_pixels",
]


class Frame(NamedTuple):
    """The height and width, in pixels, of the images that a transform sees.

    Attributes:
        height: Rows.
        width: Columns.
        align_corners: What a transform scales by (see the module).
    """

    height: int
    width: int
    align_corners: bool = True

    @property
    def extent(self) -> tuple[float, float]:
        """(x, y) extent that relative amounts refer to: sizes, less one with `align_corners`."""
        less = 1 if self.align_corners else 0
        return float(max(self.width - less, 1)), float(max(self.height - less, 1))

    @property
    def half(self) -> tuple[float, float]:
        """Half of `extent`: what unit coordinates are multiplied by."""
        x, y = self.extent
        return x / 2, y / 2


def from_rows(rows: list[list[Tensor | float]], like: Tensor) -> Tensor:
    """Stack scalars and (n,) tensors, given row by row, into (n, 3, 3) on the device of `like`."""
    entries = [
        entry if isinstance(entry, Tensor) else torch.full_like(like, entry)
        for row in rows
        for entry in row
    ]
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def identity(like: Tensor) -> Tensor:
    """(n, 3, 3) identity for a tensor of n numbers."""
    return torch.eye(3, dtype=like.dtype, device=like.device).expand(like.shape[0], 3, 3)


def diagonal(x: Tensor, y: Tensor) -> Tensor:
    """The matrix that multiplies x and y by (n,) factors."""
    return from_rows([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]], x)


def translation(x: Tensor, y: Tensor) -> Tensor:
    """The matrix that adds (n,) amounts to x and y."""
    return from_rows([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]], x)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Matrix product, `inner` applied first.

    Written as a sum, in float32 on every device: a matrix product may round to TF32, and would not
    keep the entries of an identity exact.
    """
    return (outer[..., :, :, None] * inner[..., None, :, :]).sum(-2)


def inverse(matrix: Tensor) -> Tensor:
    """Inverse of (..., 3, 3) up to a factor, in closed form: the adjugate.

    No solver is called, so it works on every device, and a homography needs no more than this. The
    factor is chosen so that the last entry stays positive where the matrix is not degenerate.
    """
    a, b, c = matrix.unbind(-2)
    adjugate = torch.stack(
        [torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=-1
    )
    determinant = (a * torch.linalg.cross(b, c)).sum(-1)
    return adjugate / determinant[..., None, None]


def rescaled(matrix: Tensor, x: float, y: float) -> Tensor:
    """The matrix that acts in units of `x` and `y` pixels, as one that acts in pixels.

    Diagonal entries are kept to the bit (their factor is a number over itself).
    """
    units = matrix.new_tensor([x, y, 1.0])
    return matrix * (units[:, None] / units[None, :])


def quadrilateral(corners: Tensor) -> Tensor:
    """The homography that sends the square [-1, 1]² to a quadrilateral, in closed form.

    Heckbert, "Fundamentals of texture mapping and image warping", 1989, section 2.2.3.

    Args:
        corners: (n, 4, 2), where (-1, -1), (1, -1), (1, 1), (-1, 1) go, in this order.

    Returns:
        (n, 3, 3).
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (c.unbind(-1) for c in corners.unbind(-2))
    dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    area = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / area, (dx1 * sy - sx * dy1) / area
    from_unit_square = from_rows(
        [
            [x1 - x0 + g * x1, x3 - x0 + h * x3, x0],
            [y1 - y0 + g * y1, y3 - y0 + h * y3, y0],
            [g, h, 1.0],
        ],
        x0,
    )
    half = torch.full_like(x0, 0.5)
    to_unit_square = compose(translation(half, half), diagonal(half, half))
    matrix = compose(from_unit_square, to_unit_square)
    return matrix / matrix[:, 2:, 2:]


def apply_homography(matrix: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Send points through homographies.

    Args:
        matrix: (n, 3, 3).
        points: (n, k, 2).

    Returns:
        The points, (n, k, 2), and their third coordinate before division, (n, k): where it is not
        positive, the point is behind the horizon and has no image.
    """
    moved = (matrix[:, None, :, :2] * points[:, :, None, :]).sum(-1) + matrix[:, None, :, 2]
    return moved[..., :2] / moved[..., 2:], moved[..., 2]


def index_homography(matrix: Tensor, output: Frame, source: Frame) -> Tensor:
    """A matrix between centred coordinates, as one between array indices (centres at integers)."""
    into = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    into[0, 2], into[1, 2] = -(output.width - 1) / 2, -(output.height - 1) / 2
    out_of = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    out_of[0, 2], out_of[1, 2] = (source.width - 1) / 2, (source.height - 1) / 2
    return compose(out_of, compose(matrix, into))


def resizing(source: Frame, output: Frame, like: Tensor) -> Tensor:
    """(n, 3, 3): the resize of a whole source to a whole output; `like` has n numbers."""
    x, y = (a / b for a, b in zip(source.extent, output.extent, strict=True))
    return diagonal(torch.full_like(like, x), torch.full_like(like, y))


def _sizes(points: Tensor, frame: Frame) -> Tensor:
    return points.new_tensor([frame.width, frame.height])


def centred_from_pixels(points: Tensor, frame: Frame) -> Tensor:
    """(..., 2) pixel coordinates as centred ones."""
    return points - _sizes(points, frame) / 2


def pixels_from_unit(points: Tensor, frame: Frame) -> Tensor:
    """(..., 2) unit coordinates as pixel ones."""
    return (points + 1) * (_sizes(points, frame) / 2)


def unit_from_pixels(points: Tensor, frame: Frame) -> Tensor:
    """(..., 2) pixel coordinates as unit ones."""
    return points * (2 / _sizes(points, frame)) - 1
