"""describe: an object as JSON, for `rebuild` to make it again.

    description = {
        "name": "torte.data.Categorize",   # under which `serializable` registered the class
        "config": {"sort": true},          # constructor arguments: the object's config()
        "state": {"vocab": ["cat", "dog"]} # what setup learned: its state(), for load_state()
    }

A registered function or class has `null` for its config. `undescribable` says beforehand which
parts of an object stand in the way: lambdas, and whatever nobody registered.

Values inside `config` and `state` may be None, booleans, numbers, strings, lists, tuples, sets,
dicts, paths, slices, ranges, registered functions and classes, class methods of those, members of
registered enumerations, objects that can be described, and `functools.partial` or the `operator`
getters of any of them. What JSON does not have is written as a dict with one key that starts with
`$`.
"""

import enum
import functools
import inspect
import math
import operator
import os
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType
from typing import Any

from torte.dispatch.collection import L
from torte.dispatch.dispatcher import TypeDispatch
from torte.dispatch.errors import UndescribableError
from torte.dispatch.registry import Entry, entry_of, registered_name

__all__ = ["describe", "kept_arguments", "undescribable"]

JSON = Any
_MISSING: Any = object()
_GETTERS = (operator.itemgetter, operator.attrgetter)


class _Describer:
    """Turns values into JSON, collecting what cannot be turned with the way to it."""

    def __init__(self) -> None:
        self.culprits: list[str] = []
        self._path: list[str] = []
        self._open: list[int] = []

    def blame(self, what: str) -> None:
        """Note that something cannot be described, and where it was found."""
        where = "".join(self._path).lstrip(".")
        self.culprits.append(f"{where}: {what}" if where else what)

    def at(self, step: str, value: Any) -> JSON:
        """Describe a part of what is being described."""
        self._path.append(step)
        try:
            return self.value(value)
        finally:
            self._path.pop()

    def value(self, value: Any) -> JSON:
        """Describe any value."""
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"$float": str(value)}
        if id(value) in self._open:
            return self.blame(f"a {type(value).__qualname__} that contains itself")
        self._open.append(id(value))
        try:
            found = self._container(value)
            return found if found is not None else self._named(value)
        finally:
            self._open.pop()

    def _items(self, items: Iterable[Any]) -> list[JSON]:
        return [self.at(f"[{place}]", each) for place, each in enumerate(items)]

    def _container(self, value: Any) -> JSON:
        kind = type(value)
        if kind is list:
            return self._items(value)
        if kind in (tuple, set, frozenset) or kind is L:
            key = "$L" if kind is L else f"${kind.__name__}"
            return {key: self._items(value if kind in (tuple, L) else sorted(value, key=repr))}
        if kind is dict:
            return self._mapping(value)
        if isinstance(value, os.PathLike):
            return {"$path": os.fspath(value)}
        if kind is slice:
            return {"$slice": self._items((value.start, value.stop, value.step))}
        if kind is range:
            return {"$range": [value.start, value.stop, value.step]}
        return None

    def _mapping(self, value: dict[Any, Any]) -> JSON:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self.at(f".{key}", each) for key, each in value.items()}
        return {"$dict": [[self.value(k), self.at(f"[{k!r}]", v)] for k, v in value.items()]}

    def _named(self, value: Any) -> JSON:
        name = registered_name(value)
        if name is not None:
            return {"$named": name}
        if isinstance(value, MethodType) and registered_name(value.__self__) is not None:
            return {"$constructor": [self.value(value.__self__), value.__name__]}
        if isinstance(value, functools.partial):
            return {"$partial": self._items((value.func, list(value.args), dict(value.keywords)))}
        if isinstance(value, enum.Enum) and registered_name(type(value)) is not None:
            return {"$member": [registered_name(type(value)), value.name]}
        if isinstance(value, _GETTERS):
            reduced: Any = value.__reduce__()
            return {f"${type(value).__name__}": self._items(reduced[1])}
        found = self.object(value)
        return None if found is None else {"$object": found}

    def object(self, value: Any) -> JSON:
        """Describe an instance of a registered class."""
        name = registered_name(type(value))
        if name is None:
            return self.blame(_unregistered(value))
        entry = entry_of(name)
        try:
            config = self._config(value, entry)
        except UndescribableError as error:
            return self.blame(str(error))
        state = value.state() if callable(getattr(value, "state", None)) else {}
        found = {
            "name": name,
            "config": {key: self.at(f".{key}", each) for key, each in config.items()},
            "state": {key: self.at(f".{key}", each) for key, each in state.items()},
        }
        changed = _changed_attributes(value, config)
        return found | {"attributes": changed} if changed else found

    def _config(self, value: Any, entry: Entry) -> dict[str, Any]:
        if entry.to_config is not None:
            return entry.to_config(value)
        config: Any = getattr(value, "config", None)
        if callable(config):
            return config()  # pyright: ignore[reportReturnType]  (Any, narrowed to object)
        return kept_arguments(value)


