"""Functions and methods that choose their implementation by the types of two arguments.

    @typedispatch
    def area(x: Number, y): ...           # the general implementation

    @area.register
    def _(x: int, y: float): ...          # what torte itself writes: checkers accept it

    @typedispatch
    def area(x: str, y): ...              # the paper's form: the same name once more

A call looks one dictionary up by the argument types. What it finds is dropped whenever a function
is registered, here or in a table inherited from, and whenever any ABC gains a virtual subclass.
Lookups take no lock: a table is replaced, never changed, so threads that are calling while another
registers see the old table or the new one.
"""

import sys
import threading
import weakref
from abc import get_cache_token
from collections.abc import Callable, Iterable
from types import FrameType, MethodType
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, overload

from torte.dispatch.annotations import Parameter, classes_of, positional_parameters
from torte.dispatch.errors import (
    AmbiguityError,
    AnnotationError,
    NoMatchError,
    UnresolvedNameError,
)
from torte.dispatch.resolution import Absent, Implementation, places_of, rank, resolve
from torte.dispatch.scopes import Scope, calling_frame

__all__ = ["TypeDispatch", "typedispatch"]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_CACHE_LIMIT = 1 << 16  # entries; classes made on the fly must not pile up for ever
_SHOWN = 12  # implementations listed in an error message
_NOT_GIVEN = Parameter("", frozenset({object}), True, None)


def _unwrap(function: Any) -> Any:
    """Return the function in a static or class method."""
    return function.__func__ if isinstance(function, (staticmethod, classmethod)) else function


def _is_written_as_method(function: Any) -> bool:
    scope = getattr(function, "__qualname__", "").rpartition(".")[0]
    if not scope or scope.endswith("<locals>"):
        return False
    code = getattr(function, "__code__", None)
    return bool(code and code.co_varnames[:1] in (("self",), ("cls",)))


class _State(NamedTuple):
    """What a table knows at one moment; replaced as a whole, so that threads never see a mixture.

    Attributes:
        implementations: its own and the inherited ones.
        cache: the function for the types met so far.
        virtual: the classes among those annotated that decide themselves about subclasses.
        unary: whether the second parameter never matters.
    """

    implementations: tuple[Implementation, ...]
    cache: dict[Any, Callable[..., Any]]
    virtual: tuple[type, ...]
    unary: bool


