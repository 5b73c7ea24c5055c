"""Semantic tensors: real `torch.Tensor`s whose class says what the numbers mean.

    TensorBase                  any tensor with a meaning; metadata as attributes
    ├── TensorImageBase         anything laid out like an image
    │   ├── TensorImage         colour image, (C, H, W) or (N, C, H, W)
    │   │   └── TensorImageBW   one channel
    │   └── TensorMask          class numbers by pixel, (H, W) or (N, H, W); `codes` names them
    ├── TensorFlowField         sampling coordinates, (N, H, W, 2)
    ├── TensorPoint             (x, y) points, (P, 2); `img_size` = (width, height)
    │   └── TensorBBox          (x1, y1, x2, y2) boxes, (B, 4)
    ├── TensorCategory          class numbers
    │   └── TensorMultiCategory one-hot rows
    ├── TensorRegression        numbers to predict
    └── TitledTensorScalar      a scalar shown as a title

The class and the metadata survive indexing, arithmetic, views, reductions, `torch.stack`, device
moves, copying and pickling. An operation on two semantic types never raises for that reason: the
result has the type that both are (an image plus a greyscale image is an image) or else the first
operand's. `plain` is the cheap way back; models and losses are given plain tensors.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeVar

import torch
from torch import Tensor
from torch.overrides import get_default_nowrap_functions

from torte.data._structure import map_leaves
from torte.data.showing import show_image, show_title
from torte.data.titles import (
    Category,
    MultiCategory,
    TitledFloat,
    TitledInt,
    TitledStr,
    TitledTuple,
)

__all__ = [
    "Category",
    "LabeledBBox",
    "MultiCategory",
    "TensorBBox",
    "TensorBase",
    "TensorCategory",
    "TensorFlowField",
    "TensorImage",
    "TensorImageBW",
    "TensorImageBase",
    "TensorMask",
    "TensorMultiCategory",
    "TensorPoint",
    "TensorRegression",
    "TitledFloat",
    "TitledInt",
    "TitledStr",
    "TitledTensorScalar",
    "TitledTuple",
    "plain",
]

_Subclass = TypeVar("_Subclass", bound=Tensor)
_no_dispatch = torch._C.DisableTorchFunctionSubclass
_as_subclass: Callable[..., Any] = torch._C.TensorBase.as_subclass

# Results that torch itself leaves alone (`grad`, `_base`), and lookups, whose result is of the
# kind of what was looked up in: rows of an embedding are not categories.
_UNWRAPPED: frozenset[Any] = frozenset(get_default_nowrap_functions())
_LOOKUPS: frozenset[Any] = frozenset(
    {
        Tensor.__getitem__,
        Tensor.gather,
        Tensor.index_select,
        Tensor.take,
        Tensor.take_along_dim,
        torch.gather,
        torch.index_select,
        torch.take,
        torch.take_along_dim,
        torch.embedding,
        torch.nn.functional.embedding,
        torch.nn.functional.embedding_bag,
    }
)


class TensorBase(Tensor):
    """A tensor with a meaning, given by its class and its metadata.

    Args:
        x: A tensor (shared, not copied), an array or nested lists of numbers.
        metadata: Kept as attributes of this tensor and of what is computed from it.
    """

    _show_args: dict[str, Any] = {}  # noqa: RUF012 - read only

    def __new__(cls, x: Any, **metadata: Any) -> Self:
        """View `x` as this class and attach the metadata."""
        source = x if isinstance(x, Tensor) else torch.as_tensor(x)
        with _no_dispatch():
            result = _as_subclass(source, cls)
        if isinstance(source, TensorBase):
            vars(result).update(vars(source))
        vars(result).update(metadata)
        return result

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run `func` as on plain tensors, then put the class and the metadata on its results."""
        with _no_dispatch():
            result = func(*args, **kwargs) if kwargs else func(*args)
            if isinstance(result, Tensor):
                if isinstance(result, TensorBase) or func in _UNWRAPPED:
                    return result
            elif not isinstance(result, (tuple, list)) or isinstance(result, torch.Size):
                return result
            kind = cls if len(types) == 1 else _common_type(types)
            if func in _LOOKUPS:
                kind = _container_type(func, args)
                if kind is None:
                    return result
            return _wrap(result, kind, _first_metadata(args))

    def as_subclass(self, cls: type[_Subclass]) -> _Subclass:
        """This tensor viewed as another class, with the metadata if that is a semantic one."""
        with _no_dispatch():
            result = _as_subclass(self, cls)
        if issubclass(cls, TensorBase):
            vars(result).update(vars(self))
        return result

    @property
    def metadata(self) -> dict[str, Any]:
        """What is attached to this tensor, by name (a copy)."""
        return dict(vars(self))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle as a plain tensor (so through shared memory to workers), class and metadata."""
        with _no_dispatch():
            source = _as_subclass(self.detach(), Tensor)
            return _rebuild, (source, type(self), dict(vars(self)), self.requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> "TensorBase":
        if id(self) in memo:
            return memo[id(self)]
        with _no_dispatch():
            source = copy.deepcopy(_as_subclass(self.detach(), Tensor), memo)
            result = _rebuild(source, type(self), copy.deepcopy(vars(self), memo), False)
            memo[id(self)] = result.requires_grad_(self.requires_grad)
        return result

    def __format__(self, format_spec: str) -> str:
        """Format as a plain tensor: scalars take number formats."""
        return format(plain(self), format_spec)


def _rebuild(source: Tensor, cls: type, metadata: dict[str, Any], requires_grad: bool) -> Any:
    """The semantic tensor that `TensorBase.__reduce_ex__` took apart."""
    with _no_dispatch():
        result = _as_subclass(source, cls)
        if requires_grad:
            result.requires_grad_()
    vars(result).update(metadata)
    return result


def _common_type(types: Sequence[type]) -> type | None:
    """The semantic type of a result of operands of these types.

    One of the types that all others derive from, or else the first.
    """
    semantic = [kind for kind in types if issubclass(kind, TensorBase)]
    for kind in semantic:
        if all(issubclass(other, kind) for other in semantic):
            return kind
    return semantic[0] if semantic else None


def _container_type(func: Callable[..., Any], args: tuple[Any, ...]) -> type | None:
    """The type of what a lookup reads from, if it is a semantic one."""
    place = 1 if func is torch.nn.functional.embedding or len(args) < 1 else 0
    source = args[place] if place < len(args) else None
    return type(source) if isinstance(source, TensorBase) else None


def _first_metadata(args: Iterable[Any]) -> dict[str, Any] | None:
    """The metadata of the first operand that has any."""
    for arg in args:
        if isinstance(arg, TensorBase):
            if vars(arg):
                return vars(arg)
        elif isinstance(arg, (tuple, list)) and arg and not isinstance(arg[0], (int, slice)):
            found = _first_metadata(arg)
            if found:
                return found
    return None


def _wrap(result: Any, kind: type | None, metadata: dict[str, Any] | None) -> Any:
    """`result`, or the tensors in it, as `kind` with this metadata."""
    if kind is None:
        return result
    if isinstance(result, Tensor):
        if isinstance(result, TensorBase) or type(result) is not Tensor:
            return result
        wrapped = _as_subclass(result, kind)
        if metadata:
            vars(wrapped).update(metadata)
        return wrapped
    if isinstance(result, (tuple, list)) and not isinstance(result, torch.Size):
        values = [_wrap(value, kind, metadata) for value in result]
        return type(result)(values) if not hasattr(result, "_fields") else type(result)(*values)
    return result


def _plain_leaf(value: Any) -> Any:
    if type(value) is Tensor or not isinstance(value, TensorBase):
        return value
    with _no_dispatch():
        return _as_subclass(value, Tensor)


def plain(x: Any) -> Any:
    """`x`, a tensor or any structure of them, with semantic tensors as plain `torch.Tensor` views.

    Nothing is copied; gradients flow through; structures that hold no semantic tensor are
    returned as they are.
    """
    if isinstance(x, Tensor):
        return _plain_leaf(x)
    if type(x) is tuple and all(type(value) is Tensor for value in x):
        return x
    return map_leaves(_plain_leaf, x)


class TensorImageBase(TensorBase):
    """Anything laid out like an image: (C, H, W), (H, W) or a batch of them."""

    _show_args = {"cmap": "viridis"}  # noqa: RUF012

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Draw it on the axes `ctx` (new ones if `None`); see `show_image`."""
        return show_image(self, ctx=ctx, **{**self._show_args, **kwargs})


