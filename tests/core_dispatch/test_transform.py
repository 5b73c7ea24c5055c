"""Transforms: definitions by type, tuples, semantic types, subsets, set-up, inheritance."""

import copy
import inspect
import pickle
from numbers import Number
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torte.dispatch import (
    AmbiguityError,
    AnnotationError,
    DisplayedTransform,
    InplaceTransform,
    ItemTransform,
    Transform,
    TypeDispatch,
    mk_transform,
    store_attr,
    typedispatch,
)


class XY(NamedTuple):
    x: object
    y: object


class Pair(tuple):
    __slots__ = ()


class Metres(float):
    pass


class Double(Transform):
    """The paper's form: one name, several definitions."""

    def encodes(self, x: int):
        return x * 2

    def encodes(self, x: str):  # noqa: F811
        return x + x

    def decodes(self, x: int):
        return x // 2

    def decodes(self, x: str):  # noqa: F811
        return x[: len(x) // 2]


class Negate(Transform):
    """The form that type checkers accept."""

    encodes = TypeDispatch()

    @encodes.register
    def _(self, x: int):
        return -x

    @encodes.register
    def _(self, x: str):
        return x[::-1]

    decodes = encodes


def add_one(x: int) -> int:
    """Add one."""
    return x + 1


def subtract_one(x: int) -> int:
    return x - 1


@pytest.mark.parametrize(("cls", "encoded"), [(Double, (6, "abab")), (Negate, (-3, "ba"))])
def test_both_forms_choose_by_type_and_undo(cls, encoded):
    transform = cls()
    assert transform((3, "ab")) == encoded
    assert transform.decode(encoded) == (3, "ab")
    assert transform((2.5, None, b"")) == (2.5, None, b"")


def test_tuples_of_any_depth_keep_their_class():
    double = Double()
    assert double((1, (2, ("a",)))) == (2, (4, ("aa",)))
    named = double(XY(1, XY("a", 2.5)))
    assert named == XY(2, XY("aa", 2.5))
    assert type(named) is XY
    assert type(named.y) is XY
    assert type(double(Pair((1, 2)))) is Pair
    assert double(()) == ()
    assert double([1, 2]) == [1, 2]  # lists are items, not tuples of items


@given(
    st.recursive(st.integers() | st.text() | st.none(), lambda s: st.tuples(s, s), max_leaves=12)
)
def test_decode_undoes_encode(x):
    for transform in (Double(), Negate(), Transform(add_one, subtract_one)):
        assert transform.decode(transform(x)) == x


# -- functions -----------------------------------------------------------------------------------


def test_functions_dispatch_on_their_annotation():
    transform = Transform(add_one, subtract_one)
    assert transform((1, "a", 2.5)) == (2, "a", 2.5)
    assert transform.decode((2, "a")) == (1, "a")
    assert transform.name == "add_one"
    assert Transform(lambda x: x * 2)(("a", 1)) == ("aa", 2)


def test_built_ins_and_classes_are_transforms():
    assert Transform(str.upper)(("a", 1)) == ("A", 1)  # a method of str takes strings
    assert Transform(int)(("3", 2.5)) == (3, 2)
    assert Transform(str)((1, 2.5)) == ("1", "2.5")
    assert Transform(Path)("a/b") == Path("a/b")
    assert Transform(abs)(-3) == 3
    assert Transform(tuple)([1, 2]) == (1, 2)
    assert type(Transform(float)(Metres(2))) is float  # the class called is the type wanted


def test_several_functions_a_table_and_another_transform():
    @typedispatch
    def f(x: int):
        return "int"

    @f.register
    def _(x: str):
        return "str"

    assert Transform(f)((1, "a", None)) == ("int", "str", None)
    assert Transform([add_one, str.upper])((1, "a")) == (2, "A")
    assert Transform(Double())((1, "a")) == (2, "aa")
    assert Transform(Double()).decode((2, "aa")) == (1, "a")


def test_bound_methods_and_callable_objects():
    class Scale:
        def __init__(self, by):
            self.by = by

        def method(self, x: int):
            return x * self.by

        def __call__(self, x: str):
            return x * self.by

    scale = Scale(3)
    assert Transform(scale.method)((1, "a")) == (3, "a")
    assert Transform(scale)((1, "a")) == (1, "aaa")
    assert Transform(scale.method).name == "method"
    assert Transform(scale).name == "Scale"


def test_a_decorated_function_becomes_a_transform():
    @Transform
    def halve(x: int) -> float:
        return x / 2

    assert isinstance(halve, Transform)
    assert halve((3, "a")) == (1.5, "a")


def test_mk_transform():
    double = Double()
    assert mk_transform(double) is double
    assert type(mk_transform(Double)) is Double
    assert mk_transform(add_one)(1) == 2
    with pytest.raises(AnnotationError, match="3 cannot be a transform"):
        mk_transform(3)


def test_assigning_a_function_to_one_transform_changes_that_one_alone():
    one, other = Double(), Double()
    one.encodes = lambda x: "mine"
    assert one(1) == "mine"
    assert one.decode(4) == 2
    assert other(1) == 2


# -- types ---------------------------------------------------------------------------------------


def test_the_result_keeps_the_semantic_type_unless_the_annotation_says_otherwise():
    class Keep(Transform):
        def encodes(self, x: float):
            return float(x) + 1

    class Cast(Transform):
        def encodes(self, x: float) -> Metres:
            return float(x) + 1

    class AsItIs(Transform):
        def encodes(self, x: float) -> None:
            return float(x) + 1

    metres = Metres(1)
    assert type(Keep()(metres)) is Metres
    assert type(Keep()(1.0)) is float
    assert type(Cast()(1.0)) is Metres
    assert type(AsItIs()(metres)) is float
    assert AsItIs()(metres) == 2.0


@pytest.mark.parametrize("annotation", [float | None, object, Literal["a"]])
def test_return_annotations_without_a_single_class_keep_the_type(annotation):
    def function(x: float):
        return float(x)

    function.__annotations__["return"] = annotation
    assert type(Transform(function)(Metres(1))) is Metres


def test_specific_types_win_and_abcs_work():
    class Describe(Transform):
        def encodes(self, x: Number):
            return "number"

        def encodes(self, x: int | str):  # noqa: F811
            return "int or str"

        def encodes(self, x: bool):  # noqa: F811
            return "bool"

    assert Describe()((1, 2.5, "a", True, None)) == (
        "int or str", "number", "int or str", "bool", None,
    )  # fmt: skip


def test_a_class_registered_with_an_abc_later_is_seen():
    class Half:
        pass

    class IsNumber(Transform):
        def encodes(self, x: Number):
            return "number"

    transform, half = IsNumber(), Half()
    assert transform(half) is half
    Number.register(Half)
    assert transform(half) == "number"


def test_ties_are_errors_not_silence():
    with pytest.raises(AmbiguityError, match="equally good"):

        class Tied(Transform):
            def encodes(self, x: int | str):
                return x

            def encodes(self, x: int | bytes):  # noqa: F811
                return x


# -- subsets, keyword arguments, set-up ----------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "given_index", "runs"),
    [
        (None, None, True), (None, 0, True), (None, 1, True),
        (0, 0, True), (0, 1, False), (0, None, False),
        (1, 1, True), (1, 0, False), (1, None, False),
    ],
)  # fmt: skip
def test_split_idx(own, given_index, runs):
    transform = Transform(add_one, subtract_one, split_idx=own)
    assert transform(1, split_idx=given_index) == (2 if runs else 1)
    assert transform.decode(2, split_idx=given_index) == (1 if runs else 2)


