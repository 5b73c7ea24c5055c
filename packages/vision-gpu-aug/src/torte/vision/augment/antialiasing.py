"""Shrinking along the axes, filtered exactly as PIL and torchvision do it.

A sample whose map only scales, mirrors and shifts along the axes (a resize, a crop that is resized,
a flip, a zoom) and shrinks is the product of two small resamplings, one an axis, each a table of
weights: a triangle or Keys' cubic (a = -0.5), as many times as wide as the image is shrunk, cut off
at the frame and normalised there. That is the filter of `PIL.Image.resize` and of
`torchvision.transforms.functional.resize(antialias=True)`.

A sample that is also turned, sheared or warped has no such product. It takes the mean of several
samples about each place, as far apart as gives that filter's width (`sampling.spread_of`).
"""

import torch
from torch import Tensor

from torte.vision.augment.coordinates import Frame, index_homography

__all__ = ["filter_widths", "resample"]

_LEAST = 1 + 1e-4  # what float32 makes of "not shrunk"


def filter_widths(matrix: Tensor) -> Tensor:
    """How many source pixels an output pixel stands for along x and y, where that is all there is.

    Args:
        matrix: (n, 3, 3), centred coordinates of the output to those of the source.

    Returns:
        (n, 2), at least 1; zeros for samples that are not shrunk, or not along the axes.
    """
    across, down = matrix[:, 0, 0].abs(), matrix[:, 1, 1].abs()
    others = matrix[:, (0, 1, 2, 2), (1, 0, 0, 1)]
    wanted = (others == 0).all(1) & (matrix[:, 2, 2] == 1) & (across > 0) & (down > 0)
    wanted = wanted & (torch.maximum(across, down) > _LEAST)
    widths = torch.stack([across, down], dim=1).clamp(min=1)
    return torch.where(wanted[:, None], widths, torch.zeros_like(widths))


def resample(
    images: Tensor,
    matrix: Tensor,
    frames: tuple[Frame, Frame],
    padding: tuple[str, bool],
    widths: Tensor,
    cubic: bool,
) -> Tensor:
    """Shrink along the axes.

    Beyond the frame, reflection and border go by the centre of the output pixel, and zeros by how
    much of it lies in the frame.

    Args:
        images: Floating point (n, channels, height, width).
        matrix: (n, 3, 3), centred coordinates of the output to those of the source.
        frames: Of the source and of the result.
        padding: Padding, and `align_corners` (where reflection has its mirrors).
        widths: (n, 2), see `filter_widths`; where they are zero the result means nothing.
        cubic: Keys' cubic instead of the triangle.

    Returns:
        (n, channels, output height, output width).
    """
    source, output = frames
    index = index_homography(matrix, output, source)
    tables = []
    for axis, (size, wanted) in enumerate(
        ((source.width, output.width), (source.height, output.height))
    ):
        steps = torch.arange(wanted, device=matrix.device, dtype=matrix.dtype)
        centres = index[:, axis, axis, None] * steps + index[:, axis, 2, None]
        width = widths[:, axis, None].clamp(min=1)
        tables.append(_weights(centres, width, size, padding, cubic).to(images.dtype))
    across, down = tables
    with torch.autocast(images.device.type, enabled=False):  # half precision would show
        lines = down[:, None] @ images
        return lines @ across[:, None].transpose(2, 3)


def _weights(
    centres: Tensor, width: Tensor, size: int, padding: tuple[str, bool], cubic: bool
) -> Tensor:
    """(n, outputs, size): what each source pixel of a line adds to each output pixel of it."""
    share = None
    if padding[0] == "zeros":
        share = ((centres + 0.5) / width + 0.5).clamp(0, 1)
        share = share * ((size - 0.5 - centres) / width + 0.5).clamp(0, 1)
    elif padding[0] == "reflection":
        low, period = (0.0, 2.0 * max(size - 1, 1)) if padding[1] else (-0.5, 2.0 * size)
        beyond = (centres < -0.5) | (centres > size - 0.5)
        folded = centres - low
        folded = (folded - period * (folded / period).round()).abs() + low
        centres = torch.where(beyond, folded, centres)
    centres = centres.clamp(-0.5, size - 0.5)
    places = torch.arange(size, device=centres.device, dtype=centres.dtype)
    distance = ((places - centres[..., None]) / width[..., None]).abs()
    weights = _cubic(distance) if cubic else (1 - distance).clamp(min=0)
    weights = weights / weights.sum(-1, keepdim=True)
    return weights if share is None else weights * share[..., None]


def _cubic(distance: Tensor) -> Tensor:
    """Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -0.5."""
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
