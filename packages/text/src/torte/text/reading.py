"""From what items are to text: files, and rows of a frame with one or several columns of text."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torte.dispatch import Transform, serializable
from torte.text.rules import FLD

__all__ = ["TextReader", "texts_of"]


@serializable("torte.text.TextReader")
class TextReader(Transform):
    """Items to texts: paths are read, rows give their columns, texts stay as they are.

    Args:
        text_cols: The columns of rows that hold text.
        mark_fields: Whether to put `xxfld` and its number before each column's text; by default if
            there are several.
        encoding: Of files.
    """

    def __init__(
        self,
        text_cols: str | int | Sequence[str | int] | None = None,
        mark_fields: bool | None = None,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__()
        is_one = isinstance(text_cols, str | int)
        self.text_cols = [text_cols] if is_one else None if text_cols is None else list(text_cols)
        self.mark_fields, self.encoding = mark_fields, encoding

    def encodes(self, o: Any) -> str:
        """Return the text of an item.

        Raises:
            TypeError: It is no text, path or row, or a column holds no text; the message names it.
            LookupError: It is a row without such a column.
            UnicodeDecodeError: A file is not in the encoding; a note names the file.
        """
        if isinstance(o, str):
            return o
        if isinstance(o, Path):
            return self._content_of(o)
        if self.text_cols is None:
            raise TypeError(f"{o!r} is no text and no path: give text_cols for rows of a frame")
        return self._joined([self._field(o, name) for name in self.text_cols])

    def _joined(self, parts: list[str]) -> str:
        """Join the fields of a row, marked if that is asked for."""
        if len(parts) > 1 if self.mark_fields is None else self.mark_fields:
            parts = [f"{FLD} {place} {text}" for place, text in enumerate(parts, 1)]
        return " ".join(parts)

    def _content_of(self, path: Path) -> str:
        """Read a file."""
        try:
            return path.read_text(encoding=self.encoding)
        except UnicodeDecodeError as error:
            error.add_note(f"while reading {path} as {self.encoding}: give another encoding")
            raise
        except OSError as error:
            error.add_note(f"while reading the text {path}")
            raise

    def texts_of_frame(self, frame: Any) -> Iterator[str]:
        """Yield the texts of a pandas frame's rows, without making the rows."""
        names = self.text_cols or []
        columns = [frame.iloc[:, name] if isinstance(name, int) else frame[name] for name in names]
        for label, *values in zip(frame.index, *columns, strict=True):
            where = f" in row {label!r}"
            yield self._joined(
                [_checked(value, name, where) for value, name in zip(values, names, strict=True)]
            )

    def _field(self, row: Any, name: str | int) -> str:
        """Return a column of a row."""
        try:
            if isinstance(name, int):
                value = row.iloc[name] if hasattr(row, "iloc") else row[name]
            else:
                value = getattr(row, name) if hasattr(row, "_fields") else row[name]
        except (TypeError, LookupError, AttributeError) as error:
            names = f": it has {list(row.keys())}" if hasattr(row, "keys") else ""
            message = f"{row!r:.100} is no text, and no row with a column {name!r}{names}"
            raise type(error)(message) from error
        return _checked(value, name, f" in row {row.name!r}" if hasattr(row, "name") else "")


def _checked(value: Any, column: str | int, where: str) -> str:
    """Return a field that holds text.

    Raises:
        TypeError: It does not.
    """
    if not isinstance(value, str):
        raise TypeError(f"column {column!r} holds {value!r}{where}, not text: drop or fill it")
    return value


class _Texts:
    """Texts that are made anew at each pass."""

    def __init__(self, count: int, make: Callable[[], Iterator[str]]) -> None:
        self.count, self.make = count, make

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        return self.make()


def texts_of(items: Any, reader: TextReader | None = None) -> Iterable[str]:
    """Return the texts of items, to be read once or more; those of a frame without its rows.

    Args:
        items: What a transform is set up on: a collection with the pipeline so far as its `tfms`,
            or any iterable.
        reader: What makes texts of them, where the pipeline has not.
    """
    steps = [*getattr(getattr(items, "tfms", None), "fs", ()), *([reader] if reader else [])]
    first, frame = steps[0] if len(steps) == 1 else None, getattr(items, "items", None)
    if isinstance(first, TextReader) and first.text_cols and hasattr(frame, "iloc"):
        return _Texts(len(items), lambda: first.texts_of_frame(frame))
    if reader is None:
        return items
    return _Texts(len(items), lambda: map(reader.encodes, items))
