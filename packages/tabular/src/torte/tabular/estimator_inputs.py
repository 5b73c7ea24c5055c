"""What scikit-learn's users pass, frames and arrays alike, as frames with checked columns."""

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from torte.tabular.frames import Frame, as_frame, numbers, rows

__all__ = ["as_features", "as_training_rows", "categorical_names", "free_names"]


def as_features(estimator: Any, X: Any, reset: bool) -> Frame:  # noqa: N803 - scikit-learn's name
    """Return the columns of `X` as a frame whose names are text.

    Columns without names of their own are called x0, x1, …, by position.

    Args:
        estimator: Gets `n_features_in_` and `feature_names_in_`, or is compared with them.
        X: A frame of pandas, polars or PyArrow, or an array of (rows, columns).
        reset: Whether the columns are those to learn from.

    Raises:
        ValueError: There are no rows or no columns, or they are not those of training.
        TypeError: `X` is sparse, or no table at all.
    """
    from sklearn.utils.validation import validate_data

    if not nw.dependencies.is_into_dataframe(X):
        import pandas as pd

        checks: Any = {"dtype": None, "ensure_all_finite": "allow-nan"}
        array = validate_data(estimator, X, reset=reset, **checks)
        frame = as_frame(pd.DataFrame(array).infer_objects())
    else:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        frame = as_frame(X)
        for place, what in enumerate(("sample", "feature")):
            if not frame.shape[place]:
                raise ValueError(
                    f"Found array with 0 {what}(s) (shape={frame.shape}) while a minimum of 1 is "
                    f"required by {type(estimator).__name__}."
                )
    names = getattr(estimator, "feature_names_in_", [f"x{n}" for n in range(frame.shape[1])])
    frame = _renamed(frame, list(names))
    for name in frame.columns:
        _check_finite(frame[name])
    return frame


def _renamed(frame: Frame, names: Sequence[str]) -> Frame:
    """Return the frame with these names, whatever its own are."""
    if list(frame.columns) == names:
        return frame
    if frame.implementation.is_pandas():  # names may be numbers there
        return as_frame(frame.to_native().set_axis(names, axis=1))
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _check_finite(series: nw.Series[Any]) -> None:
    """Refuse infinite numbers; what is missing is fine.

    Raises:
        ValueError: There is one; the message names the column.
    """
    if series.dtype.is_float() and np.isinf(numbers(series)).any():
        raise ValueError(f"column {series.name!r} of the input contains infinity")


def categorical_names(frame: Frame, given: Sequence[str | int] | None) -> list[str]:
    """Return the names of the categorical columns.

    Args:
        frame: The columns.
        given: Names or positions; by default those of text, categories and truth values are
            categorical.

    Raises:
        ValueError: There is no such column.
        TypeError: A column holds dates or nested values, or values that are no category.
    """
    if given is None:
        chosen = {name for name in frame.columns if _is_categorical(frame[name])}
    else:
        names = list(frame.columns)
        chosen = {names[each] if isinstance(each, int | np.integer) else each for each in given}
        if strangers := sorted(chosen - set(names)):
            raise ValueError(f"cat_names {strangers} are no columns: there are {names}")
    for name in chosen:
        _check_hashable(frame[name])
    return [name for name in frame.columns if name in chosen]


def _is_categorical(series: nw.Series[Any]) -> bool:
    kind = series.dtype
    if kind.is_numeric():
        return False
    if kind.is_temporal() or kind.is_nested():
        raise TypeError(
            f"column {series.name!r} holds {kind}: make numbers or categories of it first, such as "
            "by add_datepart, or name it among cat_names"
        )
    if kind == nw.Object and series.implementation.is_pandas():
        return not nw.from_native(
            series.to_native().infer_objects(), series_only=True
        ).dtype.is_numeric()
    return True


def _check_hashable(series: nw.Series[Any]) -> None:
    if series.dtype not in (nw.Object, nw.Unknown):
        return
    for row, value in enumerate(series.to_list()):
        try:
            hash(value)
        except TypeError as error:
            raise TypeError(
                f"column {series.name!r} holds {value!r} in row {row}: the argument must be a "
                "string or a number"
            ) from error


def as_training_rows(
    estimator: Any,
    X: Any,  # noqa: N803
    y: Any,
    sample_weight: Any,
    y_numeric: bool,
) -> tuple[Frame, np.ndarray, np.ndarray | None]:
    """Return columns, targets and weights of the rows to train on; weights have the mean 1.

    Rows of weight 0 are left out.

    Raises:
        ValueError: There are no targets, they have another length, or are missing or infinite.
    """
    from sklearn.utils.validation import (
        _check_sample_weight,
        check_array,
        check_consistent_length,
        column_or_1d,
    )

    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y "
            "is None."
        )
    frame = as_features(estimator, X, reset=True)
    as_they_are: Any = {"dtype": None, "ensure_2d": False}
    y = check_array(y, input_name="y", **as_they_are)
    if y.ndim == 1 or y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if y_numeric and y.dtype.kind not in "biuf":
        y = y.astype(np.float64)
    positions = np.arange(len(frame))
    check_consistent_length(positions, y)
    if sample_weight is None:
        return frame, y, None
    weights = _check_sample_weight(
        sample_weight, positions, dtype=np.float64, ensure_non_negative=True
    )
    kept = np.flatnonzero(weights)
    return rows(frame, kept), y[kept], weights[kept] / weights[kept].mean()


def free_names(frame: Frame, wanted: Sequence[str]) -> list[str]:
    """Return names for new columns: those wanted, with underscores behind them where taken."""
    taken = set(frame.columns)
    found = []
    for name in wanted:
        while name in taken:
            name += "_"  # noqa: PLW2901
        found.append(name)
    return found
