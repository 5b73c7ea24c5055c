"""delegates, funcs_kwargs, GetAttr and patch."""

import copy
import inspect
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torte.dispatch import (
    DelegationError,
    GetAttr,
    Transform,
    delegates,
    funcs_kwargs,
    method,
    patch,
    patch_to,
)


def base(a, b=1, c: int = 2, *, d: str = "x"):
    return a, b, c, d


def test_a_delegated_signature_equals_a_hand_written_one():
    @delegates(base)
    def f(x, c=5, **kwargs):
        return base(x, c=c, **kwargs)

    def by_hand(x, c=5, *, b=1, d: str = "x"):
        raise NotImplementedError

    assert inspect.signature(f) == inspect.signature(by_hand)
    assert f(0, b=3) == (0, 3, 5, "x")


def test_keep_and_but():
    @delegates(base, keep=True, but=["b"])
    def f(x, **kwargs):
        return x

    @delegates(base, but="d")
    def g(x, *args, y=0, **kwargs) -> int:
        return x

    assert str(inspect.signature(f)) == "(x, *, c: int = 2, d: str = 'x', **kwargs)"
    assert str(inspect.signature(g)) == "(x, *args, y=0, b=1, c: int = 2) -> int"


@given(
    st.lists(st.sampled_from("abcdefgh"), unique=True),
    st.lists(st.sampled_from("efghijkl"), unique=True),
    st.booleans(),
    st.sets(st.sampled_from("abcdefgh")),
)
def test_signatures_of_any_two_functions(names, own, keep, but):
    namespace = {"delegates": delegates, "but": but, "keep": keep}
    given_parameters = ", ".join(["first", *(f"{n}={ord(n)}" for n in names)])
    own_parameters = ", ".join(["start", *(f"{n}=0" for n in own)])
    added = [f"{n}={ord(n)}" for n in names if n not in own and n not in but]
    exec(
        f"def to({given_parameters}): pass\n"
        f"@delegates(to, keep=keep, but=but)\ndef f({own_parameters}, **kw): pass\n"
        f"def by_hand({', '.join([own_parameters, *(['*', *added] if added else [])])}"
        f"{', **kw' if keep else ''}): pass",
        namespace,
    )
    assert inspect.signature(namespace["f"]) == inspect.signature(namespace["by_hand"])


def test_classes_methods_and_chains():
    class A:
        def __init__(self, a, b=2):
            self.b = b

        def run(self, x, speed=1):
            return speed

    @delegates()
    class B(A):
        def __init__(self, c, **kwargs):
            super().__init__(c, **kwargs)

        @delegates(A.run)
        def jog(self, **kwargs):
            return self.run(0, **kwargs)

        @delegates(A)
        @staticmethod
        def make(n, **kwargs):
            return B(n, **kwargs)

        @classmethod
        @delegates(A)
        def create(cls, n, **kwargs):
            return cls(n, **kwargs)

    @delegates(B)
    def make_b(c, **kwargs):
        return B(c, **kwargs)

    assert str(inspect.signature(B)) == "(c, *, b=2)"
    assert str(inspect.signature(B.jog)) == "(self, *, speed=1)"
    assert str(inspect.signature(B(1).jog)) == "(*, speed=1)"
    assert str(inspect.signature(B.make)) == "(n, *, b=2)"
    assert str(inspect.signature(B.create)) == "(n, *, b=2)"
    assert str(inspect.signature(make_b)) == "(c, *, b=2)"
    assert make_b(1, b=5).b == 5
    assert B(1).jog(speed=3) == 3


def test_transforms_delegate_too():
    @delegates(base)
    class Step(Transform):
        def __init__(self, size, **kwargs):
            super().__init__()

    assert str(inspect.signature(Step)) == "(size, *, b=1, c: int = 2, d: str = 'x')"


def test_wrong_uses_are_errors():
    with pytest.raises(DelegationError, match=r"has no \*\*kwargs"):

        @delegates(base)
        def f(x):
            return x

    with pytest.raises(DelegationError, match="no __init__ of its own"):

        @delegates(base)
        class Empty(dict):
            pass

    with pytest.raises(DelegationError, match="needs to be told what to"):

        @delegates()
        def g(**kwargs):
            return kwargs


# -- funcs_kwargs --------------------------------------------------------------------------------


@funcs_kwargs
class Loader:
    _methods = ["get", "size"]

    def __init__(self, n, **kwargs):
        assert not kwargs
        self.n = n

    def get(self):
        return "get"

    def size(self):
        return self.n


def test_functions_replace_methods():
    assert (Loader(3).get(), Loader(3).size()) == ("get", 3)
    assert Loader(3, get=lambda: "mine").get() == "mine"
    assert Loader(3, size=method(lambda self: self.n * 2)).size() == 6
    assert Loader(3, get=None).get() == "get"
    assert Loader(3).get() == "get"
    assert str(inspect.signature(Loader)) == "(n, *, get=None, size=None)"


def test_a_bound_method_of_another_object_stays_bound_to_it():
    other = Loader(7)
    assert Loader(3, size=other.size).size() == 7


