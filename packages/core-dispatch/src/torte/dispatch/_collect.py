"""How the body of a Transform class is gathered: one name, many definitions.

While the body runs, each `def encodes` (or `decodes`, `setups`) is kept instead of overwriting the
one before. When the class is made, every such name becomes a table of its own that inherits the
tables of the base classes; a table written in the body (`encodes = TypeDispatch()`) is taken over.
"""

import sys
from collections.abc import Callable
from types import FrameType, FunctionType, MethodType
from typing import Any

from torte.dispatch.dispatcher import TypeDispatch

__all__ = ["METHODS", "TransformMeta", "TransformTable"]

METHODS = ("encodes", "decodes", "setups")


class TransformTable(TypeDispatch[..., Any]):
    """The table of `encodes`, `decodes` or `setups` of a class or of one transform.

    On a class it is also a decorator: `@MyTransform.encodes` registers a function from outside.

    Args:
        functions: what to register at once.
        takes_self: whether the functions are methods; plain functions given to `Transform(f)` are
            not.
    """

    takes_self = True

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the implementation that fits, or register a function given alone."""
        if len(args) == 1 and not kwargs and self.takes_self and isinstance(args[0], FunctionType):
            return self.register(args[0])
        return super().__call__(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        table = instance._tables[METHODS.index(self.__name__)]
        return MethodType(table, instance) if table.takes_self else table

    def __set__(self, instance: Any, value: Any) -> None:
        instance._give_functions(**{self.__name__: value})


def plain_table(functions: Any, name: str) -> TransformTable:
    """Return a table of functions that do not take the transform as their first argument."""
    if isinstance(functions, TypeDispatch):
        functions = [each.function for each in functions.implementations()]
    table = TransformTable()
    table.takes_self = False
    table._kind = "static"  # a bound method too: what it is called with is its first parameter
    for function in (functions,) if callable(functions) else functions:
        table._add(function, None)
    table.__name__ = name
    return table


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
    table = TransformTable()
    table._kind, table._first, table._second = "method", 1, 2
    if isinstance(written, TypeDispatch):
        for each in written._own.values():
            table._add(each.function, frame)
        for function, where in written._pending:
            table._add(function, where)
    for function in gathered:
        table._add(function, frame)
    return table


class TransformMeta(type):
    """Makes a table of each of the three methods, and lets a class be used as a decorator."""

    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **kwargs: Any) -> _Body:
        """Return the namespace that the class body fills."""
        return _Body()

    def __new__(
        cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **kwargs: Any
    ) -> Any:
        gathered = (
            body.gathered
            if isinstance(body, _Body)
            else {each: [body[each]] if each in body else [] for each in METHODS}
        )
        frame = sys._getframe(1)
        namespace = dict(body)
        tables = {each: _table_for(namespace.get(each), gathered[each], frame) for each in METHODS}
        namespace.update(tables)
        made = super().__new__(cls, name, bases, namespace, **kwargs)
        made._tables = tuple(tables[each] for each in METHODS)  # pyright: ignore
        return made

    def __setattr__(cls, name: str, value: Any) -> None:
        table = cls.__dict__.get(name)
        if isinstance(table, TransformTable) and isinstance(value, FunctionType):
            table._add(value, None)
        else:
            super().__setattr__(name, value)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a transform; or register a function named like one of the methods."""
        if len(args) == 1 and not kwargs and isinstance(args[0], FunctionType):
            function: Callable[..., Any] = args[0]
            code = function.__code__
            if function.__name__ in METHODS and code.co_varnames[:1] == ("self",):
                cls.__dict__[function.__name__]._add(function, sys._getframe(1))
                return function
        return super().__call__(*args, **kwargs)
