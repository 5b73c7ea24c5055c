"""The small helpers."""

import pytest
from torte.dispatch import (
    camel2snake,
    first,
    ifnone,
    is_iter,
    is_listy,
    listify,
    noop,
    range_of,
    store_attr,
)


def test_small_ones():
    assert (ifnone(None, 3), ifnone(0, 3)) == (3, 0)
    assert noop(3, 4, a=5) == 3
    assert noop() is None
    assert range_of("abc") == [0, 1, 2]
    assert range_of(1, 6, 2) == [1, 3, 5]
    assert first([0, 1, 2], lambda o: o) == 1
    assert first([]) is None
    assert (is_listy([1]), is_listy("a")) == (True, False)
    assert (is_iter("a"), is_iter(3)) == (True, False)
    assert listify(None) == []
    assert listify("ab") == ["ab"]
    assert listify(3) == [3]
    assert listify((1, 2)) == [1, 2]
    assert listify({"a": 1}) == [{"a": 1}]
    assert is_listy({1})
    assert is_listy(n for n in (1,))
    assert first(None) is None
    assert first([1, 2], lambda o: o == 1, negate=True) == 2
    assert first([1, 2, 3], lambda o, least: o > least, least=2) == 3


@pytest.mark.parametrize(
    ("camel", "snake"),
    [
        ("GradientClip", "gradient_clip"),
        ("CSVLogger", "csv_logger"),
        ("XResNet50", "x_res_net50"),
        ("A_Snake", "a_snake"),
    ],
)
def test_camel2snake(camel, snake):
    assert camel2snake(camel) == snake


def test_store_attr_stores_the_arguments():
    class All:
        def __init__(self, a, b=2, *, c=3):
            store_attr()

    made = All(1, c=5)
    assert (made.a, made.b, made.c) == (1, 2, 5)
    assert made.__stored_args__ == {"a": 1, "b": 2, "c": 5}


def test_store_attr_some_but_cast_and_given():
    class Some:
        def __init__(self, a, b: int, c=3):
            store_attr("a, b", cast=True)

    some = Some("1", "2")
    assert (some.a, some.b) == ("1", 2)
    assert not hasattr(some, "c")

    class But:
        def __init__(self, a, b):
            store_attr(but="a")

    assert vars(But(1, 2))["b"] == 2
    assert not hasattr(But(1, 2), "a")

    class Given:
        def __init__(self, a):
            store_attr(size=a * 2)

    assert (Given(2).size, Given(2).a) == (4, 2)


def test_store_attr_collects_over_base_classes_and_works_with_slots():
    class Base:
        def __init__(self, a):
            store_attr()

    class Derived(Base):
        def __init__(self, a, b):
            super().__init__(a)
            store_attr("b")

    assert Derived(1, 2).__stored_args__ == {"a": 1, "b": 2}

    class Slots:
        __slots__ = ("a",)

        def __init__(self, a):
            store_attr()

    assert Slots(1).a == 1
