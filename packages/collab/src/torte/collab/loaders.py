"""Loaders of ratings: a table whose categorical columns are the user and the item."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torte.data.blocks import RegressionBlock
from torte.data.data_loaders import DataLoaders
from torte.data.splitters import RandomSplitter
from torte.dispatch import serializable
from torte.tabular.frames import as_frame
from torte.tabular.loader import TabularDataLoaders
from torte.tabular.procs import Categorify
from torte.tabular.table import Tabular

__all__ = ["CollabDataLoaders", "TabularCollab"]


class TabularCollab(Tabular):
    """A table of ratings; its first two categorical columns are the user and the item.

    Batches are (codes, ratings): int64 of (rows, 2), float32 of (rows, 1).
    """

    with_cont = False

    @property
    def user_name(self) -> str:
        """The column of users."""
        return self.cat_names[0]

    @property
    def item_name(self) -> str:
        """The column of items."""
        return self.cat_names[1]


serializable("torte.collab.TabularCollab", from_config=TabularCollab.of_schema)(TabularCollab)


def _column(names: Sequence[str], given: str | int | None, place: int, what: str) -> str:
    """Return a column given by name or position, or the one that is at its usual place.

    Raises:
        KeyError: There is none.
    """
    chosen = place if given is None else given
    if isinstance(chosen, int) and chosen not in names:
        if not -len(names) <= chosen < len(names):
            raise KeyError(f"no column number {chosen} for the {what}: there are {list(names)}")
        return names[chosen]
    if chosen not in names:
        raise KeyError(f"no column {chosen!r} for the {what}: there are {list(names)}")
    return str(chosen)


class CollabDataLoaders(TabularDataLoaders):
    """Loaders of ratings, made in one call from a frame or a file."""

    @classmethod
    def from_df(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        ratings: Any,
        valid_pct: float = 0.2,
        user_name: str | int | None = None,
        item_name: str | int | None = None,
        rating_name: str | int | None = None,
        seed: int | None = None,
        path: str | Path = ".",
        **kwargs: Any,
    ) -> DataLoaders:
        """Make loaders from a frame of ratings.

        Args:
            ratings: The frame, a rating a row.
            valid_pct: Share of the rows to validate on, chosen at random.
            user_name: The column of users, by name or position; by default the first.
            item_name: The column of items; by default the second.
            rating_name: The column of ratings; by default the third.
            seed: For the choice of the rows.
            path: Where models and results are kept.
            **kwargs: For `Tabular.dataloaders`: `bs`, `val_bs`, `device`, …

        Raises:
            KeyError: A column is not there.
            ValueError: A rating is missing or is no number, or an id is missing.
        """
        frame = as_frame(ratings)
        names = frame.columns
        user = _column(names, user_name, 0, "users")
        item = _column(names, item_name, 1, "items")
        rating = _column(names, rating_name, 2, "ratings")
        _check_complete(frame, (user, item, rating))
        table = TabularCollab(
            ratings,
            [Categorify],
            cat_names=[user, item],
            y_names=[rating],
            y_block=RegressionBlock(),
            splits=RandomSplitter(valid_pct=valid_pct, seed=seed)(range(len(frame))),
        )
        return table.dataloaders(path=path, **kwargs)

    @classmethod
    def from_csv(cls, csv: str | Path, **kwargs: Any) -> DataLoaders:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make loaders from a CSV file of ratings; see `from_df`."""
        import pandas as pd

        return cls.from_df(pd.read_csv(csv), **kwargs)


def _check_complete(frame: Any, names: Sequence[str]) -> None:
    """Find rows that lack a user, an item or a rating.

    Raises:
        ValueError: There are some; the message names the column and the first row.
    """
    for name in names:
        missing = frame[name].is_null().to_numpy()
        if missing.any():
            raise ValueError(
                f"column {name!r} has no value in {int(missing.sum())} rows, the first of them row "
                f"{int(missing.argmax())}: drop such rows"
            )
