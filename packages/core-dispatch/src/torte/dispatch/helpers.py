"""Small helpers that several layers share."""

import functools
import re
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, TypeVar

__all__ = [
    "camel2snake",
    "first",
    "ifnone",
    "is_iter",
    "is_listy",
    "listify",
    "noop",
    "range_of",
    "store_attr",
]

T = TypeVar("T")
D = TypeVar("D")


def noop(x: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Return `x`, whatever else is given."""
    return x


def ifnone(a: T | None, b: T) -> T:
    """Return `b` where `a` is `None`, and `a` otherwise."""
    return b if a is None else a


def range_of(a: Any, b: int | None = None, step: int | None = None) -> list[int]:
    """Return the places of a collection, or the numbers of a range, as a list."""
    stop = a if isinstance(a, int) else len(a)
    bounds = (0, stop) if b is None else (stop, b)
    return list(range(*bounds, 1 if step is None else step))


def is_iter(x: Any) -> bool:
    """Whether `x` can be iterated over (a tensor or array without dimensions cannot)."""
    return isinstance(x, Iterable) and getattr(x, "ndim", 1) != 0


def is_listy(x: Any) -> bool:
    """Whether `x` is a tuple, a list, a set, a slice or a generator."""
    return isinstance(x, (tuple, list, set, slice, Generator))


def listify(x: Any) -> list[Any]:
    """Return a list: of the items of an iterable, of a single thing, or of nothing for `None`.

    Strings, mappings and arrays are single things.
    """
    if x is None:
        return []
    if isinstance(x, (str, bytes, Mapping)) or hasattr(x, "tolist") or not is_iter(x):
        return [x]
    return list(x)


def first(
    x: Iterable[T] | None,
    f: Callable[..., Any] | None = None,
    negate: bool = False,
    default: Any = None,
    **kwargs: Any,
) -> Any:
    """Return the first item (for which `f` holds), or `default`.

    Args:
        x: the items; `None` for nothing.
        f: what has to hold for an item.
        negate: look for an item for which `f` does not hold.
        default: returned if there is none.
        **kwargs: passed to `f`.
    """
    holds = functools.partial(f, **kwargs) if f is not None and kwargs else f
    items = () if x is None else x
    return next(
        (each for each in items if holds is None or bool(holds(each)) is not negate), default
    )


def camel2snake(name: str) -> str:
    """Return a class's name as an attribute's: `GradientClip` becomes `gradient_clip`."""
    name = re.sub(r"([^_])([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def store_attr(
    names: str | Iterable[str] | None = None,
    self: Any = None,
    but: str | Iterable[str] = (),
    cast: bool = False,
    **attrs: Any,
) -> None:
    """Store the arguments of the calling method as attributes of the same names.

    Args:
        names: which ones, as names or one string with commas; all of them by default.
        self: the object; by default the calling method's first argument.
        but: which ones not to store.
        cast: convert each to its annotation, where that is a class.
        **attrs: further attributes to store.

    The stored values are also found in `__stored_args__`, which `DisplayedTransform` shows and
    descriptions use.
    """
    frame = sys._getframe(1)
    code = frame.f_code
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if self is None:
        self = frame.f_locals[arguments[0]]
    wanted = arguments[1:] if names is None else _split(names)
    own = {name: frame.f_locals[name] for name in wanted if name not in _split(but)}
    attrs = {**own, **attrs}
    if cast:
        annotations = getattr(getattr(type(self), code.co_name, None), "__annotations__", {})
        attrs = {name: _cast(value, annotations.get(name)) for name, value in attrs.items()}
    for name, value in attrs.items():
        setattr(self, name, value)
    stored = {**getattr(self, "__stored_args__", {}), **attrs}
    if hasattr(self, "__dict__"):
        self.__stored_args__ = stored


def _split(names: str | Iterable[str]) -> list[str]:
    if isinstance(names, str):
        names = re.split(r"[,\s]+", names.strip())
    return [name for name in names if name]


def _cast(value: Any, annotation: Any) -> Any:
    return annotation(value) if isinstance(annotation, type) and value is not None else value