def _changed_attributes(value: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was set on an object after it was made, of what its class lists for that."""
    names = getattr(value, "_described_attributes", ())
    own = {name: vars(value).get(name, _MISSING) for name in names}
    return {k: v for k, v in own.items() if v is not _MISSING and k not in config}


def _unregistered(value: Any) -> str:
    if isinstance(value, FunctionType):
        code = value.__code__
        place = f"{value.__qualname__} at {code.co_filename}:{code.co_firstlineno}"
        if value.__name__ == "<lambda>":
            return f"the lambda {place}: write it as a function and decorate it with @serializable"
        return f"the function {place}: decorate it with @serializable"
    if isinstance(value, (type, BuiltinFunctionType, MethodDescriptorType, TypeDispatch)):
        name = f"{getattr(value, '__module__', None) or 'builtins'}.{value.__qualname__}"
        return f"{name}: register it, serializable({name})"
    cls = type(value)
    if hasattr(value, "tolist"):
        return f"{cls.__module__}.{cls.__qualname__}: turn it into plain numbers, value.tolist()"
    return (
        f"an object of {cls.__module__}.{cls.__qualname__}: decorate the class with @serializable"
    )


def _stored(value: Any, name: str) -> Any:
    for attribute in (name, f"_{name}"):
        found = getattr(value, attribute, _MISSING)
        if found is not _MISSING:
            return found
    return getattr(value, "__stored_args__", {}).get(name, _MISSING)


def kept_arguments(value: Any) -> dict[str, Any]:
    """Return the arguments that the constructor of an object was given, as the object keeps them.

    An argument is found as the attribute of its name, with or without a leading underscore, or
    among what `store_attr` stored. `**kwargs` stand for the parameters of the base class's
    constructor.

    Raises:
        UndescribableError: it does not keep one of them.
    """
    classes = [cls for cls in type(value).__mro__[:-1] if "__init__" in vars(cls)]
    found: dict[str, Any] = {}
    for cls in classes:
        parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        named = [each for each in parameters if each.kind is not each.VAR_KEYWORD]
        if cls is not classes[0]:  # its **kwargs bring nothing by position
            named = [each for each in named if each.kind is not each.VAR_POSITIONAL]
        stored = {each.name: _stored(value, each.name) for each in named}
        if cls is classes[0]:
            stored = _with_positions(named, stored)
        found = stored | found
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    missing = [name for name, each in found.items() if each is _MISSING]
    if missing:
        raise UndescribableError(
            f"{type(value).__qualname__} does not keep its arguments {missing}: store each as an "
            "attribute of that name, or define config()"
        )
    return found


def _with_positions(parameters: list[inspect.Parameter], stored: dict[str, Any]) -> dict[str, Any]:
    """Move what can only be passed by position under the key `*`, with all that comes before it."""
    needed = [
        place
        for place, each in enumerate(parameters)
        if each.kind is each.POSITIONAL_ONLY
        or (each.kind is each.VAR_POSITIONAL and stored[each.name] not in (_MISSING, (), []))
    ]
    by_position: list[Any] = []
    for each in parameters[: needed[-1] + 1 if needed else 0]:
        several = each.kind is each.VAR_POSITIONAL
        by_position += stored.pop(each.name) if several else [stored.pop(each.name)]
    unused = [each.name for each in parameters if each.kind is each.VAR_POSITIONAL]
    rest = {name: each for name, each in stored.items() if name not in unused or each is _MISSING}
    return {"*": by_position, **rest} if by_position else rest


def describe(obj: Any) -> dict[str, JSON]:
    """Return what it takes to make an object again, as JSON-able values.

    Args:
        obj: an instance of a registered class (a transform, a pipeline), a registered function or
            class, or a list, tuple or partial of those.

    Returns:
        A dict with `name`, `config` and `state`; for a transform whose `split_idx` or `order` was
        changed after it was made, `attributes` too.

    Raises:
        UndescribableError: it holds lambdas, or what nobody registered; all are named.
    """
    describer = _Describer()
    found = describer.value(obj)
    if describer.culprits:
        listed = "\n".join(f"  {each}" for each in describer.culprits)
        raise UndescribableError(f"{_short(obj)} cannot be described:\n{listed}")
    if isinstance(found, dict) and "$object" in found:
        return found["$object"]
    if isinstance(found, dict) and "$named" in found:
        return {"name": found["$named"], "config": None, "state": {}}
    return {"name": "value", "config": {"value": found}, "state": {}}


def undescribable(obj: Any) -> list[str]:
    """Return what keeps an object from being described: each culprit by name, and the way to it."""
    describer = _Describer()
    describer.value(obj)
    return describer.culprits


def _short(obj: Any) -> str:
    text = repr(obj)
    return text if len(text) <= 80 else f"{text[:77]}..."
