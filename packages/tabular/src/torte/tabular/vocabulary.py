"""The values of a categorical column, matched by value, with places for missing and unknown."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, overload

import narwhals.stable.v2 as nw
import numpy as np

from torte.tabular.coding import Coded, coded, sorted_values

__all__ = ["MISSING", "UNKNOWN", "ColumnVocabulary", "sorted_values"]

MISSING, UNKNOWN = "#na#", "#unknown#"


class ColumnVocabulary(Sequence[Any]):
    """The codes of one categorical column.

    Code 0 stands for a missing value, 1 to n for the n values of training, n + 1 for any other.
    As a sequence it is the name of each code: `["#na#", *values, "#unknown#"]`.

    New data is matched **by value**, whatever its type: a column of integers that comes back as
    floats because a value is missing, as text from a CSV file, as a nullable or Arrow type, or as a
    pandas categorical with codes of its own gets the same codes.

    Args:
        values: The values in the order of their codes.
    """

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = list(values)
        # Equal numbers have equal hashes in Python: 1, 1.0, True and numpy's 1 find the same code.
        self._codes: dict[Any, int] = {value: code for code, value in enumerate(self.values, 1)}
        self._texts: dict[str, int] = {}
        for value, code in self._codes.items():
            for text in _texts(value):
                self._texts.setdefault(text, code)

    @classmethod
    def fitted(cls, column: nw.Series[Any] | Coded) -> "ColumnVocabulary":
        """Return the vocabulary of a column: its values, sorted unless it is ordered itself."""
        return cls((column if isinstance(column, Coded) else coded(column)).used())

    @property
    def o2i(self) -> dict[Any, int]:
        """The code of each name: of the values, and of what stands for missing and unknown ones."""
        return {MISSING: 0, **self._codes, UNKNOWN: self.unknown}

    @property
    def unknown(self) -> int:
        """The code of values that were not seen in training."""
        return len(self.values) + 1

    def code(self, value: Any) -> int:
        """Return the code of one value that is not missing."""
        try:
            known = self._codes.get(value)
        except TypeError:  # unhashable: nothing that a vocabulary holds
            return self.unknown
        if known is None:
            known = self._texts.get(_texts(value)[0])
        return self.unknown if known is None else known

    def encode(self, column: nw.Series[Any] | Coded) -> np.ndarray:
        """Return the codes of a column: int64, one a row. Python works once a value, not a row."""
        found = column if isinstance(column, Coded) else coded(column)
        return found.mapped(np.array([*map(self.code, found.values), 0], dtype=np.int64))

    def decode(self, codes: np.ndarray) -> list[Any]:
        """Return the values of codes, None where missing and `#unknown#` where unknown."""
        table = [None, *self.values, UNKNOWN]
        return [table[code] for code in np.asarray(codes).tolist()]

    def to_json(self) -> list[Any]:
        """Return the values so that JSON keeps their types."""
        return [
            {"date": value.isoformat()} if isinstance(value, date) else value
            for value in self.values
        ]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> "ColumnVocabulary":
        """Return the vocabulary that `to_json` described."""
        return cls([_from_iso(value["date"]) if isinstance(value, Mapping) else value
                    for value in values])  # fmt: skip

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return [MISSING, *self.values, UNKNOWN][index]

    def __len__(self) -> int:
        return len(self.values) + 2

    def __iter__(self) -> Iterator[Any]:
        yield MISSING
        yield from self.values
        yield UNKNOWN

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.values))

    def __repr__(self) -> str:
        return repr(list(self))


def _texts(value: Any) -> list[str]:
    """Return the texts by which a value is known when its type has changed on the way."""
    if isinstance(value, float) and value.is_integer():
        return [str(int(value))]
    if isinstance(value, datetime):
        is_midnight = value.time() == time()
        moment = value.isoformat(sep=" ")
        return [moment, value.date().isoformat()] if is_midnight else [moment]
    return [str(value)]


def _from_iso(text: str) -> date:
    """Read a date or a moment."""
    return datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)
