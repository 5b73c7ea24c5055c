"""The rows of a table in the order of its splits, so that each split is a range of rows."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from torte.tabular.column_store import Places

__all__ = ["Splits", "row_order"]

Splits = Sequence[Sequence[int] | np.ndarray]


def row_order(splits: Splits | None, n_rows: int) -> tuple[Places, list[range]]:
    """Return the numbers of the rows of all splits, and where each split is among them.

    Args:
        splits: Row numbers of each split; by default all rows are in one.
        n_rows: How many rows the frame has.

    Raises:
        ValueError: A split names a row that the frame has not.
    """
    if splits is None:
        return range(n_rows), [range(n_rows)]
    parts = [np.asarray(part, dtype=np.int64) for part in splits]
    order = np.concatenate(parts) if parts else np.empty(0, np.int64)
    if len(order) and (order.min() < 0 or order.max() >= n_rows):
        strange = int(order[(order < 0) | (order >= n_rows)][0])
        raise ValueError(
            f"splits name row {strange}, but the frame has rows 0 to {n_rows - 1}: count from the "
            "front"
        )
    ends = np.cumsum([0, *map(len, parts)]).tolist()
    return order, [range(start, end) for start, end in pairwise(ends)]
