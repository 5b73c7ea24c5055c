"""Losses of overlap, for segmentation."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from torte.data.tensors import plain
from torte.dispatch import serializable
from torte.learner.losses.base import check_reduction, reduce_loss

__all__ = ["DiceLoss"]


@serializable
class DiceLoss:
    """One minus the Dice coefficient of the probabilities, by sample and class (Milletari 2016).

    `1 - (2 * sum(p t) + smooth) / (sum(p) + sum(t) + smooth)`, sums over the pixels of an image.

    Args:
        axis: Dimension of the classes.
        smooth: Keeps the ratio finite for classes that do not occur.
        reduction: "sum" or "mean" over samples and classes, or "none".
        square_in_union: Square the probabilities in the denominator, as V-Net does.
    """

    y_int: ClassVar[bool] = True

    def __init__(
        self,
        axis: int = 1,
        smooth: float = 1e-6,
        reduction: str = "sum",
        square_in_union: bool = False,
    ) -> None:
        self.axis = axis
        self.smooth = smooth
        self.reduction = check_reduction(reduction)
        self.square_in_union = square_in_union

    def __call__(self, pred: Tensor, targ: Tensor) -> Tensor:
        """Return the loss of scores (batch, classes, …) for class numbers (batch, …)."""
        pred, targ = plain(pred), plain(targ)
        probabilities = self.activation(pred).movedim(self.axis, 1).flatten(2)
        samples, classes, pixels = probabilities.shape
        if targ.numel() != samples * pixels:
            raise ValueError(
                f"DiceLoss: predictions of shape {tuple(pred.shape)} do not fit targets of shape "
                f"{tuple(targ.shape)} with axis={self.axis}"
            )
        numbers = torch.arange(classes, device=targ.device)[None, :, None]
        expected = (targ.reshape(samples, 1, pixels) == numbers).to(probabilities.dtype)
        overlap = (probabilities * expected).sum(dim=2)
        measured = probabilities.square() if self.square_in_union else probabilities
        union = (measured + expected).sum(dim=2)
        dice = (2.0 * overlap + self.smooth) / (union + self.smooth)
        return reduce_loss(1 - dice, self.reduction)

    def __repr__(self) -> str:
        return f"DiceLoss(axis={self.axis}, reduction={self.reduction!r})"

    def activation(self, x: Tensor) -> Tensor:
        """Return probabilities: softmax along `axis`."""
        return F.softmax(x, dim=self.axis)

    def decodes(self, x: Tensor) -> Tensor:
        """Return class numbers: argmax along `axis`."""
        return x.argmax(dim=self.axis)
