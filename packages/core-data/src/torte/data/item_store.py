"""Holding the items of a dataset so that worker processes can share them.

A Python list of a million paths is a million objects. Every look at one changes its reference
count, so that forked workers end up with their own copy of each page. Texts and paths are
therefore packed into two arrays; frames, arrays and anything else that is indexed by number stay
as they are.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Items", "PackedTexts", "hold", "item_at"]


class Items(Protocol):
    """What holds items: it has a length, and `item_at` finds each."""

    def __len__(self) -> int: ...


class PackedTexts(Sequence[Any]):
    """Strings, or paths, in one buffer: equal to the sequence it was made from, item by item.

    Args:
        texts: All `str`, or all of the platform's `Path` class.
        kind: Which of the two.
    """

    def __init__(self, texts: Iterable[str | Path], kind: type[str] | type[Path]) -> None:
        encoded = [os.fspath(text).encode("utf-8", "surrogatepass") for text in texts]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        self._starts = np.concatenate([np.zeros(1, np.int64), ends])
        self._buffer = np.frombuffer(b"".join(encoded), np.uint8)
        self.kind = kind

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: Any) -> Any:
        """One text, or a list of those in a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        index %= len(self)
        content = self._buffer[self._starts[index] : self._starts[index + 1]].tobytes()
        return self.kind(content.decode("utf-8", "surrogatepass"))

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str) or len(other) != len(self):
            return NotImplemented
        return all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        shown = ", ".join(repr(item) for item in self[:3])
        return f"({len(self)} items) [{shown}{', …' if len(self) > 3 else ''}]"


def hold(items: Any, use_list: bool | None = None) -> Any:
    """`items` in the form in which a dataset keeps them.

    Args:
        items: A frame, an array, anything with `len` and indices, or any iterable.
        use_list: Whether to make a list of `items` first, whatever they are.

    Raises:
        TypeError: `items` is neither a collection nor an iterable.
    """
    if isinstance(items, PackedTexts):
        return items
    if use_list or not (hasattr(items, "__getitem__") and hasattr(items, "__len__")):
        if not isinstance(items, Iterable):
            raise TypeError(f"items must be a collection, not a {type(items).__name__}: {items!r}")
        items = list(items)
    if isinstance(items, str | bytes) or (hasattr(items, "keys") and not hasattr(items, "columns")):
        raise TypeError(f"items must be a list, array or frame, not a {type(items).__name__}")
    for kind, exact in ((str, str), (Path, type(Path()))):
        is_list = isinstance(items, list | tuple) and len(items) > 0
        if is_list and all(type(item) is exact for item in items):
            return PackedTexts(items, kind)
    return items


def item_at(items: Any, index: int) -> Any:
    """The item at a position: of a pandas frame the row as a Series, of a polars frame a dict."""
    if hasattr(items, "iloc"):
        return items.iloc[index]
    if hasattr(items, "columns") and hasattr(items, "row"):
        return items.row(index, named=True)
    return items[index]


def as_index(index: Any, count: int) -> NDArray[np.int64]:
    """A slice, a boolean mask or numbers (from either end) as positions from 0.

    Raises:
        IndexError: A position is outside, or the mask has another length.
    """
    if isinstance(index, slice):
        return np.arange(*index.indices(count))
    array = np.asarray(index if hasattr(index, "__array__") else list(index))
    if array.dtype == bool:
        if array.shape != (count,):
            raise IndexError(f"a mask of shape {array.shape} for {count} items")
        return np.flatnonzero(array)
    array = array.astype(np.int64).reshape(-1)
    if len(array) and (array.min() < -count or array.max() >= count):
        raise IndexError(f"positions from {array.min()} to {array.max()} of {count} items")
    return np.where(array < 0, array + count, array)
