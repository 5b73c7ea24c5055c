"""Blocks of the vision application: images, masks, points, boxes and their labels."""

from collections.abc import Iterable, Sequence
from typing import Any

import torte.vision.display  # noqa: F401 - whoever makes batches of images can look at them
from torte.data.blocks import TransformBlock
from torte.data.images import PILBase, PILImage, PILMask
from torte.data.numeric import IntToFloatTensor
from torte.data.tensors import TensorBBox, TensorPoint
from torte.vision.annotations import bb_pad
from torte.vision.target_tfms import AddMaskCodes, BBoxCategorize, CheckMask, PointScaler

__all__ = ["BBoxBlock", "BBoxLblBlock", "ImageBlock", "MaskBlock", "PointBlock"]


def ImageBlock(cls: type[PILBase] = PILImage) -> TransformBlock:  # noqa: N802 - a block by name
    """Images: files, arrays or tensors, as `cls`.

    Args:
        cls: `PILImage` for three channels, `PILImageBW` for one.
    """
    return TransformBlock(type_tfms=cls.create, batch_tfms=IntToFloatTensor)


def MaskBlock(  # noqa: N802
    codes: Sequence[str] | None = None, div_mask: int = 1, ignore: int | None = None
) -> TransformBlock:
    """Masks: images whose pixels are class numbers.

    Args:
        codes: What the numbers mean, in order; they are shown in legends, count the model's
            outputs, and every mask is checked against them.
        div_mask: What stored values are divided by: 255 for masks stored as 0 and 255.
        ignore: A number without a code that the loss leaves out, as in
            `CrossEntropyLossFlat(axis=1, ignore_index=255)`.
    """
    return TransformBlock(
        type_tfms=[PILMask.create, CheckMask(codes, div_mask=div_mask, ignore=ignore)],
        item_tfms=AddMaskCodes(codes),
        batch_tfms=IntToFloatTensor(div_mask=div_mask) if div_mask != 1 else IntToFloatTensor,
    )


def PointBlock() -> TransformBlock:  # noqa: N802
    """Points (x, y) in pixels of their image; the same number in every item."""
    return TransformBlock(type_tfms=TensorPoint.create, item_tfms=PointScaler)


def BBoxBlock() -> TransformBlock:  # noqa: N802
    """Boxes (x1, y1, x2, y2) in pixels of their image; any number an item, padded in batches."""
    return TransformBlock(
        type_tfms=TensorBBox.create, item_tfms=PointScaler, dls_kwargs={"before_batch": bb_pad}
    )


def BBoxLblBlock(vocab: Iterable[Any] | None = None, add_na: bool = True) -> TransformBlock:  # noqa: N802
    """The labels of a `BBoxBlock`'s boxes, one a box; other classes are an `UnknownLabelError`.

    Args:
        vocab: The classes; by default those of the training items.
        add_na: Whether class 0 is "#na#", the label of padding and of the background.
    """
    return TransformBlock(type_tfms=BBoxCategorize(vocab=vocab, add_na=add_na))
