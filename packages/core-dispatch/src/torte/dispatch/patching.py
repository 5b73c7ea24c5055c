"""patch: add a method to an existing class, named by the annotation of `self`."""

import functools
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, NamedTuple, TypeVar, overload

from torte.dispatch.annotations import classes_of, positional_parameters
from torte.dispatch.errors import DelegationError
from torte.dispatch.scopes import Scope, calling_frame

__all__ = ["patch", "patch_to"]

F = TypeVar("F", bound=Callable[..., Any])


def _copy_for(function: FunctionType, cls: type, name: str) -> FunctionType:
    made = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    functools.update_wrapper(made, function)
    del made.__dict__["__wrapped__"]
    made.__kwdefaults__ = function.__kwdefaults__
    made.__name__, made.__qualname__ = name, f"{cls.__qualname__}.{name}"
    return made


class _Manner(NamedTuple):
    """How a function becomes part of a class."""

    as_prop: bool = False
    cls_method: bool = False
    set_prop: bool = False
    static_method: bool = False
    nm: str | None = None

    def wrap(self, made: Any, existing: Any) -> Any:
        """Return what the class is to hold, in place of `existing`."""
        if self.set_prop:
            if not isinstance(existing, property):
                raise DelegationError(
                    f"set_prop=True on {made.__qualname__}: there is no property of that name yet; "
                    "patch its getter first, with as_prop=True"
                )
            return existing.setter(made)
        if self.as_prop:
            return property(made)
        if self.cls_method:
            return classmethod(made)
        return staticmethod(made) if self.static_method else made


def _attach(function: Any, cls: type, manner: _Manner) -> None:
    name = manner.nm or function.__name__
    existing = cls.__dict__.get(name)
    made = manner.wrap(_copy_for(function, cls, name), existing)
    if existing is not None and not manner.set_prop and not hasattr(cls, f"_orig_{name}"):
        setattr(cls, f"_orig_{name}", existing)
    try:
        setattr(cls, name, made)
    except TypeError as error:
        raise DelegationError(
            f"{cls.__qualname__} cannot be patched: it is built in. Derive a class from it"
        ) from error


def patch_to(
    cls: type | Iterable[type],
    as_prop: bool = False,
    cls_method: bool = False,
    set_prop: bool = False,
    static_method: bool = False,
    nm: str | None = None,
) -> Callable[[F], F]:
    """Add the decorated function to a class, or to several.

    Args:
        cls: the class or classes.
        as_prop: make it a property.
        cls_method: make it a class method.
        set_prop: make it the setter of the property of its name.
        static_method: make it a static method.
        nm: what to call it in the class, if not by its own name.

    Raises:
        DelegationError: a class is built in, or has no property to set.
    """
    classes = [cls] if isinstance(cls, type) else list(cls)
    manner = _Manner(as_prop, cls_method, set_prop, static_method, nm)

    def decorate(function: F) -> F:
        for each in classes:
            _attach(function, each, manner)
        return function

    return decorate


@overload
def patch(function: F, /) -> F: ...
@overload
def patch(
    *,
    as_prop: bool = False,
    cls_method: bool = False,
    static_method: bool = False,
    set_prop: bool = False,
    nm: str | None = None,
) -> Callable[[F], F]: ...
def patch(function: Any = None, /, **manner: Any) -> Any:
    """Add the decorated function to the class that its first parameter is annotated with.

    Args:
        function: `def name(self: SomeClass, …)`; a union or tuple of classes patches each of them.
        **manner: `as_prop` (a property), `cls_method` (`def name(cls: SomeClass, …)`),
            `static_method` (the annotated parameter is one of those that callers give), `set_prop`
            (the setter of a property), `nm` (what to call it): as in `patch_to`.

    What a class already had under the name stays in `_orig_<name>`.

    Raises:
        DelegationError: the first parameter says no class, or the class is built in.
    """
    if function is None:
        return lambda decorated: _patch(decorated, calling_frame(decorated), manner)
    return _patch(function, calling_frame(function), manner)


def _patch(function: Any, frame: Any, manner: dict[str, Any]) -> Any:
    parameters = positional_parameters(function)
    first = parameters[0].annotation if parameters else None
    classes = classes_of(first, Scope(function, frame))
    if object in classes:
        raise DelegationError(
            f"{function.__qualname__} cannot be patched in: annotate its first parameter with the "
            "class to patch"
        )
    return patch_to(classes, **manner)(function)
