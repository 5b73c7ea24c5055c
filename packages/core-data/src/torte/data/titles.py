"""Builtin values that know how to show themselves: as a title or as a cell of a table."""

from typing import Any, Self

from torte.data.showing import show_title
from torte.dispatch.collection import L
from torte.dispatch.helpers import is_iter

__all__ = [
    "Category",
    "MultiCategory",
    "ShowTitle",
    "TitledFloat",
    "TitledInt",
    "TitledStr",
    "TitledTuple",
]


class ShowTitle:
    """Gives a class a `show` that writes the value as a title."""

    _show_args: dict[str, Any] = {"label": "text"}  # noqa: RUF012 - read only

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Write the value as the title of the axes `ctx`, into a Series, or print it."""
        return show_title(str(self), ctx=ctx, **{**self._show_args, **kwargs})


class TitledInt(ShowTitle, int):
    """An int that is shown as a title."""


class TitledFloat(ShowTitle, float):
    """A float that is shown as a title."""


class TitledStr(ShowTitle, str):
    """A string that is shown as a title."""

    __slots__ = ()

    def truncate(self, n: int) -> "TitledStr":
        """The first `n` words."""
        words = self.split(" ")
        return self if len(words) <= n else type(self)(" ".join(words[:n]))


class TitledTuple(ShowTitle, tuple):
    """A tuple that is shown as a title.

    Args:
        x: an iterable, whose items it takes; `None` for nothing; anything else is a single item.
        *rest: more items; then `x` is one item as well.
    """

    __slots__ = ()

    def __new__(cls, x: Any = None, *rest: Any) -> Self:
        """Make the tuple of an iterable, or of the arguments."""
        return super().__new__(cls, (x, *rest) if rest else L(x, use_list=is_iter(x)))


class Category(ShowTitle, str):
    """The name of a class."""

    __slots__ = ()
    _show_args = {"label": "category"}  # noqa: RUF012


class MultiCategory(L[Any]):
    """The names of the classes that are there."""

    _show_args: dict[str, Any] = {"label": "category"}  # noqa: RUF012

    def show(self, ctx: Any = None, sep: str = ";", **kwargs: Any) -> Any:
        """Write the names, joined by `sep`, as a title."""
        return show_title(sep.join(map(str, self)), ctx=ctx, **{**self._show_args, **kwargs})
