"""Objects as JSON: what they are called, how they were made, what they have learned.

    description = {
        "name": "torte.data.Categorize",   # under which `serializable` registered the class
        "config": {"sort": true},          # constructor arguments: the object's config()
        "state": {"vocab": ["cat", "dog"]} # what setup learned: its state(), put back by load_state
    }

`describe` makes it, `rebuild` makes the object again. Only registered names are ever rebuilt, and
nothing is imported or unpickled on the way. `undescribable` says beforehand which parts of an object
stand in the way: lambdas and functions or classes that nobody registered.

Values inside `config` and `state` may be None, booleans, numbers, strings, lists, tuples, sets,
dicts, paths, slices, ranges, registered functions and classes, objects that can be described, and
`functools.partial` of those. What JSON does not have is written as a dict with one key that starts
with `$`.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType
from typing import Any, NamedTuple, TypeVar, overload

from torte.dispatch.collection import L
from torte.dispatch.dispatcher import TypeDispatch
from torte.dispatch.errors import StateError, UndescribableError, UnknownNameError
from torte.dispatch.helpers import noop
from torte.dispatch.pipeline import Pipeline
from torte.dispatch.transform import DisplayedTransform, InplaceTransform, ItemTransform, Transform

__all__ = [
    "describe",
    "kept_arguments",
    "rebuild",
    "registered_name",
    "serializable",
    "undescribable",
]

T = TypeVar("T")
JSON = Any

_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class _Entry(NamedTuple):
    """One registered class or function."""

    target: Any
    to_config: Callable[[Any], dict[str, Any]] | None
    from_config: Callable[..., Any] | None


_entries: dict[str, _Entry] = {}
_names: dict[int, str] = {}


# -- names ---------------------------------------------------------------------------------------


def _stable_name(target: Any) -> str:
    """Return `torte.<layer>.<name>` for torte's own, `module.name` for anybody else's."""
    module, name = target.__module__, target.__qualname__
    parts = module.split(".")
    return ".".join([*(parts[:2] if parts[0] == "torte" else parts), name])


def _same_definition(one: Any, other: Any) -> bool:
    places = [(getattr(each, "__module__", None), each.__qualname__) for each in (one, other)]
    return places[0] == places[1]


def _register(target: Any, name: str | None, to_config: Any, from_config: Any) -> None:
    if not callable(target) or getattr(target, "__name__", "<lambda>") == "<lambda>":
        raise StateError(f"{target!r} cannot be registered: it is not a named class or function")
    name = name or _stable_name(target)
    if "<locals>" in name:
        raise StateError(
            f"{name} is local to a function, so its name finds nothing later: move it to a module, "
            "or register it under a name of its own, @serializable('my.name')"
        )
    before = _entries.get(name)
    if before is not None and not _same_definition(before.target, target):
        raise StateError(
            f"the name {name!r} is taken by {before.target.__module__}."
            f"{before.target.__qualname__}: register {target.__module__}.{target.__qualname__} "
            "under another one, @serializable('my.name')"
        )
    _entries[name] = _Entry(target, to_config, from_config)
    _names[id(target)] = name


@overload
def serializable(target: T, /) -> T: ...
@overload
def serializable(
    name: str | None = None,
    /,
    *,
    to_config: Callable[[Any], dict[str, Any]] | None = None,
    from_config: Callable[..., Any] | None = None,
) -> Callable[[T], T]: ...
def serializable(target: Any = None, /, *, to_config: Any = None, from_config: Any = None) -> Any:
    """Register a class or function under a stable name, so that it can be described and rebuilt.

    Args:
        target: the class or function; or the name to register it under. By default the name is
            `torte.<layer>.<name>` in torte and `module.name` elsewhere.
        to_config: makes the constructor's arguments of an object, for classes that have no
            `config` of their own.
        from_config: makes the object of those arguments; the class by default.

    Raises:
        StateError: the name is taken, or leads nowhere (lambdas, local definitions).
    """
    if target is None or isinstance(target, str):

        def decorate(decorated: Any) -> Any:
            _register(decorated, target, to_config, from_config)
            return decorated

        return decorate
    _register(target, None, to_config, from_config)
    return target


def registered_name(target: Any) -> str | None:
    """Return the name of a registered class or function, or `None`."""
    name = _names.get(id(target))
    return name if name is not None and _entries[name].target is target else None


# -- describing ------------------------------------------------------------------------------------


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
        if isinstance(value, PurePath):
            return {"$path": value.as_posix()}
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
        if isinstance(value, (operator.itemgetter, operator.attrgetter, operator.methodcaller)):
            reduced: Any = value.__reduce__()
            return {f"${type(value).__name__}": self._items(reduced[1])}
        found = self.object(value)
        return None if found is None else {"$object": found}

    def object(self, value: Any) -> JSON:
        """Describe an instance of a registered class."""
        name = registered_name(type(value))
        if name is None:
            return self.blame(_unregistered(value))
        entry = _entries[name]
        try:
            config = self._config(value, entry)
        except UndescribableError as error:
            return self.blame(str(error))
        state = value.state() if hasattr(value, "state") else {}
        found = {
            "name": name,
            "config": {key: self.at(f".{key}", each) for key, each in config.items()},
            "state": {key: self.at(f".{key}", each) for key, each in state.items()},
        }
        changed = _changed_attributes(value, config)
        return found | {"attributes": changed} if changed else found

    def _config(self, value: Any, entry: _Entry) -> dict[str, Any]:
        if entry.to_config is not None:
            return entry.to_config(value)
        if hasattr(value, "config") and callable(value.config):
            return value.config()
        return kept_arguments(value)


def _changed_attributes(value: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, Transform):
        return {}
    own = {name: value.__dict__.get(name, MISSING) for name in ("split_idx", "order")}
    return {k: v for k, v in own.items() if v is not MISSING and k not in config}


MISSING: Any = object()


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
    return (
        f"an object of {cls.__module__}.{cls.__qualname__}: decorate the class with @serializable"
    )


def _stored(value: Any, name: str) -> Any:
    for attribute in (name, f"_{name}"):
        found = getattr(value, attribute, MISSING)
        if found is not MISSING:
            return found
    return getattr(value, "__stored_args__", {}).get(name, MISSING)


def kept_arguments(value: Any) -> dict[str, Any]:
    """Return the arguments that the constructor of an object was given, as the object keeps them.

    An argument is found as the attribute of its name, with or without a leading underscore, or
    among what `store_attr` stored. `**kwargs` stand for the parameters of the base class's
    constructor.

    Raises:
        UndescribableError: it does not keep one of them.
    """
    import inspect

    found: dict[str, Any] = {}
    missing: list[str] = []
    for cls in type(value).__mro__[:-1]:
        if "__init__" not in cls.__dict__:
            continue
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        for each in parameters:
            if each.name in found or each.kind is each.VAR_KEYWORD:
                continue
            stored = _stored(value, each.name)
            if stored is MISSING:
                missing.append(each.name)
            elif each.kind is each.VAR_POSITIONAL:
                found["*"] = list(stored)
            else:
                found[each.name] = stored
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    if missing:
        raise UndescribableError(
            f"{type(value).__qualname__} does not keep its arguments {missing}: store each as an "
            "attribute of that name, or define config()"
        )
    return found


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
    """Return what keeps an object from being described: each culprit by name, with the way to it."""
    describer = _Describer()
    describer.value(obj)
    return describer.culprits


def _short(obj: Any) -> str:
    text = repr(obj)
    return text if len(text) <= 80 else f"{text[:77]}..."


# -- rebuilding ------------------------------------------------------------------------------------


def _entry(name: Any) -> _Entry:
    if name in _entries:
        return _entries[name]
    import difflib

    near = difflib.get_close_matches(str(name), _entries, n=3)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise UnknownNameError(
        f"nothing is registered as {name!r}{hint}. Import the module that defines it first, and see "
        "that it is decorated with @serializable"
    )


def _object(description: Mapping[str, JSON]) -> Any:
    missing = {"name", "config"} - set(description)
    if missing:
        raise StateError(f"not a description, it lacks {sorted(missing)}: {_short(description)}")
    if description["name"] == "value":
        return _value(description["config"]["value"])
    entry = _entry(description["name"])
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


_READERS: dict[str, Callable[[Any], Any]] = {
    "$L": L,
    "$attrgetter": lambda names: operator.attrgetter(*names),
    "$constructor": _constructor,
    "$frozenset": frozenset,
    "$itemgetter": lambda indices: operator.itemgetter(*indices),
    "$methodcaller": lambda parts: operator.methodcaller(*parts),
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
        return _entry(content).target
    if mark == "$float":
        return _FLOATS[content]
    if mark == "$path":
        return Path(content)
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


for _each in (Transform, ItemTransform, InplaceTransform, DisplayedTransform, Pipeline, noop):
    serializable(_each)
for _each in (bool, float, int, list, len, str, tuple, str.lower, str.upper, str.strip):
    _register(_each, f"builtins.{_each.__qualname__}", None, None)
del _each
