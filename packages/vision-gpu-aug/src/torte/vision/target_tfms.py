"""Transforms of targets that belong to an image: masks with codes, points, boxes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from torte.data.categories import MultiCategorize
from torte.data.images import PILMask
from torte.data.tensors import (
    TensorBBox,
    TensorImageBase,
    TensorMask,
    TensorMultiCategory,
    TensorPoint,
    plain,
)
from torte.data.vocabularies import UnknownLabelError, is_missing, plain_label
from torte.dispatch import DisplayedTransform, ItemTransform, L, serializable

__all__ = ["AddMaskCodes", "BBoxCategorize", "CheckMask", "MaskValueError", "PointScaler"]

_BOX_REMEDY = "Give every class, `BBoxLblBlock(vocab=…)`, or leave such boxes out."


class MaskValueError(ValueError):
    """Raised for a mask with a class number that has no code."""


@serializable
class CheckMask(DisplayedTransform):
    """Refuses masks with class numbers that mean nothing, and knows what the others mean.

    Args:
        codes: What the class numbers mean, in order; None to check nothing.
        div_mask: What stored values are divided by: 255 for masks stored as 0 and 255.
        ignore: A class number without a code that the loss leaves out (often 255).
    """

    order = 1

    def __init__(
        self, codes: Sequence[str] | None = None, div_mask: int = 1, ignore: int | None = None
    ) -> None:
        super().__init__()
        self.codes = None if codes is None else [str(code) for code in codes]
        self.div_mask, self.ignore = div_mask, ignore
        if self.codes is not None:
            self.vocab, self.c = L(self.codes), len(self.codes)

    def encodes(self, o: PILMask) -> PILMask:
        """The mask as it is.

        Raises:
            MaskValueError: If it has a class number that has no code.
        """
        if self.codes is not None:
            self._check(np.asarray(o) // self.div_mask)
        return o

    def _check(self, numbers: np.ndarray) -> None:
        assert self.codes is not None
        if numbers.size == 0 or numbers.max() < len(self.codes):
            return
        unknown = sorted(set(np.unique(numbers)) - set(range(len(self.codes))) - {self.ignore})
        if not unknown:
            return
        listed = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        remedy = f"if {unknown[-1]} marks pixels to leave out give MaskBlock(ignore={unknown[-1]})"
        if unknown == [255]:
            remedy += ", if the mask is stored as 0 and 255 give MaskBlock(div_mask=255)"
        raise MaskValueError(
            f"the mask has the class numbers {listed}, but there are {len(self.codes)} codes, 0 to "
            f"{len(self.codes) - 1}; {remedy}"
        )


@serializable
class AddMaskCodes(DisplayedTransform):
    """Attaches the codes of the class numbers when a mask is decoded, for its colours and legend.

    Args:
        codes: What the class numbers mean, in order; None to attach nothing.
    """

    def __init__(self, codes: Sequence[str] | None = None) -> None:
        super().__init__()
        # Codes often come as an array read from a file.
        self.codes = None if codes is None else [str(code) for code in codes]

    def decodes(self, o: TensorMask) -> TensorMask:
        """The mask with its codes."""
        if self.codes is None:
            return o
        named = o.as_subclass(TensorMask)
        vars(named).update(codes=list(self.codes))
        return named


@serializable
class BBoxCategorize(MultiCategorize):
    """The labels of an item's boxes to their numbers; unknown ones do not count as "#na#".

    That class is the padding's, and a detector that learned boxes by it would learn to say nothing
    where they are.

    Args:
        vocab: The classes, kept in this order; otherwise the sorted ones of the training split.
        add_na: Whether class 0 is "#na#".
    """

    def encodes(self, o: Any) -> TensorMultiCategory:
        """The numbers of the labels, int64 of shape (boxes,).

        Raises:
            UnknownLabelError: Names every label that is not in the vocabulary.
        """
        if self.vocab is not None and not is_missing(o):
            labels = [plain_label(label) for label in ([o] if isinstance(o, str) else o)]
            unknown = [label for label in labels if label not in self.vocab]
            if unknown:
                raise UnknownLabelError(unknown, self.vocab, _BOX_REMEDY)
        return super().encodes(o)


@serializable
class PointScaler(ItemTransform):
    """Points and boxes from pixels to unit coordinates, -1 and 1 being the image's edges, and back.

    It runs after the item transforms that resize and crop, and sees the image beside its points.

    Args:
        do_scale: Whether points come in pixels; otherwise they are in unit coordinates already.
        y_first: Whether points come as (y, x).
    """

    order = 4

    def __init__(self, do_scale: bool = True, y_first: bool = False) -> None:
        super().__init__()
        self.do_scale, self.y_first = do_scale, y_first

    def encodes(self, o: tuple[Any, ...]) -> tuple[Any, ...]:
        """The item with its points and boxes in unit coordinates."""
        size = _image_size(o)
        return tuple(self._scaled(part, size) if _is_points(part) else part for part in o)

    def decodes(self, o: tuple[Any, ...]) -> tuple[Any, ...]:
        """The item with its points and boxes in pixels of its image."""
        size = _image_size(o)
        return tuple(_in_pixels(part, size) if _is_points(part) else part for part in o)

    def _scaled(self, points: TensorPoint, size: tuple[int, int] | None) -> TensorPoint:
        size = size or getattr(points, "img_size", None)
        if size is None:
            raise ValueError(
                "PointScaler needs the image beside its points, or points with img_size"
            )
        values = plain(points).float().unflatten(-1, (-1, 2))
        if self.y_first:
            values = values.flip(-1)
        if self.do_scale:
            values = values * 2 / values.new_tensor(size) - 1
        return _rewrapped(values.flatten(-2), points, size)


def _is_points(part: Any) -> bool:
    return isinstance(part, TensorPoint)


def _in_pixels(points: TensorPoint, size: tuple[int, int] | None) -> TensorPoint:
    size = size or getattr(points, "img_size", None)
    if size is None:
        return points
    values = plain(points).float().unflatten(-1, (-1, 2))
    pixels = (values + 1) * values.new_tensor(size) / 2
    return _rewrapped(pixels.flatten(-2), points, size)


def _rewrapped(values: torch.Tensor, old: TensorPoint, size: tuple[int, int]) -> TensorPoint:
    """`values` as the class of `old`, boxes as (k, 4) and points as (k, 2)."""
    width = 4 if isinstance(old, TensorBBox) else 2
    new = values.reshape(-1, width).as_subclass(type(old))
    vars(new).update({**vars(old), "img_size": tuple(size)})
    return new


def _image_size(parts: tuple[Any, ...]) -> tuple[int, int] | None:
    """(width, height) of the first image of an item."""
    for part in parts:
        if isinstance(part, Image.Image):
            return part.size
        if isinstance(part, TensorImageBase):
            return part.shape[-1], part.shape[-2]
    return None
