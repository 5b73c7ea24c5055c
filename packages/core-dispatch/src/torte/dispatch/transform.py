"""Transform: a function with an inverse, chosen by the type of what it is given.

    class Double(Transform):
        "Doubles numbers and leaves everything else alone."
        def encodes(self, x: int): return x * 2
        def encodes(self, x: str): return x + x        # one name, many types
        def decodes(self, x: int): return x // 2

    Double()((3, "ab", None)) == (6, "abab", None)

Type checkers take a second `def encodes` for a mistake (`reportRedeclaration`, ruff's F811). The
same class in the form that they accept, which torte itself uses:

    class Double(Transform):
        encodes = TypeDispatch()

        @encodes.register
        def _(self, x: int) -> int: ...

        @encodes.register
        def _(self, x: str) -> str: ...

and from outside, for a type that comes later: `@Double.encodes.register` (or `@Double.encodes`, or
`@Double` on a function named `encodes`). Any function, lambda, built-in or class is a transform
too: `Transform(str.upper)`, `Transform(enc, dec)`.

What every call goes through:

    split_idx says "not this subset"    → x itself
    x is a tuple (not: ItemTransform)   → element by element, any depth, the tuple's class kept
    no implementation takes type(x)     → x itself
    otherwise                           → implementation(self, x), then retain_type: the semantic
                                          type of x, or what `-> X` says; `-> None` leaves it alone
"""

from collections.abc import Callable
from typing import Any

from torte.dispatch._collect import METHODS, TransformMeta, TransformTable
from torte.dispatch._running import find_for, run
from torte.dispatch.describing import kept_arguments
from torte.dispatch.errors import AnnotationError
from torte.dispatch.registry import serializable
from torte.dispatch.semantic import retain_type, retain_types

__all__ = [
    "DisplayedTransform",
    "InplaceTransform",
    "ItemTransform",
    "Transform",
    "make_transform",
    "mk_transform",
]


