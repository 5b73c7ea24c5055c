"""Keeping a result in the semantic type of what it was made from.

A function on a `TensorImage` often gives back a plain tensor. `retain_type` puts the type back,
whatever library it comes from, through the first of these that fits:

1. the target class has `__torte_cast__(value)`: it decides itself;
2. the value has `as_subclass(cls)`, as torch tensors do;
3. the value has `view(cls)`, as NumPy arrays do;
4. the value's own class may be reassigned (plain Python classes: images, records);
5. the target is called with the value, or with its elements for a named tuple.
"""

from typing import Any, TypeVar

from torte.dispatch.errors import DispatchError

__all__ = ["cast", "is_named_tuple", "retain_metadata", "retain_type", "retain_types"]

T = TypeVar("T")


def is_named_tuple(cls: type) -> bool:
    """Whether a class is a named tuple, which is made from its elements one by one."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_make")


def _may_reassign_class(value: Any, cls: type) -> bool:
    return type(value).__flags__ & (1 << 9) != 0 and issubclass(cls, type(value))


def cast(value: Any, cls: type[T]) -> T:
    """Return `value` as an instance of `cls`, without copying data where its library allows it.

    Raises:
        DispatchError: the class does not take the value.
    """
    if isinstance(value, cls):
        return value
    if hasattr(cls, "__torte_cast__"):
        return cls.__torte_cast__(value)  # pyright: ignore[reportAttributeAccessIssue]
    if hasattr(value, "as_subclass"):
        return value.as_subclass(cls)
    if hasattr(cls, "__array_finalize__") and hasattr(value, "view"):
        return value.view(cls)
    try:
        if _may_reassign_class(value, cls):
            value.__class__ = cls
            return value
        return cls._make(value) if is_named_tuple(cls) else cls(value)  # pyright: ignore
    except (TypeError, ValueError) as error:
        raise DispatchError(
            f"a {type(value).__qualname__} cannot be turned into {cls.__qualname__}: {error}. Give "
            f"{cls.__qualname__} a class method __torte_cast__(value)"
        ) from error


def retain_metadata(new: T, old: Any) -> T:
    """Give `new` the attributes of `old` that it lacks (or call its `set_meta(old)`)."""
    if hasattr(new, "set_meta"):
        new.set_meta(old)  # pyright: ignore[reportAttributeAccessIssue]
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
        `new`, cast, with the metadata of `old` when it took the type of `old`. `None` stays `None`,
        and a number is never turned back into a `bool`.
    """
    if new is None or typ is type(None):
        return new
    if typ is None:
        typ = type(old)
        if typ is type(new) or typ is bool or not isinstance(old, type(new)):
            return new
    if isinstance(new, typ):
        return new
    result = cast(new, typ)
    return retain_metadata(result, old) if isinstance(old, typ) else result


def retain_types(new: tuple[Any, ...], old: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cast a tuple and, where both have as many, its elements to the types of another tuple's."""
    if len(new) == len(old):
        kept = [
            retain_types(n, o)
            if isinstance(n, tuple) and isinstance(o, tuple)
            else retain_type(n, o)
            for n, o in zip(new, old, strict=True)
        ]
        if any(after is not before for after, before in zip(kept, new, strict=True)):
            new = type(new)._make(kept) if is_named_tuple(type(new)) else tuple(kept)  # pyright: ignore
    return retain_type(new, old) if len(new) == len(old) or not is_named_tuple(type(old)) else new
