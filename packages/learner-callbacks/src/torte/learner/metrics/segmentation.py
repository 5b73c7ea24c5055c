"""Metrics of segmentation, kept as counts of pixels by class over a whole phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from torte.data.tensors import plain
from torte.learner.metrics.contract import Metric, flatten_check, mean_metric

if TYPE_CHECKING:
    from torte.learner.learner import Learner

__all__ = ["Dice", "DiceMulti", "JaccardCoeff", "JaccardCoeffMulti", "foreground_acc"]


@mean_metric
def foreground_acc(
    inp: Tensor, targ: Tensor, bkg_idx: int = 0, axis: int = 1
) -> tuple[Tensor, Tensor]:
    """Share of the pixels that are not background whose class is predicted right.

    Args:
        inp: Scores, (batch, classes, height, width).
        targ: Class numbers, (batch, height, width) or (batch, 1, height, width).
        bkg_idx: Number of the background class.
        axis: Dimension of the classes.
    """
    pred, targ = flatten_check(inp.argmax(dim=axis), targ)
    foreground = targ != bkg_idx
    return ((pred == targ) & foreground).sum(), foreground.sum()


class Dice(Metric):
    """The Dice coefficient of a binary target: `2 |A and B| / (|A| + |B|)` over all pixels.

    Args:
        axis: Dimension of the classes in the predictions.
    """

    sums: ClassVar[tuple[str, ...]] = ("inter", "union")

    def __init__(self, axis: int = 1) -> None:
        self.axis = axis
        self.reset()

    def reset(self) -> None:
        """Set the counts to 0."""
        self.inter: Tensor | int = 0
        self.union: Tensor | int = 0

    def accumulate(self, learn: Learner) -> None:
        """Count the batch's pixels."""
        pred, targ = flatten_check(plain(learn.pred).argmax(dim=self.axis), plain(learn.y))
        self.inter = self.inter + (pred * targ).sum()
        self.union = self.union + (pred + targ).sum()

    @property
    def value(self) -> float | None:
        """The coefficient; `None` while neither predictions nor targets have a foreground pixel."""
        inter, union = float(self.inter), float(self.union)
        return 2.0 * inter / union if union > 0 else None


class JaccardCoeff(Dice):
    """Intersection over union of a binary target: `|A and B| / |A or B|` over all pixels."""

    @property
    def value(self) -> float | None:
        """The coefficient; `None` while neither predictions nor targets have a foreground pixel."""
        inter, union = float(self.inter), float(self.union)
        return inter / (union - inter) if union > 0 else None


class _ByClass(Metric):
    """Counts of pixels by class: in both, in the predictions, in the targets."""

    sums: ClassVar[tuple[str, ...]] = ("inter", "predicted", "expected")

    def __init__(self, axis: int = 1) -> None:
        self.axis = axis
        self.reset()

    def reset(self) -> None:
        """Set the counts to 0."""
        self.inter: Tensor | int = 0
        self.predicted: Tensor | int = 0
        self.expected: Tensor | int = 0

    def accumulate(self, learn: Learner) -> None:
        """Count the batch's pixels by class."""
        scores = plain(learn.pred)
        classes = scores.shape[self.axis]
        pred, targ = flatten_check(scores.argmax(dim=self.axis), plain(learn.y))
        self.inter = self.inter + _count(pred, classes, pred == targ)
        self.predicted = self.predicted + _count(pred, classes)
        # Labels that are no class (255 for "ignore", say) count as in no class.
        self.expected = self.expected + _count(
            targ.clamp(0, classes - 1), classes, (targ >= 0) & (targ < classes)
        )

    def _mean(self, numerator: Any, denominator: Any) -> float | None:
        """Average the ratios of the classes that occur anywhere."""
        occurs = denominator > 0
        if not bool(occurs.any()):
            return None
        return float((numerator[occurs] / denominator[occurs]).mean())


def _count(labels: Tensor, classes: int, where: Tensor | None = None) -> Tensor:
    """Count the labels of each class; unlike bincount, this never waits for the device."""
    ones = torch.ones_like(labels) if where is None else where.to(labels.dtype)
    counts = torch.zeros(classes, dtype=labels.dtype, device=labels.device)
    return counts.scatter_add_(0, labels, ones)


class DiceMulti(_ByClass):
    """The Dice coefficients of all classes that occur, averaged (macro).

    Args:
        axis: Dimension of the classes in the predictions.
    """

    @property
    def value(self) -> float | None:
        """The averaged coefficient; `None` before the first batch."""
        if isinstance(self.inter, int):
            return None
        both = torch.as_tensor(self.predicted + self.expected)
        return self._mean(2.0 * self.inter.double(), both.double())


class JaccardCoeffMulti(_ByClass):
    """Intersection over union of all classes that occur, averaged (macro).

    Args:
        axis: Dimension of the classes in the predictions.
    """

    @property
    def value(self) -> float | None:
        """The averaged coefficient; `None` before the first batch."""
        if isinstance(self.inter, int):
            return None
        union = torch.as_tensor(self.predicted + self.expected - self.inter)
        return self._mean(self.inter.double(), union.double())
