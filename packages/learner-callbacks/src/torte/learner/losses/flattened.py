"""Cross-entropies and distances over flattened data."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torte.dispatch import serializable
from torte.learner.losses.base import BaseLoss, as_weight, check_reduction, jsonable

__all__ = [
    "BCELossFlat",
    "BCEWithLogitsLossFlat",
    "CrossEntropyLossFlat",
    "L1LossFlat",
    "MSELossFlat",
]


@serializable
class CrossEntropyLossFlat(BaseLoss):
    """Cross-entropy of class scores (logits) over all positions, flattened.

    Targets are class numbers, or probabilities of the predictions' shape.

    Args:
        weight: One weight a class.
        axis: Dimension of the classes.
        ignore_index: Class number of targets that do not count.
        reduction: "mean" (weighted by `weight`), "sum" or "none".
        label_smoothing: Share of each target spread over all classes.

    Example:
        >>> loss = CrossEntropyLossFlat(axis=1)
        >>> scores, masks = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
        >>> torch.allclose(loss(scores, masks), F.cross_entropy(scores, masks))
        True
    """

    y_int: ClassVar[bool] = True

    def __init__(
        self,
        weight: Any = None,
        *,
        axis: int = -1,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            nn.CrossEntropyLoss,
            axis=axis,
            weight=as_weight(weight),
            ignore_index=ignore_index,
            reduction=check_reduction(reduction),
            label_smoothing=label_smoothing,
        )

    def activation(self, x: Tensor) -> Tensor:
        """Return probabilities: softmax along `axis`."""
        return F.softmax(x, dim=self.axis)

    def decodes(self, x: Tensor) -> Tensor:
        """Return class numbers: argmax along `axis`."""
        return x.argmax(dim=self.axis)

    def _settings(self) -> dict[str, Any]:
        func = self.func
        return {
            "weight": jsonable(func.weight),
            "ignore_index": func.ignore_index,
            "reduction": func.reduction,
            "label_smoothing": func.label_smoothing,
        }


@serializable
class BCEWithLogitsLossFlat(BaseLoss):
    """Binary cross-entropy of logits, each element a question of its own.

    Args:
        weight: Rescales elements; broadcast to the predictions' shape.
        axis: Unused; there so that all losses take it.
        floatify: Turn targets to floating point.
        thresh: Probability above which `decodes` says yes.
        reduction: "mean", "sum" or "none".
        pos_weight: Weight of positive targets, one a class (the last dimension).
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        axis: int = -1,
        floatify: bool = True,
        thresh: float = 0.5,
        reduction: str = "mean",
        pos_weight: Any = None,
    ) -> None:
        weight, pos_weight = as_weight(weight), as_weight(pos_weight)
        super().__init__(
            nn.BCEWithLogitsLoss,
            axis=axis,
            # Weights by class need the classes' dimension, which flattening would lose.
            flatten=weight is None and pos_weight is None,
            floatify=floatify,
            is_2d=False,
            weight=weight,
            pos_weight=pos_weight,
            reduction=check_reduction(reduction),
        )
        self.thresh = thresh

    def __call__(self, inp: Tensor, targ: Tensor, **kwargs: Any) -> Tensor:
        """Return the loss of logits `inp` for targets `targ` of zeros and ones."""
        if inp.numel() != targ.numel():
            raise self._shape_error(inp, targ)
        return super().__call__(inp, targ.reshape(inp.shape), **kwargs)

    def activation(self, x: Tensor) -> Tensor:
        """Return probabilities: sigmoid."""
        return torch.sigmoid(x)

    def decodes(self, x: Tensor) -> Tensor:
        """Return which elements exceed the threshold."""
        return x > self.thresh

    def _settings(self) -> dict[str, Any]:
        return {
            "weight": jsonable(self.func.weight),
            "floatify": self.floatify,
            "thresh": self.thresh,
            "reduction": self.reduction,
            "pos_weight": jsonable(self.func.pos_weight),
        }


class _ElementwiseLoss(BaseLoss):
    """A loss of each element by itself."""

    loss_cls: ClassVar[Callable[..., nn.Module]]

    def __init__(self, *, axis: int = -1, floatify: bool = True, reduction: str = "mean") -> None:
        super().__init__(
            type(self).loss_cls,
            axis=axis,
            floatify=floatify,
            is_2d=False,
            reduction=check_reduction(reduction),
        )

    def _settings(self) -> dict[str, Any]:
        return {"floatify": self.floatify, "reduction": self.reduction}


@serializable
class BCELossFlat(BaseLoss):
    """Binary cross-entropy of probabilities.

    Args:
        weight: Rescales elements; broadcast to the predictions' shape.
        axis: Unused; there so that all losses take it.
        floatify: Turn targets to floating point.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        axis: int = -1,
        floatify: bool = True,
        reduction: str = "mean",
    ) -> None:
        weight = as_weight(weight)
        super().__init__(
            nn.BCELoss,
            axis=axis,
            flatten=weight is None,
            floatify=floatify,
            is_2d=False,
            weight=weight,
            reduction=check_reduction(reduction),
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "weight": jsonable(self.func.weight),
            "floatify": self.floatify,
            "reduction": self.reduction,
        }


@serializable
class MSELossFlat(_ElementwiseLoss):
    """Squared error of each element.

    Args:
        axis: Unused; there so that all losses take it.
        floatify: Turn targets to floating point.
        reduction: "mean", "sum" or "none".
    """

    loss_cls = nn.MSELoss


@serializable
class L1LossFlat(_ElementwiseLoss):
    """Absolute error of each element.

    Args:
        axis: Unused; there so that all losses take it.
        floatify: Turn targets to floating point.
        reduction: "mean", "sum" or "none".
    """

    loss_cls = nn.L1Loss