class TypeDispatch(Generic[P, R]):
    """A table of implementations, called with the one that fits the first two arguments best.

    The types are those of the first two positional parameters of the registered functions (behind
    `self` or `cls` for methods); arguments for them may be given by name. A table in a class body
    is a method: it takes in the tables of the base classes, and what is registered in a base class
    later too.

    Args:
        functions: what to register at once.

    Raises:
        AmbiguityError: at registration, when a class is taken by two unions of equal standing.
    """

    def __init__(self, functions: Callable[P, R] | Iterable[Callable[..., Any]] = ()) -> None:
        self._cache: dict[Any, Callable[..., Any]] = {}
        self._token: Any = None
        self._unary = True
        self._first, self._second = 0, 1
        self._kind = "function"
        self._own: dict[Any, Implementation] = {}
        self._pending: list[tuple[Callable[..., Any], FrameType | None]] = []
        self._parents: tuple[TypeDispatch[..., Any] | Callable[..., Any], ...] = ()
        self._children: weakref.WeakSet[TypeDispatch[..., Any]] = weakref.WeakSet()
        self._state: _State | None = None
        self._lock = threading.RLock()
        self.plans: dict[type, Any] = {}
        self.__name__, self.__qualname__, self.__module__ = "", "", __name__
        for function in (functions,) if callable(functions) else functions:
            self._add(function, None)

    # -- calling -------------------------------------------------------------------------------

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the implementation for the types of the first two arguments."""
        if self._token is not None and self._token != get_cache_token():
            self.forget()
        try:
            if self._unary:
                function = self._cache[type(args[self._first])]
            else:
                function = self._cache[type(args[self._first]), type(args[self._second])]
        except (KeyError, IndexError):
            function = self._select(args, kwargs)
        return function(*args, **kwargs)

    def _select(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        given: list[type] = []
        for number, place in enumerate((self._first, self._second)):
            if place < len(args):
                given.append(type(args[place]))
            else:
                names = {each.parameters[number].name for each in self.implementations()}
                named = [kwargs[name] for name in kwargs if name in names]
                given.append(type(named[0]) if named else Absent)
        return self.find(*given).function

    def find(self, first: type = Absent, second: type = Absent) -> Implementation:
        """Return the implementation for two types, `Absent` standing for no argument at all.

        Raises:
            NoMatchError: nothing takes them.
            AmbiguityError: several do equally well.
        """
        implementations, cache, virtual, unary = self._state or self._settle()
        given = places_of(first, virtual), places_of(second, virtual)
        found = resolve(implementations, given)
        if not found:
            raise NoMatchError(self._explain_no_match(first, second, rank(implementations, given)))
        if len(found) > 1:
            raise AmbiguityError(self._explain_tie(first, second, found))
        # This `cache` belongs to these `implementations`: where another thread has registered in
        # between, it is no longer in use, and the answer goes nowhere.
        if len(cache) >= _CACHE_LIMIT:
            cache.clear()
        cache[first if unary else (first, second)] = found[0].function
        return found[0]

    def __getitem__(self, types: type | None | tuple[type | None, ...]) -> Callable[..., R]:
        """Return the function for one or two types; `None` asks for any type, like `object`.

        Raises:
            NoMatchError: nothing takes them.
        """
        asked = types if isinstance(types, tuple) else (types,)
        if len(asked) > 2:
            raise NoMatchError(f"{self} dispatches on two types, not on {len(asked)}")
        return self.find(*(object if each is None else each for each in asked)).function

    # -- registering ---------------------------------------------------------------------------

    @overload
    def register(self, function: F, /) -> F: ...
    @overload
    def register(self, *types: Any) -> Callable[[F], F]: ...
    def register(self, *types: Any) -> Any:
        """Add an implementation; also as a decorator, and with the types as its arguments.

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
        return self._registered(types[0], calling_frame(_unwrap(types[0])))

    def _registered(self, function: Any, frame: FrameType | None, types: Any = None) -> Any:
        self._add(function, frame, types)
        named_alike = getattr(function, "__name__", None) == self.__name__
        return self if named_alike and self.__name__ else function

    def _add(self, function: Any, frame: FrameType | None, types: Any = None) -> None:
        plain = _unwrap(function)
        if not callable(plain):
            raise AnnotationError(f"{plain!r} cannot be registered: it is not callable")
        with self._lock:
            if not self.__name__:
                self._take_name(plain)
            if self._kind == "function" and not self._own and not self._pending:
                self._set_kind(function)
            try:
                implementation = self._read(plain, frame, types)
            except (UnresolvedNameError, NameError):
                self._pending.append((plain, frame))
                self.forget()
                return
            self._enter(implementation)

    def _set_kind(self, function: Any) -> None:
        if isinstance(function, staticmethod):
            self._kind = "static"
        elif isinstance(function, classmethod):
            self._kind, self._first, self._second = "class", 1, 2
        elif _is_written_as_method(function):
            self._first, self._second = 1, 2

    def _take_name(self, function: Any) -> None:
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            value = getattr(function, name, None)
            if isinstance(value, str):
                setattr(self, name, value)

    def _read(self, function: Any, frame: FrameType | None, types: Any = None) -> Implementation:
        evaluate = Scope(function, frame)
        found = positional_parameters(function)[self._first : self._first + 2]
        written = list(types) if types is not None else [each.annotation for each in found]
        names = [each.name for each in found] + [""] * (2 - len(found))
        optional = [each.default is not each.empty for each in found] + [True, True]
        parameters = [
            Parameter(name, classes_of(annotation, evaluate), has_default, annotation)
            for name, annotation, has_default in zip(names, written, optional, strict=False)
        ]
        parameters += [_NOT_GIVEN] * (2 - len(parameters))
        return Implementation(function, (parameters[0], parameters[1]), evaluate)

    def _enter(self, implementation: Implementation) -> None:
        signature = implementation.signature
        before = self._own.get(signature)
        if before is not None:
            _refuse_different_elements(before, implementation)
        own = {**self._own}
        own.pop(signature, None)
        own[signature] = implementation
        if before is None:
            self._refuse_ties(implementation, own)
        self._own = own
        self.forget()

    def _refuse_ties(self, new: Implementation, own: dict[Any, Implementation]) -> None:
        first, second = new.signature
        overlapping = [
            old
            for old in own.values()
            if old is not new
            and not first.isdisjoint(old.signature[0])
            and not second.isdisjoint(old.signature[1])
        ]
        for old in overlapping:
            for one in first & old.signature[0]:
                for two in second & old.signature[1]:
                    given = places_of(one, ()), places_of(two, ())
                    found = resolve([*overlapping, new], given)
                    if len(found) > 1 and any(each is new for each in found):
                        raise AmbiguityError(self._explain_tie(one, two, found))

    # -- the table -----------------------------------------------------------------------------

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

    def _settle(self) -> "_State":
        """Read what waited for its names, and merge this table with the inherited ones."""
        with self._lock:
            while self._pending:
                implementation = self._read(*self._pending[0])
                del self._pending[0]
                self._enter(implementation)
            token = get_cache_token()
            found = self._merge()
            classes = {cls for each in found for part in each.signature for cls in part}
            virtual = tuple(cls for cls in classes if _is_virtual(cls))
            unary = all(each.parameters[1].takes_anything for each in found)
            state = _State(found, {}, virtual, unary)
            self._token = token if virtual else None
            self._unary, self._cache, self._state = unary, state.cache, state
            return state

    def _merge(self) -> tuple[Implementation, ...]:
        merged = dict(self._own)
        for depth, parent in enumerate(self._parents, 1):
            inherited = (
                parent._own_implementations()
                if isinstance(parent, TypeDispatch)
                else (Implementation(parent, (_NOT_GIVEN, _NOT_GIVEN), Scope(parent)),)
            )
            for each in inherited:
                merged.setdefault(each.signature, each._replace(depth=depth))
        return tuple(merged.values())

    def _own_implementations(self) -> Iterable[Implementation]:
        if self._pending:
            self._settle()
        return self._own.values()

    # -- methods -------------------------------------------------------------------------------

    def __set_name__(self, owner: type, name: str) -> None:
        self.own(owner, name)

    def own(self, owner: type, name: str) -> None:
        """Make this table the method `name` of a class, with what its base classes have."""
        self.__name__, self.__module__ = name, owner.__module__
        self.__qualname__ = f"{owner.__qualname__}.{name}"
        with self._lock:
            if self._kind == "function":
                self._kind = "method"
                if self._first == 0:
                    self._shift()
            self._parents = tuple(self._inherited(owner, name))
            for parent in self._parents:
                if isinstance(parent, TypeDispatch):
                    parent._children.add(self)
            self.forget()

    def _shift(self) -> None:
        """Read every function again, now that the first parameter is known to be the object."""
        self._first, self._second = 1, 2
        again = [(each.function, each.evaluate) for each in self._own.values()]
        self._own = {}
        for function, evaluate in again:
            frame = evaluate._frame if isinstance(evaluate, Scope) else None
            self._add(function, frame)

    @staticmethod
    def _inherited(owner: type, name: str) -> Iterable[Any]:
        for base in owner.__mro__[1:-1]:
            found = _unwrap(base.__dict__.get(name))
            if isinstance(found, TypeDispatch):
                yield found
            elif callable(found):
                yield found
                return  # a plain method overrides what lies above it

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if self._kind == "static" or (instance is None and self._kind != "class"):
            return self
        return MethodType(self, owner if self._kind == "class" else instance)

    # -- showing and pickling --------------------------------------------------------------------

    def __reduce__(self) -> Any:
        """Pickle by name where the name leads back here, and by content otherwise."""
        found: Any = sys.modules.get(self.__module__)
        for part in self.__qualname__.split("."):
            found = getattr(found, part, None)
        if found is self:
            return self.__qualname__
        return type(self), ([each.function for each in self.implementations()],)

    def __repr__(self) -> str:
        known = self._merge() if not self._pending else tuple(self._own.values())
        rows = [f"{each.describe()} -> {each.location}" for each in known]
        rows += [f"(not resolved yet) -> {f!r}" for f, _ in self._pending]
        return "\n    ".join([f"<typedispatch {self.__qualname__ or 'without a name'}>", *rows])

    def __str__(self) -> str:
        return self.__qualname__ or "a table without a name"

    def _explain_no_match(self, first: type, second: type, existing: list[Implementation]) -> str:
        lines = [f"{self} has no implementation for {_types(first, second)}"]
        if existing:
            lines.append("what exists, closest first:")
        lines += [f"  {each.describe()} {each.location}" for each in existing[:_SHOWN]]
        if len(existing) > _SHOWN:
            lines.append(f"  … and {len(existing) - _SHOWN} more")
        lines.append(f"add one with @{self.__qualname__ or 'table'}.register")
        return "\n".join(lines)

    def _explain_tie(self, first: type, second: type, found: list[Implementation]) -> str:
        lines = [
            f"{self} has {len(found)} equally good implementations for {_types(first, second)}"
        ]
        lines += [f"  {each.describe()} {each.location}" for each in found]
        lines.append(f"register one for exactly {_types(first, second)} first, or narrow one union")
        return "\n".join(lines)


