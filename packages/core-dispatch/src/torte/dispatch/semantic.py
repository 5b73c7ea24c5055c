"""Keeping a result in the semantic type of what it was made from.

A function on a `TensorImage` often gives back a plain tensor. `retain_type` puts the type back,
whatever library it comes from. `cast` does it, by the first of these that there is:

1. the target class's own `__torte_cast__(value)`;
2. the value's `as_subclass(cls)`, where both classes have it, as torch tensors do;
3. the value's `view(cls)`, for a subclass of NumPy's array;
4. another `__class__` for the value itself, where both are plain Python classes (images, records);
5. a call of the class with the value, or with its elements for a named tuple.
"""

import enum
from collections.abc import Iterable
from typing import Any, TypeVar

from torte.dispatch.errors import DispatchError

__all__ = ["cast", "is_named_tuple", "retain_metadata", "retain_type", "retain_types"]

T = TypeVar("T")

_IMMUTABLE_TYPE, _HEAP_TYPE = 1 << 8, 1 << 9  # Py_TPFLAGS_IMMUTABLETYPE and _HEAPTYPE


def _is_python_class(cls: type) -> bool:
    """Whether a class statement made it: since Python 3.12 some C types lie on the heap too."""
    return cls.__flags__ & (_HEAP_TYPE | _IMMUTABLE_TYPE) == _HEAP_TYPE


def is_named_tuple(cls: type) -> bool:
    """Whether a class is a named tuple, which is made from its elements one by one."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_make")


def _is_semantic(cls: type) -> bool:
    """Whether a class can be what values are put back into.

    Built-in classes say how a value is stored, not what it means (`bool`, `datetime`,
    `defaultdict`), and an enumeration has no room for results.
    """
    return _is_python_class(cls) and not issubclass(cls, enum.Enum)


def _with_class(value: Any, cls: type) -> bool:
    """Make `value` an instance of `cls` in place, if Python allows it."""
    if not _is_python_class(type(value)) or not issubclass(cls, type(value)):
        return False
    try:
        value.__class__ = cls
    except TypeError:  # another memory layout
        return False
    return True


def cast(value: Any, cls: type[T]) -> T:
    """Return `value` as an instance of `cls`, without copying data where its library allows that.

    Raises:
        DispatchError: the class does not take the value.
    """
    target: Any = cls
    if isinstance(value, cls):
        return value
    if hasattr(cls, "__torte_cast__"):
        return target.__torte_cast__(value)
    if hasattr(value, "as_subclass") and hasattr(cls, "as_subclass"):
        return value.as_subclass(cls)
    if hasattr(cls, "__array_finalize__") and hasattr(value, "view"):
        return value.view(cls)
    if _with_class(value, cls):
        return value
    try:
        return target._make(value) if is_named_tuple(cls) else target(value)
    except (TypeError, ValueError) as error:
        raise DispatchError(
            f"a {type(value).__qualname__} cannot be turned into {cls.__qualname__}: {error}. Give "
            f"{cls.__qualname__} a class method __torte_cast__(value), or annotate the function "
            "with `-> None` to keep its result as it is"
        ) from error


def retain_metadata(new: T, old: Any) -> T:
    """Give `new` the attributes of `old` that it lacks, or have its `set_meta(old)` do it."""
    target: Any = new
    if hasattr(new, "set_meta"):
        target.set_meta(old)
        return new
    kept, metadata = getattr(old, "__dict__", None), getattr(new, "__dict__", None)
    if kept and metadata is not None:
        for name, value in kept.items():
            metadata.setdefault(name, value)
    return new


def retain_type(new: Any, old: Any = None, typ: Any = None) -> Any:
    """Cast `new` to `typ`, or to the type of `old` where that is a subclass of its own.

    Args:
        new: a result.
        old: what it was made from.
        typ: the type to cast to; `NoneType` leaves `new` alone; `None` means the type of `old`.

    Returns:
        `new` in that type, with the attributes of `old` where it took over the type of `old`.
        `None` stays `None`, and no result is put into a built-in class or an enumeration.

    Raises:
        DispatchError: the type does not take the value.
    """
    if new is None or typ is type(None):
        return new
    if typ is None:
        typ = type(old)
        is_general = type(new) is not object and isinstance(old, type(new))
        if typ is type(new) or not is_general or not _is_semantic(typ):
            return new
    if isinstance(new, typ):
        return new
    result = cast(new, typ)
    return retain_metadata(result, old) if isinstance(old, typ) else result


def _of_elements(cls: type, elements: Iterable[Any]) -> Any:
    """Return a tuple of a given class."""
    made: Any = cls
    return made._make(elements) if is_named_tuple(cls) else made(elements)


def retain_types(new: tuple[Any, ...], old: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cast a tuple to the class of another and, where both have as many, its elements likewise."""
    if len(new) != len(old):
        return new if is_named_tuple(type(old)) else retain_type(new, old)
    kept = [
        retain_types(now, before)
        if isinstance(now, tuple) and isinstance(before, tuple)
        else retain_type(now, before)
        for now, before in zip(new, old, strict=True)
    ]
    if any(after is not before for after, before in zip(kept, new, strict=True)):
        new = _of_elements(type(new), kept)
    return retain_type(new, old)
