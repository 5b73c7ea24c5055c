"""The callbacks of a Learner: adding, removing, ordering and calling them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

from torte.dispatch import L
from torte.learner.callback import Callback
from torte.learner.control import CancelException
from torte.learner.events import EVENT_ALIASES, INNER_EVENTS, Event
from torte.learner.ordering import bind_events, sort_callbacks
from torte.learner.world import World

__all__ = ["CallbackNameError", "CallbackSet", "Callbacks", "as_callbacks"]

Callbacks: TypeAlias = "Callback | type[Callback] | Iterable[Callback | type[Callback]] | None"
"""What every `cbs` argument takes: one callback or several, as objects or classes to make."""


class CallbackNameError(ValueError):
    """A callback's name is taken, by another callback or by something of the Learner itself."""


def as_callbacks(cbs: Callbacks) -> list[Callback]:
    """Return a list of callback objects; classes are instantiated without arguments.

    Raises:
        TypeError: If something is neither a callback nor a callback class.
    """
    if cbs is None:
        return []
    given: list[Any]
    if isinstance(cbs, Callback | type):
        given = [cbs]
    else:
        given = list(cbs) if isinstance(cbs, Iterable) else [cbs]
    made = [each() if isinstance(each, type) else each for each in given]
    for each in made:
        if not isinstance(each, Callback):
            raise TypeError(f"{each!r} is no callback: give Callback objects or classes")
    return made


