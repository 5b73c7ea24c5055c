"""Loaders of ratings: a table whose categorical columns are the user and the item."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw

from torte.collab.interactions import InteractionDataLoader, refresh_negatives
from torte.collab.negatives import NegativeSampling
from torte.collab.table import TabularCollab, check_ratings, no_value
from torte.data.blocks import RegressionBlock
from torte.data.numeric import Normalize
from torte.data.splitters import RandomSplitter
from torte.dispatch import L
from torte.tabular.columns import cont_cat_split
from torte.tabular.frames import Frame, as_frame, column
from torte.tabular.loader import TabularDataLoaders
from torte.tabular.procs import Categorify, FillMissing

__all__ = ["CollabDataLoaders"]

Names = str | Sequence[str]


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
        user_cols: Names = (),
        item_cols: Names = (),
        cat_names: Names = (),
        cont_names: Names = (),
        splitter: Callable[[Any], Any] | None = None,
        implicit: bool = False,
        n_negatives: int = 1,
        popularity: float = 0.0,
        **kwargs: Any,
    ) -> "CollabDataLoaders":
        """Make loaders from a frame of ratings.

        Every row is an observation: a user who rated an item twice counts twice. Users and items
        that only validation rows have are unknown to the model.

        Args:
            ratings: The frame, a rating a row.
            valid_pct: Share of the rows to validate on, chosen at random.
            user_name: The column of users, by name or position; by default the first.
            item_name: The column of items; by default the second.
            rating_name: The column of ratings; by default the third.
            seed: For the choice of the rows.
            path: Where models and results are kept.
            user_cols: Side columns of the user (age, country, …), the same in all of a user's rows.
                Columns of floats and of integers with more than 20 values are continuous, unless
                `cat_names` or `cont_names` say otherwise.
            item_cols: Side columns of the item (genre, price, …), likewise.
            cat_names: Categorical side columns; those in neither `user_cols` nor `item_cols` belong
                to the event (the device, the hour, …).
            cont_names: Continuous side columns, likewise. Missing numbers become the median.
            splitter: Called with the frame, its first columns the user, the item and the rating;
                returns the rows to train and to validate on: `LeaveLastOut`, `TemporalSplitter`, ….
                By default a random part validates.
            implicit: Whether a row says no more than that the user met the item (bought, read,
                watched it): no ratings are read, and every pair of a batch has negatives beside
                it, for `BPRLoss` (the default) or `SampledSoftmaxLoss`; see `NegativeSampling`.
            n_negatives: For `implicit`: how many negatives for each pair.
            popularity: For `implicit`: draw negatives in proportion to this power of how often
                items come in the training rows; by default all items alike.
            **kwargs: For `Tabular.dataloaders`: `bs`, `val_bs`, `device`, …

        Raises:
            KeyError: A column is not there.
            ValueError: There are no rows, a rating is missing or no finite number, an id is
                missing, a column has two roles, no rows are left to train on, `rating_name` was
                given with `implicit`, or `n_negatives` or `popularity` without.
            TypeError: An id is nothing that can be looked up (a list, say).
        """
        frame = as_frame(ratings)
        names = frame.columns
        user = _column(names, user_name, 0, "users")
        item = _column(names, item_name, 1, "items")
        if user == item:
            raise ValueError(f"users and items are both in column {user!r}: name another for one")
        if not implicit and (n_negatives != 1 or popularity != 0):
            raise ValueError("n_negatives and popularity are for implicit=True")
        _check_complete(frame, (user, item))
        targets = [] if implicit else [_column(names, rating_name, 2, "ratings")]
        if implicit and rating_name is not None:
            raise ValueError(
                f"implicit=True reads no ratings, so rating_name={rating_name!r} has no meaning: "
                "leave it out, and drop rows that say that a user did not like an item"
            )
        for name in targets:
            check_ratings(frame, name)
        sides = _side_columns(frame, L(user_cols), L(item_cols), L(cat_names), L(cont_names))
        roles = [user, item, *targets]
        others = [name for name in names if name not in roles]
        chosen = splitter or RandomSplitter(valid_pct=valid_pct, seed=seed)
        procs = (
            [Categorify] if not sides[1] else [FillMissing(add_col=False), Categorify, Normalize]
        )
        splits = chosen(frame.select([*roles, *others]).to_native())
        if not len(splits[0]):
            raise ValueError(
                f"none of the {len(frame)} rows are left to train on: validate on fewer"
            )
        _check_hashable(frame, (user, item))
        table = TabularCollab(
            ratings,
            procs,
            [user, item, *sides[0]],
            sides[1],
            targets or None,
            None if implicit else RegressionBlock(),
            splits=splits,
            user_cols=L(user_cols),
            item_cols=L(item_cols),
        )
        kind = {"dl_type": InteractionDataLoader} if implicit else {}
        made = table.dataloaders(path=path, **{**kind, **kwargs})
        dls = cls(*made.loaders, path=path, device=made.device)
        if not implicit:
            return dls
        for dl in dls:
            dl.draw_negatives(NegativeSampling(n_negatives, popularity))
        refresh_negatives(dls)
        return dls

    @classmethod
    def from_csv(cls, csv: str | Path, **kwargs: Any) -> "CollabDataLoaders":  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make loaders from a CSV file of ratings; see `from_df`."""
        import pandas as pd

        return cls.from_df(pd.read_csv(csv), **kwargs)


def _check_complete(frame: Frame, names: Sequence[str]) -> None:
    """Find rows that lack a user or an item.

    Raises:
        ValueError: There are some, or no rows at all; the message names the column and the row.
    """
    if not len(frame):
        raise ValueError("there are no ratings: the frame has no rows")
    for name in names:
        series = frame[name]
        missing = series.is_null().to_numpy()
        if series.dtype.is_float():
            missing = missing | series.is_nan().fill_null(True).to_numpy()
        if missing.any():
            raise no_value(name, missing)


def _check_hashable(frame: Frame, names: Sequence[str]) -> None:
    """Find ids that no vocabulary can hold.

    Raises:
        TypeError: There are some; the message names the column and the first row.
    """
    for name in names:
        if frame[name].dtype not in (nw.Object, nw.Unknown):
            continue
        for row, value in enumerate(frame[name].to_list()):
            try:
                hash(value)
            except TypeError as error:
                raise TypeError(
                    f"column {name!r} holds {value!r} in row {row}, which cannot be looked up: "
                    "make the ids text, numbers or tuples"
                ) from error


def _side_columns(
    frame: Frame, user_cols: L, item_cols: L, cat_names: L, cont_names: L
) -> tuple[list[str], list[str]]:
    """Return the categorical and the continuous side columns, each in the order user, item, event.

    Raises:
        KeyError: A column is not there.
        ValueError: A column is of the user and of the item.
    """
    both = sorted(set(user_cols) & set(item_cols))
    if both:
        raise ValueError(f"columns {both} are in user_cols and in item_cols: put each in one")
    own = [*user_cols, *item_cols]
    events = [name for name in (*cat_names, *cont_names) if name not in own]
    given = {*cat_names, *cont_names}
    for name in own:
        column(frame, name)
    guessed, _ = cont_cat_split(frame.select([name for name in own if name not in given]))
    continuous = {*cont_names, *guessed}
    ordered = [*own, *dict.fromkeys(events)]
    return (
        [name for name in ordered if name not in continuous or name in cat_names],
        [name for name in ordered if name in continuous],
    )
