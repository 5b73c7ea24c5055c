"""A splitter that keeps what belongs together on one side."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torte.data.splitters import Split, by_mask, check_share, permutation
from torte.data.stratified_splitters import label_codes

__all__ = ["GroupSplitter"]


@dataclass(frozen=True)
class GroupSplitter:
    """Puts whole groups, drawn at random, into the validation set: no group is on both sides.

    Where several items are of one patient, customer or place, a random split shows the model what
    it is validated on.

    Args:
        group: The column of a frame that tells groups apart, or a function that gives an item's
            group, or a label for each item.
        valid_pct: The validation set's share of the items. It comes as near to it as the groups in
            their drawn order allow; of two groups or more, each side gets one.
        seed: Makes the split the same every time.
    """

    group: str | Callable[[Any], Hashable] | Sequence[Hashable]
    valid_pct: float = 0.2
    seed: int | None = None

    def __post_init__(self) -> None:
        check_share("valid_pct", self.valid_pct)

    def __call__(self, items: Any) -> Split:
        """Indices for training and validation, each in order.

        Raises:
            KeyError: The frame has no such column.
            TypeError: A column is named, but the items are no frame.
            ValueError: An item has no group, there is a single group, or there are more or fewer
                labels than items.
        """
        codes, names = label_codes(self._labels(items))
        if self.valid_pct in (0, 1) or not len(codes):
            return by_mask(np.full(len(codes), self.valid_pct == 1))
        if len(names) < 2:
            raise ValueError(f"all {len(codes)} items are of group {names[0]!r}: none to hold out")
        order = permutation(len(names), self.seed)
        reached = np.bincount(codes)[order].cumsum()
        # Both sides get a group, so that of n at least 1 and at most n - 1 validate.
        nearest = int(np.abs(reached[:-1] - self.valid_pct * len(codes)).argmin())
        return by_mask(np.isin(codes, order[: nearest + 1]))

    def _labels(self, items: Any) -> list[Hashable]:
        """Return the group of each item."""
        labels = list(self._given(items))
        for place, label in enumerate(labels):
            # Only a number that is not one differs from itself.
            if label is None or (isinstance(label, float) and label != label):
                raise ValueError(f"item {place} has no group: drop such items, or give them one")
        return labels

    def _given(self, items: Any) -> Iterable[Hashable]:
        if isinstance(self.group, str):
            return _column(items, self.group)
        if callable(self.group):
            each = (items.iloc[n] for n in range(len(items))) if hasattr(items, "iloc") else items
            return map(self.group, each)
        if len(self.group) != len(items):
            raise ValueError(f"{len(self.group)} groups for {len(items)} items")
        return self.group.tolist() if hasattr(self.group, "tolist") else self.group  # pyright: ignore[reportAttributeAccessIssue]


def _column(items: Any, name: str) -> list[Hashable]:
    """Return the values of a column, None where one is missing."""
    if not hasattr(items, "columns"):
        raise TypeError(
            f"GroupSplitter({name!r}) splits a DataFrame by a column, not a "
            f"{type(items).__name__}: give a function of an item, or a label for each"
        )
    if name not in list(items.columns):
        raise KeyError(f"there is no column {name!r}; the columns are {list(items.columns)!r}")
    values = items[name]
    if hasattr(values, "isna"):  # pandas has several marks for what is missing
        return [None if gone else value
                for value, gone in zip(values.to_list(), values.isna(), strict=True)]  # fmt: skip
    return values.to_list()
