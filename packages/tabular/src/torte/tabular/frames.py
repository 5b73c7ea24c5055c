"""Columns of any frame: pandas, polars, PyArrow and cuDF go through narwhals, by one code path.

What the layer needs of a frame is little: a column as categories (a code a row and the values that
the codes stand for) or as numbers (NaN where a value is missing), and a frame with some columns
replaced.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

__all__ = [
    "Frame",
    "as_frame",
    "as_pandas",
    "as_series",
    "categories",
    "check_pandas",
    "column",
    "frame_of",
    "is_missing",
    "no_column",
    "numbers",
    "rows",
    "selected",
    "with_columns",
]

Frame = nw.DataFrame[Any]


def as_frame(data: Any) -> Frame:
    """Return any eager frame as a narwhals frame, without copying it.

    Raises:
        TypeError: `data` is no frame that narwhals knows.
    """
    try:
        return nw.from_native(data, eager_only=True)
    except TypeError as error:
        kind = f"{type(data).__module__}.{type(data).__qualname__}"
        raise TypeError(
            f"expected a frame of pandas, polars, PyArrow or cuDF, got {kind}"
        ) from error


def as_pandas(frame: Frame) -> Any:
    """Return a small frame as pandas, which knows how to show itself in a notebook."""
    import pandas as pd

    native = frame.to_native()
    is_pandas = isinstance(native, pd.DataFrame)
    return native if is_pandas else pd.DataFrame(frame.to_dict(as_series=False))


def check_pandas(data: Any, function: str) -> None:
    """Refuse what is no pandas frame.

    Raises:
        TypeError: The message names the function and the way there.
    """
    import pandas as pd

    if not isinstance(data, pd.DataFrame):
        kind = f"{type(data).__module__.split('.')[0]}.{type(data).__name__}"
        raise TypeError(f"{function} takes a pandas frame, not a {kind}: give it df.to_pandas()")


def column(frame: Frame, name: str) -> nw.Series[Any]:
    """Return one column.

    Raises:
        KeyError: There is none of this name; the message gives the nearest names.
    """
    if name not in frame.columns:
        raise no_column(name, frame.columns)
    return frame[name]


def no_column(name: str, names: Sequence[str]) -> KeyError:
    """Return the error that there is no such column, which gives the nearest names."""
    near = difflib.get_close_matches(str(name), [str(other) for other in names])
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"has {list(names)}"
    return KeyError(f"the frame has no column {name!r}: {hint}")


def categories(series: nw.Series[Any]) -> tuple[np.ndarray, list[Any]]:
    """Split a column into codes and the values that they stand for.

    Returns:
        int64 codes, one a row, -1 where the value is missing (null or NaN), and the values as plain
        Python objects, each once. An ordered categorical column keeps its order of values; any
        other order means nothing.
    """
    if series.implementation.is_pandas():
        # pandas' own hash table is three times as fast as replacing values through narwhals.
        import pandas as pd

        native = series.to_native()
        if isinstance(native.dtype, pd.CategoricalDtype):
            codes = native.cat.codes.to_numpy().astype(np.int64)
            return _without_unused(codes, _plain(native.cat.categories.tolist()))
        found, uniques = pd.factorize(native)
        return found.astype(np.int64, copy=False), _plain(uniques.tolist())
    if series.implementation.is_polars() and isinstance(series.dtype, nw.Enum):
        codes = series.to_native().to_physical().cast(int).fill_null(-1).to_numpy()
        return _without_unused(codes, list(series.dtype.categories))
    if series.dtype.is_float():
        series = series.fill_nan(None)
    ordered = list(series.dtype.categories) if isinstance(series.dtype, nw.Enum) else None
    if series.dtype in (nw.Categorical, nw.Enum):
        series = series.cast(nw.String)
    values = series.unique().drop_nulls().to_list()
    if ordered is not None:
        values.sort(key=ordered.index)
    places = list(range(len(values)))
    codes = series.replace_strict(values, places, default=-1, return_dtype=nw.Int64)
    return codes.fill_null(-1).to_numpy(), values


def _without_unused(codes: np.ndarray, values: list[Any]) -> tuple[np.ndarray, list[Any]]:
    """Leave out values that no row has."""
    used = np.bincount(codes + 1, minlength=len(values) + 1)[1:] > 0
    if used.all():
        return codes, values
    renumbered = np.append(np.cumsum(used) - 1, -1)
    return renumbered[codes], [value for value, kept in zip(values, used, strict=True) if kept]


def _plain(values: Iterable[Any]) -> list[Any]:
    """Return values without NumPy's scalar types, which JSON does not know."""
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def numbers(series: nw.Series[Any]) -> np.ndarray:
    """Return a column as float64 with NaN where a value is missing.

    Booleans count as 0 and 1; text is read as numbers.

    Raises:
        TypeError: The column holds dates or nested values.
        ValueError: A text is no number; the message names the column and the value.
    """
    kind = series.dtype
    if kind.is_temporal() or kind.is_nested():
        raise TypeError(
            f"column {series.name!r} holds {kind}, not numbers: "
            "use add_datepart for dates, or leave it out of cont_names"
        )
    if kind.is_numeric() or kind == nw.Boolean:
        return np.asarray(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
    return np.array([_number(series.name, value) for value in series.to_list()], dtype=np.float64)


def _number(name: str, value: Any) -> float:
    """Read one value of a column that is not numeric."""
    if value is None or is_missing(value):
        return np.nan
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"column {name!r} is among the continuous ones, but {value!r} is no number: "
            "mend the value, or put the column among cat_names"
        ) from error


def is_missing(value: Any) -> bool:
    """Whether a Python object stands for a missing value in pandas (`pd.NA`, `pd.NaT`)."""
    return type(value).__name__ in ("NAType", "NaTType")


def with_columns(frame: Frame, columns: Mapping[str, np.ndarray | Sequence[Any]]) -> Frame:
    """Return the frame with these columns replaced or added, all others shared."""
    if not columns:
        return frame
    made = [as_series(name, values, frame.implementation) for name, values in columns.items()]
    if frame.implementation.is_pandas_like():
        # pandas aligns by index; the new columns are in the order of the rows.
        index = frame.to_native().index
        made = [
            nw.from_native(series.to_native().set_axis(index), series_only=True) for series in made
        ]
    return frame.with_columns(*made)


def as_series(name: str, values: np.ndarray | Sequence[Any], backend: Any) -> nw.Series[Any]:
    """Return values as a column of a library."""
    return nw.new_series(name, values, backend=backend)


def frame_of(columns: Mapping[str, np.ndarray | Sequence[Any]], backend: Any) -> Frame:
    """Return columns as a frame of a library."""
    return nw.from_dict(columns, backend=backend)


def selected(frame: Frame, names: Iterable[str]) -> Frame:
    """Return some columns; in pandas all rows of them, also where there are no columns."""
    if frame.implementation.is_pandas_like():
        return as_frame(frame.to_native()[list(names)])
    return frame.select(list(names))


def rows(frame: Frame, places: "np.ndarray | range") -> Frame:
    """Return rows by position, in the order asked; the frame itself if that is all of it."""
    if not isinstance(places, range):
        return frame[places]
    return frame if len(places) == len(frame) else frame[places.start : places.stop]