def test_split_idx_and_order_of_a_class():
    class Train(Double):
        split_idx, order = 0, 7

    assert Train().order == 7
    assert Train()(1) == 1
    assert Train()(1, split_idx=0) == 2
    assert Transform(add_one, order=3).order == 3
    assert Transform(add_one).order == 0


def test_keyword_arguments_reach_the_implementation():
    class Scale(Transform):
        def encodes(self, x: int, by=1):
            return x * by

    assert Scale()((2, "a"), by=3) == (6, "a")
    assert Transform(lambda x, by=1: x * by)(2, by=5) == 10


class Items(list):
    @property
    def train(self):
        return self[:2]


def test_only_the_first_argument_decides():
    def scale(x: int, by: int):
        return x * by

    assert Transform(scale)((2, "a"), by=3) == (6, "a")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'by'"):
        Transform(scale)(2)


def test_setups_learn_from_items_or_their_train_part():
    class Largest(Transform):
        def setups(self, items: list):
            self.largest = max(items)

        def encodes(self, x: int):
            return x / self.largest

    items = Items([1, 4, 8])
    transform = Largest()
    transform.setup(items)
    assert transform(2) == 0.25
    transform.setup(items, train_setup=True)
    assert transform(2) == 0.5
    transform.train_setup = False
    transform.setup(items, train_setup=True)
    assert transform.largest == 8
    transform.setup({"other": "type"})
    assert transform.largest == 8
    Double().setup(items)  # nothing to learn


# -- classes -------------------------------------------------------------------------------------


def test_tables_are_inherited_and_extended():
    class Derived(Double):
        def encodes(self, x: float):
            return x + 0.5

        def encodes(self, x: int):  # noqa: F811
            return super().encodes(x) + 1

    assert Derived()((1, "a", 1.0)) == (3, "aa", 1.5)
    assert Derived().decode((2, "aa")) == (1, "a")
    assert Double()(1.0) == 1.0