@serializable
class Transform(metaclass=TransformMeta):
    """A partially reversible function that dispatches on the type of its argument.

    Args:
        enc: a function to encode with, or several that differ in their annotation.
        dec: a function that undoes it.
        split_idx: the only subset that it runs on (0: training, 1: validation); `None`: all.
        order: where a `Pipeline` places it; lower runs earlier.

    Attributes:
        split_idx: as above; a subclass may set it for all its transforms.
        order: as above.
        train_setup: whether `setup` learns from the training subset alone, whatever it is told.
    """

    split_idx: int | None = None
    order: float = 0
    train_setup: bool | None = None
    fuse: Any = None
    _described_attributes = ("split_idx", "order")
    _takes_tuples_whole = False
    encodes: Any
    decodes: Any
    setups: Any
    _tables: tuple[TransformTable, TransformTable, TransformTable]
    _functions: dict[str, Any] = {}  # noqa: RUF012 (replaced, never changed)

    def __init__(
        self,
        enc: Any = None,
        dec: Any = None,
        split_idx: int | None = None,
        order: float | None = None,
    ) -> None:
        if isinstance(enc, Transform):
            split_idx = enc.split_idx if split_idx is None else split_idx
            dec = enc.decode if dec is None else dec
        if enc is not None or dec is not None:
            self._use_functions(encodes=enc, decodes=dec)
        order = getattr(enc, "order", None) if order is None else order
        if order is not None:
            self.order = order
        if split_idx is not None:
            self.split_idx = split_idx

    def _use_functions(self, **functions: Any) -> None:
        """Let this one transform use other functions than its class has."""
        given = {name: each for name, each in functions.items() if each is not None}
        tables: dict[str, TransformTable] = dict(zip(METHODS, self._tables, strict=True))
        for name, each in given.items():
            tables[name] = TransformTable.of_functions(each, name)
        self._functions = {**self._functions, **given}
        self._tables = (tables["encodes"], tables["decodes"], tables["setups"])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_tables"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._use_functions(**self._functions)

    @property
    def name(self) -> str:
        """What it is called in messages and pipelines: its class, or its function."""
        encodes = self._functions.get("encodes")
        return type(self).__name__ if encodes is None else _name_of(encodes)

    def __call__(self, x: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        """Encode `x`; what it has no implementation for, or is not meant for, comes back as it is.

        Args:
            x: anything; of a tuple every element.
            split_idx: the subset that `x` belongs to.
            **kwargs: passed on to `encodes`.
        """
        if self.split_idx is not None and self.split_idx != split_idx:
            return x
        return run(self, self._tables[0], x, kwargs)

    def decode(self, x: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        """Undo `encodes` on `x`, or return it as it is where there is nothing to undo."""
        if self.split_idx is not None and self.split_idx != split_idx:
            return x
        return run(self, self._tables[1], x, kwargs)

    def setup(self, items: Any = None, train_setup: bool = False) -> Any:
        """Learn from data what `encodes` needs, through `setups`.

        Args:
            items: a collection; where it has a `train` part and `train_setup` holds, that part.
            train_setup: learn from the training subset alone.
        """
        train_setup = train_setup if self.train_setup is None else self.train_setup
        given = getattr(items, "train", items) if train_setup else items
        table = self._tables[2]
        implementation = find_for(table, type(given))
        if implementation is None:
            return None
        function = implementation.function
        return function(self, given) if table.takes_self else function(given)

    def _retain(self, result: Any, x: Any, target: Any) -> Any:
        """Return a result in the type that it is to have: see `retain_type`."""
        return retain_type(result, x, target)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, for a description of this transform."""
        if type(self).__init__ is not Transform.__init__:
            return kept_arguments(self)
        given = {"enc": self._functions.get("encodes"), "dec": self._functions.get("decodes")}
        own = {name: self.__dict__.get(name) for name in ("split_idx", "order")}
        return {name: value for name, value in {**given, **own}.items() if value is not None}

    def state(self) -> dict[str, Any]:
        """Return what `setups` has learned, as JSON-able values; nothing by default."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `state` returned: by default each value as the attribute of its name."""
        for name, value in state.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        return self.name


@serializable
class ItemTransform(Transform):
    """A Transform that is handed a tuple whole, and gives back one of the same class.

    The result's elements keep the semantic types of the tuple's where there are as many.
    """

    _takes_tuples_whole = True

    def _retain(self, result: Any, x: Any, target: Any) -> Any:
        if target is not None or not isinstance(x, tuple):
            return retain_type(result, x, target)
        if isinstance(result, list):
            result = tuple(result)
        return retain_types(result, x) if isinstance(result, tuple) else result


@serializable
class InplaceTransform(Transform):
    """A Transform whose `encodes` changes its argument; whatever that returns is dropped."""

    def __call__(self, x: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        """Let `encodes` change `x`, and return it."""
        super().__call__(x, split_idx, **kwargs)
        return x

    def decode(self, x: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        """Let `decodes` change `x`, and return it."""
        super().decode(x, split_idx, **kwargs)
        return x


@serializable
class DisplayedTransform(Transform):
    """A Transform that is shown with the arguments that `store_attr` stored."""

    @property
    def name(self) -> str:
        """Its class and its stored arguments."""
        stored = getattr(self, "__stored_args__", {})
        shown = ", ".join(f"{name}={value!r}" for name, value in stored.items())
        return f"{super().name}({shown})" if shown else super().name


def _name_of(function: Any) -> str:
    if isinstance(function, Transform):
        return function.name
    if isinstance(function, (list, tuple)) and function:
        return _name_of(function[0])
    wrapped = getattr(function, "func", function)  # functools.partial
    return getattr(wrapped, "__name__", None) or type(wrapped).__name__


def make_transform(function: Any) -> Transform:
    """Return a transform as it is, an instance of a Transform class, or a function made into one.

    Raises:
        AnnotationError: it is not callable.
    """
    if isinstance(function, type) and issubclass(function, Transform):
        return function()
    if isinstance(function, Transform):
        return function
    if not callable(function):
        raise AnnotationError(
            f"{function!r} cannot be a transform: give a Transform or something callable"
        )
    return Transform(function)


mk_transform: Callable[[Any], Transform] = make_transform
