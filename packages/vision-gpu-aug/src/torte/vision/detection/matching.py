"""Which location of the feature maps answers for which box."""

import torch
from torch import Tensor

__all__ = ["match_boxes"]

_RADIUS = 1.5
_LARGEST = 8.0


def match_boxes(locations: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """Finds the box that each location is to predict (after FCOS, Tian et al. 2019).

    A box belongs to one level: the one where its longer side takes more than 4 and at most 8
    strides, the finest level taking all smaller boxes too and the coarsest all larger ones. There
    it is answered for by the locations inside it that are within 1.5 strides of its centre, and
    in any case by those within half a stride, so that no box is too small to be learned. Where
    several boxes claim a location, the smallest gets it.

    Args:
        locations: (locations, 2), x and y, in the coordinates of the boxes.
        strides: (locations, 2), the distance to the next location along x and y.
        boxes: (n, boxes, 4), x1, y1, x2, y2; those without an area are padding.

    Returns:
        (n, locations), int64: the number of the box, or -1 for background.
    """
    if boxes.shape[1] == 0:
        return torch.full((len(boxes), len(locations)), -1, device=boxes.device)
    sizes = boxes[..., 2:] - boxes[..., :2]
    centres = (boxes[..., 2:] + boxes[..., :2]) / 2
    # From here on (n, locations, boxes, 2), in strides.
    distance = (locations[:, None] - centres[:, None]).abs() / strides[:, None]
    extent = sizes[:, None] / strides[:, None]
    near = (distance <= (extent / 2).clamp(0.5, _RADIUS)).all(-1)
    real = (sizes > 0).all(-1)[:, None]
    claims = near & real & _of_level(extent.amax(-1), strides)
    area = sizes.prod(-1)[:, None].expand_as(claims)
    smallest, number = area.masked_fill(~claims, torch.inf).min(-1)
    return number.masked_fill(smallest.isinf(), -1)


def _of_level(longest: Tensor, strides: Tensor) -> Tensor:
    """Whether boxes of so many strides, (n, locations, boxes), belong to the location's level."""
    stride = strides[:, :1]
    above = (longest > _LARGEST / 2) | (stride <= stride.min())
    below = (longest <= _LARGEST) | (stride >= stride.max())
    return above & below
