"""typedispatch on functions: registration, choice, errors, pickling, threads."""

import abc
import copy
import functools
import gc
import importlib
import pickle
import sys
import textwrap
import threading
import traceback
import weakref
from collections.abc import Iterable, Sequence, Sized
from numbers import Integral, Number
from typing import Any

import pytest
from torte.dispatch import (
    AmbiguityError,
    AnnotationError,
    DispatchError,
    NoMatchError,
    TypeDispatch,
    UnresolvedNameError,
    typedispatch,
)


@typedispatch
def paper(x: Number, y):
    """The paper's example."""
    return "general"


@typedispatch
def paper(x: int, y: float):  # noqa: F811
    return "int and float"


def test_the_papers_example():
    assert paper(1, 2) == "general"
    assert paper(2.5, "anything") == "general"
    assert paper(1, 2.5) == "int and float"
    assert paper(True, 2.5) == "int and float"
    with pytest.raises(NoMatchError, match=r"paper has no implementation for \(str, int\)"):
        paper("text", 1)


def test_first_parameter_decides_before_the_second():
    @typedispatch
    def f(x: int, y):
        return "first"

    @f.register
    def _(x, y: int):
        return "second"

    assert f(1, 1) == "first"
    assert f("a", 1) == "second"


def test_unions_tuples_and_optional():
    @typedispatch
    def f(x: int | str, y=None):
        return "int or str"

    @f.register
    def _(x: (bytes, bytearray), y=None):
        return "bytes"

    @f.register
    def _(x: list | None, y=None):
        return "list or None"

    assert [f(1), f("a"), f(b""), f(bytearray()), f([]), f(None)] == [
        "int or str", "int or str", "bytes", "bytes", "list or None", "list or None",
    ]  # fmt: skip


def test_a_narrower_union_is_more_specific_whatever_the_order():
    def wide(x: int | str):
        return "wide"

    def narrow(x: int):
        return "narrow"

    for functions in ([wide, narrow], [narrow, wide]):
        f = TypeDispatch(functions)
        assert (f(1), f("a")) == ("narrow", "wide")


def test_abcs_stand_behind_the_class_that_was_registered_with_them():
    f = TypeDispatch()
    f.register(Number)(lambda x: "Number")
    f.register(Integral)(lambda x: "Integral")
    assert (f(1), f(1.5)) == ("Integral", "Number")
    f.register(int)(lambda x: "int")
    assert (f(1), f(True)) == ("int", "int")


def test_none_means_anything_and_nonetype_means_none():
    f = TypeDispatch()
    f.register(None)(lambda x: "anything")
    f.register(type(None))(lambda x: "None")
    assert (f(3), f(None)) == ("anything", "None")


def test_nothing_annotated_takes_anything():
    @typedispatch
    def f(x, y):
        return "any"

    assert f(object(), None) == "any"
    assert f(object, int) == "any"  # classes are values like any other


def test_a_call_with_one_argument_leaves_the_second_out():
    @typedispatch
    def f(x: int, y: float = 0.5):
        return y

    @f.register
    def _(x: str):
        return "one"

    assert (f(1), f(1, 1.5), f("a")) == (0.5, 1.5, "one")
    with pytest.raises(NoMatchError, match=r"\(int, str\)"):
        f(1, "b")


def test_arguments_by_name():
    @typedispatch
    def f(x: int, y: float, *, scale=1):
        return "float", scale

    @f.register
    def _(x: int, y: str, *, scale=1):
        return "str", scale

    assert f(1, y=1.0) == ("float", 1)
    assert f(1, y="a") == ("str", 1)

    @f.register
    def _(x: int):
        return "alone"

    assert f(1) == "alone"
    assert f(1, y="a") == ("str", 1)
    assert f(y="a", x=1, scale=2) == ("str", 2)
    assert f(1, 1.0, scale=3) == ("float", 3)


def test_the_same_types_again_replace_the_function():
    @typedispatch
    def f(x: int, y: str):
        return "old"

    assert f(1, "a") == "old"

    @f.register
    def _(x: int, y: str):
        return "new"

    assert f(1, "a") == "new"
    assert len(f.implementations()) == 1


