"""Which samplings and which pixel maps a list of parts comes down to."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torte.vision.augment.coordinates import Frame
from torte.vision.augment.declaration import Displacement, Homography, Part, PixelMap
from torte.vision.augment.rendering import Segment
from torte.vision.augment.sampling import CoordinateMap, Sampling, collapsed
from torte.vision.augment.targets import move_boxes, move_points, sample_masks

__all__ = ["Plan"]


@dataclass
class Plan:
    """What is to be done with one batch.

    Attributes:
        segments: Samplings, each with the pixel maps after it; more than one where effects stand
            between (see the module).
        frame: The output frame so far.
    """

    segments: list[Segment]
    frame: Frame

    def add(self, part: Part, sampling: Sampling | None) -> None:
        """Add one part to the last segment, or to a new one where it does not commute."""
        segment = self.segments[-1]
        if isinstance(part, PixelMap):
            merged = segment.pixels[-1].merged(part) if segment.pixels else None
            segment.pixels[-1:] = [merged] if merged else [*segment.pixels[-1:], part]
            return
        if not isinstance(part, Homography | Displacement):
            raise TypeError(f"{part!r} is no part that an engine knows; see declaration.py")
        sampling = sampling or Sampling()
        agreed = segment.sampling.agreed(sampling) if segment.maps else sampling
        if agreed is None or not _commute(segment.pixels, agreed):
            segment = Segment(self.frame, self.frame)
            self.segments.append(segment)
            agreed = sampling
        segment.sampling = agreed
        segment.maps = collapsed([*segment.maps, part])
        if isinstance(part, Homography):
            segment.output = self.frame = part.frame
            segment.shrink *= part.shrink

    @property
    def maps(self) -> list[CoordinateMap]:
        """The coordinate maps of all segments, nearest to the source first."""
        return [part for segment in self.segments for part in segment.maps]

    @property
    def samplings(self) -> int:
        """How many times the source is interpolated."""
        return sum(bool(segment.maps) for segment in self.segments)

    def masks(self, masks: Tensor) -> Tensor:
        """Masks (n, h, w) or (n, c, h, w), in step with the images."""
        for segment in self.segments:
            if segment.maps:
                masks = sample_masks(masks, *segment.geometry)
        return masks

    def points(self, points: Tensor, outside: str = "keep") -> tuple[Tensor, Tensor]:
        """Points in pixels, in step with the images; see `targets.move_points`."""
        moved, valid = move_points(points, self.maps, self.segments[0].source, self.frame)
        if outside == "drop":
            moved = torch.where(valid[..., None], moved, torch.nan)
        return moved, valid

    def boxes(
        self, boxes: Tensor, outside: str = "keep", min_visible: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Boxes in pixels, in step with the images; see `targets.move_boxes`."""
        frames = self.segments[0].source, self.frame
        return move_boxes(boxes, self.maps, *frames, outside, min_visible)


def _commute(pixels: Sequence[PixelMap], sampling: Sampling) -> bool:
    """Whether sampling may happen before these maps though it was asked for after them."""
    if sampling.pad_mode == "zeros" and pixels:
        return False
    return all(part.local for part in pixels)
