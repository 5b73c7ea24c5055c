"""Splits of ratings by time: what a recommender would have known when it was asked.

A random split lets a model look into the future of the ratings that it is tested on. These two are
the usual protocols of the field: Meng, McCreadie, Macdonald and Ounis, "Exploring Data Splitting
Strategies for the Evaluation of Recommendation Models", RecSys 2020.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from torte.data.splitters import by_mask, check_share
from torte.dispatch import L
from torte.tabular.frames import Frame, as_frame, categories, column

__all__ = ["LeaveLastOut", "TemporalSplitter"]


def _moments(frame: Frame, name: str) -> np.ndarray:
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
class LeaveLastOut:
    """Puts the last ratings of each user into the validation set.

    A user with no more than `n` ratings stays in the training set, where alone something can be
    learned about them. Of ratings at the same moment, the one further down the frame is later.

    Args:
        time_name: The column of times (numbers or dates); by default the order of the rows.
        n: How many ratings of each user.
        user_name: The column of users; by default the first, where
            `CollabDataLoaders.from_df(splitter=…)` puts them.
    """

    time_name: str | None = None
    n: int = 1
    user_name: str | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be at least 1, got {self.n}")

    def __call__(self, items: Any) -> tuple[L, L]:
        """Indices for training and validation, each in the order of the frame.

        Raises:
            KeyError: There is no such column.
            ValueError: A row has no time.
        """
        frame = as_frame(items)
        users, _ = categories(column(frame, self.user_name or frame.columns[0]))
        keys = [users]
        if self.time_name is not None:
            keys.insert(0, _moments(frame, self.time_name))
        order = np.lexsort(keys)  # by user, then by time, then by row
        counts = np.bincount(users + 1)[users + 1]
        _, starts = np.unique(users[order], return_index=True)
        place = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
        is_last = np.zeros(len(order), bool)
        is_last[order] = place >= counts[order] - self.n
        return by_mask(is_last & (counts > self.n))


@dataclass(frozen=True)
class TemporalSplitter:
    """Puts the latest ratings of all into the validation set.

    Ratings at the very moment of the cut all stay in the training set, so that no moment is on both
    sides; the share may come out a little smaller for it.

    Args:
        time_name: The column of times (numbers or dates).
        valid_pct: Share of the ratings to validate on.
    """

    time_name: str
    valid_pct: float = 0.2

    def __post_init__(self) -> None:
        check_share("valid_pct", self.valid_pct)

    def __call__(self, items: Any) -> tuple[L, L]:
        """Indices for training and validation, each in the order of the frame.

        Raises:
            KeyError: There is no such column.
            ValueError: A row has no time, or no moment divides the ratings.
        """
        moments = _moments(as_frame(items), self.time_name)
        size = int(self.valid_pct * len(moments))
        if size in (0, len(moments)):
            return by_mask(np.full(len(moments), size > 0))
        later = moments > np.sort(moments)[-size - 1]
        if not later.any():
            raise ValueError(
                f"the last {size + 1} ratings by {self.time_name!r} are all of one moment: there "
                "is no later one to validate on; use a larger valid_pct or finer times"
            )
        return by_mask(later)
