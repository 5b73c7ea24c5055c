"""What JPEG compression leaves of an image, computed on the batch's own device.

The lossy part of baseline JPEG (ITU-T T.81): conversion to luma and chroma (JFIF), chroma at half
resolution, the cosine transform of blocks of 8 x 8, quantization with the tables of Annex K scaled
by quality as libjpeg scales them, and back. The lossless part (entropy coding) changes no pixel and
is left out.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["compress"]

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
_TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
_FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def _cosines(like: Tensor) -> Tensor:
    """(8, 8) orthonormal matrix of the discrete cosine transform (type II)."""
    steps = torch.arange(8, device=like.device, dtype=like.dtype)
    matrix = torch.cos((2 * steps + 1) * steps[:, None] * (math.pi / 16)) / 2
    return torch.cat([matrix[:1] / math.sqrt(2), matrix[1:]])


def _tables(quality: Tensor, table: tuple[tuple[int, ...], ...]) -> Tensor:
    """(n, 8, 8) quantization steps, as libjpeg scales them."""
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    steps = quality.new_tensor(table) * scale[:, None, None]
    return ((steps + 50) / 100).floor().clamp(1, 255)


def _quantized(planes: Tensor, steps: Tensor) -> Tensor:
    """Planes (n, h, w), sides multiples of 8, through the transform, quantization and back."""
    cosines = _cosines(planes)
    blocks = planes.unflatten(2, (-1, 8)).unflatten(1, (-1, 8)).transpose(2, 3)
    steps = steps[:, None, None]
    frequencies = cosines @ blocks @ cosines.T
    rounded = (frequencies / steps).round() * steps
    restored = cosines.T @ rounded @ cosines
    return restored.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _mixed(images: Tensor, rows: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("ij,njhw->nihw", images.new_tensor(rows), images)


def _grown(planes: Tensor, multiple: int) -> Tensor:
    height, width = planes.shape[-2:]
    return F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _bytes(planes: Tensor) -> Tensor:
    return planes.round().clamp(0, 255)


def _halved(planes: Tensor) -> Tensor:
    """Means of 2 x 2, rounded down and up by turns along a row so that they do not drift."""
    sums = 4 * F.avg_pool2d(planes, 2)
    turns = torch.arange(sums.shape[-1], device=planes.device) % 2 + 1
    return ((sums + turns) / 4).floor()


def compress(images: Tensor, quality: Tensor) -> Tensor:
    """Compress and decompress.

    Args:
        images: (n, 3, height, width) in RGB, or of any other number of channels, each then treated
            as luma; floating point in [0, 1].
        quality: (n,), from 1 to 100.

    Returns:
        Images of the same shape, multiples of 1 / 255.
    """
    height, width = images.shape[-2:]
    n, channels = images.shape[:2]
    values = (images * 255).round().clamp(0, 255)
    quality = quality.to(images.dtype)
    luma_steps = _tables(quality, _LUMA)
    if channels != 3:
        planes = _grown(values, 8).flatten(0, 1) - 128
        restored = _quantized(planes, luma_steps.repeat_interleave(channels, 0)) + 128
        restored = restored.view(n, channels, *restored.shape[1:])
    else:
        # Rounded wherever libjpeg stores whole numbers.
        ycc = _mixed(_grown(values, 16), _TO_YCC).round()
        luma = _bytes(_quantized(ycc[:, 0] - 128, luma_steps) + 128)
        chroma_steps = _tables(quality, _CHROMA).repeat_interleave(2, 0)
        small = _halved(ycc[:, 1:]).flatten(0, 1)
        chroma = _bytes(_quantized(small, chroma_steps) + 128).view(n, 2, *small.shape[1:]) - 128
        chroma = F.interpolate(chroma, scale_factor=2.0, mode="bilinear", align_corners=False)
        restored = _mixed(torch.cat([luma[:, None], chroma], dim=1), _FROM_YCC)
    return restored[..., :height, :width].round().clamp(0, 255) / 255