class TensorImage(TensorImageBase):
    """A colour image: (C, H, W), uint8 in [0, 255] or floating point in [0, 1]."""


class TensorImageBW(TensorImage):
    """An image of one channel: (1, H, W)."""

    _show_args = {"cmap": "Greys_r"}  # noqa: RUF012


class TensorMask(TensorImageBase):
    """Class numbers by pixel: integers of shape (H, W). `codes` names the classes, if given."""

    _show_args = {"alpha": 0.5, "cmap": "tab20", "interpolation": "nearest"}  # noqa: RUF012

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Draw it as a translucent overlay, one colour a class."""
        codes = getattr(self, "codes", None)
        limits = {} if codes is None else {"vmin": 0, "vmax": max(len(codes) - 1, 1)}
        return super().show(ctx=ctx, **{**limits, **kwargs})


class TensorFlowField(TensorBase):
    """Coordinates to sample an image at: (N, H, W, 2), in [-1, 1]."""


class TensorPoint(TensorBase):
    """Points (x, y): float of shape (P, 2). `img_size` is the (width, height) they lie in."""

    _show_args = {"s": 10, "marker": ".", "c": "r"}  # noqa: RUF012

    @classmethod
    def create(cls, t: Any, img_size: tuple[int, int] | None = None) -> "TensorPoint":
        """Points from anything that holds pairs of numbers, in a row or one under another."""
        metadata = {} if img_size is None else {"img_size": tuple(img_size)}
        return cls(_floats(t, 2, "points"), **metadata)

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Draw the points on the axes `ctx`."""
        ctx = _axes(ctx, kwargs, self)
        kwargs.pop("title", None)
        points = plain(self).detach().cpu().reshape(-1, 2)
        ctx.scatter(points[:, 0], points[:, 1], **{**self._show_args, **kwargs})
        return ctx


