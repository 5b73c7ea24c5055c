"""Where names are looked up: the scope that defines a function, and its string annotations."""

import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from torte.dispatch.callables import unwrap
from torte.dispatch.errors import AnnotationError, UnresolvedNameError

__all__ = ["Scope", "calling_frame"]


def calling_frame(function: Callable[..., Any], depth: int = 2) -> FrameType | None:
    """Return the frame that defines `function`, if that is who called our caller.

    A decorator that is called by another helper stands in that helper's module, which is not the
    scope that the function's name is bound in.
    """
    frame = sys._getframe(depth)
    namespace = getattr(inspect.unwrap(unwrap(function)), "__globals__", None)
    return frame if namespace is frame.f_globals else None


def _local_names(frame: FrameType | None) -> dict[str, Any]:
    """Return what can be seen from a frame beside its globals.

    A class body sees its own names and, when it stands in a function, that function's; a module's
    frame adds nothing.
    """
    names: dict[str, Any] = {}
    while frame is not None and frame.f_locals is not frame.f_globals:
        names = {**frame.f_locals, **names}
        is_class_body = not frame.f_code.co_flags & inspect.CO_OPTIMIZED
        frame = frame.f_back if is_class_body else None
    return names


class Scope:
    """Evaluates the string annotations of a function, when it is asked to.

    Names are sought in the frame that defined the function (a class body, another function), and
    then among the globals of its module: so they may be defined later than the function.

    Args:
        function: whose annotations they are.
        frame: the frame that defined it.
    """

    __slots__ = ("_frame", "_function")

    def __init__(self, function: Callable[..., Any], frame: FrameType | None = None) -> None:
        self._function, self._frame = function, frame

    def __call__(self, text: str) -> Any:
        """Evaluate one string annotation.

        Raises:
            UnresolvedNameError: it names something that does not exist (yet).
            AnnotationError: it is no expression, or evaluating it fails.
        """
        function = inspect.unwrap(self._function)
        name = getattr(function, "__qualname__", repr(function))
        try:
            return eval(text, getattr(function, "__globals__", {}), _local_names(self._frame))
        except NameError as error:
            raise UnresolvedNameError(
                f"the annotation {text!r} of {name} names {error.name!r}, which is neither in the "
                "scope where the function was defined nor in its module: define or import it there "
                "(an import under TYPE_CHECKING does not run)"
            ) from error
        except Exception as error:
            raise AnnotationError(
                f"the annotation {text!r} of {name} cannot be evaluated: {error}"
            ) from error
