"""Losses that know their activation and how predictions are decoded.

A loss here is a callable `loss(predictions, targets)`; see `torte.learner.losses.base`.
`default_loss` is a dispatch table: which loss goes with which semantic type of target.
"""

from torte.learner.layers.inspection import NoneReduce
from torte.learner.losses.base import BaseLoss, reduce_loss
from torte.learner.losses.by_target import default_loss
from torte.learner.losses.discounted import (
    FocalLoss,
    FocalLossFlat,
    LabelSmoothingCrossEntropy,
    LabelSmoothingCrossEntropyFlat,
)
from torte.learner.losses.flattened import (
    BCELossFlat,
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    L1LossFlat,
    MSELossFlat,
)
from torte.learner.losses.overlap import DiceLoss

__all__ = [
    "BCELossFlat",
    "BCEWithLogitsLossFlat",
    "BaseLoss",
    "CrossEntropyLossFlat",
    "DiceLoss",
    "FocalLoss",
    "FocalLossFlat",
    "L1LossFlat",
    "LabelSmoothingCrossEntropy",
    "LabelSmoothingCrossEntropyFlat",
    "MSELossFlat",
    "NoneReduce",
    "default_loss",
    "reduce_loss",
]