def test_a_tie_is_an_error_at_registration_that_names_both_and_where_they_stand():
    @typedispatch
    def f(x: int | str):
        return "int or str"

    with pytest.raises(AmbiguityError) as caught:

        @f.register
        def other(x: int | bytes):
            return "int or bytes"

    message = str(caught.value)
    assert "2 equally good implementations for (int, anything)" in message
    assert message.count(__file__) == 2
    assert "f at " in message
    assert "other at " in message
    assert (f(1), f("a")) == ("int or str", "int or str")  # and the table is as it was
    with pytest.raises(NoMatchError, match="bytes"):
        f(b"")


def test_a_tie_that_a_third_settles_is_none():
    f = TypeDispatch()
    f.register(int | str)(lambda x: "left")
    f.register(int)(lambda x: "middle")
    f.register(int | bytes)(lambda x: "right")
    assert (f("a"), f(1), f(b"")) == ("left", "middle", "right")


def test_unrelated_abcs_are_told_apart_where_they_can_be():
    f = TypeDispatch()
    f.register(Sized)(lambda x: "Sized")
    f.register(Iterable)(lambda x: "Iterable")
    assert f(iter(())) == "Iterable"
    with pytest.raises(AmbiguityError, match=r"for \(list\)"):
        f([])
    f.register(Sequence)(lambda x: "Sequence")
    assert f([]) == "Sequence"


def test_no_match_lists_what_was_given_and_what_exists_closest_first():
    @typedispatch
    def f(x: str, y: str):
        return 0

    @f.register
    def near(x: int, y: str):
        return 0

    with pytest.raises(NoMatchError) as caught:
        f(1, 2.5)
    lines = str(caught.value).splitlines()
    assert "(int, float)" in lines[0]
    assert "(int, str)" in lines[1]
    assert f"{__file__}:" in lines[1]
    assert "(str, str)" in lines[2]
    assert lines[3] == "Add one with @f.register"


def test_long_tables_are_cut_in_messages():
    f = TypeDispatch()
    for number in range(40):
        f.register(type(f"T{number}", (), {}))(lambda x: x)
    with pytest.raises(NoMatchError, match="… and 28 more"):
        f(1)


def test_lookup_by_type():
    assert paper[int, float](1, 2.0) == "int and float"
    assert paper[int](1, None) == "general"
    assert paper[bool, None](True, None) == "general"
    with pytest.raises(NoMatchError, match=r"\(str, anything\)"):
        paper[str, None]
    with pytest.raises(TypeError, match="one or two classes"):
        paper[3]
    with pytest.raises(TypeError, match="one or two classes"):
        paper[int, int, int]


def test_the_table_is_shown_readably():
    rows = repr(paper).splitlines()
    assert rows[0] == "<typedispatch paper of 2 implementations>"
    assert rows[1].strip().startswith("(Number, object) -> paper at ")
    assert rows[2].strip().startswith("(int, float) -> paper at ")


def test_it_looks_like_the_function():
    assert paper.__name__ == "paper"
    assert paper.__doc__ == "The paper's example."
    assert paper.__module__ == __name__


def test_register_gives_the_function_back_and_the_table_to_its_own_name():
    @typedispatch
    def f(x: int):
        return 1

    @f.register
    def named(x: str):
        return 2

    assert named(3) == 2  # the plain function

    table = f

    @f.register
    def f(x: bytes):
        return 3

    assert f is table


def test_register_with_types_as_arguments():
    f = TypeDispatch()
    f.register(int, str)(lambda x, y: "int, str")
    f.register(int)(lambda x, y=None: "int")
    assert (f(1, "a"), f(1, 2), f(1)) == ("int, str", "int", "int")


def test_built_ins_classes_partials_and_bound_methods_can_be_registered():
    class Adder:
        def add(self, x: bytes):
            return x + b"!"

    f = TypeDispatch()
    f.register(str.upper)
    f.register(int)(functools.partial(pow, exp=2))
    f.register(Adder().add)
    f.register(float)(int)
    assert (f("a"), f(3), f(b"a"), f(2.5)) == ("A", 9, b"a!", 2)


