"""Splits of ratings by time: what a recommender would have known when it was asked.

A random split lets a model look into the future of the ratings that it is tested on. These two are
the usual protocols of the field: Meng, McCreadie, Macdonald and Ounis, "Exploring Data Splitting
Strategies for the Evaluation of Recommendation Models", RecSys 2020.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from torte.data.splitters import by_mask
from torte.dispatch import L
from torte.tabular.frames import as_frame, categories, column
from torte.tabular.splitters import TemporalSplitter, moments

__all__ = ["LeaveLastOut", "TemporalSplitter"]


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
            keys.insert(0, moments(frame, self.time_name))
        order = np.lexsort(keys)  # by user, then by time, then by row
        counts = np.bincount(users + 1)[users + 1]
        _, starts = np.unique(users[order], return_index=True)
        place = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
        is_last = np.zeros(len(order), bool)
        is_last[order] = place >= counts[order] - self.n
        return by_mask(is_last & (counts > self.n))