def test_registration_from_outside_in_every_form():
    class Open(Transform):
        pass

    class Below(Open):
        pass

    below = Below()
    assert below(1) == 1

    @Open
    def encodes(self, x: int):
        return "by the class"

    @Open.encodes
    def _(self, x: str):
        return "by the table"

    @Open.encodes.register
    def _(self, x: bytes):
        return "by register"

    @Open.decodes
    def anything(self, x: int):
        return type(self).__name__

    assert below((1, "a", b"")) == ("by the class", "by the table", "by register")
    assert below.decode(1) == "Below"
    Open.encodes = lambda self, x: "assigned"
    assert below(2.5) == "assigned"
    assert Double()(b"") == b""


def test_encodes_can_be_called_directly():
    double = Double()
    assert double.encodes("a") == "aa"
    assert Double.encodes(double, 3) == 6
    assert Transform(add_one).encodes(1) == 2


def test_a_subclass_without_calling_the_constructor():
    class Own(Transform):
        def __init__(self, by):
            self.by = by

        def encodes(self, x: int):
            return x + self.by

    assert Own(3)(1) == 4
    assert str(inspect.signature(Own)) == "(by)"
    assert list(inspect.signature(Transform).parameters) == ["enc", "dec", "split_idx", "order"]


def test_static_methods_and_built_ins_in_a_class_body():
    class Upper(Transform):
        encodes = str.upper

    class Static(Transform):
        encodes = TypeDispatch(str.upper)
        decodes = TypeDispatch(str.lower)

    assert Upper()(("a", 1)) == ("A", 1)
    assert Static()("a") == "A"
    assert Static().decode("A") == "a"


def test_the_error_is_the_users_own():
    class Fails(Transform):
        def encodes(self, x: int):
            raise KeyError("mine")

    for _ in range(2):
        with pytest.raises(KeyError, match="mine") as caught:
            Fails()((1, 2))
        assert caught.value.__context__ is None


def test_pickling_and_copying():
    for transform in (Double(), Negate(), Transform(add_one, subtract_one, split_idx=1, order=2)):
        for again in (
            pickle.loads(pickle.dumps(transform)),
            copy.deepcopy(transform),
            copy.copy(transform),
        ):
            assert again((1, "a"), split_idx=1) == transform((1, "a"), split_idx=1)
            assert again.decode((4, "aa"), split_idx=1) == transform.decode((4, "aa"), split_idx=1)
            assert (again.name, again.order, again.split_idx) == (
                transform.name, transform.order, transform.split_idx,
            )  # fmt: skip


# -- flavours ------------------------------------------------------------------------------------


class Swap(ItemTransform):
    def encodes(self, xy: tuple):
        x, y = xy
        return y, x

    decodes = encodes


def test_item_transforms_are_handed_the_tuple():
    assert Swap()((1, 2)) == (2, 1)
    assert Swap().decode((2, 1)) == (1, 2)
    assert Swap()(XY(1, 2)) == XY(2, 1)
    assert type(Swap()(XY(1, 2))) is XY
    assert type(Swap()(Pair((1, 2)))) is Pair
    assert Swap()(3) == 3


def test_item_transforms_keep_the_types_of_elements_and_take_lists_for_tuples():
    class AddOne(ItemTransform):
        def encodes(self, xy):
            return [each + 1 if isinstance(each, float) else each for each in xy]

    result = AddOne()(XY(Metres(1), "a"))
    assert result == XY(2.0, "a")
    assert type(result) is XY
    assert type(result.x) is Metres

    class First(ItemTransform):
        def encodes(self, xy: tuple):
            return xy[0]

        def decodes(self, x: int):
            return (x, x)

    assert First()((3, 4)) == 3
    assert First().decode(3) == (3, 3)

    class Longer(ItemTransform):
        def encodes(self, xy: tuple):
            return (*xy, 0)

    assert Longer()(XY(1, 2)) == (1, 2, 0)


def test_item_transforms_obey_a_return_annotation():
    class ToList(ItemTransform):
        def encodes(self, xy: tuple) -> None:
            return list(xy)

    assert ToList()((1, 2)) == [1, 2]


def test_inplace_transforms_give_back_their_argument():
    class Append(InplaceTransform):
        def encodes(self, x: list):
            x.append(1)

    items = []
    assert Append()(items) is items
    assert items == [1]
    pair = ([], [])
    assert Append()(pair) is pair
    assert pair == ([1], [1])


def test_displayed_transforms_show_their_arguments():
    class Resize(DisplayedTransform):
        def __init__(self, size, method="crop"):
            store_attr()

    assert repr(Resize(3)) == "Resize(size=3, method='crop')"
    assert repr(Double()) == "Double"
    assert repr(Transform(add_one)) == "add_one"


def test_static_methods_encode_too():
    class Scale(Transform):
        @staticmethod
        def encodes(x: int):
            return x * 2

        @staticmethod
        def decodes(x: int):
            return x // 2

    scale = Scale()
    assert scale((3, "a")) == (6, "a")
    assert scale.decode(6) == 3
