"""What no table can be prepared with: numbers beyond float32."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from torte.tabular.column_store import ColumnStore

__all__ = ["beyond_float32", "check_numbers", "too_large"]

_LARGEST = float(np.finfo(np.float32).max)


def beyond_float32(values: np.ndarray) -> np.ndarray:
    """Return where numbers are infinite, or would be as float32; missing ones are not."""
    return np.abs(values) > _LARGEST


def check_numbers(names: Iterable[str], prepared: ColumnStore, given: ColumnStore) -> None:
    """Find numbers that a batch of float32 cannot hold.

    Args:
        names: The continuous columns.
        prepared: The columns as the procs left them.
        given: The columns as they were before, whose values the message shows.

    Raises:
        ValueError: There is one; the message names column, value and row.
    """
    for name in names:
        values = prepared.numbers(name)
        wrong = beyond_float32(values)
        raw = given.numbers(name) if name in given.names else values
        if not wrong.any():
            # The difference of two infinities is no number, which looks like a missing one.
            lost = np.isnan(values)
            if not lost.any():
                continue
            wrong = lost & np.isinf(raw)
        if wrong.any():
            raise too_large(name, raw, wrong, given)


def too_large(
    name: str, values: np.ndarray, wrong: np.ndarray, store: ColumnStore | None = None
) -> ValueError:
    """Return the error of a column of numbers beyond float32."""
    row = int(wrong.argmax())
    where: Any = "" if store is None else f" in row {store.label(row)!r}"
    return ValueError(
        f"column {name!r} holds {float(values[row])!r}{where}, beyond what float32 holds once "
        "it is prepared: mend the value, make it a missing one, or drop the row"
    )
