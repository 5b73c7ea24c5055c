"""Helpers that look at the columns of a frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from torte.tabular.frames import as_frame, check_pandas

__all__ = ["cont_cat_split", "df_shrink"]


def cont_cat_split(
    df: Any, max_card: int = 20, dep_var: str | Sequence[str] | None = None
) -> tuple[list[str], list[str]]:
    """Sort a frame's columns into continuous and categorical ones.

    Args:
        df: A frame.
        max_card: Integer columns with more distinct values than this (missing ones do not count)
            are continuous; floats always.
        dep_var: Target columns, which are left out.

    Returns:
        Names of the continuous columns, names of the categorical columns.
    """
    frame = as_frame(df)
    targets = [dep_var] if isinstance(dep_var, str) else list(dep_var or ())
    continuous, categorical = [], []
    for name in frame.columns:
        if name in targets:
            continue
        kind = frame[name].dtype
        many = kind.is_integer() and frame[name].drop_nulls().n_unique() > max_card
        (continuous if kind.is_float() or many else categorical).append(name)
    return continuous, categorical


def df_shrink(
    df: Any, skip: Sequence[str] = (), obj2cat: bool = True, int2uint: bool = False
) -> Any:
    """Return a pandas frame in the smallest types that hold the range of its values.

    Floating point columns become float32 where no value is too large for it: their precision is
    then seven digits.

    Args:
        df: A pandas frame; it is not changed.
        skip: Columns to leave as they are.
        obj2cat: Whether text becomes categorical.
        int2uint: Whether integers that are never negative become unsigned.

    Raises:
        TypeError: `df` is no pandas frame.
    """
    import pandas as pd

    check_pandas(df, "df_shrink")
    shrunk = df.copy()
    for name in df.columns:
        if name in skip:
            continue
        values = df[name]
        if pd.api.types.is_bool_dtype(values):
            continue
        if pd.api.types.is_integer_dtype(values):
            unsigned = int2uint and values.min() >= 0
            shrunk[name] = pd.to_numeric(values, downcast="unsigned" if unsigned else "integer")
        elif pd.api.types.is_float_dtype(values):
            # A number beyond float32's range would become infinite.
            finite = values[np.isfinite(values)].abs()
            fits = not len(finite) or finite.max() <= np.finfo(np.float32).max
            shrunk[name] = values.astype("float32") if fits else values
        elif obj2cat and (
            pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)
        ):
            shrunk[name] = values.astype("category")
    return shrunk
