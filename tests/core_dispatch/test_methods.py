"""typedispatch on methods: binding, inheritance, static and class methods."""

import pickle
import threading

import pytest
from torte.dispatch import AmbiguityError, NoMatchError, TypeDispatch, typedispatch


class Base:
    @typedispatch
    def show(self, x: int, y=None):
        return self, "Base int"

    @typedispatch
    def show(self, x: str, y=None):  # noqa: F811
        return self, "Base str"

    area = TypeDispatch()

    @area.register
    def _(this, x: int):
        return this, "area"

    @typedispatch
    @staticmethod
    def inner_static(x: int):
        return "int"

    @typedispatch
    @staticmethod
    def inner_static(x: str):  # noqa: F811
        return "str"

    @staticmethod
    @typedispatch
    def outer_static(x: int):
        return "int"

    @staticmethod
    @typedispatch
    def outer_static(x: str):  # noqa: F811
        return "str"

    @typedispatch
    @classmethod
    def inner_class(cls, x: int):
        return cls, "int"

    @typedispatch
    @classmethod
    def inner_class(cls, x: str):  # noqa: F811
        return cls, "str"

    @classmethod
    @typedispatch
    def outer_class(cls, x: int):
        return cls, "int"

    @classmethod
    @typedispatch
    def outer_class(cls, x: str):  # noqa: F811
        return cls, "str"


class Derived(Base):
    @typedispatch
    def show(self, x: float, y=None):
        return self, "Derived float"

    @typedispatch
    def show(self, x: int, y=None):  # noqa: F811
        return self, "Derived int"


def test_methods_are_bound():
    base = Base()
    assert base.show(1) == (base, "Base int")
    assert base.show("a", 2) == (base, "Base str")
    assert base.show(x="a") == (base, "Base str")
    assert Base.show(base, 1) == (base, "Base int")
    assert base.area(3) == (base, "area")
    bound = base.show
    assert bound(1) == (base, "Base int")


def test_subclasses_inherit_and_extend_tables():
    derived = Derived()
    assert derived.show(1) == (derived, "Derived int")
    assert derived.show("a") == (derived, "Base str")
    assert derived.show(1.5) == (derived, "Derived float")
    with pytest.raises(NoMatchError, match=r"Base.show has no implementation for \(float\)"):
        Base().show(1.5)


def test_what_is_registered_in_the_base_class_later_is_inherited_too():
    class A:
        @typedispatch
        def f(self, x: int):
            return "A int"

    class B(A):
        @typedispatch
        def f(self, x: str):
            return "B str"

    class C(B):
        @typedispatch
        def f(self, x: bytes):
            return "C bytes"

    assert (C().f(1), C().f("a"), C().f(b"")) == ("A int", "B str", "C bytes")
    with pytest.raises(NoMatchError, match="float"):
        C().f(1.5)

    @A.f.register
    def _(self, x: float):
        return "A float"

    @B.f.register
    def _(self, x: int):
        return "B int"

    assert (C().f(1.5), C().f(1), A().f(1)) == ("A float", "B int", "A int")


def test_several_base_classes_in_the_order_of_the_mro():
    class A:
        @typedispatch
        def f(self, x: int):
            return "A"

    class B:
        @typedispatch
        def f(self, x: int):
            return "B int"

        @typedispatch
        def f(self, x: str):  # noqa: F811
            return "B str"

    class C(A, B):
        @typedispatch
        def f(self, x: bytes):
            return "C"

    assert (C().f(1), C().f("a"), C().f(b"")) == ("A", "B str", "C")


def test_a_subclass_wins_a_tie_that_would_be_refused_in_one_class():
    class A:
        @typedispatch
        def f(self, x: int | str):
            return "A"

        with pytest.raises(AmbiguityError, match="equally good"):

            @typedispatch
            def f(self, x: int | bytes):
                return "refused"

    class B(A):
        @typedispatch
        def f(self, x: int | bytes):
            return "B"

    assert (B().f(1), B().f("a")) == ("B", "A")


def test_a_plain_method_above_is_the_general_implementation():
    class A:
        @typedispatch
        def f(self, x: bytes):
            return "hidden by B"

    class B(A):
        def f(self, x):
            return "plain"

    class C(B):
        @typedispatch
        def f(self, x: int):
            return "int"

    assert (C().f(1), C().f("a"), C().f(b"")) == ("int", "plain", "plain")


def test_super_reaches_the_table_above():
    class A:
        @typedispatch
        def f(self, x: int):
            return "A"

    class B(A):
        @typedispatch
        def f(self, x: int):
            return "B" + super().f(x)

    assert B().f(1) == "BA"


def test_an_alias_in_another_class_leaves_the_method_alone():
    class Other:
        show_like_base = Base.show

    other = Other()
    assert other.show_like_base(1) == (other, "Base int")
    assert Base.show.__qualname__ == "Base.show"


@pytest.mark.parametrize("name", ["inner_static", "outer_static"])
def test_static_methods(name):
    for owner in (Base, Base(), Derived()):
        assert getattr(owner, name)(1) == "int"
        assert getattr(owner, name)("a") == "str"


@pytest.mark.parametrize("name", ["inner_class", "outer_class"])
def test_class_methods(name):
    assert getattr(Base, name)(1) == (Base, "int")
    assert getattr(Derived, name)("a") == (Derived, "str")
    assert getattr(Derived(), name)("a") == (Derived, "str")


def test_threads_see_what_a_base_class_registers():
    class A:
        @typedispatch
        def f(self, x: object):
            return -1

    class B(A):
        @typedispatch
        def f(self, x: bytes):
            return "bytes"

    classes = [type(f"T{n}", (), {}) for n in range(60)]
    registered, failures, stop = [False] * len(classes), [], threading.Event()

    def call():
        while not stop.is_set():
            for number, cls in enumerate(classes):
                was_registered = registered[number]
                found = B().f(cls())
                if found not in (-1, number) or (was_registered and found != number):
                    failures.append((number, found))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number, cls in enumerate(classes):
        A.f.register(cls)(lambda self, x, number=number: number)
        registered[number] = True
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures


def test_methods_and_tables_pickle_by_name():
    assert pickle.loads(pickle.dumps(Base.show)) is Base.show
    assert pickle.loads(pickle.dumps(Derived().show))("a")[1] == "Base str"
    assert pickle.loads(pickle.dumps(Base.inner_static))(1) == "int"


def test_inherited_rows_are_marked():
    rows = repr(Derived.show).splitlines()[1:]
    assert [row.endswith("(inherited)") for row in rows] == [False, False, True]
