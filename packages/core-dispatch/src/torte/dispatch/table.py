"""The table behind a dispatched function: what is registered, and what is known about types.

Lookups take no lock: what a table knows is replaced as a whole, never changed, so threads that are
calling while another registers see all of the old table or all of the new one.
"""

import os
import threading
import weakref
from abc import get_cache_token
from collections.abc import Callable, Iterable
from itertools import product
from types import FrameType
from typing import Any, NamedTuple

from torte.dispatch.callables import binds_to_object, dropping_self, is_written_as_method, unwrap
from torte.dispatch.errors import AmbiguityError, AnnotationError, DispatchError, NoMatchError
from torte.dispatch.explaining import explain_no_match, explain_tie
from torte.dispatch.implementation import ANY_PARAMETER, Implementation, read_implementation
from torte.dispatch.resolution import Absent, places_of, rank, resolve

__all__ = ["Table", "TableState"]

# Held while anything is registered or merged, in whatever table: tables that inherit each other
# change together. A process forked meanwhile would find it held for ever, so forks wait for it.
_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
    )

_CACHE_LIMIT = 1 << 14  # types; classes made on the fly must not pile up for ever


class TableState(NamedTuple):
    """What a table knows at one moment; replaced as a whole, so that threads never see a mixture.

    Attributes:
        implementations: its own and the inherited ones.
        cache: the function for the types met so far, by the first type and then the second.
        virtual: the classes among those annotated that decide themselves about subclasses.
        by_first: the implementations by each class that their first parameter takes.
    """

    implementations: tuple[Implementation, ...]
    cache: dict[type, dict[type, Callable[..., Any]]]
    virtual: tuple[type, ...]
    by_first: dict[type, list[Implementation]]

    def possible(self, places: dict[type, float]) -> Iterable[Implementation]:
        """Return the implementations whose first parameter takes a type with these `places_of`."""
        if Absent in places:
            return self.implementations
        found = (each for cls in places for each in self.by_first.get(cls, ()))
        return {id(each): each for each in found}.values()


