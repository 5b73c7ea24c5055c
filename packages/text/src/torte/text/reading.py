"""From what items are to text: files, and rows of a frame with one or several columns of text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torte.dispatch import Transform, serializable
from torte.text.rules import FLD

__all__ = ["TextReader"]


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
            UnicodeDecodeError: A file is not in the encoding; a note names the file.
        """
        if isinstance(o, str):
            return o
        if isinstance(o, Path):
            return self._content_of(o)
        if self.text_cols is None:
            raise TypeError(f"{o!r} is no text and no path: give text_cols for rows of a frame")
        parts = [self._field(o, name) for name in self.text_cols]
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

    def _field(self, row: Any, name: str | int) -> str:
        """Return a column of a row."""
        if isinstance(name, int):
            value = row.iloc[name] if hasattr(row, "iloc") else row[name]
        else:
            value = getattr(row, name) if hasattr(row, "_fields") else row[name]
        if not isinstance(value, str):
            where = f" in row {row.name!r}" if hasattr(row, "name") else ""
            raise TypeError(f"column {name!r} holds {value!r}{where}, not text: drop or fill it")
        return value
