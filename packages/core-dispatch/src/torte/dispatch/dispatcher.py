"""Functions and methods that choose their implementation by the types of two arguments.

    @typedispatch
    def area(x: Number, y): ...           # the general implementation

    @area.register
    def _(x: int, y: float): ...          # what torte itself writes: type checkers accept it

    @typedispatch
    def area(x: str, y): ...              # the paper's form: the same name once more

A call looks the argument types up in a dictionary. What it finds there is dropped whenever a
function is registered, here or in a table that this one inherits, and whenever any ABC gains a
virtual subclass. Lookups take no lock: what a table knows is replaced, never changed, so threads
that are calling while another registers see all of the old table or all of the new one.
"""

import sys
import threading
import weakref
from abc import get_cache_token
from collections.abc import Callable, Iterable
from types import FrameType, MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    NamedTuple,
    ParamSpec,
    TypeVar,
    overload,
)

from torte.dispatch.errors import AmbiguityError, AnnotationError, NoMatchError
from torte.dispatch.explaining import explain_no_match, explain_tie, table_rows
from torte.dispatch.implementation import ANY_PARAMETER, Implementation, read_implementation
from torte.dispatch.resolution import Absent, places_of, rank, resolve
from torte.dispatch.scopes import calling_frame, unwrap

__all__ = ["TypeDispatch", "typedispatch"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_ABSENT = Absent()
_CACHE_LIMIT = 1 << 14  # types; classes made on the fly must not pile up for ever


class _State(NamedTuple):
    """What a table knows at one moment; replaced as a whole, so that threads never see a mixture.

    Attributes:
        implementations: its own and the inherited ones.
        cache: the function for the types met so far, by the first type and then the second.
        virtual: the classes among those annotated that decide themselves about subclasses.
    """

    implementations: tuple[Implementation, ...]
    cache: dict[type, dict[type, Callable[..., Any]]]
    virtual: tuple[type, ...]


class TypeDispatch(Generic[P, R]):
    """A table of implementations, called with the one that fits the first two arguments best.

    The types are those of the first two positional parameters of the registered functions (behind
    `self` or `cls` for methods); arguments for them may be given by name. A table in a class body
    is a method: it takes in the tables of the base classes, and whatever is registered in those
    later too.

    Args:
        functions: what to register at once.

    Attributes:
        plans: what others remember about types beside this table (transforms do); emptied together
            with what the table remembers itself.

    Raises:
        AmbiguityError: at registration, when a class is taken by two unions of equal standing.
    """

    def __init__(self, functions: Callable[P, R] | Iterable[Callable[..., Any]] = ()) -> None:
        self._token: Any = None
        self._is_method = False
        self._cache: dict[type, dict[type, Callable[..., Any]]] = {}
        self._state: _State | None = None
        self._owner: type | None = None
        self._binds_to: str | None = None  # "object", "class", "nothing"; None: not in a class
        self._own: dict[Any, Implementation] = {}
        self._pending: list[tuple[Callable[..., Any], FrameType | None]] = []
        self._parents: tuple[Any, ...] = ()
        self._children: weakref.WeakSet[TypeDispatch[..., Any]] = weakref.WeakSet()
        self._lock = threading.RLock()
        self.plans: dict[type, Any] = {}
        self.__name__, self.__qualname__, self.__module__ = "", "", __name__
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
            if self._is_method:
                return self._call_method(first, second, *rest, **kwargs)
            if self._token is not None and self._token != get_cache_token():
                self.forget()
            if second is _ABSENT:
                return self._call_short((), first, kwargs)
            try:
                function = self._cache[type(first)][type(second)]
            except KeyError:
                function = self.find(type(first), type(second)).function
            if rest or kwargs:
                return function(first, second, *rest, **kwargs)
            return function(first, second)

    def _call_method(
        self, bound: Any, first: Any = _ABSENT, second: Any = _ABSENT, /, *rest: Any, **kwargs: Any
    ) -> Any:
        """Do the same for a method, which has the object or class before its arguments."""
        if self._token is not None and self._token != get_cache_token():
            self.forget()
        if second is _ABSENT:
            return self._call_short((bound,), first, kwargs)
        try:
            function = self._cache[type(first)][type(second)]
        except KeyError:
            function = self.find(type(first), type(second)).function
        return function(bound, first, second, *rest, **kwargs)

    def _call_short(self, bound: tuple[Any, ...], first: Any, kwargs: dict[str, Any]) -> Any:
        """Call with fewer than two arguments by position; others may have been given by name."""
        given = [] if first is _ABSENT else [first]
        types = [*map(type, given), *([Absent] * (2 - len(given)))]
        if kwargs:
            for place in range(len(given), 2):
                names = {each.parameters[place].name for each in self.implementations()}
                named = names & kwargs.keys()
                types[place] = type(kwargs[named.pop()]) if named else Absent
        try:
            function = self._cache[types[0]][types[1]]
        except KeyError:
            function = self.find(types[0], types[1]).function
        return function(*bound, *given, **kwargs)

    def find(self, first: type = Absent, second: type = Absent) -> Implementation:
        """Return the implementation for two types, `Absent` standing for no argument at all.

        Raises:
            NoMatchError: nothing takes them.
            AmbiguityError: several do equally well.
        """
        implementations, cache, virtual = self._state or self._settle()
        given = places_of(first, virtual), places_of(second, virtual)
        found = resolve(implementations, given)
        if not found:
            closest = rank(implementations, given)
            raise NoMatchError(explain_no_match(self._title, first, second, closest))
        if len(found) > 1:
            raise AmbiguityError(explain_tie(self._title, first, second, found))
        # This `cache` belongs to these `implementations`: where another thread has registered in
        # between, it is no longer in use, and the answer goes nowhere.
        row = cache.setdefault(first, {})
        if max(len(cache), len(row)) > _CACHE_LIMIT:
            cache.clear()
        row[second] = found[0].function
        return found[0]

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
        if len(types) != 1 or not _is_implementation(types[0]):
            return lambda function: self._registered(function, None, types)
        return self._registered(types[0], calling_frame(types[0]), None)

    def _registered(self, function: Any, frame: FrameType | None, types: Any) -> Any:
        self.add(function, frame, types)
        named_alike = self.__name__ and getattr(function, "__name__", None) == self.__name__
        return self if named_alike else function

    def add(self, function: Any, frame: FrameType | None = None, types: Any = None) -> None:
        """Register a function, as `register` does.

        Args:
            function: any callable, static method or class method.
            frame: the frame that defines it, for names in string annotations.
            types: its types, instead of its annotations.
        """
        plain = unwrap(function)
        if not callable(plain):
            raise AnnotationError(f"{plain!r} cannot be registered: it is not callable")
        with self._lock:
            if not self.__name__:
                self._take_name(plain)
            if self._binds_to is None and not (self._own or self._pending):
                self._set_binding(function)
            try:
                implementation = self._read(plain, frame, types)
            except NameError:
                self._pending.append((plain, frame))
                self.forget()
            else:
                self._enter(implementation)

    def _set_binding(self, function: Any) -> None:
        if isinstance(function, staticmethod):
            self._binds_to = "nothing"
        elif isinstance(function, classmethod):
            self._binds_to, self._is_method = "class", True
        else:
            self._is_method = _is_written_as_method(function)

    def _take_name(self, function: Any) -> None:
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            value = getattr(function, name, None)
            if isinstance(value, str):
                setattr(self, name, value)

    def _read(self, function: Any, frame: FrameType | None, types: Any = None) -> Implementation:
        return read_implementation(function, int(self._is_method), frame, types)

    def _enter(self, implementation: Implementation) -> None:
        signature = implementation.signature
        before = self._own.get(signature)
        own = {key: each for key, each in self._own.items() if key != signature}
        own[signature] = implementation
        if before is None:
            self._refuse_ties(implementation, own.values())
        else:
            _refuse_different_elements(before, implementation)
        self._own = own
        self.forget()

    def _refuse_ties(self, new: Implementation, own: Iterable[Implementation]) -> None:
        first, second = new.signature
        rivals = [
            each
            for each in own
            if not first.isdisjoint(each.signature[0]) and not second.isdisjoint(each.signature[1])
        ]
        for old in rivals[:-1]:  # the last one is the new one itself
            for one in first & old.signature[0]:
                for two in second & old.signature[1]:
                    found = resolve(rivals, (places_of(one, ()), places_of(two, ())))
                    if len(found) > 1 and new in found:
                        raise AmbiguityError(explain_tie(self._title, one, two, found))

    # -- what the table knows ----------------------------------------------------------------------

    def forget(self) -> None:
        """Drop everything remembered about types, here and in the tables that inherit this one."""
        # The state goes first: whoever takes up the new `plans` must not find the old state.
        self._state = None
        self._cache = {}
        self.plans = {}
        for child in list(self._children):
            child.forget()

    def implementations(self) -> tuple[Implementation, ...]:
        """Return all implementations, this table's own before inherited ones.

        Raises:
            UnresolvedNameError: a string annotation still names something that does not exist.
        """
        return (self._state or self._settle()).implementations

    def _settle(self) -> _State:
        """Read what waited for its names, and merge this table with the inherited ones."""
        with self._lock:
            while self._pending:
                implementation = self._read(*self._pending[0])
                del self._pending[0]
                self._enter(implementation)
            token = get_cache_token()
            found = self._merged()
            classes = {cls for each in found for part in each.signature for cls in part}
            virtual = tuple(cls for cls in classes if _decides_itself(cls))
            self._token = token if virtual else None
            state = _State(found, {}, virtual)
            self._cache, self._state = state.cache, state
            return state

    def _merged(self) -> tuple[Implementation, ...]:
        merged = dict(self._own)
        for depth, parent in enumerate(self._parents, 1):
            if isinstance(parent, TypeDispatch):
                if parent._pending:
                    parent._settle()
                inherited = list(parent._own.values())
            else:
                inherited = [Implementation(parent, (ANY_PARAMETER, ANY_PARAMETER))]
            for each in inherited:
                merged.setdefault(each.signature, each._replace(depth=depth))
        return tuple(merged.values())

    # -- methods -------------------------------------------------------------------------------

    def __set_name__(self, owner: type, name: str) -> None:
        if self._owner is None:  # otherwise this is an alias of another class's method
            self.become_method(owner, name)

    def become_method(self, owner: type, name: str) -> None:
        """Make this table the method `name` of a class, with what its base classes have."""
        with self._lock:
            self._owner, self.__name__, self.__module__ = owner, name, owner.__module__
            self.__qualname__ = f"{owner.__qualname__}.{name}"
            if self._binds_to is None:
                self._binds_to = "object"
                if not self._is_method:
                    self._read_behind_self()
            self._parents = tuple(_inherited(owner, name))
            for parent in self._parents:
                if isinstance(parent, TypeDispatch):
                    parent._children.add(self)
            self.forget()

    def _read_behind_self(self) -> None:
        """Read every function again, now that its first parameter is known to be the object."""
        self._is_method = True
        functions = [each.function for each in self._own.values()]
        self._own = {}
        for function in functions:
            self.add(function)

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

    @property
    def _title(self) -> str:
        return self.__qualname__ or "this table"

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


def _inherited(owner: type, name: str) -> Iterable[Any]:
    for base in owner.__mro__[1:-1]:
        found = unwrap(base.__dict__.get(name))
        if callable(found):
            yield found
        if found is not None and not isinstance(found, TypeDispatch):
            return  # a plain method overrides what lies above it


def _is_written_as_method(function: Any) -> bool:
    """Whether a function stands in a class body and names its first parameter accordingly."""
    scope = getattr(function, "__qualname__", "").rpartition(".")[0]
    code = getattr(function, "__code__", None)
    in_class = bool(scope) and not scope.endswith("<locals>")
    return in_class and code is not None and code.co_varnames[:1] in (("self",), ("cls",))


def _decides_itself(cls: type) -> bool:
    """Whether a class decides itself what its subclasses are, as ABCs and protocols do."""
    return type(cls).__subclasscheck__ is not type.__subclasscheck__


def _is_implementation(value: Any) -> bool:
    is_wrapped = isinstance(value, (staticmethod, classmethod))
    return is_wrapped or (callable(value) and not isinstance(value, type))


def _refuse_different_elements(before: Implementation, now: Implementation) -> None:
    for old, new in zip(before.parameters, now.parameters, strict=True):
        generic = [p.annotation for p in (old, new) if hasattr(p.annotation, "__args__")]
        if len(generic) == 2 and generic[0] != generic[1] and len(old.classes) == 1:
            raise AnnotationError(
                f"{now.location} and {before.location} differ only in {generic[1]} and "
                f"{generic[0]}: dispatch looks at classes, never at their elements"
            )


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
