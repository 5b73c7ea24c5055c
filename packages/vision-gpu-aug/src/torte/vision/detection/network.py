"""A detector: any body, a feature pyramid, and one head for all of its levels."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torte.learner.builders import model_builder
from torte.vision.models.architectures import ArchitectureLike, find_architecture
from torte.vision.models.body_and_head import Cut, create_body, probe_size
from torte.vision.models.unet import FeatureEncoder

__all__ = ["Detector", "FeaturePyramid", "detector_model"]

_PRIOR = 0.01
_LONGEST = 8.0


class FeaturePyramid(nn.Module):
    """Maps of several resolutions, each enriched by the coarser ones (Lin et al. 2017).

    Args:
        channels: Channels of each map, from fine to coarse.
        width: Channels of each result.
    """

    def __init__(self, channels: list[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The enriched maps, from fine to coarse."""
        own = [layer(m) for layer, m in zip(self.lateral, maps, strict=True)]
        for fine in range(len(own) - 2, -1, -1):
            own[fine] = own[fine] + F.interpolate(own[fine + 1], size=own[fine].shape[2:])
        return [layer(m) for layer, m in zip(self.smooth, own, strict=True)]


class Detector(nn.Module):
    """Predicts a box and a score for each class at every location of a feature pyramid.

    Args:
        body: See `FeatureEncoder`.
        n_out: Classes.
        size: (channels, height, width) of one image, to probe the body with.
        width: Channels of the pyramid and the head.
        levels: Resolutions, the coarsest of the body.
        depth: Convolutions of the head before the last.

    Shape:
        - Input: (n, channels, height, width), of any size.
        - Output: (n, locations, classes + 8), at least float32: the logits of the classes; the box
          as x1, y1, x2, y2 between -1 and 1; the location's x and y; its stride along x and y, in
          the same coordinates.
    """

    def __init__(
        self,
        body: nn.Module,
        n_out: int,
        size: tuple[int, int, int],
        width: int = 128,
        levels: int = 3,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.encoder = FeatureEncoder(body, size)
        self.levels = min(levels, len(self.encoder.channels))
        finest = len(self.encoder.channels) - self.levels + (0 if self.encoder.full_size else 1)
        self.strides = [2 ** (finest + level) for level in range(self.levels)]
        self.pyramid = FeaturePyramid(self.encoder.channels[-self.levels :], width)
        self.scores = _head(width, n_out, depth)
        self.boxes = _head(width, 4, depth)
        nn.init.constant_(_bias(self.scores), -math.log((1 - _PRIOR) / _PRIOR))

    def forward(self, images: Tensor) -> Tensor:
        """Scores and boxes at every location."""
        maps = self.pyramid(self.encoder(images)[-self.levels :])
        height, width = images.shape[2:]
        rows = [self._level(m, s, height, width) for m, s in zip(maps, self.strides, strict=True)]
        return torch.cat(rows, 1)

    def _level(self, features: Tensor, stride: int, height: int, width: int) -> Tensor:
        logits = _rows(self.scores(features))
        moved, log_size = _rows(self.boxes(features)).split(2, -1)
        rows, columns = features.shape[2:]
        step = moved.new_tensor([2 * stride / width, 2 * stride / height])
        x = torch.arange(columns, device=moved.device) + 0.5
        y = torch.arange(rows, device=moved.device) + 0.5
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(1, -1, 2)
        locations = grid * step - 1
        centres = locations + moved * step
        # At the start a box is as large as its level's middle: 4 strides.
        half = 2 * step * log_size.clamp(-_LONGEST, _LONGEST).exp()
        shared = torch.cat([locations, step.expand_as(locations)], -1).expand(len(moved), -1, -1)
        return torch.cat([logits, centres - half, centres + half, shared], -1)


def _head(width: int, n_out: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        # Levels differ too much in their statistics for batch normalization.
        convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
        layers += [convolution, nn.GroupNorm(math.gcd(width, 16), width), nn.ReLU(inplace=True)]
    last = nn.Conv2d(width, n_out, 3, padding=1)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(_bias(last))
    return nn.Sequential(*layers, last)


def _bias(layer: nn.Module) -> Tensor:
    last: Any = layer[-1] if isinstance(layer, nn.Sequential) else layer
    return last.bias


def _rows(maps: Tensor) -> Tensor:
    """(n, channels, h, w) as (n, h * w, channels), at least float32 also under autocast."""
    rows = maps.flatten(2).transpose(1, 2)
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


@model_builder("torte.vision.detector_model")
def detector_model(
    arch: ArchitectureLike,
    n_out: int,
    n_in: int = 3,
    cut: Cut = None,
    width: int = 128,
    levels: int = 3,
    depth: int = 2,
    channels_last: bool = True,
    options: dict[str, Any] | None = None,
) -> Detector:
    """Builds a `Detector` with fresh weights.

    Args:
        arch: Full name of an architecture, or its function.
        n_out: Classes.
        n_in: Channels of the images.
        cut: See `create_body`.
        width: See `Detector`, likewise the following two.
        levels: Resolutions.
        depth: Convolutions of the head before the last.
        channels_last: Whether weights lie in channels-last layout.
        options: Arguments for the architecture's function.
    """
    model = find_architecture(arch).build(**(options or {}))
    size = probe_size(model, n_in)
    detector = Detector(create_body(model, n_in, False, cut), n_out, size, width, levels, depth)
    layout: Any = torch.channels_last if channels_last else torch.contiguous_format
    return detector.to(memory_format=layout)
