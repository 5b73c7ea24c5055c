"""Splits of a frame's rows by time: a model is validated on what comes after all that it knew.

`GroupSplitter`, `ColSplitter` and the other splitters of `torte.data` work on frames as well.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from torte.data.splitters import by_mask, check_share
from torte.dispatch import L
from torte.tabular.frames import Frame, as_frame, column

__all__ = ["TemporalSplitter", "moments"]


def moments(frame: Frame, name: str) -> np.ndarray:
    """Return the times of the rows as an array that sorts.

    Raises:
        KeyError: There is no such column.
        ValueError: A row has no time; the message names the first.
    """
    series = column(frame, name)
    missing = series.is_null().to_numpy()
    if series.dtype.is_float():
        missing = missing | series.is_nan().fill_null(True).to_numpy()
    if missing.any():
        raise ValueError(
            f"column {name!r} has no time in {int(missing.sum())} rows, the first of them row "
            f"{int(missing.argmax())}: drop such rows, or fill their times"
        )
    return series.to_numpy()


@dataclass(frozen=True)
class TemporalSplitter:
    """Puts the latest rows into the validation set.

    Rows at the very moment of the cut all stay in the training set, so that no moment is on both
    sides; the share may come out a little smaller for it.

    Args:
        time_name: The column of times (numbers or dates).
        valid_pct: Share of the rows to validate on.
    """

    time_name: str
    valid_pct: float = 0.2

    def __post_init__(self) -> None:
        check_share("valid_pct", self.valid_pct)

    def __call__(self, items: Any) -> tuple[L, L]:
        """Indices for training and validation, each in the order of the frame.

        Raises:
            KeyError: There is no such column.
            ValueError: A row has no time, or no moment divides the rows.
        """
        times = moments(as_frame(items), self.time_name)
        size = int(self.valid_pct * len(times))
        if size in (0, len(times)):
            return by_mask(np.full(len(times), size > 0))
        later = times > np.sort(times)[-size - 1]
        if not later.any():
            raise ValueError(
                f"the last {size + 1} rows by {self.time_name!r} are all of one moment: there is "
                "no later one to validate on; use a larger valid_pct or finer times"
            )
        return by_mask(later)
