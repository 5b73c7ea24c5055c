"""Taking the parts of an item: an element, an attribute, columns of a frame's row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torte.data.vocabularies import is_missing
from torte.dispatch import ItemTransform, L, serializable

__all__ = ["AttrGetter", "ColReader", "FuncGetter", "ItemGetter"]


@serializable
class FuncGetter(ItemTransform):
    """A function of the whole item, be it a tuple, whose result is taken as it is.

    An ordinary transform would run on a tuple's elements, and give a list back as a tuple.

    Args:
        enc: The function.
    """

    def _retain(self, result: Any, x: Any, target: Any) -> Any:
        return result


@serializable
class ItemGetter(FuncGetter):
    """`item[i]`.

    Args:
        i: Index or key.
    """

    def __init__(self, i: Any) -> None:
        super().__init__()
        self.i = i

    def encodes(self, o: Any) -> Any:
        """The element at `i`."""
        return o[self.i]


@serializable
class AttrGetter(FuncGetter):
    """`item.nm`, or a default if the item has no such attribute.

    Args:
        nm: The attribute's name.
        default: What to give instead; without it a missing attribute is an error.
    """

    def __init__(self, nm: str, default: Any = None) -> None:
        super().__init__()
        self.nm, self.default = nm, default

    def encodes(self, o: Any) -> Any:
        """The attribute."""
        if self.default is None:
            return getattr(o, self.nm)
        return getattr(o, self.nm, self.default)


def _columns(row: Any) -> list[Any]:
    """The column names that a row shows."""
    for names in ("index", "_fields"):
        found = getattr(row, names, None)
        if found is not None and not callable(found):
            return list(found)
    return list(row) if isinstance(row, Mapping) else []


def _cell(row: Any, column: str | int) -> Any:
    """One value of a row: a pandas Series, a mapping, a named tuple, a sequence or an object."""
    try:
        if isinstance(column, str):
            if isinstance(row, Mapping) or hasattr(row, "iloc"):
                return row[column]
            return getattr(row, column)
        if hasattr(row, "iloc"):
            return row.iloc[column]
        return list(row.values())[column] if isinstance(row, Mapping) else row[column]
    except (KeyError, AttributeError, IndexError, TypeError) as error:
        known = _columns(row)
        have = f"the columns are {known!r}" if known else f"the item is {row!r}"
        raise KeyError(f"ColReader finds no column {column!r}: {have}") from error


@serializable
class ColReader(FuncGetter):
    """Reads one or several columns of a row, with text before and after if wanted.

    Args:
        cols: A column's name or position, or a list of them.
        pref: Text, or a folder, to put before each value.
        suff: Text to put after each value.
        label_delim: Separates the labels within a value, which then becomes a list; a missing or
            empty value is an empty list.
    """

    def __init__(
        self,
        cols: str | int | Sequence[str | int],
        pref: str | Path = "",
        suff: str = "",
        label_delim: str | None = None,
    ) -> None:
        super().__init__()
        self.cols = L([cols] if isinstance(cols, str | int) else list(cols))
        self.pref = pref.as_posix() + "/" if isinstance(pref, Path) else pref
        self.suff, self.label_delim = suff, label_delim

    def encodes(self, o: Any) -> Any:
        """The value of the one column, or an `L` of the values of several.

        Raises:
            KeyError: There is no such column; the message lists those that there are.
        """
        values = [self._read(o, column) for column in self.cols]
        return values[0] if len(values) == 1 else L(values)

    def _read(self, row: Any, column: str | int) -> Any:
        value = _cell(row, column)
        if self.label_delim is not None:
            return [] if is_missing(value) or value == "" else str(value).split(self.label_delim)
        if not self.pref and not self.suff:
            return value
        return f"{self.pref}{value}{self.suff}"

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "cols": list(self.cols),
            "pref": self.pref,
            "suff": self.suff,
            "label_delim": self.label_delim,
        }
