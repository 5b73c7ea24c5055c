"""Dividing items into a training and a validation set.

A splitter is called with the items and returns two `L`s of indices, training first. Each is an
object that prints itself and pickles. Draws come from the splitter's `seed`, or from PyTorch's
default generator if it has none; no global generator is ever reseeded.
"""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torte.dispatch import L

__all__ = [
    "ColSplitter",
    "EndSplitter",
    "FileSplitter",
    "FuncSplitter",
    "GrandparentSplitter",
    "IndexSplitter",
    "MaskSplitter",
    "RandomSplitter",
    "RandomSubsetSplitter",
]

Split = tuple[L, L]


def permutation(count: int, seed: int | None) -> NDArray[np.int64]:
    """The numbers below `count` in random order."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator).numpy()


def indices(array: NDArray[Any]) -> L:
    """An array of indices as an `L` of Python numbers."""
    return L(array.tolist())


def check_share(name: str, value: float) -> None:
    """Refuse a share that is not between 0 and 1."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be between 0 and 1, got {value!r}")


def by_mask(mask: NDArray[np.bool_]) -> Split:
    """The split whose validation items are those where `mask` is true."""
    return indices(np.flatnonzero(~mask)), indices(np.flatnonzero(mask))


@dataclass(frozen=True)
class RandomSplitter:
    """Puts a share of the items, drawn at random, into the validation set.

    Args:
        valid_pct: The validation set's share, between 0 and 1.
        seed: Makes the split the same every time.
    """

    valid_pct: float = 0.2
    seed: int | None = None

    def __post_init__(self) -> None:
        check_share("valid_pct", self.valid_pct)

    def __call__(self, items: Sequence[Any]) -> Split:
        """Indices for training and validation, each in random order."""
        order = permutation(len(items), self.seed)
        cut = int(self.valid_pct * len(items))
        return indices(order[cut:]), indices(order[:cut])


@dataclass(frozen=True)
class IndexSplitter:
    """Puts the items at the given indices into the validation set, in the order given.

    Args:
        valid_idx: Indices from 0; an index may not come twice.
    """

    valid_idx: Iterable[int]

    def __call__(self, items: Sequence[Any]) -> Split:
        """Indices for training and validation.

        Raises:
            IndexError: An index is negative or beyond the items.
            ValueError: An index comes twice.
        """
        given = self.valid_idx.tolist() if hasattr(self.valid_idx, "tolist") else self.valid_idx  # pyright: ignore[reportAttributeAccessIssue]
        valid = np.array([given] if isinstance(given, int) else list(given), np.int64).reshape(-1)
        mask = np.zeros(len(items), bool)
        if outside := valid[(valid < 0) | (valid >= len(items))].tolist():
            raise IndexError(f"valid_idx holds {outside[0]}, but there are {len(items)} items")
        mask[valid] = True
        if mask.sum() != len(valid):
            values, counts = np.unique(valid, return_counts=True)
            raise ValueError(f"valid_idx holds {values[counts > 1][0]} more than once")
        return indices(np.flatnonzero(~mask)), indices(valid)


@dataclass(frozen=True)
class EndSplitter:
    """Puts the last items, or the first, into the validation set: for data ordered in time.

    Args:
        valid_pct: The validation set's share.
        valid_last: Whether it is at the end.
    """

    valid_pct: float = 0.2
    valid_last: bool = True

    def __post_init__(self) -> None:
        check_share("valid_pct", self.valid_pct)

    def __call__(self, items: Sequence[Any]) -> Split:
        """Indices for training and validation, each in order."""
        count, order = len(items), np.arange(len(items))
        size = int(self.valid_pct * count)
        if self.valid_last:
            return indices(order[: count - size]), indices(order[count - size :])
        return indices(order[size:]), indices(order[:size])


@dataclass(frozen=True)
class GrandparentSplitter:
    """Splits files by the name of the folder above their own: `train/cat/1.png`.

    Args:
        train_name: Name, or names, of the training folder.
        valid_name: Name, or names, of the validation folder.
    """

    train_name: str | Collection[str] = "train"
    valid_name: str | Collection[str] = "valid"

    def __call__(self, items: Sequence[Any]) -> Split:
        """Indices for training and validation; files under other folders are in neither.

        Raises:
            ValueError: No file lies under one of the two folders.
        """
        names = np.array([Path(item).parent.parent.name for item in items], dtype=object)
        return self._find(names, self.train_name), self._find(names, self.valid_name)

    def _find(self, names: NDArray[Any], wanted: str | Collection[str]) -> L:
        accepted = {wanted} if isinstance(wanted, str) else set(wanted)
        found = indices(np.flatnonzero([name in accepted for name in names]))
        if not found:
            present = sorted(set(names.tolist()))
            raise ValueError(
                f"none of the {len(names)} files has a grandparent folder {wanted!r}: "
                f"the grandparent folders are {present[:10]!r}"
            )
        return found


