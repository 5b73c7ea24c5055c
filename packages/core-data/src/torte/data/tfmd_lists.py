"""`TfmdLists`: a collection of items through a pipeline of transforms, lazily."""

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from types import MethodType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from torte.data.item_store import as_index, has_rows, hold, item_at, name_item
from torte.data.seeding import GlobalSeeds, drawing
from torte.data.subsets import FilteredBase
from torte.dispatch import L, Pipeline

__all__ = ["TfmdLists", "check_splits"]

_ROW_TYPES = {"pandas.Series", "pandas.core.series.Series", "builtins.dict"}


class _Splits(list[NDArray[np.int64]]):
    """Splits that have been checked: several lists of one collection share them."""


def check_splits(splits: Any, count: int) -> list[NDArray[np.int64]]:
    """Splits as index arrays; without any, all items are training items.

    Raises:
        IndexError: A split holds an index that is no item.
    """
    if isinstance(splits, _Splits):
        return splits
    if splits is None:
        return _Splits([np.arange(count), np.empty(0, np.int64)])
    found = _Splits()
    for number, split in enumerate(splits):
        try:
            found.append(as_index(split, count))
        except IndexError as error:
            raise IndexError(f"split {number}: {error}") from error
    return found


def _type_names(x: Any) -> list[str]:
    """The names of the types that `x` has; every kind of path is a `path`."""
    if isinstance(x, os.PathLike):
        return ["path", "str"]
    return [
        f"{kind.__module__}.{kind.__qualname__}" for kind in type(x).__mro__ if kind is not object
    ]


def _type_name(x: Any) -> str:
    if isinstance(x, os.PathLike):
        return "path"
    return "str" if type(x) is str else _type_names(x)[0]


def _makes_from_anything(step: Any) -> bool:
    """Whether a step is a class's own constructor, such as `PILImage.create`."""
    table = getattr(step, "encodes", None)
    implementations = getattr(table, "implementations", list)()
    functions = [getattr(each, "function", None) for each in implementations]
    return any(isinstance(f, MethodType) and isinstance(f.__self__, type) for f in functions)


