"""What kind of callable something is: method or function, bound or not."""

import functools
from collections.abc import Callable
from types import MethodDescriptorType, MethodType, WrapperDescriptorType
from typing import Any

__all__ = [
    "binds_to_object",
    "dropping_self",
    "is_implementation",
    "is_written_as_method",
    "unwrap",
]


def unwrap(function: Any) -> Any:
    """Return the function in a static or class method, and anything else as it is."""
    return function.__func__ if isinstance(function, (staticmethod, classmethod)) else function


def is_implementation(value: Any) -> bool:
    """Whether a value is a function to register, rather than a type to register one for."""
    is_wrapped = isinstance(value, (staticmethod, classmethod))
    return is_wrapped or (callable(value) and not isinstance(value, type))


def is_written_as_method(function: Any) -> bool:
    """Whether a function stands in a class body and names its first parameter accordingly."""
    scope = getattr(function, "__qualname__", "").rpartition(".")[0]
    code = getattr(function, "__code__", None)
    in_class = bool(scope) and not scope.endswith("<locals>")
    return in_class and code is not None and code.co_varnames[:1] in (("self",), ("cls",))


def binds_to_object(function: Any) -> bool:
    """Whether a callable in a class body takes the object: classes and built-ins do not."""
    is_bound = isinstance(function, (MethodType, MethodDescriptorType, WrapperDescriptorType))
    return hasattr(type(function), "__get__") and not is_bound


def dropping_self(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that calls a function without the object."""

    def call(_: Any, /, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return functools.update_wrapper(call, function)
