"""`TabularCollab`: a table of ratings, whose first two categorical columns are user and item."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from torte.collab.implicit import BPRLoss
from torte.dispatch import serializable
from torte.tabular.frames import Frame, numbers
from torte.tabular.table import Tabular

__all__ = ["TabularCollab", "check_ratings", "no_value"]


class TabularCollab(Tabular):
    """A table of ratings; its first two categorical columns are the user and the item.

    Batches are (codes, ratings): int64 of (rows, 2 + side columns), float32 of (rows, 1); with
    continuous side columns (codes, numbers, ratings). Without ratings they are (codes, numbers).
    Side columns come in the order user, item, event.

    Args:
        df: A frame, a rating a row.
        *args: For `Tabular`.
        user_cols: Which of the columns belong to the user.
        item_cols: Which of the columns belong to the item.
        **kwargs: For `Tabular`.
    """

    with_cont = False

    def __init__(
        self,
        df: Any,
        *args: Any,
        user_cols: Sequence[str] = (),
        item_cols: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        self.user_cols, self.item_cols = list(user_cols), list(item_cols)
        super().__init__(df, *args, **kwargs)
        self.with_cont = self._gives_numbers()

    def _gives_numbers(self) -> bool:
        # With negatives behind them, numbers keep their place also when there are none.
        return bool(self.cont_names) or self.implicit

    @property
    def implicit(self) -> bool:
        """Whether rows are pairs that were seen, without ratings."""
        return not self.y_names

    @property
    def loss_func(self) -> Any:
        """The loss that a learner takes by default, where it is not that of the ratings."""
        return BPRLoss() if self.implicit else None

    @property
    def user_name(self) -> str:
        """The column of users."""
        return self.cat_names[0]

    @property
    def item_name(self) -> str:
        """The column of items."""
        return self.cat_names[1]

    @property
    def has_sides(self) -> bool:
        """Whether there are columns beside user, item and rating."""
        return len(self.cat_names) > 2 or bool(self.cont_names)

    def by_side(self, names: Sequence[str]) -> list[list[str]]:
        """Sort names of columns into those of the user, of the item and of the event."""
        own = [self.user_cols, self.item_cols]
        rest = [name for name in names if not any(name in part for part in own)]
        return [[name for name in names if name in part] for part in own] + [rest]

    def config(self) -> dict[str, Any]:
        """The schema, with whose columns are whose."""
        return super().config() | {"user_cols": self.user_cols, "item_cols": self.item_cols}

    @classmethod
    def of_schema(
        cls, *args: Any, user_cols: Sequence[str] = (), item_cols: Sequence[str] = (), **kwargs: Any
    ) -> Self:
        """Return a table without rows that is ready for `new`, from what `config` gave."""
        table = super().of_schema(*args, **kwargs)
        table.user_cols, table.item_cols = list(user_cols), list(item_cols)
        table.with_cont = table._gives_numbers()
        return table

    def process(self) -> None:
        """Run the procs, fitted before, on new rows, and take their ratings along.

        Raises:
            ValueError: A rating is missing or no finite number.
        """
        if self.has_targets:
            check_ratings(self.frame, self.y_names[0])
        super().process()

    def codes_and_numbers(self) -> tuple[Tensor, Tensor]:
        """Return the inputs of all rows: int64 codes and float32 numbers."""
        codes, numbers = self.arrays()
        return torch.from_numpy(codes), torch.from_numpy(numbers)


def check_ratings(frame: Frame, name: str) -> None:
    """Find ratings that are no finite numbers.

    Raises:
        ValueError: There are some; the message names the column and the first row.
    """
    values = numbers(frame[name])
    if np.isnan(values).any():
        raise no_value(name, np.isnan(values))
    if np.isinf(values).any():
        row = int(np.isinf(values).argmax())
        raise ValueError(f"column {name!r} holds {values[row]} in row {row}: mend or drop the row")


def no_value(name: str, missing: np.ndarray) -> ValueError:
    """Return the error of a column that lacks values in some rows."""
    return ValueError(
        f"column {name!r} has no value in {int(missing.sum())} rows, the first of them row "
        f"{int(missing.argmax())}: drop such rows"
    )


serializable("torte.collab.TabularCollab", from_config=TabularCollab.of_schema)(TabularCollab)
