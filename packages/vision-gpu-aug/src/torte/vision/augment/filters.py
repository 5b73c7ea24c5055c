"""Effects that look at neighbours or add noise: blur, noise, compression artefacts, sharpness.

They take float images in [0, 1] and give such images. None of them moves anything, so targets stay
as they are.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from torte.dispatch import serializable
from torte.vision.augment.augmentation import Augmentation
from torte.vision.augment.coordinates import Frame
from torte.vision.augment.declaration import DrawHook, Drawn, Effect
from torte.vision.augment.jpeg import compress
from torte.vision.augment.noise import normal_images

__all__ = ["JPEG", "GaussianBlur", "GaussianNoise", "adjust_sharpness", "blur"]


def _range(name: str, values: float | Sequence[float], least: float) -> tuple[float, float]:
    pair = (values, values) if isinstance(values, int | float) else tuple(values)
    if len(pair) != 2 or not least <= pair[0] <= pair[1]:
        raise ValueError(f"{name}={values!r}: give a number or (least, largest), from {least} on")
    return float(pair[0]), float(pair[1])


def _depthwise(images: Tensor, weights: Tensor, along_x: bool) -> Tensor:
    """Each sample convolved along one axis with its own weights (n, taps), reflected at edges."""
    n, channels, height, width = images.shape
    taps = weights.shape[1]
    half = taps // 2
    padding = (half, half, 0, 0) if along_x else (0, 0, half, half)
    kernels = weights.repeat_interleave(channels, 0)[:, None, None, :]
    kernels = kernels if along_x else kernels.transpose(2, 3)
    padded = F.pad(images, padding, mode="reflect").flatten(0, 1)[None]
    return F.conv2d(padded, kernels, groups=n * channels).view(n, channels, height, width)


def blur(images: Tensor, sigma: Tensor, taps: int) -> Tensor:
    """Gaussian blur with a standard deviation a sample.

    Args:
        images: (n, channels, height, width).
        sigma: (n,), pixels, above 0.
        taps: Width of the kernel, odd.
    """
    places = torch.arange(taps, device=images.device, dtype=images.dtype) - taps // 2
    weights = (-0.5 * (places / sigma.to(images.dtype)[:, None]) ** 2).exp()
    weights = weights / weights.sum(1, keepdim=True)
    return _depthwise(_depthwise(images, weights, True), weights, False)


def adjust_sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with a 3 x 3 smoothing, as PIL does: 0 smooth, 1 unchanged, above 1 sharper.

    Args:
        images: (n, channels, height, width) in [0, 1].
        factor: (n,).
    """
    channels = images.shape[1]
    kernel = torch.ones(3, 3, device=images.device, dtype=images.dtype)
    kernel[1, 1] = 5
    smooth = F.conv2d(images, (kernel / 13).expand(channels, 1, 3, 3), groups=channels)
    edges = images.clone()  # PIL leaves the border alone
    edges[:, :, 1:-1, 1:-1] = smooth
    return torch.lerp(edges, images, factor.to(images.dtype).view(-1, 1, 1, 1)).clamp(0, 1)


@serializable
class GaussianBlur(Augmentation):
    """Blur with a random standard deviation.

    Args:
        sigma: Standard deviation in pixels: a number, or the range it is drawn from.
        kernel_size: Taps of the kernel, odd; None: 6 of the largest sigma, and 1.
        p: Probability that a sample is blurred.
        draw: The standard deviation, or a function of the images that gives it.
        batch: One draw for all samples.
    """

    draws = 1
    order = 41

    def __init__(
        self,
        sigma: float | Sequence[float] = (0.1, 2.0),
        kernel_size: int | None = None,
        p: float = 0.5,
        draw: DrawHook | None = None,
        batch: bool = False,
    ) -> None:
        super().__init__(p=p, batch=batch)
        self._range = _range("sigma", sigma, 1e-3)
        if kernel_size is not None and (kernel_size < 1 or kernel_size % 2 == 0):
            raise ValueError(f"GaussianBlur: {kernel_size=} must be odd")
        self.sigma, self.kernel_size, self.draw = sigma, kernel_size, draw
        self._taps = kernel_size or 2 * math.ceil(3 * self._range[1]) + 1

    def declare(self, drawn: Drawn, frame: Frame) -> Effect:
        """The blur."""
        sigma = drawn.value(drawn.between(0, *self._range), 1.0, self.draw)
        smallest = 2 * min(frame.height, frame.width) - 1
        taps = min(self._taps, smallest)
        return Effect(lambda images, s: blur(images, s, taps), (sigma,), drawn.active)


@serializable
class GaussianNoise(Augmentation):
    """Add normal noise, a number a value, and cut at 0 and 1.

    Args:
        std: Standard deviation (of values in [0, 1]): a number, or the range it is drawn from.
        p: Probability that a sample is changed.
        draw: The standard deviation, or a function of the images that gives it.
        batch: One draw (and one field of noise) for all samples.
    """

    draws = 1
    order = 41

    def __init__(
        self,
        std: float | Sequence[float] = (0.0, 0.05),
        p: float = 0.5,
        draw: DrawHook | None = None,
        batch: bool = False,
    ) -> None:
        super().__init__(p=p, batch=batch)
        self._range = _range("std", std, 0.0)
        self.std, self.draw = std, draw

    def declare(self, drawn: Drawn, frame: Frame) -> Effect:
        """The noise."""
        std = drawn.value(drawn.between(0, *self._range), 0.0, self.draw)
        return Effect(_noisy, (std, drawn.keys), drawn.active)


def _noisy(images: Tensor, std: Tensor, keys: Tensor) -> Tensor:
    noise = normal_images(keys, images)
    return (images + noise * std.to(images.dtype).view(-1, 1, 1, 1)).clamp(0, 1)


@serializable
class JPEG(Augmentation):
    """Show the artefacts of JPEG compression at a random quality; see `jpeg.compress`.

    Args:
        quality: From 1 to 100: a number, or the range it is drawn from.
        p: Probability that a sample is changed.
        draw: The quality, or a function of the images that gives it.
        batch: One draw for all samples.
    """

    draws = 1
    order = 41

    def __init__(
        self,
        quality: float | Sequence[float] = (30, 95),
        p: float = 0.5,
        draw: DrawHook | None = None,
        batch: bool = False,
    ) -> None:
        super().__init__(p=p, batch=batch)
        self._range = _range("quality", quality, 1)
        if self._range[1] > 100:
            raise ValueError(f"JPEG: {quality=} must be at most 100")
        self.quality, self.draw = quality, draw

    def declare(self, drawn: Drawn, frame: Frame) -> Effect:
        """The compression."""
        quality = drawn.value(drawn.between(0, *self._range).round(), 100.0, self.draw)
        return Effect(compress, (quality,), drawn.active)