class CallbackSet:
    """The part of the Learner that holds callbacks and calls them."""

    cbs: L
    world: World
    training: bool
    epoch: int
    iter: int

    def __init__(self) -> None:
        self.cbs = L()
        self.world = World()
        """The processes that train together; see `torte.learner.distributed` for more than one."""
        self._ordered: list[Callback] = []
        self._bound: dict[str, list[tuple[Callback, Callable[[], Any]]]] = bind_events([])

    # -- who is there ----------------------------------------------------------------------------

    def add_cbs(self, cbs: Callbacks) -> "CallbackSet":
        """Add callbacks; each becomes an attribute of the learner under its name.

        Raises:
            CallbackNameError: If a name is taken.
            CallbackCycleError: If `run_before` and `run_after` contradict each other.
        """
        added = as_callbacks(cbs)
        if not added:
            return self
        self._check_names(added)
        self._hold([*self.cbs, *added])
        for callback in added:
            callback.learn = self  # pyright: ignore[reportAttributeAccessIssue]: a Learner always
            if _is_named(callback):
                setattr(self, callback.name, callback)
        return self

    def add_cb(self, cb: "Callback | type[Callback]") -> "CallbackSet":
        """Add one callback, or a class to make one of."""
        return self.add_cbs(cb)

    def remove_cbs(self, cbs: Callbacks) -> "CallbackSet":
        """Remove callbacks; a class stands for all callbacks of that class."""
        gone = self._grab(cbs)
        self._hold([cb for cb in self.cbs if cb not in gone])
        for callback in gone:
            if vars(self).get(callback.name) is callback:
                delattr(self, callback.name)
            callback.__dict__.pop("learn", None)
        return self

    def remove_cb(self, cb: "Callback | type[Callback]") -> "CallbackSet":
        """Remove one callback, or all of a class."""
        return self.remove_cbs(cb)

    @contextmanager
    def added_cbs(self, cbs: Callbacks) -> Iterator[Any]:
        """Have more callbacks within the block."""
        added = as_callbacks(cbs)
        self.add_cbs(added)
        try:
            yield self
        finally:
            self.remove_cbs(cb for cb in added if cb in self.cbs)

    @contextmanager
    def removed_cbs(self, cbs: Callbacks) -> Iterator[Any]:
        """Do without some callbacks within the block; they come back to their old places."""
        before, gone = list(self.cbs), self._grab(cbs)
        if not gone:
            yield self
            return
        self.remove_cbs(gone)
        try:
            yield self
        finally:
            self.add_cbs(cb for cb in gone if cb not in self.cbs)
            kept = [cb for cb in before if cb in self.cbs]
            self._hold([*kept, *(cb for cb in self.cbs if cb not in kept)])

    def ordered_cbs(self, event: str) -> list[Callback]:
        """Return the callbacks that define an event, in the order in which they run."""
        return [callback for callback, _ in self._bound[EVENT_ALIASES.get(event, event)]]

    def _grab(self, cbs: Callbacks) -> list[Callback]:
        given = [cbs] if isinstance(cbs, Callback | type) else list(cbs or ())
        kinds = tuple(one for one in given if isinstance(one, type))
        objects = [one for one in given if not isinstance(one, type)]
        return [cb for cb in self.cbs if isinstance(cb, kinds) or cb in objects]

    def _check_names(self, added: Sequence[Callback]) -> None:
        taken: dict[str, object] = {cb.name: cb for cb in self.cbs if _is_named(cb)}
        for callback in filter(_is_named, added):
            name = callback.name
            if name in taken:
                raise CallbackNameError(
                    f"there is a callback called {name!r} already ({taken[name]!r}); remove it, or "
                    "name the new one otherwise before adding it: `callback.name = ...`"
                )
            if name in vars(self) or hasattr(type(self), name):
                raise CallbackNameError(
                    f"{callback!r} would hide the learner's own {name!r}; "
                    "name it otherwise before adding it: `callback.name = ...`"
                )
            taken[name] = callback

    def _hold(self, cbs: Iterable[Callback]) -> None:
        # Sorting comes first: when it finds a cycle, nothing has changed.
        held = list(cbs)
        self._ordered = sort_callbacks(held)
        self._bound = bind_events(self._ordered)
        if self.world.in_group:
            self._bind_for_group()
        self.cbs = L(held)

    def _bind_for_group(self) -> None:
        """Leave what is for the first process alone to it, which works by itself meanwhile."""
        first = self.world.is_first
        for event, bound in self._bound.items():
            self._bound[event] = [
                (cb, partial(self._alone, method) if cb.rank0_only else method)
                for cb, method in bound
                if first or not cb.rank0_only
            ]

    def _alone(self, method: Callable[[], Any]) -> None:
        with self.alone():
            method()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Work without the other processes within the block: it asks nothing of them."""
        before = self.world
        self.world = before.alone
        try:
            yield
        finally:
            self.world = before

    def enter_world(self, world: World) -> World:
        """Work with other processes (or alone) from now on; returns those of before."""
        before, self.world = self.world, world
        self._hold(self.cbs)
        return before

    # -- calling them ----------------------------------------------------------------------------

    def __call__(self, event: "str | Iterable[str]") -> None:
        """Call an event, or several, on all callbacks."""
        for name in [event] if isinstance(event, str) else event:
            known = EVENT_ALIASES.get(name, name)
            if known not in Event.__members__:
                raise ValueError(f"there is no event {name!r}; see torte.learner.events.Event")
            (self._fire_batch if known in INNER_EVENTS else self._fire)(known)

    def _fire(self, event: str) -> None:
        callback = None
        try:
            for callback, method in self._bound[event]:
                if callback.run:
                    method()
        except CancelException:
            raise
        except BaseException as error:
            self._note(error, callback, event)
            raise

    def _fire_batch(self, event: str) -> None:
        bound = self._bound[event]
        if not bound:
            return
        callback, training = None, self.training
        try:
            for callback, method in bound:
                if callback.run and (callback.run_train if training else callback.run_valid):
                    method()
        except CancelException:
            raise
        except BaseException as error:
            self._note(error, callback, event)
            raise

    def _note(self, error: BaseException, callback: Callback | None, event: str) -> None:
        error.add_note(f"in callback {callback!r} at {event} ({self._whereabouts()})")

    def _whereabouts(self) -> str:
        part = "training" if self.training else "validation"
        return f"epoch {self.epoch}, {part} batch {self.iter}"


def _is_named(callback: Callback) -> bool:
    """Plain `Callback(event=function)` objects are anonymous: any number may be there at once."""
    return type(callback) is not Callback or "_name" in vars(callback)