def _types(first: type, second: type) -> str:
    names = [
        "anything" if t is object else t.__qualname__ for t in (first, second) if t is not Absent
    ]
    return f"({', '.join(names)})"


def _is_virtual(cls: type) -> bool:
    """Whether a class decides itself what its subclasses are."""
    return type(cls).__subclasscheck__ is not type.__subclasscheck__


def _is_implementation(value: Any) -> bool:
    return (callable(value) and not isinstance(value, type)) or isinstance(
        value, (staticmethod, classmethod)
    )


def _refuse_different_elements(before: Implementation, now: Implementation) -> None:
    for old, new in zip(before.parameters, now.parameters, strict=True):
        generic = [p.annotation for p in (old, new) if hasattr(p.annotation, "__args__")]
        if len(generic) == 2 and generic[0] != generic[1] and len(old.classes) == 1:
            raise AnnotationError(
                f"{now.location} and {before.location} differ only in {generic[1]} and "
                f"{generic[0]}: dispatch looks at classes, never at elements"
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
    plain: Any = _unwrap(function)
    frame = calling_frame(plain)
    bound = frame.f_locals.get(plain.__name__) if frame is not None else None
    table = _unwrap(bound)
    if not isinstance(table, TypeDispatch):
        table = TypeDispatch()
    table._add(function, frame)
    return table
