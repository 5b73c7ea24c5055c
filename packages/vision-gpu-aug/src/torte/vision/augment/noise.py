"""Numbers a pixel, each from its sample's key and its place alone."""

import math

import torch
from torch import Tensor

from torte.data.seeding import uniform

__all__ = ["normal_at", "normal_images"]

_STRIDE = 0x2545F4914F6CDD1D  # odd, so that counters spread over all keys


def normal_at(keys: Tensor, places: Tensor) -> Tensor:
    """Standard normal numbers, float32, for int64 keys and counters that broadcast.

    Box and Muller, "A note on the generation of random normal deviates", 1958.
    """
    mixed = keys + places * _STRIDE
    first, second = uniform(mixed.flatten(), 2, stream=2).unbind(0)
    radius = (-2 * torch.log(1 - first)).sqrt()
    return (radius * torch.cos(second * (2 * math.pi))).view(mixed.shape)


def normal_images(keys: Tensor, like: Tensor) -> Tensor:
    """Standard normal numbers of the shape of images (n, c, h, w), in their dtype."""
    places = torch.arange(like[0].numel(), device=like.device)
    return normal_at(keys[:, None], places).view(like.shape).to(like.dtype)
