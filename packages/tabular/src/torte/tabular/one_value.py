"""Columns of a single plain value, read as a frame would have them read, without making one.

A server asks for one row at a time, and a column of a frame costs more than the model does.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from torte.tabular.coding import Coded

__all__ = ["coded_value", "number_value"]

_PLAIN = frozenset({bool, int, float, str, type(None)})


def _is_plain(values: Any) -> bool:
    """Whether there is one value, of a type whose reading does not depend on a library."""
    return type(values) is list and len(values) == 1 and type(_bare(values[0])) in _PLAIN


def _bare(value: Any) -> Any:
    """Return a value without NumPy's scalar type."""
    is_scalar = isinstance(value, np.generic) and value.dtype.kind in "biufU"
    return value.item() if is_scalar else value


def coded_value(values: Sequence[Any] | np.ndarray | None) -> Coded | None:
    """Return a column of one plain value as codes and values; None for any other column."""
    if values is None or not _is_plain(values):
        return None
    value = _bare(values[0])
    if value is None or value != value:
        return Coded(np.array([-1]), [])
    return Coded(np.array([0]), [value])


def number_value(values: Sequence[Any] | np.ndarray | None) -> np.ndarray | None:
    """Return a column of one plain value as float64; None for any other column and for text."""
    if values is None or not _is_plain(values):
        return None
    value = _bare(values[0])
    if isinstance(value, str):
        return None
    return np.array([np.nan if value is None else float(value)])
