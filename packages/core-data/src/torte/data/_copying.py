"""Making a loader like another one, whatever its class takes."""

import copy
import functools
import inspect
import types
from typing import Any, ClassVar, Self

from torte.dispatch.delegation import method

__all__ = ["CopiedLoader"]


@functools.cache
def _constructor_names(cls: type) -> tuple[list[str], frozenset[str]]:
    """The names of a class's positional parameters, and of all that its bases take too."""
    own = inspect.signature(cls.__init__).parameters
    positional = [
        name for name, each in own.items() if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    names = {
        name
        for base in cls.__mro__
        if "__init__" in vars(base)
        for name, each in inspect.signature(base.__init__).parameters.items()
        if each.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }
    return positional[1:], frozenset(names - {"self"})


class CopiedLoader:
    """The part of a `DataLoader` that remembers its arguments and makes loaders like it."""

    dataset: Any
    _num_workers: int | None
    _worker_kind: str
    _main_only: ClassVar[tuple[str, ...]] = ()
    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the arguments for `new`."""
        self = super().__new__(cls)
        self._given = (args, kwargs)
        return self

    def new(self, dataset: Any = None, cls: type | None = None, **kwargs: Any) -> Any:
        """A loader like this one, but for what is given.

        Args:
            dataset: Another dataset; its length then counts, not this loader's `n`.
            cls: Another class.
            kwargs: Other arguments.
        """
        cls = type(self) if cls is None else cls
        arguments = self._current_arguments()
        if dataset is not None and dataset is not self.dataset:
            arguments.pop("n", None)
            arguments.pop("indexed", None)
        if "bs" in kwargs or "batch_size" in kwargs:
            arguments.pop("bs", None)
        arguments["dataset"] = self.dataset if dataset is None else dataset
        accepted = _constructor_names(cls)[1]
        arguments = {name: value for name, value in arguments.items() if name in accepted}
        return cls(**{**arguments, **kwargs})

    def _current_arguments(self) -> dict[str, Any]:
        """The arguments that this loader was made with, as they have become since."""
        args, kwargs = self._given
        positional, names = _constructor_names(type(self))
        arguments = {**dict(zip(positional, args, strict=False)), **kwargs}
        arguments.pop("batch_size", None)
        for name in names - {"n", "indexed", "batch_size", "num_workers", "worker_kind"}:
            if name in vars(self):
                arguments[name] = self._unbound(vars(self)[name])
        arguments.update(num_workers=self._num_workers, worker_kind=self._worker_kind)
        return arguments

    def _unbound(self, value: Any) -> Any:
        """A function that was bound to this loader, marked to be bound to the next."""
        bound = isinstance(value, types.MethodType) and value.__self__ is self
        return method(value.__func__) if bound else value

    def for_workers(self) -> Any:
        """A copy with what workers need."""
        light = copy.copy(self)
        for name in (*self._main_only, "_given", "rng", "worker_pool", "passes", "failures"):
            vars(light).pop(name, None)
        for name, value in vars(light).items():
            if isinstance(value, types.MethodType) and value.__self__ is self:
                vars(light)[name] = types.MethodType(value.__func__, light)
        return light
