"""One registered function, as dispatch sees it, and how it is read off its annotations."""

import inspect
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NamedTuple

from torte.dispatch.annotations import Parameter, classes_of, positional_parameters
from torte.dispatch.errors import AnnotationError
from torte.dispatch.scopes import Scope

__all__ = ["ANY_PARAMETER", "Implementation", "read_implementation"]

ANY_PARAMETER = Parameter("", frozenset({object}), True, None)


class Implementation(NamedTuple):
    """One registered function with the classes that it takes.

    Attributes:
        function: what is called.
        parameters: its first two parameters, behind `self` or `cls`.
        returns: its return annotation, `inspect.Signature.empty` where there is none.
        scope: evaluates what is still a string in `returns`.
        depth: 0 in its own table, more the further up the class hierarchy it is inherited from.
    """

    function: Callable[..., Any]
    parameters: tuple[Parameter, Parameter]
    returns: Any = inspect.Signature.empty
    scope: Scope | None = None
    depth: int = 0

    @property
    def signature(self) -> tuple[frozenset[type], frozenset[type]]:
        """The classes of both parameters: what makes two registrations the same one."""
        return self.parameters[0].classes, self.parameters[1].classes

    @property
    def location(self) -> str:
        """Where the function was written: `name at file:line`."""
        function = inspect.unwrap(self.function)
        code = getattr(function, "__code__", None)
        name = getattr(function, "__qualname__", repr(function))
        return f"{name} at {code.co_filename}:{code.co_firstlineno}" if code else name

    def describe(self) -> str:
        """Return the types as a table row shows them: `(int | str, float)`."""
        first, second = (
            " | ".join(sorted(cls.__qualname__ for cls in each.classes)) for each in self.parameters
        )
        return f"({first}, {second})"


def _returns(function: Any, scope: Scope) -> tuple[Any, Scope | None]:
    """Return the return annotation, and what evaluates it later where its names do not exist yet.

    The scope holds on to a frame, so it is let go as soon as it is not needed.
    """
    annotation = getattr(function, "__annotations__", {}).get("return", inspect.Signature.empty)
    if not isinstance(annotation, str):
        return annotation, None
    try:
        return scope(annotation), None
    except AnnotationError:
        return annotation, scope


def read_implementation(
    function: Callable[..., Any],
    skip: int = 0,
    frame: FrameType | None = None,
    types: Sequence[Any] | None = None,
) -> Implementation:
    """Read the classes that a function takes off its annotations.

    Args:
        function: any callable; what hides its parameters (some built-ins) takes anything.
        skip: how many parameters come first that are not dispatched on (`self`, `cls`).
        frame: the frame that defines the function, for names in string annotations.
        types: annotations to use instead of the function's own.

    Raises:
        AnnotationError: an annotation that no class stands for.
        UnresolvedNameError: a string annotation names what does not exist yet.
    """
    scope = Scope(function, frame)
    found = positional_parameters(function)[skip : skip + 2]
    written = [each.annotation for each in found] if types is None else list(types)
    parameters = [ANY_PARAMETER, ANY_PARAMETER]
    for place, annotation in enumerate(written[:2]):
        name = found[place].name if place < len(found) else ""
        optional = place >= len(found) or found[place].default is not inspect.Parameter.empty
        try:
            classes = classes_of(annotation, scope)
        except AnnotationError as error:
            where = Implementation(function, (ANY_PARAMETER, ANY_PARAMETER)).location
            error.add_note(f"in the parameter {name!r} of {where}")
            raise
        parameters[place] = Parameter(name, classes, optional, annotation)
    for place in range(len(written), len(found)):
        parameters[place] = ANY_PARAMETER._replace(name=found[place].name)
    return Implementation(function, (parameters[0], parameters[1]), *_returns(function, scope))
