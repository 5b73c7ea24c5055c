"""L: a list that is indexed like a NumPy array and has the methods to work on all its items.

L((1, -3), (2, 5), (3, -7)).itemgot(1).map(abs).filter(lambda o: o > 4).sum() == 12
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, SupportsIndex, TypeVar, overload

from torte.dispatch.helpers import first, is_iter, noop, range_of
from torte.dispatch.indexing import is_single_index, places_of_index

__all__ = ["L"]

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")

_SHOWN = 10


def _as_items(value: Any, use_list: bool | None) -> Iterable[Any]:
    if value is None:
        return ()
    is_array = hasattr(value, "tolist") or hasattr(value, "__array__")
    if use_list or (use_list is None and is_array):
        return list(value)
    if is_array or isinstance(value, (str, bytes, Mapping)):
        return (value,)
    return value if is_iter(value) else (value,)


def _key(key: Any) -> Any:
    if isinstance(key, str):
        return operator.attrgetter(key)
    if isinstance(key, int):
        return operator.itemgetter(key)
    return key


def _as_function(f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[Any], Any]:
    if isinstance(f, str):
        return f.format
    if not callable(f):
        return f.__getitem__
    return functools.partial(f, *args, **kwargs) if args or kwargs else f


def _get(item: Any, name: str, default: Any) -> Any:
    if isinstance(item, Mapping):
        return item.get(name, default)
    for part in name.split("."):
        item = getattr(item, part, default)
    return item


class L(list[T], Generic[T]):
    """A list with NumPy-like indexing and methods that can be chained.

    Args:
        items: an iterable, whose items it takes; `None` for nothing; anything else (a string, a
            mapping, an array or tensor too) is a single item.
        *rest: more items; then `items` is one item as well.
        use_list: take the items of whatever `items` is, arrays and strings included; None: of
            arrays, but not of strings.
        match: as many items as this has, a single one repeated.
    """

    @overload
    def __init__(
        self,
        items: Iterable[T] | None = None,
        /,
        *,
        use_list: bool | None = False,
        match: Any = None,
    ) -> None: ...
    @overload
    def __init__(
        self, items: T, /, *rest: T, use_list: bool | None = False, match: Any = None
    ) -> None: ...
    def __init__(
        self, items: Any = None, /, *rest: Any, use_list: bool | None = False, match: Any = None
    ) -> None:
        super().__init__((items, *rest) if rest else _as_items(items, use_list))
        if match is not None and len(self) != len(match):
            if len(self) != 1:
                raise ValueError(f"{len(self)} items cannot match {len(match)}")
            list.__imul__(self, len(match))

    def _new(self, items: Iterable[U]) -> L[U]:
        made: Any = type(self)()
        list.extend(made, items)
        return made

    # -- indexing ------------------------------------------------------------------------------

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> L[T]: ...
    @overload
    def __getitem__(self, index: Any) -> Any: ...
    def __getitem__(self, index: Any) -> Any:
        """Return one item, or an `L` of those that a slice, places or a mask picks."""
        if is_single_index(index):
            return list.__getitem__(self, index)
        if isinstance(index, slice):
            return self._new(list.__getitem__(self, index))
        pick = list.__getitem__
        return self._new(pick(self, place) for place in places_of_index(index, len(self)))

    def __setitem__(self, index: Any, value: Any) -> None:
        """Set one item, a slice, or the items at several places (one value is set everywhere)."""
        if is_single_index(index) or isinstance(index, slice):
            list.__setitem__(self, index, value)
            return
        places = places_of_index(index, len(self))
        values = value if is_iter(value) and not isinstance(value, str) else [value] * len(places)
        for place, each in zip(places, values, strict=True):
            list.__setitem__(self, place, each)

    def itemgot(self, *indices: Any) -> L[Any]:
        """Return what is at an index of every item, or at an index of that, and so on."""
        found: L[Any] = self
        for index in indices:
            found = found.map(operator.itemgetter(index))
        return found

    def attrgot(self, k: str, default: Any = None) -> L[Any]:
        """Return an attribute (dots go deeper) of every item, or what a mapping has under a key."""
        return self._new(_get(item, k, default) for item in self)

    # -- mapping and choosing --------------------------------------------------------------------

    @overload
    def map(self, f: Callable[[T], U], /) -> L[U]: ...
    @overload
    def map(self, f: Callable[..., U], /, *args: Any, **kwargs: Any) -> L[U]: ...
    @overload
    def map(self, f: str, /) -> L[str]: ...
    @overload
    def map(self, f: Mapping[T, U], /) -> L[U]: ...
    @overload
    def map(self, f: Any, /, *args: Any, **kwargs: Any) -> L[Any]: ...
    def map(self, f: Any, /, *args: Any, **kwargs: Any) -> L[Any]:
        """Apply a function, a format string or anything indexable to every item.

        Args:
            f: what to apply.
            *args: passed to a function, before the item.
            **kwargs: passed to a function.
        """
        return self._new(map(_as_function(f, args, kwargs), self))

    def map_dict(self, f: Callable[..., U] = noop, *args: Any, **kwargs: Any) -> dict[T, U]:
        """Return a dict from every item to what the function makes of it."""
        return {item: f(item, *args, **kwargs) for item in self}

    def map_filter(self, f: Any = noop, g: Any = noop, *args: Any, **kwargs: Any) -> L[Any]:
        """Apply a function to every item and keep what `g` holds for."""
        return self.map(f, *args, **kwargs).filter(g)

    def map_first(self, f: Any = noop, g: Any = noop, *args: Any, **kwargs: Any) -> Any:
        """Return the first result of a function that `g` holds for, or `None`."""
        function = _as_function(f, args, kwargs)
        return next((made for made in map(function, self) if g(made)), None)

    def starmap(self, f: Callable[..., U], *args: Any, **kwargs: Any) -> L[U]:
        """Apply a function to every item, spread over its parameters (behind `args`)."""
        items: Any = self
        return self._new(itertools.starmap(_as_function(f, args, kwargs), items))

    def filter(self, f: Callable[..., Any] = noop, negate: bool = False, **kwargs: Any) -> L[T]:
        """Keep the items for which `f` holds; with `negate` those for which it does not."""
        function = _as_function(f, (), kwargs)
        return self._new(item for item in self if bool(function(item)) is not negate)

    def partition(self, f: Callable[..., Any] = noop, **kwargs: Any) -> tuple[L[T], L[T]]:
        """Return the items for which `f` holds, and the others."""
        return self.filter(f, **kwargs), self.filter(f, negate=True, **kwargs)

    def takewhile(self, f: Callable[[T], Any]) -> L[T]:
        """Return the items up to the first one for which `f` does not hold."""
        return self._new(itertools.takewhile(f, self))

    def dropwhile(self, f: Callable[[T], Any]) -> L[T]:
        """Return the items from the first one for which `f` does not hold."""
        return self._new(itertools.dropwhile(f, self))

    def compress(self, selectors: Iterable[Any]) -> L[T]:
        """Return the items whose selector is true."""
        return self._new(itertools.compress(self, selectors))

    def first(self, f: Callable[[T], Any] | None = None, negate: bool = False) -> T | None:
        """Return the first item (for which `f` holds, or does not where `negate`), or `None`."""
        return first(self, f, negate)

    def last(self, f: Callable[[T], Any] | None = None, negate: bool = False) -> T | None:
        """Return the last item (for which `f` holds, or does not where `negate`), or `None`."""
        return first(reversed(self), f, negate)

    def argwhere(self, f: Callable[..., Any], negate: bool = False, **kwargs: Any) -> L[int]:
        """Return the places of the items for which `f` holds."""
        function = _as_function(f, (), kwargs)
        return self._new(n for n, item in enumerate(self) if bool(function(item)) is not negate)

    def argfirst(self, f: Callable[..., Any], negate: bool = False, **kwargs: Any) -> int | None:
        """Return the place of the first item for which `f` holds, or `None`."""
        function = _as_function(f, (), kwargs)
        places = (n for n, item in enumerate(self) if bool(function(item)) is not negate)
        return next(places, None)

    def unique(self, sort: bool = False, bidir: bool = False, start: Any = None) -> Any:
        """Return the different items in the order in which they come.

        Args:
            sort: sort them.
            bidir: return the dict from item to place as well.
            start: one item, or several, to put first.
        """
        found: L[Any] = self._new(dict.fromkeys([*L(start), *self]))
        if sort:
            found.sort()
        return (found, found.val2idx()) if bidir else found

    def val2idx(self) -> dict[T, int]:
        """Return a dict from every item to its (last) place."""
        return {item: place for place, item in enumerate(self)}

    def groupby(self, key: Any, val: Any = noop) -> dict[Any, L[Any]]:
        """Return a dict from `key(item)` to the `val(item)` of the items that share it.

        Args:
            key: a function, or the index or attribute to group by.
            val: likewise, what is kept of an item.
        """
        groups: dict[Any, L[Any]] = {}
        for item in self:
            groups.setdefault(_key(key)(item), self._new(())).append(_key(val)(item))
        return groups

    # -- ordering and combining -------------------------------------------------------------------

    def sorted(
        self,
        key: Callable[[T], Any] | str | int | None = None,
        reverse: bool = False,
        cmp: Callable[[T, T], int] | None = None,
        **kwargs: Any,
    ) -> L[T]:
        """Return the items sorted.

        Args:
            key: sorts by what a function returns, by an attribute's name, or by an index.
            reverse: largest first.
            cmp: compares two items itself (negative, zero or positive); instead of a key.
            **kwargs: passed to a key that is a function.
        """
        by: Any = _key(key) if cmp is None else functools.cmp_to_key(cmp)
        by = functools.partial(by, **kwargs) if kwargs else by
        return self._new(sorted(self, key=by, reverse=reverse))

    def shuffle(self, rng: Any = None) -> L[T]:
        """Return the items in random order; `rng` is a `random.Random`, by default the module."""
        import random

        made = self.copy()
        (random if rng is None else rng).shuffle(made)
        return made

    def copy(self) -> L[T]:
        """Return a copy that holds the same items."""
        return self._new(self)

    def enumerate(self) -> L[tuple[int, T]]:
        """Return pairs of place and item."""
        return self._new(enumerate(self))

    def renumerate(self) -> L[tuple[T, int]]:
        """Return pairs of item and place."""
        return self._new((item, place) for place, item in enumerate(self))

    def zip(self, cycled: bool = False) -> L[Any]:
        """Zip the items, which are iterables; the shorter ones over again where `cycled`."""
        parts: list[Any] = list(self)
        if not cycled:
            return self._new(zip(*parts, strict=False))
        held = [list(part) for part in parts]
        longest = max(map(len, held), default=0)
        repeated = [itertools.islice(itertools.cycle(part), longest) for part in held]
        return self._new(zip(*repeated, strict=False))

    def zipwith(self, *rest: Any, cycled: bool = False) -> L[Any]:
        """Zip this list with others."""
        return self._new((self, *rest)).zip(cycled=cycled)

    def map_zip(self, f: Callable[..., U], *args: Any, cycled: bool = False, **kwargs: Any) -> L[U]:
        """Zip the items and apply a function to each combination."""
        return self.zip(cycled=cycled).starmap(f, *args, **kwargs)

    def map_zipwith(
        self, f: Callable[..., U], *rest: Any, cycled: bool = False, **kwargs: Any
    ) -> L[U]:
        """Zip this list with others and apply a function to each combination."""
        return self.zipwith(*rest, cycled=cycled).starmap(f, **kwargs)

    def concat(self) -> L[Any]:
        """Return the items of the items, one level deep."""
        return self._new(itertools.chain.from_iterable(L(item) for item in self))

    def flatten(self) -> L[Any]:
        """Return the items of the items, at any depth; strings and arrays stay whole."""
        return self._new(_flat(self))

    def flatmap(self, f: Callable[..., Any], **kwargs: Any) -> L[Any]:
        """Apply a function to every item and join the iterables that it returns."""
        return self.map(f, **kwargs).concat()

    def accumulate(self, f: Callable[[Any, T], Any] = operator.add, initial: Any = None) -> L[Any]:
        """Return what combining the items from the left gives after every one of them."""
        return self._new(itertools.accumulate(self, f, initial=initial))

    def batched(self, n: int) -> L[tuple[T, ...]]:
        """Return the items in tuples of `n`, the last one perhaps shorter."""
        if n < 1:
            raise ValueError(f"n={n!r}: a batch holds at least one item")
        return self._new(
            tuple(list.__getitem__(self, slice(at, at + n))) for at in range_of(0, len(self), n)
        )

    def pairwise(self) -> L[tuple[T, T]]:
        """Return every item with the one after it."""
        return self._new(itertools.pairwise(self))

    def combinations(self, r: int) -> L[tuple[T, ...]]:
        """Return every choice of `r` items, in their order."""
        return self._new(itertools.combinations(self, r))

    def permutations(self, r: int | None = None) -> L[tuple[T, ...]]:
        """Return every order of `r` items; of all of them by default."""
        return self._new(itertools.permutations(self, r))

    def cycle(self) -> Iterator[T]:
        """Return an iterator that goes round for ever."""
        return itertools.cycle(self)

    def reduce(self, f: Callable[[Any, T], Any], initial: Any = None) -> Any:
        """Combine all items with a function of two, from the left."""
        return functools.reduce(f, self) if initial is None else functools.reduce(f, self, initial)

    def sum(self) -> Any:
        """Return the sum of the items; 0 of none."""
        return self.reduce(operator.add) if self else 0

    def product(self) -> Any:
        """Return the product of the items; 1 of none."""
        return self.reduce(operator.mul) if self else 1

    def setattrs(self, attr: str, val: Any) -> None:
        """Set an attribute of every item."""
        for item in self:
            setattr(item, attr, val)

    @classmethod
    def split(cls, s: str, sep: str | None = None, maxsplit: int = -1) -> L[str]:
        """Return the parts of a string."""
        return cls()._new(s.split(sep, maxsplit))

    @classmethod
    def splitlines(cls, s: str, keepends: bool = False) -> L[str]:
        """Return the lines of a string."""
        return cls()._new(s.splitlines(keepends))

    @classmethod
    def range(cls, a: Any, b: int | None = None, step: int | None = None) -> L[int]:
        """Return the numbers of a range; of a collection its places."""
        return cls()._new(range_of(a, b, step))

    # -- operators -------------------------------------------------------------------------------

    def __add__(self, other: Any) -> L[Any]:
        return self._new([*self, *L(other)])

    def __radd__(self, other: Any) -> L[Any]:
        return self._new([*L(other), *self])

    def __iadd__(self, other: Any) -> L[Any]:
        list.extend(self, L(other))
        return self

    def __mul__(self, count: SupportsIndex) -> L[T]:
        return self._new(list.__mul__(self, count))

    __rmul__ = __mul__

    def __imul__(self, count: SupportsIndex) -> L[T]:
        list.__imul__(self, count)
        return self

    def __invert__(self) -> L[bool]:
        return self.map(operator.not_)

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, (list, tuple, range)):
            return len(self) == len(other) and all(map(_same, self, other))
        return list(self) == other.tolist() if hasattr(other, "tolist") else NotImplemented

    __hash__ = None

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        shown = ", ".join(repr(item) for item in itertools.islice(self, _SHOWN))
        more = ", ..." if len(self) > _SHOWN else ""
        return f"(#{len(self)}) [{shown}{more}]"

    def __reduce__(self) -> Any:
        return type(self), (), self.__dict__ or None, iter(self)


def _flat(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        parts = L(item)
        if len(parts) == 1 and parts[0] is item:
            yield item
        else:
            yield from _flat(parts)


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    same = one == other
    if isinstance(same, bool):
        return same
    return bool(same.all()) if hasattr(same, "all") else bool(same)
