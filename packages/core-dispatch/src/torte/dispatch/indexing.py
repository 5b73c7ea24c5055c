"""What an index of `L` picks: places, masks and slices, of Python or any array library."""

from collections.abc import Iterable
from typing import Any

__all__ = ["is_single_index", "places_of_index"]


def _plain(index: Any) -> Any:
    """Turn an array or tensor into numbers and lists, without knowing its library."""
    return index.tolist() if hasattr(index, "tolist") else index


def is_single_index(index: Any) -> bool:
    """Whether an index picks one item: an int, or what acts as one."""
    if isinstance(index, (int, slice)) or not hasattr(index, "__index__"):
        return isinstance(index, int) and not isinstance(index, bool)
    return not getattr(index, "shape", ())


def places_of_index(index: Any, length: int) -> list[int]:
    """Return the places that an index picks of so many items, in its order.

    Args:
        index: an int, a slice, a mask of booleans as long as the items, or ints; a list, tuple,
            array or tensor of them.
        length: how many items there are.

    Raises:
        IndexError: a mask of another length, or a place that does not exist.
        TypeError: anything else.
    """
    if isinstance(index, slice):
        return list(range(*index.indices(length)))
    index = _plain(index)
    if not isinstance(index, Iterable) or isinstance(index, (str, bytes)):
        index = [index]
    picked = [_plain(each) for each in index]
    if picked and all(isinstance(each, bool) for each in picked):
        if len(picked) != length:
            raise IndexError(f"a mask of {len(picked)} booleans cannot index {length} items")
        return [place for place, keep in enumerate(picked) if keep]
    for each in picked:
        if isinstance(each, bool) or not hasattr(each, "__index__"):
            raise TypeError(
                f"cannot index with {each!r}: give an int, a slice, or a list of ints or booleans"
            )
        if not -length <= each.__index__() < length:
            raise IndexError(f"index {each!r} is out of range for {length} items")
    return [each.__index__() % length for each in picked]
