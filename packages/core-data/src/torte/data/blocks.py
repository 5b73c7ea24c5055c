"""Blocks: what a `DataBlock` needs to know about one part of an item."""

from collections.abc import Iterable
from typing import Any

from torte.data.categories import (
    Categorize,
    EncodedMultiCategorize,
    MultiCategorize,
    OneHotEncode,
)
from torte.data.numeric import RegressionSetup, ToTensor
from torte.dispatch import L

__all__ = ["CategoryBlock", "MultiCategoryBlock", "RegressionBlock", "TransformBlock"]


class TransformBlock:
    """The transforms that one kind of input or target needs.

    Args:
        type_tfms: From the raw item to its type, applied when an item is made.
        item_tfms: On every item afterwards, before it joins a batch; `ToTensor` comes first.
        batch_tfms: On batches, on the device.
        dl_type: The loader class that this kind of data needs.
        dls_kwargs: Arguments for the loaders.
    """

    def __init__(
        self,
        type_tfms: Any = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        dl_type: type | None = None,
        dls_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.type_tfms = L(type_tfms)
        self.item_tfms = L([ToTensor, *L(item_tfms)])
        self.batch_tfms = L(batch_tfms)
        self.dl_type, self.dls_kwargs = dl_type, dls_kwargs or {}

    def __repr__(self) -> str:
        parts = ("type_tfms", "item_tfms", "batch_tfms")
        shown = [f"{part}={list(getattr(self, part))}" for part in parts]
        return f"TransformBlock({', '.join(shown)})"


def CategoryBlock(  # noqa: N802 - a block by name
    vocab: Iterable[Any] | None = None, sort: bool = True, add_na: bool = False
) -> TransformBlock:
    """For targets that are one of several classes; see `Categorize`."""
    return TransformBlock(type_tfms=Categorize(vocab=vocab, sort=sort, add_na=add_na))


def MultiCategoryBlock(  # noqa: N802
    encoded: bool = False, vocab: Iterable[Any] | None = None, add_na: bool = False
) -> TransformBlock:
    """For targets that are any number of classes at once.

    Args:
        encoded: Whether the targets are one-hot already; `vocab` is then required.
        vocab: The classes, in order.
        add_na: Whether class 0 stands for unknown labels.

    Raises:
        ValueError: `encoded` without `vocab`.
    """
    if not encoded:
        return TransformBlock(type_tfms=[MultiCategorize(vocab=vocab, add_na=add_na), OneHotEncode])
    if vocab is None:
        raise ValueError("MultiCategoryBlock(encoded=True) needs `vocab`: the class of each column")
    return TransformBlock(type_tfms=EncodedMultiCategorize(vocab=vocab))


def RegressionBlock(n_out: int | None = None) -> TransformBlock:  # noqa: N802
    """For targets that are numbers; `n_out` of them an item (counted if not given)."""
    return TransformBlock(type_tfms=RegressionSetup(c=n_out))
