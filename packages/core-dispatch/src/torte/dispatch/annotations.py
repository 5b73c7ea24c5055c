"""From annotations to the classes that they stand for.

The table of what a parameter's annotation means for dispatch:

| annotation                                      | classes                                  |
| ----------------------------------------------- | ---------------------------------------- |
| none, `None`, `Any`, `object`, a free `TypeVar` | `object`: anything                       |
| a class, an ABC, a runtime-checkable protocol   | itself                                   |
| `X | Y`, `Union`, `Optional`, `(X, Y)`          | those of each member; `None` is NoneType |
| `list[int]`, `Sequence[str]`, `Callable[…]`     | the origin: elements are never looked at |
| `Annotated`, `NewType`, `type X = …`, `TypeVar` | those of what it wraps or is bound to    |
| a string                                        | those of what it evaluates to            |

Anything else (`Literal`, a plain protocol, a value) is an AnnotationError.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from torte.dispatch.errors import AnnotationError

__all__ = ["Parameter", "classes_of", "positional_parameters"]

_ANYTHING = frozenset({object})
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Parameter(NamedTuple):
    """One parameter of an implementation, as dispatch sees it.

    Attributes:
        name: what it is called, for keyword arguments and messages.
        classes: the classes it takes; `{object}` takes anything.
        optional: whether it has a default.
        annotation: what was written, for messages.
    """

    name: str
    classes: frozenset[type]
    optional: bool
    annotation: Any

    @property
    def takes_anything(self) -> bool:
        """Whether no class is asked for."""
        return object in self.classes


def _union(members: Iterable[Any], evaluate: Callable[[str], Any]) -> frozenset[type]:
    found: set[type] = set()
    for member in members:
        found |= {type(None)} if member is None else classes_of(member, evaluate)
    return _ANYTHING if object in found else frozenset(found)


def _of_type_variable(variable: Any, evaluate: Callable[[str], Any]) -> frozenset[type]:
    if variable.__constraints__:
        return _union(variable.__constraints__, evaluate)
    return classes_of(variable.__bound__, evaluate)


def _of_class(cls: type) -> frozenset[type]:
    try:
        issubclass(int, cls)
    except TypeError as error:
        raise AnnotationError(
            f"cannot dispatch on {cls.__qualname__}: {error}. A protocol has to be decorated with "
            "@typing.runtime_checkable and hold methods only"
        ) from error
    return frozenset({cls})


def _of_special_form(annotation: Any, evaluate: Callable[[str], Any]) -> frozenset[type] | None:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(annotation), evaluate)
    if origin is typing.Annotated:
        return classes_of(typing.get_args(annotation)[0], evaluate)
    if isinstance(origin, type):
        return _of_class(origin)
    if isinstance(annotation, typing.TypeVar):
        return _of_type_variable(annotation, evaluate)
    if hasattr(annotation, "__supertype__"):
        return classes_of(annotation.__supertype__, evaluate)
    if type(annotation).__name__ == "TypeAliasType":
        return classes_of(annotation.__value__, evaluate)
    return None


def _no_names(text: str) -> Any:
    raise AnnotationError(f"the annotation {text!r} is a string, and nothing says where it stands")


def classes_of(annotation: Any, evaluate: Callable[[str], Any] = _no_names) -> frozenset[type]:
    """Return the classes that an annotation stands for.

    Args:
        annotation: what was written after the parameter's colon.
        evaluate: turns a string annotation into an object.

    Raises:
        AnnotationError: no class stands for it.
    """
    if any(annotation is each for each in (None, Any, object, inspect.Parameter.empty)):
        return _ANYTHING
    if isinstance(annotation, str):
        return classes_of(evaluate(annotation), evaluate)
    if isinstance(annotation, typing.ForwardRef):
        return classes_of(evaluate(annotation.__forward_arg__), evaluate)
    if isinstance(annotation, (tuple, list)):
        return _union(annotation, evaluate)
    found = _of_special_form(annotation, evaluate)
    if found is None and isinstance(annotation, type):
        found = _of_class(annotation)
    if found is None:
        raise AnnotationError(
            f"cannot dispatch on the annotation {annotation!r}: it has to be a class, a union or "
            "tuple of classes, or nothing for anything"
        )
    return found


def positional_parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the positional parameters of any callable; none where it hides them (built-ins).

    The first one of a built-in method (`str.upper`) is annotated with the class that it belongs to.

    Raises:
        NameError: its annotations are lazy and name what does not exist yet (Python 3.14).
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return []
    found = [each for each in parameters if each.kind in _POSITIONAL]
    if isinstance(function, (types.MethodDescriptorType, types.WrapperDescriptorType)) and found:
        found[0] = found[0].replace(annotation=function.__objclass__)
    return found
