"""Which kernel, if any, can run a segment of a plan, and how far it gets.

A kernel samples by one homography a sample and then runs the stages that it knows: channel-wise
affine maps, logit colour, colour matrices, hue. What it does not know (effects, erasure, elastic
maps, bicubic sampling, gradients) is left to the plain path.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torte.vision.augment.colour import ChannelAffine, ColourMatrix, HueTurn, LogitColour
from torte.vision.augment.coordinates import index_homography
from torte.vision.augment.declaration import Homography, PixelMap
from torte.vision.augment.kernels import cpu
from torte.vision.augment.sampling import is_identity

if TYPE_CHECKING:
    from torte.vision.augment.rendering import Segment

__all__ = ["fused_segment", "stages_of"]

_OUTPUTS = (torch.float32, torch.bfloat16)


def fused_segment(
    segment: "Segment", images: Tensor, dtype: torch.dtype, memory_format: torch.memory_format
) -> tuple[Tensor, list[PixelMap]] | None:
    """Run a segment with a fused kernel.

    Args:
        segment: What to run.
        images: Its source.
        dtype: Wanted in the end.
        memory_format: Wanted in the end.

    Returns:
        The result and the pixel maps that are still to be run on it (then it is float32), or None
        where no kernel applies.
    """
    if not _takes(segment, images):
        return None
    stages, rest = stages_of(segment.pixels, images.shape[1])
    if not segment.maps and not stages and not rest:
        return None  # a conversion: PyTorch's own is as good
    result = torch.empty(
        (*images.shape[:2], *segment.output[:2]),
        dtype=dtype if dtype in _OUTPUTS and not rest else torch.float32,
        memory_format=memory_format,
    )
    matrices, moves = _geometry(segment, images.shape[0])
    sampling = segment.sampling.padding, segment.sampling.corners
    density = segment.density
    cpu.run(images.detach(), result, matrices, moves, sampling, density, segment.scale, stages)
    return result, rest


def _takes(segment: "Segment", images: Tensor) -> bool:
    if images.device.type != "cpu" or (torch.is_grad_enabled() and _records(segment, images)):
        return False
    if len(segment.maps) > 1 or not all(isinstance(part, Homography) for part in segment.maps):
        return False
    if segment.maps and segment.sampling.mode != "bilinear":
        return False
    return cpu.takes(images, segment.output[:2], segment.density) and not cpu.why_not()


def _records(segment: "Segment", images: Tensor) -> bool:
    """Whether gradients are to flow, to the images or to a parameter that a hook gave."""
    if images.requires_grad:
        return True
    parameters = [part.matrix for part in segment.maps if isinstance(part, Homography)]
    for part in segment.pixels:
        parameters += [value for value in vars(part).values() if isinstance(value, Tensor)]
    return any(value.requires_grad for value in parameters)


def _geometry(segment: "Segment", n: int) -> tuple[Tensor, Tensor]:
    """Index homographies and which of them move anything."""
    if not segment.maps:
        return torch.eye(3).expand(n, 3, 3).contiguous(), torch.zeros(n, dtype=torch.int8)
    part = segment.maps[0]
    assert isinstance(part, Homography)
    matrices = index_homography(part.matrix.float(), segment.output, segment.source)
    matrices = matrices.expand(n, 3, 3).contiguous()
    same = is_identity(part.matrix, segment.source, segment.output)
    moves = torch.ones(n, dtype=torch.int8) if same is None else (~same).to(torch.int8)
    return matrices, moves.expand(n).contiguous()


def stages_of(pixels: Sequence[PixelMap], channels: int) -> tuple[list[cpu.Stage], list[PixelMap]]:
    """As many of the pixel maps as kernels know, from the first on, and the others."""
    stages: list[cpu.Stage] = []
    for place, part in enumerate(pixels):
        stage = _stage(part, channels)
        if stage is None:
            return stages, list(pixels[place:])
        stages.append((stage[0], stage[1].detach().float().contiguous()))
    return stages, []


def _stage(part: PixelMap, channels: int) -> cpu.Stage | None:
    if isinstance(part, ChannelAffine):
        both = (values.expand(-1, channels) for values in (part.scale, part.offset))
        return cpu.CHANNEL_AFFINE, torch.cat(torch.broadcast_tensors(*both), dim=1)
    if isinstance(part, LogitColour):
        saturation = torch.ones_like(part.gain) if part.saturation is None else part.saturation
        return cpu.LOGIT, torch.stack([part.gain, part.shift, saturation], dim=1)
    if isinstance(part, HueTurn):
        return cpu.HUE, part.turn[:, None]
    if isinstance(part, ColourMatrix) and channels == 3:
        active = part.active
        flags = torch.ones_like(part.offset[:, 0]) if active is None else active.float()
        return cpu.MATRIX, torch.cat([part.matrix.flatten(1), part.offset, flags[:, None]], dim=1)
    return None