class TfmdLists(FilteredBase):
    """A collection of items through a `Pipeline`, applied when an item is asked for.

    `tl[i]` is the transformed item; slices, lists, arrays and masks give an `L` of them. What the
    class does not have is looked up in the pipeline's transforms (`tl.vocab`).

    Args:
        items: A list, array, frame (its items are rows) or any other collection.
        tfms: One transform or several; functions will do.
        use_list: Whether to make a list of `items` first.
        do_setup: Whether to set up the transforms on the items, now.
        split_idx: The subset that these items are (0: training, 1: validation).
        train_setup: Whether transforms learn from the training split alone.
        splits: Indices of each subset's items.
        types: Names of the types at each step; recorded at set-up by default.
        verbose: Whether to print what is set up.
        dl_type: The loader class for `dataloaders`.
    """

    def __init__(
        self,
        items: Any,
        tfms: Any,
        use_list: bool | None = None,
        do_setup: bool = True,
        split_idx: int | None = None,
        train_setup: bool = True,
        splits: Any = None,
        types: Sequence[str] | None = None,
        verbose: bool = False,
        dl_type: type | None = None,
    ) -> None:
        self._store = hold(items, use_list)
        self._has_rows = has_rows(self._store)
        self._index: NDArray[np.int64] | None = None
        self._splits = None if splits is None else check_splits(splits, len(self._store))
        self.split_idx, self.dl_type = split_idx, dl_type
        self.types = list(types or ())
        own = isinstance(tfms, Pipeline)
        self.tfms = tfms if own else Pipeline(tfms)
        if do_setup:
            if verbose:
                print(f"Setting up {self.tfms}")  # noqa: T201 - what `verbose` asks for
            self.setup(train_setup=train_setup)

    # -- items -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._store) if self._index is None else len(self._index)

    def raw(self, index: int) -> Any:
        """The item at `index` as it is before any transform.

        Raises:
            IndexError: There is no such item.
        """
        place = index
        try:
            if self._index is not None:
                place = self._index.item(index)
            elif index < 0:
                place = range(len(self))[index]
            return item_at(self._store, place) if self._has_rows else self._store[place]
        except IndexError as error:
            raise IndexError(f"item {index} of {len(self)}") from error

    def _shares_items(self, other: "TfmdLists") -> bool:
        return self._store is other._store and self._index is other._index

    @property
    def collection(self) -> Any:
        """The whole collection that the items are of; subsets of it have the same."""
        return self._store

    @property
    def positions(self) -> NDArray[np.int64] | None:
        """Where in `collection` each item is; None if these are all, in order."""
        return self._index

    @property
    def items(self) -> Any:
        """The items before any transform: the collection itself, or for a subset its part."""
        if self._index is None:
            return self._store
        if self._has_rows:
            return getattr(self._store, "iloc", self._store)[self._index]
        if isinstance(self._store, np.ndarray):
            return self._store[self._index]
        return L([item_at(self._store, int(index)) for index in self._index])

    def __getitem__(self, index: Any) -> Any:
        """One transformed item, or an `L` of them."""
        if type(index) is int or (hasattr(index, "__index__") and getattr(index, "ndim", 0) == 0):
            raw = self.raw(int(index))
            try:
                return self.tfms(raw, split_idx=self.split_idx)
            except Exception as error:
                name_item(error, index, raw)
                raise
        return L([self[int(i)] for i in as_index(index, len(self))])

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __call__(self, o: Any, **kwargs: Any) -> Any:
        """Transform something that is not in the collection."""
        return self.tfms(o, split_idx=self.split_idx, **kwargs)

    def decode(self, o: Any, **kwargs: Any) -> Any:
        """Undo the transforms on an item."""
        return self.tfms.decode(o, split_idx=self.split_idx, **kwargs)

    def show(self, o: Any, ctx: Any = None, **kwargs: Any) -> Any:
        """Decode an item until it can show itself, and let it."""
        return self.tfms.show(o, ctx=ctx, **kwargs)

    # -- subsets ---------------------------------------------------------------------------------

    @property
    def splits(self) -> list[NDArray[np.int64]]:
        """The index array of each subset."""
        return check_splits(None, len(self)) if self._splits is None else self._splits

    def _like(self, store: Any, index: NDArray[np.int64] | None, split_idx: int | None) -> Self:
        """This list with other items and the same transforms, which are not set up again."""
        other = copy.copy(self)
        other._store, other._index, other._splits = store, index, None
        other._has_rows = has_rows(store)
        other.split_idx = split_idx
        return other

    def subset(self, i: int) -> Self:
        """The items of split `i`, as a list whose transforms know that split."""
        positions = self.splits[i]
        index = positions if self._index is None else self._index[positions]
        return self._like(self._store, index, i)

    def new(self, items: Any, split_idx: int | None = None) -> Self:
        """The same transforms on other items, in a pipeline of its own."""
        other = self._like(hold(items), None, self.split_idx if split_idx is None else split_idx)
        other.tfms = copy.copy(self.tfms)
        return other

    def new_empty(self) -> Self:
        """The same transforms on no items."""
        return self.new([])

    def config(self) -> dict[str, Any]:
        """What makes this list again, without its items."""
        return {
            "items": [],
            "tfms": list(self.tfms.fs),
            "do_setup": False,
            "split_idx": self.split_idx,
            "types": list(self.types),
        }

    def from_step(self, start: int) -> Self:
        """This list without the first transforms of its pipeline: for items made further on."""
        other = copy.copy(self)
        other.tfms = copy.copy(self.tfms)
        other.tfms.fs = self.tfms.fs[start:]
        other.types = self.types[start:]
        return other

    # -- setting up ------------------------------------------------------------------------------

    def setup(self, train_setup: bool = True) -> None:
        """Set up the transforms, each on what those before it make of the (training) items."""
        self.tfms.setup(self, train_setup)
        if len(self):
            self.types = self._observe_types()

    def _observe_types(self) -> list[str]:
        """The names of the types that the first item goes through.

        An item that fails ends the list; it is reported when it is asked for.
        """
        types: list[str] = []
        with GlobalSeeds(), drawing(0):
            try:
                x = self.raw(0)
                types.append(_type_name(x))
                for step in self.tfms.fs:
                    x = step(x, split_idx=self.split_idx)
                    types.append(_type_name(x))
            except Exception:  # noqa: BLE001 - only looking
                return types
        return types

    def infer_idx(self, x: Any) -> int:
        """At which transform `x` may enter the pipeline, by its type.

        Raises:
            TypeError: At none; the message names the types that may.
        """
        names = {*_type_names(x), _type_name(x)} | ({"path"} if isinstance(x, str) else set())
        steps = len(self.tfms.fs)
        is_row = isinstance(x, Mapping) or hasattr(x, "_fields")
        if not self.types or (is_row and self.types[0] in _ROW_TYPES):
            return 0
        for place, name in enumerate(self.types[: steps + 1]):
            if name in names:
                return place
        for place, step in enumerate(self.tfms.fs):
            if _makes_from_anything(step):
                return place
        raise TypeError(
            f"an item of type {type(x).__name__} fits nowhere into {self.tfms}: "
            f"expected one of {list(dict.fromkeys(self.types))}"
        )

    def infer(self, x: Any, start: int | None = None) -> Any:
        """Apply the transforms from number `start` on; by default, judging by the type of `x`."""
        for step in self.tfms.fs[self.infer_idx(x) if start is None else start :]:
            x = step(x, split_idx=self.split_idx)
        return x

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in {"tfms", "items", "train", "valid"}:
            raise AttributeError(name)
        try:
            return getattr(self.tfms, name)
        except AttributeError as error:
            raise AttributeError(
                f"neither TfmdLists nor a transform in {self.tfms} has {name!r}"
            ) from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self._shown()}\ntfms - {list(self.tfms.fs)}"

    def _shown(self) -> str:
        items = [repr(self.raw(i)) for i in range(min(3, len(self)))]
        return f"({len(self)} items) [{', '.join(items)}{', ...' if len(self) > 3 else ''}]"
