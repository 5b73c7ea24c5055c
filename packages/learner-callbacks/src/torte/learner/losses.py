"""Losses that know their activation and how predictions are decoded.

A loss here is a callable `loss(predictions, targets)` with three things more than PyTorch's:

* `activation(x)` is what the loss applies inside (softmax for cross-entropy), for inference;
* `decodes(x)` turns activations into what the targets are (class numbers);
* `reduction` ("mean", "sum" or "none") can be set, see `NoneReduce`.

`BaseLoss` also flattens both arguments, with the classes last, so one loss serves images, sequences
and tables. `default_loss` is a dispatch table: which loss goes with which semantic type of target.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torte.data.tensors import (
    TensorCategory,
    TensorMask,
    TensorMultiCategory,
    TensorPoint,
    TensorRegression,
    plain,
)
from torte.dispatch import TypeDispatch, serializable
from torte.learner.layers.inspection import NoneReduce

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


def reduce_loss(loss: Tensor, reduction: str = "mean") -> Tensor:
    """Reduce a tensor of losses: its mean, its sum, or (for any other word) the tensor itself."""
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def _check_reduction(reduction: str) -> str:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    return reduction


def _jsonable(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else value


def _as_weight(weight: Any) -> Tensor | None:
    """Class weights may be given as any sequence of numbers."""
    if weight is None:
        return None
    tensor = plain(torch.as_tensor(weight))
    return tensor if tensor.is_floating_point() else tensor.float()


class BaseLoss:
    """A PyTorch loss over flattened predictions and targets.

    Args:
        loss_cls: Class of the loss.
        *args: For `loss_cls`.
        axis: Dimension of the classes in the predictions; it is moved last before flattening.
        flatten: Whether to flatten at all.
        floatify: Turn targets, and predictions of half precision, into at least float32.
        is_2d: Keep the classes' dimension (cross-entropy) or flatten everything (squared error).
        **kwargs: For `loss_cls`.
    """

    y_int: ClassVar[bool] = False
    """Whether targets are class numbers (which cannot be averaged, as mixup would)."""

    def __init__(
        self,
        loss_cls: Callable[..., Any],
        *args: Any,
        axis: int = -1,
        flatten: bool = True,
        floatify: bool = False,
        is_2d: bool = True,
        **kwargs: Any,
    ) -> None:
        self.axis = axis
        self.flatten = flatten
        self.floatify = floatify
        self.is_2d = is_2d
        self.func = loss_cls(*args, **kwargs)
        buffers = self.func.buffers() if isinstance(self.func, nn.Module) else ()
        self._holds_tensors = any(True for _ in buffers)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.func})"

    @property
    def reduction(self) -> str:
        """How the losses of all elements become one: "mean", "sum" or "none"."""
        return self.func.reduction

    @reduction.setter
    def reduction(self, value: str) -> None:
        self.func.reduction = _check_reduction(value)

    def __call__(self, inp: Tensor, targ: Tensor, **kwargs: Any) -> Tensor:
        """Return the loss of predictions `inp` for targets `targ`.

        Raises:
            ValueError: The shapes do not fit.
        """
        inp, targ = plain(inp), plain(targ)
        if self._holds_tensors:
            self.func.to(inp.device)
        if self.floatify:
            wide = torch.promote_types(inp.dtype, torch.float32)
            inp, targ = inp.to(wide), targ.to(wide)
        elif targ.dtype in _SMALL_INTEGERS:
            targ = targ.long()
        if self.flatten:
            inp, targ = self._flattened(inp, targ)
        return self.func(inp, targ, **kwargs)

    def _flattened(self, inp: Tensor, targ: Tensor) -> tuple[Tensor, Tensor]:
        if not self.is_2d:
            if inp.numel() != targ.numel():
                raise self._shape_error(inp, targ)
            return inp.reshape(-1), targ.reshape(-1)
        classes = inp.shape[self.axis]
        # Targets that are probabilities have the classes' dimension too.
        soft = targ.is_floating_point() and targ.shape == inp.shape
        if not soft and targ.numel() * classes != inp.numel():
            raise self._shape_error(inp, targ)
        inp = inp.movedim(self.axis, -1).reshape(-1, classes)
        if soft:
            return inp, targ.movedim(self.axis, -1).reshape(-1, classes)
        return inp, targ.reshape(-1)

    def _shape_error(self, inp: Tensor, targ: Tensor) -> ValueError:
        remedy = ""
        if self.is_2d:
            remedy = f"; with axis={self.axis} each target needs {inp.shape[self.axis]} scores"
        return ValueError(
            f"{type(self).__name__}: predictions of shape {tuple(inp.shape)} do not fit targets of "
            f"shape {tuple(targ.shape)}{remedy}"
        )

    def to(self, device: torch.device | str) -> None:
        """Move class weights to a device (a call does so by itself)."""
        if isinstance(self.func, nn.Module):
            self.func.to(device)

    def activation(self, x: Any) -> Any:
        """Return the activations of raw predictions; nothing to do here."""
        return x

    def decodes(self, x: Any) -> Any:
        """Return what activations stand for; nothing to do here."""
        return x

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as JSON has them, to build the loss again."""
        return {"axis": self.axis, **self._settings()}

    def _settings(self) -> dict[str, Any]:
        """Return the arguments of a subclass, JSON-able, besides `axis`."""
        return {"reduction": self.reduction}


