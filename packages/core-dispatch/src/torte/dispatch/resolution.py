"""Which of several implementations is the most specific for given types.

A class stands at its place in the `__mro__` of the argument's type. A class that is only a virtual
base (an ABC with a registered subclass, a protocol) stands just behind the last class of the
`__mro__` that has it as a base, which is where `functools.singledispatch` puts it; of two virtual
bases at one place the one that derives from the other is nearer.

One implementation beats another when its first parameter is nearer, or when they are level there
and its second is nearer, or when they are level in both and its annotation is the narrower union
(first parameter before second), or when it stands in the class and the other is inherited. The
winner beats every other; where nobody does, the call is ambiguous.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torte.dispatch.annotations import Parameter
from torte.dispatch.implementation import Implementation

__all__ = ["Absent", "Candidate", "beats", "candidates_for", "places_of", "rank", "resolve"]


class Absent:
    """Stands for the type of an argument that was not given."""


class _Hit(NamedTuple):
    """How near one parameter is to the argument's type, and through which of its classes."""

    place: float
    classes: frozenset[type]


class Candidate(NamedTuple):
    """An implementation that takes the given types, and how near each parameter is."""

    implementation: Implementation
    hits: tuple[_Hit, _Hit]


def places_of(given: type, virtual: Iterable[type]) -> dict[type, float]:
    """Return the place of each class that `given` is a subclass of, `virtual` ones among them."""
    order = given.__mro__
    places: dict[type, float] = {cls: float(place) for place, cls in enumerate(order)}
    for cls in virtual:
        if cls not in places and issubclass(given, cls):
            holders = (n for n, each in enumerate(order[:-1]) if issubclass(each, cls))
            places[cls] = max(holders, default=0) + 0.5
    return places


def _strict_subclass(cls: type, other: type) -> bool:
    return issubclass(cls, other) and not issubclass(other, cls)


def _hit(parameter: Parameter, places: dict[type, float]) -> _Hit | None:
    if Absent in places:
        if parameter.takes_anything:
            return _Hit(0.0, parameter.classes)
        return _Hit(1.0, parameter.classes) if parameter.optional else None
    found = [cls for cls in parameter.classes if cls in places]
    if not found:
        return None
    place = min(places[cls] for cls in found)
    nearest = [cls for cls in found if places[cls] == place]
    if len(nearest) > 1:
        nearest = [c for c in nearest if not any(_strict_subclass(o, c) for o in nearest)]
    return _Hit(place, frozenset(nearest))


def _nearer(mine: _Hit, other: _Hit) -> bool:
    if mine.place != other.place:
        return mine.place < other.place
    return mine.classes != other.classes and all(
        any(_strict_subclass(cls, each) for cls in mine.classes) for each in other.classes
    )


def beats(mine: Candidate, other: Candidate) -> bool:
    """Whether one candidate is more specific than another (see the module's account)."""
    for my_hit, other_hit in zip(mine.hits, other.hits, strict=True):
        if _nearer(my_hit, other_hit):
            return True
        if _nearer(other_hit, my_hit):
            return False
    pairs = zip(mine.implementation.signature, other.implementation.signature, strict=True)
    for my_classes, other_classes in pairs:
        if my_classes < other_classes:
            return True
        if other_classes < my_classes:
            return False
    return mine.implementation.depth < other.implementation.depth


def candidates_for(
    implementations: Iterable[Implementation], given: Sequence[dict[type, float]]
) -> list[Candidate]:
    """Return the implementations that take the given types, whose `places_of` are passed."""
    first_places, second_places = given
    found = []
    for each in implementations:
        first = _hit(each.parameters[0], first_places)
        second = first and _hit(each.parameters[1], second_places)
        if first and second:
            found.append(Candidate(each, (first, second)))
    return found


def resolve(
    implementations: Iterable[Implementation], given: Sequence[dict[type, float]]
) -> list[Implementation]:
    """Return the winner alone, the contenders of a tie, or nothing when none takes the types."""
    candidates = candidates_for(implementations, given)
    undefeated = [
        mine
        for mine in candidates
        if not any(beats(other, mine) for other in candidates if other is not mine)
    ]
    if len(undefeated) == 1 and all(
        beats(undefeated[0], other) for other in candidates if other is not undefeated[0]
    ):
        return [undefeated[0].implementation]
    return [each.implementation for each in undefeated or candidates]


def rank(
    implementations: Iterable[Implementation], given: Sequence[dict[type, float]]
) -> list[Implementation]:
    """Return all implementations, those that come closest to taking the given types first."""

    def misses(implementation: Implementation) -> tuple[int, float]:
        hits = [_hit(p, g) for p, g in zip(implementation.parameters, given, strict=True)]
        return sum(hit is None for hit in hits), sum(hit.place for hit in hits if hit)

    return sorted(implementations, key=misses)
