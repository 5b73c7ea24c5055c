"""Which kernel, if any, can run a segment of a plan, and how far it gets.

A kernel samples by one homography a sample and then runs the stages that it knows: channel-wise
affine maps, logit colour, colour matrices, hue. What it does not know (effects, erasure, elastic
maps, bicubic sampling, gradients) is left to the plain path.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torte.vision.augment.antialiasing import filter_widths
from torte.vision.augment.coordinates import index_homography
from torte.vision.augment.declaration import Homography, PixelMap
from torte.vision.augment.kernels import cpu, cuda
from torte.vision.augment.kernels.stages import Geometry, stages_of
from torte.vision.augment.sampling import is_identity, spread_of

if TYPE_CHECKING:
    from torte.vision.augment.rendering import Segment

__all__ = ["fused_segment"]

_BACKENDS = {"cpu": cpu, "cuda": cuda}


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
    backend = _BACKENDS.get(images.device.type)
    if backend is None or not _takes(segment, images, backend):
        return None
    stages, rest = stages_of(segment.pixels, images.shape[1])
    if not segment.maps and not stages and not rest:
        return None  # a conversion: PyTorch's own is as good
    result = torch.empty(
        (*images.shape[:2], *segment.output[:2]),
        dtype=dtype if dtype in backend.OUTPUTS and not rest else torch.float32,
        device=images.device,
        memory_format=memory_format,
    )
    geometry = _geometry(segment, images)
    sampling = segment.sampling.padding, segment.sampling.corners
    backend.run(images.detach(), result, geometry, sampling, segment.density, segment.scale, stages)
    return result, rest


def _takes(segment: "Segment", images: Tensor, backend: Any) -> bool:
    if torch.is_grad_enabled() and _records(segment, images):
        return False
    if len(segment.maps) > 1 or not all(isinstance(part, Homography) for part in segment.maps):
        return False
    if segment.maps and segment.sampling.mode != "bilinear":
        return False
    return backend.takes(images, segment.output[:2], segment.density) and not backend.why_not()


def _records(segment: "Segment", images: Tensor) -> bool:
    """Whether gradients are to flow, to the images or to a parameter that a hook gave."""
    if images.requires_grad:
        return True
    parameters = [part.matrix for part in segment.maps if isinstance(part, Homography)]
    for part in segment.pixels:
        parameters += [value for value in vars(part).values() if isinstance(value, Tensor)]
    return any(value.requires_grad for value in parameters)


def _geometry(segment: "Segment", images: Tensor) -> Geometry:
    """Index homographies, which move anything, the spread of subsamples, widths of filters."""
    n, device = images.shape[0], images.device
    spread = widths = torch.zeros(n, 2, device=device)
    if not segment.maps:
        still = torch.zeros(n, dtype=torch.int8, device=device)
        return torch.eye(3, device=device).expand(n, 3, 3).contiguous(), still, spread, widths
    part = segment.maps[0]
    assert isinstance(part, Homography)
    matrices = index_homography(part.matrix.float(), segment.output, segment.source)
    same = is_identity(part.matrix, segment.source, segment.output)
    moves = torch.ones(n, dtype=torch.bool, device=device) if same is None else ~same
    if segment.density > 1:
        spread = spread_of(segment.maps).float().expand(n, 2).contiguous()
    if segment.filtered:
        widths = filter_widths(part.matrix.float()).expand(n, 2).contiguous()
    moves = moves.to(torch.int8).expand(n).contiguous()
    return matrices.expand(n, 3, 3).contiguous(), moves, spread, widths
