"""The choice of an implementation against a slow, obvious reference, on random classes."""

import abc
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.dispatch import AmbiguityError, NoMatchError, TypeDispatch


@st.composite
def hierarchies(draw):
    """Random classes, some of them ABCs with registered subclasses."""
    classes = []
    for number in range(draw(st.integers(2, 7))):
        parents = (
            draw(st.lists(st.sampled_from(classes), max_size=2, unique=True)) if classes else []
        )
        meta = draw(st.sampled_from([type, type, abc.ABCMeta]))
        try:
            cls = (abc.ABCMeta if any(type(p) is abc.ABCMeta for p in parents) else meta)(
                f"C{number}", tuple(parents), {}
            )
        except TypeError:  # no consistent order of the bases
            continue
        classes.append(cls)
    for one, other in draw(st.lists(st.tuples(st.sampled_from(classes), st.sampled_from(classes)))):
        if type(one) is abc.ABCMeta and not issubclass(one, other):
            one.register(other)
    return classes


def parameters(classes):
    return st.one_of(
        st.just(frozenset({object})),
        st.frozensets(st.sampled_from(classes), min_size=1, max_size=3),
    )


@st.composite
def tables(draw):
    classes = draw(hierarchies())
    signatures = draw(
        st.lists(st.tuples(parameters(classes), parameters(classes)), min_size=1, max_size=8)
    )
    return classes, signatures


# The reference: the definition in the module's docstring, spelled out pair by pair.


def place(cls, given):
    if cls in given.__mro__:
        return given.__mro__.index(cls)
    return (
        max(n for n, c in enumerate(given.__mro__) if c is not object and issubclass(c, cls)) + 0.5
    )


def nearest(classes, given):
    fitting = [cls for cls in classes if issubclass(given, cls)]
    best = min(place(cls, given) for cls in fitting)
    level = [cls for cls in fitting if place(cls, given) == best]
    derived = {c for c in level if not any(strictly_below(o, c) for o in level)}
    return best, derived


def strictly_below(cls, other):
    return issubclass(cls, other) and not issubclass(other, cls)


def is_nearer(mine, other, given):
    (my_place, my_classes), (its_place, its_classes) = nearest(mine, given), nearest(other, given)
    if my_place != its_place:
        return my_place < its_place
    return my_classes != its_classes and all(
        any(strictly_below(m, o) for m in my_classes) for o in its_classes
    )


def reference_beats(mine, other, given):
    for n in (0, 1):
        if is_nearer(mine[n], other[n], given[n]):
            return True
        if is_nearer(other[n], mine[n], given[n]):
            return False
    for n in (0, 1):
        if mine[n] < other[n]:
            return True
        if other[n] < mine[n]:
            return False
    return False


def reference_winner(signatures, given):
    """The signature that beats all others; None where none fits; "tie" where none beats all."""
    fitting = [
        s
        for s in signatures
        if all(any(issubclass(g, c) for c in p) for p, g in zip(s, given, strict=True))
    ]
    if not fitting:
        return None
    winners = [
        mine
        for mine in fitting
        if all(reference_beats(mine, other, given) for other in fitting if other != mine)
    ]
    return winners[0] if winners else "tie"


def function_for(signature):
    def function(x, y):
        return signature

    function.__annotations__ = {"x": tuple(signature[0]), "y": tuple(signature[1])}
    return function


@settings(max_examples=300, deadline=None)
@given(tables())
def test_the_winner_is_the_references(table):
    classes, signatures = table
    dispatch, accepted = TypeDispatch(), []
    for signature in signatures:
        try:
            dispatch.register(function_for(signature))
        except AmbiguityError:
            # Refused at registration: then it does tie on a class that both name.
            rivals = [*(s for s in accepted if s != signature), signature]
            pairs = product(signature[0], signature[1])
            assert any(reference_winner(rivals, pair) == "tie" for pair in pairs)
        else:
            accepted = [*(s for s in accepted if s != signature), signature]
    for pair in product(classes, classes):
        expected = reference_winner(accepted, pair)
        if expected is None:
            with pytest.raises(NoMatchError, match="no implementation for"):
                dispatch[pair]
        elif expected == "tie":
            with pytest.raises(AmbiguityError, match="equally good implementations for"):
                dispatch[pair]
        else:
            for _ in range(2):  # found, and found again in the cache
                assert dispatch(*(object.__new__(cls) for cls in pair)) == expected


@settings(max_examples=100, deadline=None)
@given(tables(), st.randoms())
def test_the_order_of_registration_does_not_matter(table, random):
    classes, signatures = table
    signatures = list(dict.fromkeys(signatures))
    shuffled = random.sample(signatures, len(signatures))
    try:
        one = TypeDispatch([function_for(s) for s in signatures])
        other = TypeDispatch([function_for(s) for s in shuffled])
    except AmbiguityError:
        return  # whether a tie is refused does depend on what settles it being there before

    def outcome(dispatch, pair):
        try:
            return dispatch[pair](None, None)
        except (NoMatchError, AmbiguityError) as error:
            return type(error)

    assert all(outcome(one, pair) == outcome(other, pair) for pair in product(classes, classes))