_SMALL_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32)


@serializable("torte.learner.CrossEntropyLossFlat")
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
            weight=_as_weight(weight),
            ignore_index=ignore_index,
            reduction=_check_reduction(reduction),
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
            "weight": _jsonable(func.weight),
            "ignore_index": func.ignore_index,
            "reduction": func.reduction,
            "label_smoothing": func.label_smoothing,
        }


@serializable("torte.learner.BCEWithLogitsLossFlat")
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
        weight, pos_weight = _as_weight(weight), _as_weight(pos_weight)
        super().__init__(
            nn.BCEWithLogitsLoss,
            axis=axis,
            # Weights by class need the classes' dimension, which flattening would lose.
            flatten=weight is None and pos_weight is None,
            floatify=floatify,
            is_2d=False,
            weight=weight,
            pos_weight=pos_weight,
            reduction=_check_reduction(reduction),
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
            "weight": _jsonable(self.func.weight),
            "floatify": self.floatify,
            "thresh": self.thresh,
            "reduction": self.reduction,
            "pos_weight": _jsonable(self.func.pos_weight),
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
            reduction=_check_reduction(reduction),
        )

    def _settings(self) -> dict[str, Any]:
        return {"floatify": self.floatify, "reduction": self.reduction}


@serializable("torte.learner.BCELossFlat")
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
        weight = _as_weight(weight)
        super().__init__(
            nn.BCELoss,
            axis=axis,
            flatten=weight is None,
            floatify=floatify,
            is_2d=False,
            weight=weight,
            reduction=_check_reduction(reduction),
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "weight": _jsonable(self.func.weight),
            "floatify": self.floatify,
            "reduction": self.reduction,
        }


@serializable("torte.learner.MSELossFlat")
class MSELossFlat(_ElementwiseLoss):
    """Squared error of each element.

    Args:
        axis: Unused; there so that all losses take it.
        floatify: Turn targets to floating point.
        reduction: "mean", "sum" or "none".
    """

    loss_cls = nn.MSELoss


@serializable("torte.learner.L1LossFlat")
class L1LossFlat(_ElementwiseLoss):
    """Absolute error of each element.

    Args:
        axis: Unused; there so that all losses take it.
        floatify: Turn targets to floating point.
        reduction: "mean", "sum" or "none".
    """

    loss_cls = nn.L1Loss


class _ClassLoss(nn.Module):
    """What losses over class scores in dimension 1 share."""

    y_int: ClassVar[bool] = True
    weight: Tensor | None

    def __init__(self, weight: Any, reduction: str) -> None:
        super().__init__()
        self.register_buffer("weight", _as_weight(weight))
        self.reduction = _check_reduction(reduction)

    def _on(self, device: torch.device) -> Tensor | None:
        weight = self.weight
        return weight if weight is None or weight.device == device else weight.to(device)

    def activation(self, x: Tensor) -> Tensor:
        """Return probabilities: softmax along the last dimension."""
        return F.softmax(x, dim=-1)

    def decodes(self, x: Tensor) -> Tensor:
        """Return class numbers: argmax along the last dimension."""
        return x.argmax(dim=-1)


@serializable("torte.learner.FocalLoss")
class FocalLoss(_ClassLoss):
    """Focal loss: `-w_t (1 - p_t)^gamma log(p_t)` (Lin et al. 2017, arXiv:1708.02002).

    Args:
        gamma: How much well classified elements are discounted; 0 is cross-entropy.
        weight: One weight a class, the paper's alpha.
        reduction: "mean" (over elements), "sum" or "none".
    """

    def __init__(self, gamma: float = 2.0, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)
        self.gamma = gamma

    def forward(self, inp: Tensor, targ: Tensor) -> Tensor:
        """Return the loss of scores (batch, classes, …) for class numbers (batch, …)."""
        negative_log = F.cross_entropy(inp, targ, reduction="none")
        # expm1 keeps 1 - p_t exact where p_t is close to 1, which is where it matters.
        loss = (-torch.expm1(-negative_log)).pow(self.gamma) * negative_log
        weight = self._on(inp.device)
        if weight is not None:
            loss = loss * weight[targ]
        return reduce_loss(loss, self.reduction)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        weight, reduction = _jsonable(self.weight), self.reduction
        return {"gamma": self.gamma, "weight": weight, "reduction": reduction}