def test_as_method_and_subclasses():
    @funcs_kwargs(as_method=True)
    class Own:
        _methods = ["get"]

        def __init__(self, **kwargs):
            pass

        def get(self):
            return 0

    class Below(Own):
        def get(self):
            return 1

    @funcs_kwargs(as_method=True)
    class More(Own):
        _methods = ["get", "put"]

        def put(self):
            return 2

    assert str(inspect.signature(More)) == "(*, get=None, put=None)"
    assert More(put=lambda self: 3).put() == 3
    own = Own(get=lambda self: self)
    assert own.get() is own
    assert Below().get() == 1


def test_funcs_kwargs_wrong_uses():
    with pytest.raises(DelegationError, match=r"_methods names \['missing'\]"):

        @funcs_kwargs
        class Missing:
            _methods = ["missing"]

            def __init__(self, **kwargs):
                pass

    with pytest.raises(DelegationError, match=r"has no \*\*kwargs"):

        @funcs_kwargs
        class NoKwargs:
            _methods = ["get"]

            def __init__(self):
                pass

            def get(self):
                pass


# -- GetAttr -------------------------------------------------------------------------------------


class Wrapper(GetAttr):
    _default = "inner"

    def __init__(self, inner):
        self.inner = inner


class Narrow(Wrapper):
    _xtra = ["real"]


def test_attributes_are_read_through():
    wrapper = Wrapper("text")
    assert wrapper.upper() == "TEXT"
    assert "upper" in dir(wrapper)
    with pytest.raises(AttributeError, match="nowhere"):
        wrapper.nowhere
    assert not hasattr(wrapper, "_hidden")
    assert Narrow(3).real == 3
    assert not hasattr(Narrow(3), "imag")
    assert not hasattr(Wrapper.__new__(Wrapper), "anything")
    assert copy.copy(wrapper).inner == pickle.loads(pickle.dumps(wrapper)).inner == "text"


# -- patch ---------------------------------------------------------------------------------------


def test_patch_by_annotation():
    class A:
        pass

    class B:
        def hello(self):
            return "old"

    @patch
    def hello(self: A | B, name="you"):
        """Say hello."""
        return f"{type(self).__name__} {name}"

    assert A().hello() == "A you"
    assert B().hello("me") == "B me"
    assert B()._orig_hello() == "old"
    assert A.hello.__doc__ == "Say hello."
    assert A.hello.__qualname__.endswith("A.hello")
    assert hello(A()) == "A you"


def test_patch_properties_class_methods_tuples_and_strings():
    class A:
        n = 3

    class B(A):
        n = 4

    @patch(as_prop=True)
    def twice(self: A):
        return self.n * 2

    @patch(cls_method=True)
    def make(cls: (A, B), n):
        return cls.__name__, n

    @patch
    def late(self: "A"):
        return super(A, self).__init__

    assert (A().twice, B().twice) == (6, 8)
    assert (A.make(1), B().make(2)) == (("A", 1), ("B", 2))
    assert callable(A().late)


def test_patch_to_and_closures():
    offset = 10

    class A:
        n = 1

    @patch_to(A)
    def plus(self, *, by=1):
        return self.n + by + offset

    @patch_to([A], as_prop=True)
    def size(self):
        return self.n

    assert (A().plus(), A().plus(by=2), A().size) == (12, 13, 1)


def test_patching_a_path_and_a_transform(tmp_path):
    @patch
    def first_line(self: Path):
        return self.read_text().splitlines()[0]

    (tmp_path / "a").write_text("one\ntwo")
    try:
        assert (tmp_path / "a").first_line() == "one"
    finally:
        del Path.first_line

    class Step(Transform):
        pass

    @patch
    def encodes(self: Step, x: int):
        return x + 1

    assert Step()((1, "a")) == (2, "a")


def test_what_cannot_be_patched_says_so():
    with pytest.raises(DelegationError, match="annotate its first parameter"):

        @patch
        def f(self):
            return self

    with pytest.raises(DelegationError, match="int cannot be patched: it is built in"):

        @patch
        def g(self: int):
            return self


def test_patch_static_methods_setters_and_other_names():
    class Box:
        held = 1

    @patch(static_method=True)
    def double(x: Box):
        return (x, x)

    @patch(as_prop=True)
    def content(self: Box):
        return self.held

    @patch(set_prop=True)
    def content(self: Box, value):  # noqa: F811 - the setter of the property above
        self.held = value

    @patch_to(Box, nm="other")
    def written(self):
        return "other"

    box = Box()
    box.content = 5
    assert (Box.double(3), box.content, box.other()) == ((3, 3), 5, "other")
    assert Box.other.__qualname__.endswith("Box.other")
    with pytest.raises(DelegationError, match="no property of that name"):
        patch_to(Box, set_prop=True)(written)


def test_but_may_be_one_string():
    @delegates(base, but="b, c")
    def function(**kwargs):
        return kwargs

    assert list(inspect.signature(function).parameters) == ["d"]
