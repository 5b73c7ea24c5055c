"""rebuild: the object that `describe` described."""

import functools
import math
import operator
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

from torte.dispatch.collection import L
from torte.dispatch.errors import StateError
from torte.dispatch.registry import entry_of

__all__ = ["rebuild"]

JSON = Any
CHANGEABLE = ("split_idx", "order")
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _object(description: Mapping[str, JSON]) -> Any:
    missing = {"name", "config"} - set(description)
    if missing:
        raise StateError(f"not a description, it lacks {sorted(missing)}: {description!r}")
    if description["name"] == "value":
        return _value(description["config"]["value"])
    entry = entry_of(description["name"])
    if description["config"] is None:
        return entry.target
    config = {key: _value(each) for key, each in description["config"].items()}
    positional = config.pop("*", [])
    try:
        made = (entry.from_config or entry.target)(*positional, **config)
        state = {key: _value(each) for key, each in (description.get("state") or {}).items()}
        if state:
            made.load_state(state)
    except Exception as error:
        error.add_note(f"while rebuilding {description['name']}")
        raise
    for name, value in (description.get("attributes") or {}).items():
        if name not in CHANGEABLE:
            raise StateError(f"a description may set {', '.join(CHANGEABLE)}, not {name!r}")
        setattr(made, name, _value(value))
    return made


def _partial(parts: list[Any]) -> Any:
    function, args, keywords = parts
    return functools.partial(function, *args, **keywords)


def _constructor(parts: list[Any]) -> Any:
    """The class method of a registered class, such as `PILImage.create`."""
    cls, name = parts
    found = None if name.startswith("_") else getattr(cls, name, None)
    if not (isinstance(found, MethodType) and found.__self__ is cls):
        raise StateError(f"{name!r} is no class method of {cls!r}")
    return found


def _attrgetter(names: list[str]) -> Any:
    """Look attributes up, but none that would lead from an item to the interpreter behind it.

    A forged description could otherwise go by way of `__class__` and `__globals__` to any function
    that is loaded. `operator.methodcaller`, which would call what it finds, is read in no form.
    """
    if any(part.startswith("_") for name in names for part in name.split(".")):
        raise StateError(f"private attributes are not looked up for a description: {names}")
    return operator.attrgetter(*names)


_READERS: dict[str, Callable[[Any], Any]] = {
    "$L": L,
    "$attrgetter": _attrgetter,
    "$constructor": _constructor,
    "$frozenset": frozenset,
    "$itemgetter": lambda indices: operator.itemgetter(*indices),
    "$partial": _partial,
    "$range": lambda bounds: range(*bounds),
    "$set": set,
    "$slice": lambda bounds: slice(*bounds),
    "$tuple": tuple,
}


def _value(value: JSON) -> Any:
    if isinstance(value, list):
        return [_value(each) for each in value]
    if not isinstance(value, dict):
        return value
    marks = [key for key in value if key.startswith("$")]
    if not marks:
        return {key: _value(each) for key, each in value.items()}
    return _marked(marks[0], value[marks[0]])


def _marked(mark: str, content: JSON) -> Any:
    if mark == "$object":
        return _object(content)
    if mark == "$named":
        return entry_of(content).target
    if mark == "$member":
        return entry_of(content[0]).target[content[1]]
    if mark == "$float":
        return _FLOATS[content]
    if mark == "$path":
        import pathlib  # at import time it would cost a tenth of the layer's budget

        return pathlib.Path(content)
    if mark == "$dict":
        return {_value(key): _value(each) for key, each in content}
    if mark not in _READERS:
        raise StateError(f"{mark!r} marks nothing that this version of torte knows")
    return _READERS[mark](_value(content))


def rebuild(description: Mapping[str, JSON]) -> Any:
    """Make the object that `describe` described.

    Raises:
        UnknownNameError: it names what is not registered here.
        StateError: it is no description.
    """
    return _object(description)