@serializable("torte.learner.FocalLossFlat")
class FocalLossFlat(BaseLoss):
    """`FocalLoss` over all positions, flattened.

    Args:
        gamma: How much well classified elements are discounted.
        axis: Dimension of the classes.
        weight: One weight a class.
        reduction: "mean", "sum" or "none".
    """

    y_int: ClassVar[bool] = True

    def __init__(
        self,
        gamma: float = 2.0,
        *,
        axis: int = -1,
        weight: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(FocalLoss, axis=axis, gamma=gamma, weight=weight, reduction=reduction)

    def activation(self, x: Tensor) -> Tensor:
        """Return probabilities: softmax along `axis`."""
        return F.softmax(x, dim=self.axis)

    def decodes(self, x: Tensor) -> Tensor:
        """Return class numbers: argmax along `axis`."""
        return x.argmax(dim=self.axis)

    def _settings(self) -> dict[str, Any]:
        return self.func.config()


@serializable("torte.learner.LabelSmoothingCrossEntropy")
class LabelSmoothingCrossEntropy(_ClassLoss):
    """Cross-entropy with a share of each target spread evenly (Szegedy et al. 2016).

    `(1 - eps) * CE(targets) + eps * mean over classes of CE(class)`, computed by PyTorch; class
    weights weigh both terms, as they do in `torch.nn.CrossEntropyLoss`.

    Args:
        eps: The share, in [0, 1].
        weight: One weight a class.
        reduction: "mean", "sum" or "none".
    """

    def __init__(self, eps: float = 0.1, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)
        self.eps = eps

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of scores (batch, classes, …) for class numbers (batch, …)."""
        target = target if target.is_floating_point() else target.long()
        return F.cross_entropy(
            output,
            target,
            weight=self._on(output.device),
            reduction=self.reduction,
            label_smoothing=self.eps,
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        weight, reduction = _jsonable(self.weight), self.reduction
        return {"eps": self.eps, "weight": weight, "reduction": reduction}


@serializable("torte.learner.LabelSmoothingCrossEntropyFlat")
class LabelSmoothingCrossEntropyFlat(BaseLoss):
    """`LabelSmoothingCrossEntropy` over all positions, flattened.

    Args:
        eps: The share of each target that is spread.
        axis: Dimension of the classes.
        weight: One weight a class.
        reduction: "mean", "sum" or "none".
    """

    y_int: ClassVar[bool] = True

    def __init__(
        self,
        eps: float = 0.1,
        *,
        axis: int = -1,
        weight: Any = None,
        reduction: str = "mean",
    ) -> None:
        smoothed = LabelSmoothingCrossEntropy
        super().__init__(smoothed, axis=axis, eps=eps, weight=weight, reduction=reduction)

    def activation(self, x: Tensor) -> Tensor:
        """Return probabilities: softmax along `axis`."""
        return F.softmax(x, dim=self.axis)

    def decodes(self, x: Tensor) -> Tensor:
        """Return class numbers: argmax along `axis`."""
        return x.argmax(dim=self.axis)

    def _settings(self) -> dict[str, Any]:
        return self.func.config()


@serializable("torte.learner.DiceLoss")
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
        self.reduction = _check_reduction(reduction)
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


def _no_default(target: Any) -> Any:
    return None


default_loss: TypeDispatch[[Any], Any] = TypeDispatch(_no_default)
"""Which loss goes with targets of a semantic type: `default_loss(target)` makes one, or `None`.

Register more with `@default_loss.register` on a function of one annotated parameter.
"""


@default_loss.register
def _category_loss(target: TensorCategory) -> CrossEntropyLossFlat:
    return CrossEntropyLossFlat()


@default_loss.register
def _multi_category_loss(target: TensorMultiCategory) -> BCEWithLogitsLossFlat:
    return BCEWithLogitsLossFlat()


@default_loss.register
def _regression_loss(target: TensorRegression | TensorPoint) -> MSELossFlat:
    return MSELossFlat()


@default_loss.register
def _mask_loss(target: TensorMask) -> CrossEntropyLossFlat:
    return CrossEntropyLossFlat(axis=1)
