"""Stable names for classes and functions, under which descriptions speak of them.

What is registered may be described (`describing.py`) and made again (`rebuilding.py`). Nothing is
ever looked up by import path, so a description can only name what its reader has registered.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, overload

from torte.dispatch.errors import StateError, UnknownNameError
from torte.dispatch.helpers import noop

__all__ = ["Entry", "entry_of", "registered_name", "serializable"]

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])


class Entry(NamedTuple):
    """One registered class or function.

    Attributes:
        target: the class or function.
        to_config: makes the constructor's arguments of an object, for classes without a `config`.
        from_config: makes the object of those arguments, instead of the class.
    """

    target: Any
    to_config: Callable[[Any], dict[str, Any]] | None = None
    from_config: Callable[..., Any] | None = None


_entries: dict[str, Entry] = {}
_names: dict[int, str] = {}


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
    _entries[name] = Entry(target, to_config, from_config)
    _names[id(target)] = name


@overload
def serializable(target: C, /) -> C: ...
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


def entry_of(name: Any) -> Entry:
    """Return what is registered under a name.

    Raises:
        UnknownNameError: nothing is; the message says which names come near.
    """
    if name in _entries:
        return _entries[name]
    import difflib  # only an error needs it

    near = difflib.get_close_matches(str(name), _entries, n=3)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise UnknownNameError(
        f"nothing is registered as {name!r}{hint}. Import the module that defines it first, and "
        "see that it is decorated with @serializable"
    )


serializable(noop)
for _each in (bool, float, int, list, len, str, tuple, str.lower, str.strip, str.upper):
    _register(_each, f"builtins.{_each.__qualname__}", None, None)
del _each
