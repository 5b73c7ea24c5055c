"""Holding the items of a dataset so that worker processes can share them.

A Python list of a million paths is a million objects. Every look at one changes its reference
count, so that forked workers end up with their own copy of each page. Many texts and paths are
therefore packed into two arrays; frames, arrays and anything else that is indexed by number stay
as they are.
"""

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from torte.dispatch import L

__all__ = [
    "PACK_FROM",
    "PackedTexts",
    "as_index",
    "has_rows",
    "hold",
    "item_at",
    "name_item",
]


PACK_FROM: Final = 10_000
"""From how many texts on they are packed: fewer are less than a few megabytes as they are, and a
path that is kept need not be taken apart anew (2 to 4 µs an item)."""


class PackedTexts(Sequence[Any]):
    """Strings, or paths, in one buffer: equal to the sequence it was made from, item by item.

    Args:
        texts: All `str`, or all of the platform's `Path` class.
        kind: Which of the two.
    """

    def __init__(self, texts: Iterable[str | Path], kind: type[str] | type[Path]) -> None:
        encoded = [os.fspath(text).encode("utf-8", "surrogatepass") for text in texts]
        # Single numbers come faster out of an `array` than out of a NumPy array.
        self._starts = array("q", accumulate(map(len, encoded), initial=0))
        self._content = b"".join(encoded)
        self.kind = kind

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: Any) -> Any:
        """One text, or an `L` of those that a slice, a mask or places pick."""
        if type(index) is not int:
            if not hasattr(index, "__index__") or getattr(index, "ndim", 0):
                return L([self[int(i)] for i in as_index(index, len(self))])
            index = int(index)
        starts = self._starts
        if index < 0:
            index = range(len(starts) - 1)[index]
        # The last start is where the last text ends: beyond it there is none.
        content = self._content[starts[index] : starts[index + 1]]
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
        return f"({len(self)} items) [{shown}{', ...' if len(self) > 3 else ''}]"


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
        is_list = isinstance(items, list | tuple) and len(items) >= PACK_FROM
        if is_list and all(type(item) is exact for item in items):
            return PackedTexts(items, kind)
    return items


def has_rows(items: Any) -> bool:
    """Whether `items` is a frame, whose items are its rows and not its columns."""
    return hasattr(items, "columns") and (hasattr(items, "iloc") or hasattr(items, "row"))


def item_at(items: Any, index: int) -> Any:
    """The item at a position: of a pandas frame the row as a Series, of a polars frame a dict."""
    if not has_rows(items):
        return items[index]
    return items.iloc[index] if hasattr(items, "iloc") else items.row(index, named=True)


def name_item(error: Exception, index: Any, item: Any) -> None:
    """Note on an exception which item it happened with."""
    text = " ".join(repr(item).split())
    error.add_note(f"with item {index}: {text if len(text) <= 200 else text[:197] + '...'}")


def as_index(index: Any, count: int) -> NDArray[np.int64]:
    """A slice, a boolean mask or numbers (from either end) as positions from 0.

    Raises:
        IndexError: A position is outside, or the mask has another length.
    """
    if isinstance(index, slice):
        return np.arange(*index.indices(count))
    given = np.asarray(index if hasattr(index, "__array__") else list(index))
    if given.dtype == bool:
        if given.shape != (count,):
            raise IndexError(f"a mask of shape {given.shape} for {count} items")
        return np.flatnonzero(given)
    places = given.astype(np.int64).reshape(-1)
    if len(places) and (places.min() < -count or places.max() >= count):
        raise IndexError(f"positions from {places.min()} to {places.max()} of {count} items")
    return np.where(places < 0, places + count, places)
