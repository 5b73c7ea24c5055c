"""patch: add a method to an existing class, named by the annotation of `self`."""

import functools
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, TypeVar, overload

from torte.dispatch.annotations import classes_of, positional_parameters
from torte.dispatch.errors import DelegationError
from torte.dispatch.scopes import Scope, calling_frame

__all__ = ["patch", "patch_to"]

F = TypeVar("F", bound=Callable[..., Any])


def _copy_for(function: FunctionType, cls: type) -> FunctionType:
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
    made.__qualname__ = f"{cls.__qualname__}.{function.__name__}"
    return made


def _attach(function: Any, cls: type, as_prop: bool, cls_method: bool) -> None:
    made: Any = _copy_for(function, cls)
    existing = cls.__dict__.get(function.__name__)
    if existing is not None and not hasattr(cls, f"_orig_{function.__name__}"):
        setattr(cls, f"_orig_{function.__name__}", existing)
    if as_prop:
        made = property(made)
    elif cls_method:
        made = classmethod(made)
    try:
        setattr(cls, function.__name__, made)
    except TypeError as error:
        raise DelegationError(
            f"{cls.__qualname__} cannot be patched: it is built in. Derive a class from it"
        ) from error


def patch_to(
    cls: type | Iterable[type], as_prop: bool = False, cls_method: bool = False
) -> Callable[[F], F]:
    """Add the decorated function to a class, or to several.

    Args:
        cls: the class or classes.
        as_prop: make it a property.
        cls_method: make it a class method.
    """
    classes = [cls] if isinstance(cls, type) else list(cls)

    def decorate(function: F) -> F:
        for each in classes:
            _attach(function, each, as_prop, cls_method)
        return function

    return decorate


@overload
def patch(function: F, /) -> F: ...
@overload
def patch(*, as_prop: bool = False, cls_method: bool = False) -> Callable[[F], F]: ...
def patch(function: Any = None, /, *, as_prop: bool = False, cls_method: bool = False) -> Any:
    """Add the decorated function to the class that its first parameter is annotated with.

    Args:
        function: `def name(self: SomeClass, …)`; a union or tuple of classes patches each of them.
        as_prop: make it a property.
        cls_method: make it a class method (`def name(cls: SomeClass, …)`).

    What a class already had under the name stays in `_orig_<name>`.

    Raises:
        DelegationError: the first parameter says no class, or the class is built in.
    """
    if function is None:
        return lambda decorated: _patch(decorated, calling_frame(decorated), as_prop, cls_method)
    return _patch(function, calling_frame(function), as_prop, cls_method)


def _patch(function: Any, frame: Any, as_prop: bool, cls_method: bool) -> Any:
    parameters = positional_parameters(function)
    first = parameters[0].annotation if parameters else None
    classes = classes_of(first, Scope(function, frame))
    if object in classes:
        raise DelegationError(
            f"{function.__qualname__} cannot be patched in: annotate its first parameter with the "
            "class to patch"
        )
    return patch_to(classes, as_prop, cls_method)(function)
