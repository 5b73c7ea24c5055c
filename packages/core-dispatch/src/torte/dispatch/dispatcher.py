"""Functions and methods that choose their implementation by the types of two arguments.

    @typedispatch
    def area(x: Number, y): ...           # the general implementation

    @area.register
    def _(x: int, y: float): ...          # what torte itself writes: type checkers accept it

    @typedispatch
    def area(x: str, y): ...              # the paper's form: the same name once more

A call looks the argument types up in a dictionary. What it finds there is dropped whenever a
function is registered, here or in a table that this one inherits, and whenever any ABC gains a
virtual subclass.
"""

import sys
from abc import get_cache_token
from collections.abc import Callable, Iterable
from types import FrameType, MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    overload,
)

from torte.dispatch.callables import is_implementation, unwrap
from torte.dispatch.explaining import table_rows
from torte.dispatch.resolution import Absent
from torte.dispatch.scopes import calling_frame
from torte.dispatch.table import Table

__all__ = ["TypeDispatch", "typedispatch"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_ABSENT = Absent()


class TypeDispatch(Table, Generic[P, R]):
    """A table of implementations, called with the one that fits the first two arguments best.

    The types are those of the first two positional parameters of the registered functions (behind
    `self` or `cls` for methods); arguments for them may be given by name. A table in a class body
    is a method: it takes in the tables of the base classes, and whatever is registered in those
    later too.

    Args:
        functions: what to register at once.

    Raises:
        AmbiguityError: at registration, when a class is taken by two unions of equal standing.
    """

    def __init__(self, functions: Callable[P, R] | Iterable[Callable[..., Any]] = ()) -> None:
        super().__init__()
        for function in (functions,) if callable(functions) else functions:
            self.add(function)

    # -- calling -------------------------------------------------------------------------------

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
            """Call the implementation for the types of the first two arguments."""
            ...

    else:
        # Two parameters by position are what nearly every call has, and taking them so is faster
        # than indexing *args (about 70 ns of 230).
        def __call__(self, first=_ABSENT, second=_ABSENT, /, *rest, **kwargs):
            """Call the implementation for the types of the first two arguments."""
            if self._token is not None and self._token != get_cache_token():
                self.forget()
            if self._is_method:
                return self._call_method(first, second, rest, kwargs)
            if second is _ABSENT and (kwargs or first is _ABSENT):
                given = () if first is _ABSENT else (first,)
                return self._choose((first, second), kwargs)(*given, **kwargs)
            try:
                function = self._cache[type(first)][type(second)]
            except KeyError:
                function = self.find(type(first), type(second)).function
            if second is _ABSENT:
                return function(first)
            if rest or kwargs:
                return function(first, second, *rest, **kwargs)
            return function(first, second)

    def _call_method(
        self, bound: Any, first: Any, rest: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Do the same for a method, which has the object or class before its arguments."""
        if not rest:
            given = () if first is _ABSENT else (first,)
            return self._choose((first, _ABSENT), kwargs)(bound, *given, **kwargs)
        try:
            function = self._cache[type(first)][type(rest[0])]
        except KeyError:
            function = self.find(type(first), type(rest[0])).function
        return function(bound, first, *rest, **kwargs) if kwargs else function(bound, first, *rest)

    def _choose(self, given: tuple[Any, Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
        """Return the implementation for fewer than two arguments; others may come by name."""
        first, second = type(given[0]), type(given[1])
        if kwargs:
            first, second = (
                self._type_by_name(place, kwargs) if cls is Absent else cls
                for place, cls in enumerate((first, second))
            )
        try:
            return self._cache[first][second]
        except KeyError:
            return self.find(first, second).function

    def _type_by_name(self, place: int, kwargs: dict[str, Any]) -> type:
        names = {each.parameters[place].name for each in self.implementations()}
        named = names & kwargs.keys()
        return type(kwargs[named.pop()]) if named else Absent

    def __getitem__(self, types: type | tuple[type | None, ...] | None) -> Callable[..., R]:
        """Return the function for one or two types; `None` asks for any type, like `object`.

        Raises:
            NoMatchError: nothing takes them.
            TypeError: they are not one or two classes.
        """
        asked = [
            object if t is None else t for t in (types if isinstance(types, tuple) else (types,))
        ]
        if not 1 <= len(asked) <= 2 or not all(isinstance(each, type) for each in asked):
            raise TypeError(f"{self._title} is looked up by one or two classes, not by {types!r}")
        return self.find(*asked).function

    # -- registering ---------------------------------------------------------------------------

    @overload
    def register(self, function: F, /) -> F: ...
    @overload
    def register(self, *types: Any) -> Callable[[F], F]: ...
    def register(self, *types: Any) -> Any:
        """Add an implementation: `@table.register`, or with its types `@table.register(int, str)`.

        The same types registered again replace the earlier function, so that a notebook cell can
        run twice.

        Returns:
            The function itself; this table where the function bears the table's own name, so that
            the name goes on meaning the table.

        Raises:
            AnnotationError: an annotation that no class stands for.
            AmbiguityError: it and another are equally good for a class that both name.
        """
        if len(types) != 1 or not is_implementation(types[0]):
            return lambda function: self._registered(function, None, types)
        return self._registered(types[0], calling_frame(types[0]), None)

    def _registered(self, function: Any, frame: FrameType | None, types: Any) -> Any:
        self.add(function, frame, types)
        named_alike = self.__name__ and getattr(function, "__name__", None) == self.__name__
        return self if named_alike else function

    # -- methods -------------------------------------------------------------------------------

    def __set_name__(self, owner: type, name: str) -> None:
        if self._owner is None:  # otherwise this is an alias of another class's method
            self.become_method(owner, name)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> "TypeDispatch[P, R]": ...
    @overload
    def __get__(
        self: "TypeDispatch[Concatenate[Any, Q], R]", instance: object, owner: type | None = None
    ) -> Callable[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if self._binds_to == "class":
            return MethodType(self, owner)
        return (
            self if instance is None or self._binds_to == "nothing" else MethodType(self, instance)
        )

    # -- showing and pickling --------------------------------------------------------------------

    def __repr__(self) -> str:
        waiting = [f"(names not defined yet) -> {function!r}" for function, _ in self._pending]
        own = self._own.values() if waiting else self._merged()
        title = f"<typedispatch {self._title} of {len(own) + len(waiting)} implementations>"
        return "\n    ".join([title, *table_rows(own), *waiting])

    def __copy__(self) -> "TypeDispatch[P, R]":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "TypeDispatch[P, R]":
        return self  # like a function

    def __reduce__(self) -> Any:
        """Pickle by name where the name leads back here, and by content otherwise."""
        found: Any = sys.modules.get(self.__module__)
        for part in self.__qualname__.split("."):
            found = getattr(found, part, None)
        if found is self or getattr(found, "__func__", None) is self:
            return self.__qualname__
        return type(self), ([each.function for each in self.implementations()],)


def typedispatch(function: Callable[P, R], /) -> TypeDispatch[P, R]:
    """Make a function, or one more definition of its name, dispatch on two argument types.

    Where the scope of the definition already binds the name to a table (defined there or imported
    into it), the function joins that table; otherwise it starts a new one.

    Returns:
        The table, which is what the name goes on meaning.

    Raises:
        AnnotationError: an annotation that no class stands for.
        AmbiguityError: it and another are equally good for a class that both name.
    """
    plain: Any = unwrap(function)
    frame = calling_frame(plain)
    table = unwrap(frame.f_locals.get(plain.__name__)) if frame is not None else None
    if not isinstance(table, TypeDispatch):
        table = TypeDispatch()
    table.add(function, frame)
    return table
