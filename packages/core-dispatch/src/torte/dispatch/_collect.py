"""How the body of a Transform class is gathered: one name, many definitions.

While the body runs, each `def encodes` (or `decodes`, `setups`) is kept instead of overwriting the
one before. When the class is made, every such name becomes a table of its own that inherits the
tables of the base classes; a table written in the body (`encodes = TypeDispatch()`) is taken over.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from types import FrameType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from torte.dispatch.dispatcher import TypeDispatch
from torte.dispatch.implementation import ANY_PARAMETER, Implementation

__all__ = ["METHODS", "TransformMeta", "TransformTable"]

METHODS = ("encodes", "decodes", "setups")


class TransformTable(TypeDispatch[..., Any]):
    """The table of `encodes`, `decodes` or `setups` of a class or of one transform.

    On a class it is also a decorator: `@MyTransform.encodes` registers a function from outside.

    Attributes:
        takes_self: whether the functions are methods; plain functions given to `Transform(f)` are
            not.
    """

    takes_self = True

    def _read(
        self, function: Any, frame: FrameType | None, types: Sequence[Any] | None = None
    ) -> Implementation:
        """Read the first parameter alone: a transform has one argument and options."""
        found = super()._read(function, frame, types)
        return found._replace(parameters=(found.parameters[0], ANY_PARAMETER))

    @classmethod
    def of_methods(cls) -> "TransformTable":
        """Return an empty table for functions that take the transform first."""
        table = cls()
        table._binds_to, table._is_method = "object", True
        return table

    @classmethod
    def of_functions(cls, functions: Any, name: str) -> "TransformTable":
        """Return a table of functions that do not take the transform.

        Args:
            functions: one function, several, or a table of them.
            name: the method that they stand for.
        """
        table = cls()
        table._binds_to, table.takes_self = "nothing", False
        if isinstance(functions, TypeDispatch):
            functions = [each.function for each in functions.implementations()]
        for function in (functions,) if callable(functions) else functions:
            table.add(function)
        table.__name__ = table.__qualname__ = name
        return table

    def _call_or_register(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the implementation that fits, or register a function that is given alone."""
        if len(args) == 1 and not kwargs and self.takes_self and isinstance(args[0], FunctionType):
            return self._registered(args[0], sys._getframe(1), None)
        return super().__call__(*args, **kwargs)

    if not TYPE_CHECKING:
        __call__ = _call_or_register

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        place = METHODS.index(self.__name__)
        # `super().encodes` asks the table of a base class, which the object's own is not.
        is_asked_for = type(instance)._tables[place] is self
        table = instance._tables[place] if is_asked_for else self
        return MethodType(table, instance) if table.takes_self else table

    def __set__(self, instance: Any, value: Any) -> None:
        instance._use_functions(**{self.__name__: value})


class _Body(dict[str, Any]):
    """A class body that keeps every definition of the three methods."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered: dict[str, list[Any]] = {name: [] for name in METHODS}

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self.gathered and not isinstance(value, TypeDispatch):
            self.gathered[name].append(value)
        super().__setitem__(name, value)


def _table_for(written: Any, gathered: list[Any], frame: FrameType | None) -> TransformTable:
    table = TransformTable.of_methods()
    if isinstance(written, TypeDispatch):
        for each in written._own.values():
            table.add(each.function, frame)
        for function, where in written._pending:
            table.add(function, where)
    for function in gathered:
        if function is not None:
            table.add(_as_method(function), frame)
    return table


def _as_method(function: Any) -> Any:
    """Return a static method as one that takes the transform and drops it."""
    if not isinstance(function, staticmethod):
        return function
    written: Any = function.__func__

    @functools.wraps(written)
    def drop_self(self: Any, *args: Any, **kwargs: Any) -> Any:
        return written(*args, **kwargs)

    signature = inspect.signature(written)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    own = list(signature.parameters.values())
    if own and own[0].kind is inspect.Parameter.POSITIONAL_ONLY:
        itself = itself.replace(kind=inspect.Parameter.POSITIONAL_ONLY)
    made: Any = drop_self
    made.__signature__ = signature.replace(parameters=[itself, *own])
    return made


class TransformMeta(type):
    """Makes a table of each of the three methods, and lets a class be used as a decorator."""

    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **kwargs: Any) -> _Body:
        """Return the namespace that the class body fills."""
        return _Body()

    def __new__(
        cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **kwargs: Any
    ) -> Any:
        """Make the class, with its three tables."""
        if isinstance(body, _Body):
            gathered = body.gathered
        else:  # made by `TransformMeta(name, bases, body)`
            gathered = {each: [body[each]] for each in METHODS if each in body}
        frame, namespace = sys._getframe(1), dict(body)
        tables = {
            each: _table_for(namespace.get(each), gathered.get(each, []), frame) for each in METHODS
        }
        made: Any = super().__new__(cls, name, bases, namespace | tables, **kwargs)
        made._tables = tuple(tables[each] for each in METHODS)
        return made

    def __setattr__(cls, name: str, value: Any) -> None:
        table = cls.__dict__.get(name)
        if isinstance(table, TransformTable) and isinstance(value, FunctionType):
            table.add(value)
        else:
            super().__setattr__(name, value)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a transform; or register a function named like one of the methods."""
        if len(args) == 1 and not kwargs and isinstance(args[0], FunctionType):
            function: Callable[..., Any] = args[0]
            code = function.__code__
            if function.__name__ in METHODS and code.co_varnames[:1] == ("self",):
                cls.__dict__[function.__name__].add(function, sys._getframe(1))
                return function
        return super().__call__(*args, **kwargs)

    @property
    def __signature__(cls) -> inspect.Signature:
        """The constructor's, which `inspect` would not see behind `__call__`."""
        signature = inspect.signature(cls.__init__)
        return signature.replace(parameters=list(signature.parameters.values())[1:])