class Table:
    """Implementations, own and inherited, and which of them fits two types best.

    Attributes:
        plans: what others remember about types beside this table (transforms do); emptied together
            with what the table remembers itself.
    """

    def __init__(self) -> None:
        self._token: Any = None  # of the ABCs, where any is annotated
        self._cache: dict[type, dict[type, Callable[..., Any]]] = {}
        self._state: TableState | None = None
        self._own: dict[Any, Implementation] = {}
        self._claims: dict[tuple[type, type], dict[Any, Implementation]] = {}  # pair -> those of it
        self._pending: list[tuple[Callable[..., Any], FrameType | None]] = []
        self._owner: type | None = None
        self._is_method = False
        self._binds_to: str | None = None  # "object", "class", "nothing"; None: not in a class
        self._parents: tuple[Any, ...] = ()
        self._children: weakref.WeakSet[Table] = weakref.WeakSet()
        self.plans: dict[type, Any] = {}
        self.__name__, self.__qualname__, self.__module__ = "", "", __name__

    @property
    def _title(self) -> str:
        return self.__qualname__ or "this table"

    # -- looking up ------------------------------------------------------------------------------

    def find(self, first: type = Absent, second: type = Absent) -> Implementation:
        """Return the implementation for two types, `Absent` standing for no argument at all.

        Raises:
            NoMatchError: nothing takes them.
            AmbiguityError: several do equally well.
        """
        state = self._state or self._settle()
        given = places_of(first, state.virtual), places_of(second, state.virtual)
        found = resolve(state.possible(given[0]), given)
        if not found:
            closest = rank(state.implementations, given)
            # `from None`: that the cache had no entry is nothing to tell the caller.
            raise NoMatchError(explain_no_match(self._title, first, second, closest)) from None
        if len(found) > 1:
            raise AmbiguityError(explain_tie(self._title, first, second, found)) from None
        # The cache belongs to this state: where another thread has registered in between, neither
        # is in use any more, and the answer goes nowhere.
        cache = state.cache
        row = cache.setdefault(first, {})
        if max(len(cache), len(row)) > _CACHE_LIMIT:
            cache.clear()
        row[second] = found[0].function
        return found[0]

    # -- registering -----------------------------------------------------------------------------

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
        with _LOCK:
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
            self._is_method = is_written_as_method(function)

    def _take_name(self, function: Any) -> None:
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            value = getattr(function, name, None)
            if isinstance(value, str):
                setattr(self, name, value)

    def _read(self, function: Any, frame: FrameType | None, types: Any = None) -> Implementation:
        if not self._is_method:
            return read_implementation(function, 0, frame, types)
        if binds_to_object(function):
            return read_implementation(function, 1, frame, types)
        found = read_implementation(function, 0, frame, types)
        return found._replace(function=dropping_self(function))

    def _enter(self, implementation: Implementation) -> None:
        signature = implementation.signature
        before = self._own.pop(signature, None)
        try:
            if before is None:
                self._refuse_ties(implementation)
            else:
                _refuse_different_elements(before, implementation)
        except DispatchError:
            if before is not None:
                self._own[signature] = before
            raise
        self._own[signature] = implementation
        for pair in product(*signature):
            self._claims.setdefault(pair, {})[signature] = implementation
        self.forget()

    def _refuse_ties(self, new: Implementation) -> None:
        for one, two in product(*new.signature):
            rivals = [*self._claims.get((one, two), {}).values(), new]
            found = resolve(rivals, (places_of(one, ()), places_of(two, ())))
            if len(found) > 1 and new in found:
                raise AmbiguityError(explain_tie(self._title, one, two, found))

    # -- what the table knows ---------------------------------------------------------------------

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

    def _settle(self) -> TableState:
        """Read what waited for its names, and merge this table with the inherited ones."""
        with _LOCK:
            while self._pending:
                implementation = self._read(*self._pending[0])
                del self._pending[0]
                self._enter(implementation)
            token = get_cache_token()
            found = self._merged()
            classes = {cls for each in found for part in each.signature for cls in part}
            virtual = tuple(cls for cls in classes if _decides_itself(cls))
            self._token = token if virtual else None
            by_first: dict[type, list[Implementation]] = {}
            for each in found:
                for cls in each.signature[0]:
                    by_first.setdefault(cls, []).append(each)
            state = TableState(found, {}, virtual, by_first)
            self._cache, self._state = state.cache, state
            return state

    def _merged(self) -> tuple[Implementation, ...]:
        merged = dict(self._own)
        for depth, parent in enumerate(self._parents, 1):
            if isinstance(parent, Table):
                if parent._pending:
                    parent._settle()
                inherited = list(parent._own.values())
            else:
                inherited = [Implementation(parent, (ANY_PARAMETER, ANY_PARAMETER))]
            for each in inherited:
                merged.setdefault(each.signature, each._replace(depth=depth))
        return tuple(merged.values())

    # -- as a method -----------------------------------------------------------------------------

    def become_method(self, owner: type, name: str) -> None:
        """Make this table the method `name` of a class, with what its base classes have."""
        with _LOCK:
            self._owner, self.__name__, self.__module__ = owner, name, owner.__module__
            self.__qualname__ = f"{owner.__qualname__}.{name}"
            if self._binds_to is None:
                self._binds_to = "object"
                if not self._is_method:
                    self._read_behind_self()
            self._parents = tuple(_inherited(owner, name))
            for parent in self._parents:
                if isinstance(parent, Table):
                    parent._children.add(self)
            self.forget()

    def _read_behind_self(self) -> None:
        """Read every function again, now that its first parameter is known to be the object."""
        self._is_method = True
        functions = [each.function for each in self._own.values()]
        self._own, self._claims = {}, {}
        for function in functions:
            self.add(function)


def _inherited(owner: type, name: str) -> Iterable[Any]:
    for base in owner.__mro__[1:-1]:
        found = unwrap(base.__dict__.get(name))
        if callable(found):
            yield found
        if found is not None and not isinstance(found, Table):
            return  # a plain method overrides what lies above it


def _decides_itself(cls: type) -> bool:
    """Whether a class decides itself what its subclasses are, as ABCs and protocols do."""
    return type(cls).__subclasscheck__ is not type.__subclasscheck__


def _refuse_different_elements(before: Implementation, now: Implementation) -> None:
    for old, new in zip(before.parameters, now.parameters, strict=True):
        generic = [p.annotation for p in (old, new) if hasattr(p.annotation, "__args__")]
        if len(generic) == 2 and generic[0] != generic[1] and len(old.classes) == 1:
            raise AnnotationError(
                f"{now.location} and {before.location} differ only in {generic[1]} and "
                f"{generic[0]}: dispatch looks at classes, never at their elements"
            )
