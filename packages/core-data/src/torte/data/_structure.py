"""Walking over nested batches: tuples, named tuples, lists, mappings and dataclasses.

The one place that knows how to take a container apart and build another of its kind.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

__all__ = [
    "is_named_tuple",
    "is_record",
    "leaves",
    "map_leaves",
    "rebuild_mapping",
    "rebuild_sequence",
]


def is_named_tuple(value: object) -> bool:
    """Whether `value` is an instance of a `namedtuple` or `NamedTuple` class."""
    return isinstance(value, tuple) and hasattr(type(value), "_fields")


def is_record(value: object) -> bool:
    """Whether `value` is an instance (not a class) of a dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def rebuild_sequence(like: Sequence[Any], values: list[Any]) -> Any:
    """A sequence of `values` of the kind of `like`: tuple, named tuple, list, `L` or other."""
    if is_named_tuple(like):
        return type(like)(*values)
    kind = type(like)
    if kind is list:
        return values
    try:
        return kind(values)  # type: ignore[call-arg]
    except TypeError:
        return tuple(values) if isinstance(like, tuple) else values


def rebuild_mapping(like: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """A mapping of `values` of the kind of `like`.

    Whatever else `like` holds comes along, as in Hugging Face's `BatchEncoding`.
    """
    if type(like) is dict:
        return values
    if isinstance(like, MutableMapping):
        result = copy.copy(like)
        if getattr(result, "data", None) is getattr(like, "data", like):  # a shallow UserDict
            result.data = dict(values)  # type: ignore[attr-defined]
            return result
        result.update(values)
        return result
    try:
        return type(like)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def map_leaves(function: Callable[[Any], Any], data: Any) -> Any:
    """`data` with every leaf replaced by `function(leaf)`, in containers of the same kinds.

    Strings and bytes are leaves. A container of which no leaf changed is returned as it is.
    """
    if isinstance(data, (str, bytes)):
        return function(data)
    if isinstance(data, Mapping):
        new = {key: map_leaves(function, value) for key, value in data.items()}
        same = all(new[key] is data[key] for key in new)
        return data if same else rebuild_mapping(data, new)
    if isinstance(data, (tuple, list)):
        values = [map_leaves(function, value) for value in data]
        same = all(a is b for a, b in zip(values, data, strict=True))
        return data if same else rebuild_sequence(data, values)
    if is_record(data):
        return _map_record(function, data)
    return function(data)


def _map_record(function: Callable[[Any], Any], data: Any) -> Any:
    old = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    new = {name: map_leaves(function, value) for name, value in old.items()}
    if all(new[name] is old[name] for name in old):
        return data
    result = copy.copy(data)
    for name, value in new.items():
        object.__setattr__(result, name, value)  # frozen dataclasses too
    return result


def leaves(data: Any) -> Iterator[Any]:
    """Every leaf of `data`, depth first, in order."""
    if isinstance(data, (str, bytes)):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from leaves(value)
    elif isinstance(data, (tuple, list)):
        for value in data:
            yield from leaves(value)
    elif is_record(data):
        for field in dataclasses.fields(data):
            yield from leaves(getattr(data, field.name))
    else:
        yield data