def test_what_cannot_be_registered_says_so():
    f = TypeDispatch()
    with pytest.raises(AnnotationError, match="not callable"):
        f.add(3)
    with pytest.raises(AnnotationError, match="3") as caught:

        @f.register
        def g(x: 3):
            return x

    assert "in the parameter 'x' of" in caught.value.__notes__[0]


def test_elements_are_never_looked_at_and_cannot_be_all_that_differs():
    @typedispatch
    def f(x: list[int]):
        return "list"

    assert f(["text"]) == "list"
    with pytest.raises(AnnotationError, match="never at their elements"):

        @f.register
        def _(x: list[str]):
            return "other"

    assert f([]) == "list"


# -- scopes --------------------------------------------------------------------------------------


def write_modules(path, monkeypatch, **sources):
    for name, source in sources.items():
        (path / f"{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(path)
    importlib.invalidate_caches()
    return [importlib.import_module(name) for name in sources]


def test_registration_from_several_modules_under_one_name(tmp_path, monkeypatch):
    first, second, third = write_modules(
        tmp_path,
        monkeypatch,
        first_module="""
            from torte.dispatch import typedispatch
            @typedispatch
            def show(x: int): return "first"
        """,
        second_module="""
            from torte.dispatch import typedispatch
            from first_module import show
            @typedispatch
            def show(x: str): return "second"
        """,
        third_module="""
            from torte.dispatch import typedispatch
            @typedispatch
            def show(x: int): return "unrelated"
        """,
    )
    assert first.show is second.show
    assert (first.show(1), first.show("a")) == ("first", "second")
    assert third.show is not first.show
    importlib.reload(second)
    assert (first.show(1), first.show("a")) == ("first", "second")
    assert len(first.show.implementations()) == 2


def test_string_annotations_and_names_defined_later(tmp_path, monkeypatch):
    (module,) = write_modules(
        tmp_path,
        monkeypatch,
        future_module="""
            from __future__ import annotations
            from typing import Optional
            from torte.dispatch import Transform, typedispatch

            @typedispatch
            def f(x: Later, y: Optional[int]) -> Later: return "later"
            @typedispatch
            def f(x: int | str, y: float): return "now"

            class Step(Transform):
                def encodes(self, x: Later) -> None: return 1
                def encodes(self, x: float) -> Later: return Later()

            class Later: pass

            def local():
                class Inner: pass
                @typedispatch
                def g(x: Inner): return "inner"
                @typedispatch
                def g(x: Behind): return "behind"
                class Behind: pass
                return g(Inner()), g(Behind())
        """,
    )
    assert module.f(module.Later(), 1) == "later"
    assert module.f("a", 1.5) == "now"
    assert module.local() == ("inner", "behind")
    assert module.Step()((module.Later(), "a")) == (1, "a")
    assert type(module.Step()(1.5)) is module.Later


def test_a_name_that_never_comes_is_an_error_at_the_first_call(tmp_path, monkeypatch):
    (module,) = write_modules(
        tmp_path,
        monkeypatch,
        missing_module="""
            from torte.dispatch import typedispatch
            @typedispatch
            def f(x: "Nowhere"): return 1
        """,
    )
    with pytest.raises(UnresolvedNameError, match="'Nowhere' of f names 'Nowhere'"):
        module.f(1)
    assert "names not defined yet" in repr(module.f)
    module.Nowhere = int
    assert module.f(1) == 1


def test_a_broken_string_annotation_is_an_error_at_registration():
    with pytest.raises(AnnotationError, match="cannot be evaluated"):

        @typedispatch
        def f(x: "not an expression"):  # noqa: F722
            return x


def test_local_functions_do_not_join_what_the_module_has():
    @typedispatch
    def paper(x: bytes):
        return "local"

    assert paper(b"") == "local"
    with pytest.raises(NoMatchError, match="bytes"):
        globals()["paper"](b"", 1)


# -- caches --------------------------------------------------------------------------------------


def test_a_registration_drops_what_was_found_before():
    f = TypeDispatch()
    f.register(object)(lambda x: "object")
    assert f(True) == "object"
    f.register(int)(lambda x: "int")
    assert f(True) == "int"
    f.register(bool)(lambda x: "bool")
    assert f(True) == "bool"


def test_a_class_registered_with_an_abc_later_is_seen():
    class Shape(abc.ABC):  # noqa: B024
        pass

    class Square:
        pass

    f = TypeDispatch()
    f.register(object)(lambda x: "anything")
    f.register(Shape)(lambda x: "shape")
    assert f(Square()) == "anything"
    Shape.register(Square)
    assert f(Square()) == "shape"


def test_errors_are_not_remembered():
    f = TypeDispatch()
    f.register(int)(lambda x: 1)
    for _ in range(2):
        with pytest.raises(NoMatchError, match="str"):
            f("a")
    f.register(str)(lambda x: 2)
    assert f("a") == 2


def test_classes_made_on_the_fly_do_not_pile_up(monkeypatch):
    monkeypatch.setattr("torte.dispatch.table._CACHE_LIMIT", 8)
    f = TypeDispatch()
    f.register(object)(lambda x: x)
    references = []
    for number in range(40):
        cls = type(f"T{number}", (), {})
        references.append(weakref.ref(cls))
        f(cls())
    del cls
    gc.collect()
    assert sum(reference() is not None for reference in references) <= 9


def test_a_thousand_registrations():
    f, classes = TypeDispatch(), [type(f"T{n}", (), {}) for n in range(1000)]
    for number, cls in enumerate(classes):
        f.register(cls, int)(lambda x, y, number=number: number)
    assert [f(cls(), 0) for cls in classes] == list(range(1000))
    assert [f(cls(), True) for cls in classes[::100]] == list(range(0, 1000, 100))


# -- what surrounds a call -----------------------------------------------------------------------


def test_the_traceback_shows_the_users_function_and_nothing_hides_the_error():
    @typedispatch
    def fails(x: int):
        raise KeyError("mine")

    for _ in range(2):
        with pytest.raises(KeyError, match="mine") as caught:
            fails(1)
        frames = traceback.extract_tb(caught.value.__traceback__)
        assert frames[-1].name == "fails"
        assert frames[-1].line == 'raise KeyError("mine")'
        assert caught.value.__context__ is None


def test_a_wrong_call_is_the_functions_own_error():
    with pytest.raises(TypeError, match="takes 2 positional arguments but 3"):
        paper(1, 2.0, 3)


def test_tables_pickle_by_name_and_copy_as_themselves():
    assert pickle.loads(pickle.dumps(paper)) is paper
    assert copy.copy(paper) is paper
    assert copy.deepcopy({"f": paper})["f"] is paper


def plain(x: int):
    return "plain"


def test_tables_without_a_name_pickle_by_content():
    again = pickle.loads(pickle.dumps(TypeDispatch([plain])))
    assert again(1) == "plain"


def test_errors_are_of_the_layers_tree():
    assert issubclass(NoMatchError, (DispatchError, TypeError))
    assert issubclass(AmbiguityError, DispatchError)
    assert issubclass(AnnotationError, DispatchError)


def test_eight_threads_call_while_another_registers():
    classes = [type(f"T{n}", (), {}) for n in range(60)]
    f: Any = TypeDispatch()
    f.register(object, object)(lambda x, y: -1)
    registered = [False] * len(classes)
    failures, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            for number, cls in enumerate(classes):
                was_registered = registered[number]
                found = f(cls(), 1)
                if found not in (-1, number) or (was_registered and found != number):
                    failures.append((number, found, was_registered))

    threads = [threading.Thread(target=call) for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for number, cls in enumerate(classes):
            f.register(cls, int)(lambda x, y, number=number: number)
            registered[number] = True
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert not failures
    assert [f(cls(), 1) for cls in classes] == list(range(len(classes)))