@dataclass(frozen=True)
class FuncSplitter:
    """Puts the items for which `func(item)` is true into the validation set."""

    func: Callable[[Any], Any]

    def __call__(self, items: Sequence[Any]) -> Split:
        """Indices for training and validation, each in order."""
        return by_mask(np.array([bool(self.func(item)) for item in _each(items)], bool))


def _each(items: Any) -> Iterable[Any]:
    """The items of a collection: a frame's rows, in order."""
    if hasattr(items, "iloc"):
        return (items.iloc[i] for i in range(len(items)))
    return items


def _as_mask(values: Any, count: int, what: str) -> NDArray[np.bool_]:
    mask = np.asarray(values)
    if mask.shape != (count,):
        raise ValueError(f"{what} has shape {mask.shape}, but there are {count} items")
    if mask.dtype.kind not in "biufO":
        raise TypeError(f"{what} must hold booleans, not {mask.dtype}")
    return np.fromiter((_as_bool(value, what) for value in mask.tolist()), bool, count)


def _as_bool(value: Any, what: str) -> bool:
    if value in {0, 1}:
        return bool(value)
    raise ValueError(f"{what} must hold booleans (or 0 and 1), but holds {value!r}")


@dataclass(frozen=True)
class MaskSplitter:
    """Puts the items where `mask` is true into the validation set."""

    mask: Any

    def __call__(self, items: Sequence[Any]) -> Split:
        """Indices for training and validation, each in order."""
        return by_mask(_as_mask(self.mask, len(items), "the mask"))


def _file_names(fname: str | os.PathLike[str]) -> set[str]:
    path = Path(fname)
    if not path.is_file():
        raise FileNotFoundError(f"FileSplitter: there is no file {str(path)!r}")
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.strip() for line in lines if line.strip()}


@dataclass(frozen=True)
class FileSplitter:
    """Puts the files whose names a text file lists, one a line, into the validation set."""

    fname: str | os.PathLike[str]

    def __call__(self, items: Sequence[Any]) -> Split:
        """Indices for training and validation, each in order.

        Raises:
            FileNotFoundError: There is no such list.
        """
        names = _file_names(self.fname)
        return by_mask(np.array([Path(item).name in names for item in items], bool))


@dataclass(frozen=True)
class ColSplitter:
    """Splits a frame's rows by one of its columns.

    Args:
        col: Name or position of the column.
        on: The value, or values, that mean validation; otherwise the column itself is a mask.
    """

    col: str | int = "is_valid"
    on: Any = None

    def __call__(self, items: Any) -> Split:
        """Indices (positions of rows) for training and validation, each in order.

        Raises:
            TypeError: The items are no frame.
            KeyError: The frame has no such column.
        """
        if not hasattr(items, "columns"):
            raise TypeError(f"ColSplitter splits a DataFrame, not a {type(items).__name__}")
        columns = list(items.columns)
        name = columns[self.col] if isinstance(self.col, int) else self.col
        if name not in columns:
            raise KeyError(f"there is no column {name!r}; the columns are {columns!r}")
        if self.on is None:
            return by_mask(_as_mask(items[name].to_numpy(), len(items), f"column {name!r}"))
        wanted = set(self.on) if isinstance(self.on, list | tuple | set | frozenset) else {self.on}
        return by_mask(np.array([value in wanted for value in items[name].to_list()], bool))


@dataclass(frozen=True)
class RandomSubsetSplitter:
    """Draws disjoint training and validation subsets: to try something on a part of the data.

    Args:
        train_sz: Training share (below 1) or number of items.
        valid_sz: Validation share or number of items.
        seed: Makes the draw the same every time.
    """

    train_sz: float
    valid_sz: float
    seed: int | None = None

    def __call__(self, items: Sequence[Any]) -> Split:
        """Indices for training and validation; the rest is in neither.

        Raises:
            ValueError: A size is negative, or both together exceed the items.
        """
        count = len(items)
        train = int(self.train_sz * count) if self.train_sz < 1 else int(self.train_sz)
        valid = int(self.valid_sz * count) if self.valid_sz < 1 else int(self.valid_sz)
        if train < 0 or valid < 0 or train + valid > count:
            raise ValueError(
                f"train_sz={self.train_sz!r} and valid_sz={self.valid_sz!r} do not fit in "
                f"{count} items"
            )
        order = permutation(count, self.seed)
        return indices(order[:train]), indices(order[train : train + valid])
