"""Columns of categories as codes and values: each value is looked at once, not each row."""

from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np

from torte.tabular.frames import categories

__all__ = ["Coded", "coded", "coded_truth", "sorted_values"]

_SAMPLE = 2048


class Coded(NamedTuple):
    """A column of categories.

    Attributes:
        codes: Where each row's value is among `values`, signed integers; -1 for a missing one.
        values: Plain Python objects, each once and in the order that a vocabulary shall have.
    """

    codes: np.ndarray
    values: list[Any]

    def used(self) -> list[Any]:
        """Return the values that rows have."""
        return list(self.counted())

    def counted(self) -> dict[Any, int]:
        """Return the values that rows have, and how many rows have each."""
        counts = np.bincount(self.codes + 1, minlength=len(self.values) + 1)[1:].tolist()
        return {value: count for value, count in zip(self.values, counts, strict=True) if count}

    def mapped(self, table: "np.ndarray") -> np.ndarray:
        """Return what `table` has for each row's code, its last entry for missing values."""
        # A code of -1 wraps to the last entry; without a check of bounds it takes half the time.
        return table.take(self.codes, mode="wrap")


def sorted_values(values: Any) -> list[Any]:
    """Sort values; those of types that have no common order go by type first."""
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=lambda value: (type(value).__name__, str(value)))


def coded(series: nw.Series[Any]) -> Coded:
    """Return a column as codes and values, sorted unless the column has an order of its own."""
    if series.dtype == nw.String and (texts := _coded_texts(series)) is not None:
        return _in_order(*texts)
    codes, values = categories(series)
    if series.dtype in (nw.Enum, nw.Categorical):
        return Coded(codes, values)
    return _in_order(codes, values)


def coded_truth(values: np.ndarray) -> Coded:
    """Return an array of truth values as codes and values."""
    return Coded(values.view(np.int8), [False, True])


def _in_order(codes: np.ndarray, values: list[Any]) -> Coded:
    """Sort values, and give codes in the smallest type that holds them."""
    in_order = sorted_values(values)
    place = {value: code for code, value in enumerate(in_order)}
    kind = np.min_scalar_type(-len(values) - 1)
    table = np.array([*(place[value] for value in values), -1], dtype=kind)
    return Coded(Coded(codes, values).mapped(table), in_order)


def _coded_texts(series: nw.Series[Any]) -> tuple[np.ndarray, list[str]] | None:
    """Return codes and values of texts that Arrow or polars hold; None for others."""
    kind, native = series.implementation, series.to_native()
    if kind.is_polars():
        return _polars_codes(native)
    if kind.is_pandas() and _is_in_arrow(native.dtype):
        return _arrow_codes(native.array.__arrow_array__())
    return _arrow_codes(native) if kind.is_pyarrow() else None


def _is_in_arrow(kind: Any) -> bool:
    """Whether pandas keeps a type of texts in Arrow's memory."""
    import pandas as pd

    return isinstance(kind, pd.ArrowDtype) or getattr(kind, "storage", "") == "pyarrow"


def _arrow_codes(texts: Any) -> tuple[np.ndarray, list[str]]:
    """Look texts up among those of the first rows, which is fastest, and hash the few others."""
    compute = _kernels()

    known = texts.slice(0, _SAMPLE).unique().drop_null()
    if 4 * len(known) > min(len(texts), _SAMPLE):
        return _hashed(texts)
    found = compute.index_in(texts, known)
    codes, values = found.fill_null(-1).to_numpy(), known.to_pylist()
    if found.null_count > texts.null_count:
        others = compute.and_(found.is_null(), texts.is_valid())
        rest, new = _hashed(texts.filter(others))
        codes = np.array(codes)
        codes[others.to_numpy()] = rest + len(values)
        values += new
    return codes, values


def _kernels() -> Any:
    """Return Arrow's functions, which are made when it is imported: checkers do not see them."""
    from pyarrow import compute

    return compute


def _hashed(texts: Any) -> tuple[np.ndarray, list[str]]:
    """Return codes and values of Arrow's texts by its own hash table."""
    found = texts.dictionary_encode().combine_chunks()
    return found.indices.fill_null(-1).to_numpy(), found.dictionary.to_pylist()


def _polars_codes(texts: Any) -> tuple[np.ndarray, list[str]] | None:
    """Return codes and values of polars' texts, where it has vocabularies for one column alone."""
    import polars as pl

    if not hasattr(pl, "Categories"):
        return None
    held = texts.cast(pl.Categorical(pl.Categories.random()))
    codes = held.to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
    # Its codes are 0, 1, 2, … as the values come up, so the value of each is in one of its rows.
    some_row = np.zeros(int(codes.max(initial=-1)) + 2, dtype=np.int64)
    some_row[codes] = np.arange(len(codes))
    return codes, texts.gather(some_row[:-1]).to_list()
