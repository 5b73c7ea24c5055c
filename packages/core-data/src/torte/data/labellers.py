"""Labels from names: of the folder that a file lies in, or from a pattern in its path."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torte.dispatch import serializable

__all__ = ["RegexLabeller", "UsingAttr", "parent_label", "using_attr"]


@serializable
def parent_label(o: str | os.PathLike[str]) -> str:
    """The name of the folder that a file lies in."""
    return Path(o).parent.name


@serializable
class RegexLabeller:
    """Takes the label from an item's text (a path with `/` between its parts) by a pattern.

    Args:
        pat: A regular expression; its first group is the label.
        match: Whether the pattern must fit from the start (`match`) or anywhere (`search`).

    Raises:
        ValueError: The pattern is not valid, or has no group.
    """

    def __init__(self, pat: str | re.Pattern[str], match: bool = False) -> None:
        try:
            compiled = re.compile(pat)
        except re.error as error:
            raise ValueError(f"{pat!r} is no regular expression: {error}") from error
        if not compiled.groups:
            raise ValueError(f"the pattern {compiled.pattern!r} has no group (...) for the label")
        self.pat, self.match = compiled.pattern, match
        self._find = compiled.match if match else compiled.search

    def __call__(self, o: Any) -> str:
        """The label of one item.

        Raises:
            ValueError: The pattern does not fit; the message names item and pattern.
        """
        text = o.as_posix() if isinstance(o, Path) else str(o).replace(os.sep, "/")
        found = self._find(text)
        if found is None:
            raise ValueError(f"the pattern {self.pat!r} finds no label in {text!r}")
        return found.group(1)

    def __repr__(self) -> str:
        return f"RegexLabeller({self.pat!r}, match={self.match})"

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"pat": self.pat, "match": self.match}


@serializable
class UsingAttr:
    """Calls a function on one attribute of an item.

    Args:
        f: The function.
        attr: The attribute's name.
    """

    def __init__(self, f: Callable[[Any], Any], attr: str) -> None:
        self.f, self.attr = f, attr

    def __call__(self, o: Any) -> Any:
        """What the function makes of the item's attribute."""
        return self.f(getattr(o, self.attr))

    def __repr__(self) -> str:
        return f"using_attr({self.f!r}, {self.attr!r})"


def using_attr(f: Callable[[Any], Any], attr: str) -> UsingAttr:
    """A function that calls `f` on an item's `attr`: `using_attr(RegexLabeller(...), "name")`."""
    return UsingAttr(f, attr)
