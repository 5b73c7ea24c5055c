"""From a plan to pixels: one sampling a segment, then its pixel maps, then dtype and layout.

Three ways lead to the same numbers (tests hold them to each other):

* the fused kernels, where they apply (`kernels/`): sampling, colour and normalization in one pass;
* plain PyTorch, a few samples at a time on the CPU, so that what lies between the passes stays in
  the processor's cache;
* plain PyTorch on the whole batch: on accelerators, under `torch.compile`, and with gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from torte.vision.augment.coordinates import Frame
from torte.vision.augment.declaration import Displacement, Homography, PixelMap
from torte.vision.augment.kernels.dispatching import fused_segment
from torte.vision.augment.sampling import (
    CoordinateMap,
    Sampling,
    is_identity,
    sample,
    supersampling,
)

__all__ = ["Segment", "render", "render_plain"]

_CACHE_BYTES = 1 << 20  # what a core's own cache holds, on today's servers


@dataclass
class Segment:
    """One sampling and what follows it.

    Attributes:
        source: Frame that is sampled.
        output: Frame of the result.
        maps: The collapsed coordinate map; empty where nothing moves.
        pixels: Pixel maps, merged where they can be.
        sampling: How the source is sampled.
        shrink: The most source pixels, on a side, that an output pixel may stand for.
        scale: What source values are multiplied by first (1 / 255 for whole numbers).
    """

    source: Frame
    output: Frame
    maps: list[CoordinateMap] = field(default_factory=list)
    pixels: list[PixelMap] = field(default_factory=list)
    sampling: Sampling = field(default_factory=Sampling)
    shrink: float = 1.0
    scale: float = 1.0

    @property
    def geometry(self) -> tuple[list[CoordinateMap], Frame, Frame, Sampling]:
        """The map, both frames and the sampling."""
        return self.maps, self.source, self.output, self.sampling

    @property
    def density(self) -> int:
        """Samples a side for each output pixel."""
        return 1 if self.sampling.mode == "nearest" else supersampling(self.shrink)

    @property
    def filtered(self) -> bool:
        """Whether samples may need the exact filter for shrinking; see `antialiasing.py`."""
        single = len(self.maps) == 1 and isinstance(self.maps[0], Homography)
        return single and self.shrink > 1 and self.sampling.mode != "nearest"

    def rows(self, start: int, stop: int) -> "Segment":
        """The part of the segment that concerns the samples [start, stop)."""
        maps: list[CoordinateMap] = [
            replace(part, matrix=part.matrix[start:stop])
            if isinstance(part, Homography)
            else Displacement(part.control[start:stop])
            for part in self.maps
        ]
        return replace(self, maps=maps, pixels=[part.rows(start, stop) for part in self.pixels])


def render(
    segments: Sequence[Segment],
    images: Tensor,
    dtype: torch.dtype,
    layout: tuple[torch.memory_format, bool],
) -> Tensor:
    """Run a plan on images.

    Args:
        segments: The plan.
        images: (n, channels, height, width), uint8 or floating point.
        dtype: Of the result.
        layout: Memory format of the result, and whether fused kernels may run.

    Returns:
        (n, channels, output height, output width); the images themselves where there is nothing to
        do.
    """
    memory_format, kernels = layout
    if images.shape[0] == 0:
        output = segments[-1].output
        return images.new_empty((0, images.shape[1], *output[:2]), dtype=dtype)
    remaining = list(segments)
    while kernels and remaining and not torch.compiler.is_compiling():
        last = len(remaining) == 1
        wanted = dtype if last else torch.float32
        done = fused_segment(remaining[0], images, wanted, memory_format)
        if done is None:
            break
        images, rest = done
        if last and not rest:
            return images.to(dtype)
        frame = remaining[0].output
        remaining[0:1] = [Segment(frame, frame, pixels=rest)] if rest else []
        if rest:
            break
    return render_plain(remaining, images, dtype, memory_format)


def render_plain(
    segments: Sequence[Segment],
    images: Tensor,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> Tensor:
    """The plain path of `render`."""
    step = _chunk(segments, images)
    n = images.shape[0]
    if step >= n:
        result = _run_all(segments, images)
        return result.to(dtype=dtype).contiguous(memory_format=memory_format)
    output = segments[-1].output
    result = torch.empty(
        (n, images.shape[1], *output[:2]), dtype=dtype, memory_format=memory_format
    )
    for start in range(0, n, step):
        stop = min(start + step, n)
        parts = [segment.rows(start, stop) for segment in segments]
        result[start:stop] = _run_all(parts, images[start:stop])
    return result


def _run_all(segments: Sequence[Segment], images: Tensor) -> Tensor:
    for segment in segments:
        images = _run(segment, images)
    return images


def _run(segment: Segment, images: Tensor) -> Tensor:
    if not images.is_floating_point():
        images = images.float() * segment.scale
    elif images.dtype in (torch.float16, torch.bfloat16):
        images = images.float()  # a grid in half precision would be off by whole pixels
    if segment.maps and not _all_identity(segment, images):
        images = sample(images, *segment.geometry, segment.density, segment.filtered)
    for part in segment.pixels:
        images = part(images)
    return images


def _all_identity(segment: Segment, images: Tensor) -> bool:
    """Whether no sample moves; asked only where the answer costs no synchronisation."""
    first = segment.maps[0]
    if len(segment.maps) > 1 or not isinstance(first, Homography) or not _in_chunks(images):
        return False
    same = is_identity(first.matrix, segment.source, segment.output)
    return same is not None and bool(same.all())


def _in_chunks(images: Tensor) -> bool:
    """Whether to work chunk by chunk: on the CPU, where nothing is being traced or recorded."""
    recording = torch.is_grad_enabled() and images.requires_grad
    return images.device.type == "cpu" and not torch.compiler.is_compiling() and not recording


def _chunk(segments: Sequence[Segment], images: Tensor) -> int:
    """How many samples to process at a time."""
    n = images.shape[0]
    if not _in_chunks(images) or any(not p.local for s in segments for p in s.pixels):
        return n
    pixels = max(s.output.height * s.output.width * s.density**2 for s in segments)
    per_sample = 4 * pixels * (images.shape[1] + 2)
    return max(1, _CACHE_BYTES // per_sample) * torch.get_num_threads()
