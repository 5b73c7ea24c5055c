"""In which order callbacks run, and which of their methods belong to which event."""

import functools
import heapq
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from torte.learner.callback import Callback
from torte.learner.events import Event

__all__ = ["CallbackCycleError", "bind_events", "sort_callbacks"]

type_or_name = type[Callback] | str


class CallbackCycleError(ValueError):
    """The `run_before` and `run_after` of some callbacks contradict each other."""


def _targets(wanted: type_or_name | Sequence[type_or_name]) -> tuple[type_or_name, ...]:
    return (wanted,) if isinstance(wanted, str | type) else tuple(wanted)


def _meant(callback: Callback, target: type_or_name) -> bool:
    if isinstance(target, str):
        return target in (callback.name, *(cls.__name__ for cls in type(callback).__mro__))
    return isinstance(callback, target)


def _followers(callbacks: Sequence[Callback]) -> list[set[int]]:
    """For each callback, the positions of those that must come after it."""
    followers: list[set[int]] = [set() for _ in callbacks]
    for here, callback in enumerate(callbacks):
        before, after = _targets(callback.run_before), _targets(callback.run_after)
        if not before and not after:
            continue
        for there, other in enumerate(callbacks):
            if here == there:
                continue
            if any(_meant(other, target) for target in before):
                followers[here].add(there)
            if any(_meant(other, target) for target in after):
                followers[there].add(here)
    return followers


def sort_callbacks(callbacks: Iterable[Callback]) -> list[Callback]:
    """Return the callbacks in the order in which they run.

    Ascending `order`, then the order given; `run_before` and `run_after` override both. Targets
    that are not among the callbacks are passed over.

    Raises:
        CallbackCycleError: If no order satisfies every `run_before` and `run_after`.
    """
    callbacks = list(callbacks)
    followers = _followers(callbacks)
    waiting_for = [0] * len(callbacks)
    for later in (there for those in followers for there in those):
        waiting_for[later] += 1
    ready = [(cb.order, at) for at, cb in enumerate(callbacks) if waiting_for[at] == 0]
    heapq.heapify(ready)
    done: list[int] = []
    while ready:
        _, at = heapq.heappop(ready)
        done.append(at)
        for later in followers[at]:
            waiting_for[later] -= 1
            if waiting_for[later] == 0:
                heapq.heappush(ready, (callbacks[later].order, later))
    if len(done) < len(callbacks):
        left = [at for at in range(len(callbacks)) if at not in done]
        raise CallbackCycleError(_describe_cycle(callbacks, followers, left[0], set(left)))
    return [callbacks[at] for at in done]


def _describe_cycle(
    callbacks: Sequence[Callback], followers: Sequence[set[int]], start: int, left: set[int]
) -> str:
    # Whoever is left has an unsorted predecessor, so walking back must come round.
    path = [start]
    while path.count(path[-1]) < 2:
        path.append(next(at for at in left if path[-1] in followers[at]))
    cycle = path[path.index(path[-1]) :][::-1]
    chain = " before ".join(repr(callbacks[at].name) for at in cycle)
    return (
        f"the callbacks' run_before and run_after go round in a circle: {chain}; "
        "drop one of these constraints"
    )


@functools.cache
def _overridden(cls: type[Callback]) -> tuple[str, ...]:
    """The events that a class of callbacks defines."""
    if cls.__call__ is not Callback.__call__:
        return tuple(Event)
    return tuple(e for e in Event if getattr(cls, e) is not getattr(Callback, e))


def bind_events(
    callbacks: Sequence[Callback],
) -> dict[str, list[tuple[Callback, Callable[[], Any]]]]:
    """Return, for each event, the callbacks that define it with the method to call, in order."""
    bound: dict[str, list[tuple[Callback, Callable[[], Any]]]] = {e.value: [] for e in Event}
    for callback in callbacks:
        own = vars(callback).keys() & bound.keys()
        for event in {*_overridden(type(callback)), *own}:
            bound[event].append((callback, _method(callback, event)))
    return bound


def _method(callback: Callback, event: str) -> Callable[[], Any]:
    if type(callback).__call__ is not Callback.__call__:
        return partial(callback, event)
    return getattr(callback, event)
