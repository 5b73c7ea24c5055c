"""What an annotation stands for."""

import sys
import typing
from collections.abc import Callable, Sequence
from numbers import Number
from typing import Annotated, Any, NewType, Optional, Protocol, TypeVar, Union, runtime_checkable

import pytest
from torte.dispatch.annotations import classes_of, positional_parameters
from torte.dispatch.errors import AnnotationError

Free = TypeVar("Free")
Bound = TypeVar("Bound", bound=str)
Constrained = TypeVar("Constrained", int, bytes)
UserId = NewType("UserId", int)


@runtime_checkable
class HasName(Protocol):
    def name(self) -> str: ...


class NotCheckable(Protocol):
    def name(self) -> str: ...


@runtime_checkable
class HasField(Protocol):
    field: int


@pytest.mark.parametrize(
    ("annotation", "classes"),
    [
        (None, {object}),
        (Any, {object}),
        (object, {object}),
        (Free, {object}),
        (int, {int}),
        (Number, {Number}),
        (HasName, {HasName}),
        (int | str, {int, str}),
        (Union[int, str], {int, str}),  # noqa: UP007
        (Optional[int], {int, type(None)}),  # noqa: UP045
        (int | None, {int, type(None)}),
        (int | Any, {object}),
        ((int, str), {int, str}),
        ((int, (str, None)), {int, str, type(None)}),
        (type(None), {type(None)}),
        (list[int], {list}),
        (typing.List[int], {list}),  # noqa: UP006
        (Sequence[str], {Sequence}),
        (dict[str, int] | None, {dict, type(None)}),
        (Callable[[int], str], {Callable}),
        (type[int], {type}),
        (Annotated[int, "metres"], {int}),
        (UserId, {int}),
        (Bound, {str}),
        (Constrained, {int, bytes}),
    ],
)
def test_annotation_stands_for_these_classes(annotation, classes):
    assert classes_of(annotation) == classes


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`type X = …` is new in Python 3.12")
def test_type_aliases_stand_for_what_they_name():
    namespace = {}
    exec("type Number = int | float", namespace)
    assert classes_of(namespace["Number"]) == {int, float}


def test_strings_are_evaluated_also_inside_others():
    names = {"A": int, "B": str}
    assert classes_of("A", names.__getitem__) == {int}
    assert classes_of(Optional["B"], names.__getitem__) == {str, type(None)}  # noqa: F821


@pytest.mark.parametrize("annotation", [typing.Literal["a"], 3, "text"])
def test_what_no_class_stands_for_is_an_error(annotation):
    with pytest.raises(AnnotationError, match="annotation"):
        classes_of(annotation)


@pytest.mark.parametrize("protocol", [NotCheckable, HasField])
def test_protocols_that_cannot_be_checked_say_what_to_do(protocol):
    with pytest.raises(AnnotationError, match="runtime_checkable"):
        classes_of(protocol)


def test_built_in_methods_take_their_own_class_and_hidden_signatures_take_anything():
    assert positional_parameters(str.upper)[0].annotation is str
    assert positional_parameters(int) == []
