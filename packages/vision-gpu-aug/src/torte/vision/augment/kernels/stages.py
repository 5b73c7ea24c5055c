"""What a kernel is told: the geometry, and pixel maps as codes and rows of numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torte.vision.augment.colour import ChannelAffine, ColourMatrix, HueTurn, LogitColour
from torte.vision.augment.declaration import PixelMap

__all__ = ["CHANNEL_AFFINE", "HUE", "LOGIT", "MATRIX", "Geometry", "Stage", "stages_of"]

CHANNEL_AFFINE, LOGIT, MATRIX, HUE = range(4)
Stage = tuple[int, Tensor]
"""A code and its parameters, float32 (n or 1, numbers), contiguous."""

Geometry = tuple[Tensor, Tensor, Tensor, Tensor]
"""How the source is sampled: float32 (n, 3, 3), array indices of the output to those of the source;
int8 (n,), 0 where a sample is to be copied instead; float32 (n, 2), how far apart the subsamples of
an output pixel lie; float32 (n, 2), how wide the exact filter of a sample that is shrunk along the
axes is, else 0."""


def stages_of(pixels: Sequence[PixelMap], channels: int) -> tuple[list[Stage], list[PixelMap]]:
    """As many of the pixel maps as kernels know, from the first on, and the others."""
    stages: list[Stage] = []
    for place, part in enumerate(pixels):
        stage = _stage(part, channels)
        if stage is None:
            return stages, list(pixels[place:])
        stages.append((stage[0], stage[1].detach().float().contiguous()))
    return stages, []


def _stage(part: PixelMap, channels: int) -> Stage | None:
    if isinstance(part, ChannelAffine):
        both = (values.expand(-1, channels) for values in (part.scale, part.offset))
        return CHANNEL_AFFINE, torch.cat(torch.broadcast_tensors(*both), dim=1)
    if isinstance(part, LogitColour):
        saturation = torch.ones_like(part.gain) if part.saturation is None else part.saturation
        return LOGIT, torch.stack([part.gain, part.shift, saturation], dim=1)
    if isinstance(part, HueTurn):
        return HUE, part.turn[:, None]
    if isinstance(part, ColourMatrix) and channels == 3:
        active = part.active
        flags = torch.ones_like(part.offset[:, 0]) if active is None else active.float()
        return MATRIX, torch.cat([part.matrix.flatten(1), part.offset, flags[:, None]], dim=1)
    return None
