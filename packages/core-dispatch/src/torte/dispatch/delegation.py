"""Handing arguments and attributes on without losing them from sight.

`delegates` puts the parameters that `**kwargs` stands for into the signature that `inspect`, IDEs
and `help` show; `funcs_kwargs` lets the constructor replace methods; `GetAttr` reads attributes
through to another object.
"""

import functools
import inspect
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any, TypeVar, overload

from torte.dispatch.errors import DelegationError

__all__ = ["GetAttr", "delegates", "funcs_kwargs", "method"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _function_of(target: Any) -> Any:
    if isinstance(target, (staticmethod, classmethod)):
        return target.__func__
    return target.__init__ if isinstance(target, type) else target


def _keyword_parameters(target: Any, but: frozenset[str]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(_function_of(target)).parameters
    return {
        name: each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in parameters.items()
        if each.kind in _NAMED and each.default is not each.empty and name not in but
    }


def _with_keywords(
    function: Any, extra: dict[str, inspect.Parameter], keep: bool
) -> inspect.Signature:
    """Return the signature of a function with its `**kwargs` replaced by named parameters."""
    signature = inspect.signature(function)
    own = list(signature.parameters.values())
    catch_all = [each for each in own if each.kind is inspect.Parameter.VAR_KEYWORD]
    if not catch_all:
        name = getattr(function, "__qualname__", repr(function))
        raise DelegationError(f"{name} has no **kwargs that could stand for other parameters")
    own.remove(catch_all[0])
    names = {each.name for each in own}
    added = [each for name, each in extra.items() if name not in names]
    return signature.replace(parameters=[*own, *added, *(catch_all if keep else [])])


def delegates(
    to: Any = None, keep: bool = False, but: str | Iterable[str] | None = None
) -> Callable[[F], F]:
    """Show the keyword parameters of `to` in place of the decorated function's `**kwargs`.

    Args:
        to: a function, method, class (its constructor) or callable object; `None` on a class means
            its base class's constructor.
        keep: keep `**kwargs` in the signature, for further delegation.
        but: names to leave out, as names or one string with commas.

    Returns:
        A decorator for functions, methods, static and class methods and classes. It changes what
        `inspect.signature` says, and nothing about the call.

    Raises:
        DelegationError: there is no `**kwargs`, or nothing to delegate to.
    """
    given = but.replace(",", " ").split() if isinstance(but, str) else but
    left_out = frozenset(given or ())

    def decorate(function: Any) -> Any:
        target = to
        if target is None:
            if not isinstance(function, type):
                raise DelegationError(f"delegates() on {function!r} needs to be told what to")
            target = function.__base__
        if isinstance(function, type) and "__init__" not in vars(function):
            raise DelegationError(f"{function.__qualname__} has no __init__ of its own to delegate")
        written: Any = _function_of(function)
        extra = _keyword_parameters(target, left_out)
        if inspect.ismethod(written):
            written = written.__func__
        written.__signature__ = _with_keywords(written, extra, keep)
        written.__delwrap__ = _function_of(target)
        return function

    return decorate


def method(function: Callable[..., Any]) -> Any:
    """Mark a function given to a `funcs_kwargs` constructor as one that takes `self`."""
    return MethodType(function, _NoInstance)


class _NoInstance:
    """Stands for the object that a marked function will be bound to."""


@overload
def funcs_kwargs(cls: type[T], /) -> type[T]: ...
@overload
def funcs_kwargs(*, as_method: bool = False) -> Callable[[type[T]], type[T]]: ...
def funcs_kwargs(cls: Any = None, /, *, as_method: bool = False) -> Any:
    """Let the constructor of a class take functions that replace its methods.

    Args:
        cls: a class whose `_methods` names those methods, and whose `__init__` takes `**kwargs`.
        as_method: bind every function given to the object; otherwise only those marked with
            `method` take `self`.

    Raises:
        DelegationError: `_methods` names what the class lacks, or `__init__` has no `**kwargs`.
    """
    if cls is None:
        return lambda decorated: _take_functions(decorated, as_method)
    return _take_functions(cls, as_method)


def _take_functions(cls: Any, as_method: bool) -> Any:
    missing = [name for name in cls._methods if not hasattr(cls, name)]
    if missing:
        raise DelegationError(
            f"{cls.__qualname__}._methods names {missing}, which it does not have"
        )
    constructor = cls.__init__
    if hasattr(constructor, "__funcs_kwargs__"):  # the base class's: begin with what it wraps
        constructor = constructor.__wrapped__
    extra = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in cls._methods
    }
    signature = _with_keywords(constructor, extra, keep=False)

    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in type(self)._methods:
            given = kwargs.pop(name, None)
            if given is None:
                continue
            marked = isinstance(given, MethodType) and given.__self__ is _NoInstance
            if marked or as_method:
                given = MethodType(given.__func__ if marked else given, self)
            setattr(self, name, given)
        constructor(self, *args, **kwargs)

    wrapped: Any = functools.update_wrapper(construct, constructor)
    wrapped.__signature__, wrapped.__funcs_kwargs__ = signature, True
    cls.__init__ = wrapped
    return cls


class GetAttr:
    """Reads attributes that an object lacks through to another one.

    Attributes:
        _default: the name of the attribute that holds the other object.
        _xtra: the only names to read through; all public ones by default.
    """

    _default: str = "default"
    _xtra: Iterable[str] | None = None

    def __getattr__(self, name: str) -> Any:
        is_hidden = name.startswith("_") or name == self._default
        if is_hidden or (self._xtra is not None and name not in self._xtra):
            raise AttributeError(f"{type(self).__qualname__} has no attribute {name!r}")
        other = getattr(self, self._default, None)
        if other is None:
            raise AttributeError(f"{type(self).__qualname__} has no attribute {name!r}")
        return getattr(other, name)

    def __dir__(self) -> list[str]:
        other = dir(getattr(self, self._default, None))
        return sorted({*super().__dir__(), *(name for name in other if not name.startswith("_"))})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
