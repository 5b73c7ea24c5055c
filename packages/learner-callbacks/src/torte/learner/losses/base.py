"""What a loss is here: `BaseLoss`, PyTorch's losses over flattened data, with a way back.

`activation(x)` is what the loss applies inside (softmax for cross-entropy), for inference;
`decodes(x)` turns activations into what the targets are (class numbers); `reduction` ("mean", "sum"
or "none") can be set, see `NoneReduce`.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torte.data.tensors import plain

__all__ = ["BaseLoss", "as_weight", "check_reduction", "jsonable", "reduce_loss"]

_SMALL_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32)


def reduce_loss(loss: Tensor, reduction: str = "mean") -> Tensor:
    """Reduce a tensor of losses: its mean, its sum, or (for any other word) the tensor itself."""
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def check_reduction(reduction: str) -> str:
    """Return the word for a reduction if it is one."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    return reduction


def jsonable(value: Any) -> Any:
    """Return lists for tensors, anything else as it is."""
    return value.tolist() if isinstance(value, Tensor) else value


def as_weight(weight: Any) -> Tensor | None:
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
        self.func.reduction = check_reduction(value)

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
