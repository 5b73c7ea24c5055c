"""What the tests of augmentation share: a float64 sampler in NumPy, blobs to find again."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["blobs", "centroid", "reference_sample", "smooth_images"]


def smooth_images(n: int = 4, height: int = 48, width: int = 64, seed: int = 0) -> Tensor:
    """Images (n, 3, height, width) in (0, 1) without sharp edges, in float64."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    images = np.zeros((n, 3, height, width))
    for sample in range(n):
        for channel in range(3):
            for _ in range(4):
                fx, fy = random.uniform(-0.15, 0.15, 2)
                phase = random.uniform(0, 6.28)
                images[sample, channel] += np.cos(fx * x + fy * y + phase)
    return torch.from_numpy(images / 8.5 + 0.5)


def blobs(points: Tensor, height: int, width: int, sigma: float = 2.0) -> Tensor:
    """One image channel a point, with a round blob about it: (k, height, width), float32.

    Args:
        points: (k, 2), pixel coordinates in which pixel (0, 0) covers [0, 1] x [0, 1].
        height: Rows.
        width: Columns.
        sigma: Of the blob, pixels.
    """
    y = torch.arange(height, dtype=torch.float64) + 0.5
    x = torch.arange(width, dtype=torch.float64) + 0.5
    points = points.double()
    dx, dy = x - points[:, :1], y - points[:, 1:]
    squared = dx[:, None, :] ** 2 + dy[:, :, None] ** 2
    return torch.exp(-squared / (2 * sigma**2)).float()


def centroid(image: Tensor) -> tuple[float, float]:
    """Centre of mass (x, y) of one channel, about its brightest place."""
    values = image.double()
    values = torch.where(values > 0.2 * values.max(), values, 0.0)
    y = torch.arange(image.shape[0], dtype=torch.float64) + 0.5
    x = torch.arange(image.shape[1], dtype=torch.float64) + 0.5
    total = values.sum()
    return float((values.sum(0) * x).sum() / total), float((values.sum(1) * y).sum() / total)


def _folded(v: np.ndarray, size: int, pad_mode: str, align_corners: bool) -> np.ndarray:
    if pad_mode == "reflection":
        low, high = (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)
        period = 2 * (high - low)
        v = np.mod(v - low, period)
        v = np.where(v > high - low, period - v, v) + low
    return v if pad_mode == "zeros" else np.clip(v, 0, size - 1)


def reference_sample(
    image: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    pad_mode: str,
    align_corners: bool,
) -> np.ndarray:
    """Sample one channel bilinearly, in float64, pixel by pixel.

    Args:
        image: (height, width).
        matrix: (3, 3), coordinates about the centre of the output to those about the centre of the
            image, in pixels.
        size: (height, width) of the output.
        pad_mode: "zeros", "border" or "reflection".
        align_corners: Where the mirrors of reflection are.
    """
    height, width = image.shape
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float64)
    u, v = x + 0.5 - size[1] / 2, y + 0.5 - size[0] / 2
    m = matrix.astype(np.float64)
    depth = m[2, 0] * u + m[2, 1] * v + m[2, 2]
    sx = (m[0, 0] * u + m[0, 1] * v + m[0, 2]) / depth + width / 2 - 0.5
    sy = (m[1, 0] * u + m[1, 1] * v + m[1, 2]) / depth + height / 2 - 0.5
    sx = _folded(sx, width, pad_mode, align_corners)
    sy = _folded(sy, height, pad_mode, align_corners)
    left, top = np.floor(sx), np.floor(sy)
    result = np.zeros(size)
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = left + dx, top + dy
            weight = (1 - abs(sx - column)) * (1 - abs(sy - row))
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            column = np.clip(column, 0, width - 1).astype(int)
            row = np.clip(row, 0, height - 1).astype(int)
            result += np.where(inside, weight * image[row, column], 0.0)
    return result
