"""Where names are looked up: the scope that a function was defined in, and string annotations."""

import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from torte.dispatch.errors import AnnotationError, UnresolvedNameError

__all__ = ["Scope", "calling_frame"]


def calling_frame(function: Callable[..., Any], depth: int = 2) -> FrameType | None:
    """Return the frame that defines `function`, if that is who called our caller.

    A decorator called by another helper stands in that helper's module, which is not the scope
    that the function's name is bound in.
    """
    frame = sys._getframe(depth)
    namespace = getattr(inspect.unwrap(function), "__globals__", None)
    return frame if namespace is frame.f_globals else None


class Scope:
    """Evaluates the string annotations of a function.

    Names are sought in the frame that defined the function (a class body, another function), and
    then among the globals of its module, when they are asked for: so they may be defined later.
    """

    __slots__ = ("_frame", "_function")

    def __init__(self, function: Callable[..., Any], frame: FrameType | None = None) -> None:
        self._function = function
        # A module's frame adds nothing to the globals, and keeping one alive keeps all it holds.
        is_local = frame is not None and frame.f_locals is not frame.f_globals
        self._frame = frame if is_local else None

    def __call__(self, text: str) -> Any:
        """Evaluate one string annotation.

        Raises:
            UnresolvedNameError: it names something that does not exist (yet).
            AnnotationError: it is no expression, or evaluating it fails.
        """
        function = inspect.unwrap(self._function)
        namespace = getattr(function, "__globals__", {})
        local: dict[str, Any] = {}
        frame = self._frame
        while frame is not None and frame.f_globals is namespace:
            local = {**frame.f_locals, **local}
            frame = frame.f_back
        name = getattr(function, "__qualname__", repr(function))
        try:
            return eval(text, namespace, local)
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