class TensorBBox(TensorPoint):
    """Boxes (x1, y1, x2, y2): float of shape (B, 4). `img_size` as with points."""

    @classmethod
    def create(cls, t: Any, img_size: tuple[int, int] | None = None) -> "TensorBBox":
        """Boxes from anything that holds fours of numbers."""
        metadata = {} if img_size is None else {"img_size": tuple(img_size)}
        return cls(_floats(t, 4, "boxes"), **metadata)

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Draw the boxes on the axes `ctx`."""
        return _draw_boxes(self, None, ctx, kwargs)


class LabeledBBox(tuple):
    """Boxes and their labels: `LabeledBBox(bbox, lbl)`; `lbl` has one entry a box."""

    __slots__ = ()

    def __new__(cls, *values: Any) -> "LabeledBBox":
        """From `(bbox, lbl)` or from one sequence of the two."""
        parts = values[0] if len(values) == 1 else values
        if len(parts) != 2:
            raise TypeError(f"LabeledBBox takes boxes and labels, got {len(parts)} values")
        return super().__new__(cls, parts)

    @property
    def bbox(self) -> Any:
        """The boxes."""
        return self[0]

    @property
    def lbl(self) -> Any:
        """The labels."""
        return self[1]

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Draw the boxes with their labels on the axes `ctx`."""
        return _draw_boxes(self.bbox, self.lbl, ctx, kwargs)


class TensorCategory(TensorBase):
    """Class numbers: int64."""

    _show_args = {"label": "category"}  # noqa: RUF012


class TensorMultiCategory(TensorCategory):
    """Which of the classes are there: rows of zeros and ones."""


class TensorRegression(TensorBase):
    """Numbers to predict: floating point."""

    _show_args = {"label": "target"}  # noqa: RUF012

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Show the values as a title on `ctx` (axes, a Series, or print them)."""
        return show_title(str(plain(self).tolist()), ctx=ctx, **{**self._show_args, **kwargs})


class TitledTensorScalar(TensorBase):
    """A scalar that is shown as a title."""

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Show the number as a title on `ctx`."""
        return show_title(str(self.item()), ctx=ctx, **{**self._show_args, **kwargs})


def _floats(values: Any, width: int, what: str) -> Tensor:
    """`values` as a float tensor of shape (n, `width`), every number of it finite."""
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what} are made of numbers, got {values!r}: {error}") from error
    if tensor.numel() % width:
        raise ValueError(
            f"{what} take {width} numbers each, got {tensor.numel()} numbers"
            f" of shape {tuple(tensor.shape)}"
        )
    tensor = tensor.reshape(-1, width).to(torch.float32)
    strange = (~tensor.isfinite()).any(-1).nonzero().flatten().tolist()
    if strange:
        raise ValueError(
            f"{what} need finite numbers, got {tensor[strange[0]].tolist()} (number {strange[0]}):"
            " one of them would make the whole loss NaN"
        )
    return tensor


def _axes(ctx: Any, kwargs: dict[str, Any], points: TensorPoint) -> Any:
    """The axes to draw on: `ctx`, or new ones in image coordinates (y grows downwards)."""
    figsize = kwargs.pop("figsize", None)
    if ctx is not None:
        return ctx
    import matplotlib.pyplot as plt

    _, ctx = plt.subplots(figsize=figsize)
    width, height = getattr(points, "img_size", (None, None))
    if width is not None and height is not None:
        ctx.set_xlim(0, width)
        ctx.set_ylim(height, 0)
    else:
        ctx.invert_yaxis()
    return ctx


def _draw_boxes(boxes: Any, labels: Any, ctx: Any, kwargs: dict[str, Any]) -> Any:
    from matplotlib import patches, patheffects

    ctx = _axes(ctx, kwargs, boxes)
    colour = kwargs.get("color", "white")
    outline = [patheffects.Stroke(linewidth=3, foreground="black"), patheffects.Normal()]
    rows = plain(torch.as_tensor(boxes)).detach().cpu().reshape(-1, 4).tolist()
    names = [None] * len(rows) if labels is None else list(labels)
    for (left, top, right, bottom), name in zip(rows, names, strict=False):
        if name in ("#na#", None) and right <= left and bottom <= top:
            continue  # padding of a batch of unequal numbers of boxes
        box = patches.Rectangle(
            (left, top), right - left, bottom - top, fill=False, edgecolor=colour, lw=2
        )
        ctx.add_patch(box).set_path_effects(outline)
        if name is not None:
            text = ctx.text(left, top, str(name), va="top", color=colour, weight="bold")
            text.set_path_effects(outline)
    if not ctx.images:
        ctx.autoscale_view()
    return ctx
