"""Splitters that can keep the proportions of labels: one share, or folds.

Both are called with the items and return two `L`s of indices, training first, like those in
`torte.data.splitters`.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torte.data.splitters import Split, by_mask, check_share, indices, permutation
from torte.dispatch import L

__all__ = ["KFoldSplitter", "TrainTestSplitter", "label_codes"]


def _counts(count: int, test_size: float | None, train_size: float | None) -> tuple[int, int]:
    """How many items go to training and test; a float is a share, an int a number."""

    def amount(name: str, size: float, round_to: Callable[[float], Any]) -> int:
        if isinstance(size, float):
            check_share(name, size)
            return int(round_to(size * count))
        if not 0 <= size <= count:
            raise ValueError(f"{name}={size!r} of {count} items")
        return size

    test = None if test_size is None else amount("test_size", test_size, np.ceil)
    train = None if train_size is None else amount("train_size", train_size, np.floor)
    if test is None:
        test = count - train if train is not None else amount("test_size", 0.25, np.ceil)
    train = count - test if train is None else train
    if train + test > count:
        raise ValueError(f"{train_size=} and {test_size=} ask for more than the {count} items")
    return train, test


def _apportion(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Divide `total` in proportion to `sizes` by the largest remainder method."""
    exact = sizes * (total / max(sizes.sum(), 1))
    shares = np.minimum(np.floor(exact).astype(np.int64), sizes)
    for index in np.argsort(shares - exact, kind="stable")[: total - shares.sum()]:
        shares[index] += 1
    return shares


@dataclass(frozen=True)
class TrainTestSplitter:
    """Splits as scikit-learn's `train_test_split` does, stratified by a label if wanted.

    Args:
        test_size: Validation share (float) or number (int).
        random_state: Seed.
        stratify: One label an item: both sets then hold the labels in the same proportions.
        train_size: Training share or number; the rest by default.
        shuffle: Whether to draw at random; without it the last items are the validation set.
    """

    test_size: float | None = 0.2
    random_state: int | None = None
    stratify: Collection[Hashable] | None = None
    train_size: float | None = None
    shuffle: bool = True

    def __call__(self, items: Sequence[Any]) -> Split:
        """Indices for training and validation."""
        count = len(items)
        train, test = _counts(count, self.test_size, self.train_size)
        if self.stratify is not None:
            return self._stratified(count, train, test)
        order = permutation(count, self.random_state) if self.shuffle else np.arange(count)
        if self.shuffle:
            return indices(order[test : test + train]), indices(order[:test])
        return indices(order[:train]), indices(order[train : train + test])

    def _stratified(self, count: int, train: int, test: int) -> Split:
        labels = list(self.stratify or ())
        if len(labels) != count:
            raise ValueError(f"stratify has {len(labels)} labels for {count} items")
        if not self.shuffle:
            raise ValueError("a stratified split is drawn at random: shuffle must be True")
        codes, names = label_codes(labels)
        sizes = np.bincount(codes, minlength=len(names))
        if count and sizes.min() < 2:
            lonely = names[int(sizes.argmin())]
            raise ValueError(f"label {lonely!r} has a single item, too few for a stratified split")
        order = permutation(count, self.random_state)
        # Sorting the drawn order by label keeps it random within each label.
        grouped = order[np.argsort(codes[order], kind="stable")]
        groups = np.split(grouped, np.cumsum(sizes)[:-1])
        to_test = _apportion(sizes, test)
        to_train = _apportion(sizes - to_test, train)
        tests = [group[:n] for group, n in zip(groups, to_test, strict=True)]
        trains = [g[n : n + m] for g, n, m in zip(groups, to_test, to_train, strict=True)]
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(count)

        def drawn(parts: list[NDArray[np.int64]]) -> L:
            chosen = np.concatenate([np.empty(0, np.int64), *parts])
            return indices(chosen[np.argsort(rank[chosen])])

        return drawn(trains), drawn(tests)


def label_codes(labels: list[Hashable]) -> tuple[NDArray[np.int64], list[Hashable]]:
    """Labels as numbers from 0, with the label of each number, in order of appearance."""
    numbers: dict[Hashable, int] = {}
    codes = [numbers.setdefault(label, len(numbers)) for label in labels]
    return np.array(codes, np.int64), list(numbers)


@dataclass(frozen=True)
class KFoldSplitter:
    """Validation fold number `fold` of `n_splits`: the folds of one seed cover every item once.

    Args:
        n_splits: How many folds there are, at least 2.
        fold: Which one is for validation, from 0.
        seed: Makes the division the same every time; needed, or each fold would be drawn anew.
        stratify: One label an item: every fold then holds the labels in the same proportions.
    """

    n_splits: int = 5
    fold: int = 0
    seed: int = 0
    stratify: Collection[Hashable] | None = None

    def __post_init__(self) -> None:
        if self.n_splits < 2:
            raise ValueError(f"n_splits must be at least 2, got {self.n_splits!r}")
        if not 0 <= self.fold < self.n_splits:
            raise ValueError(f"fold must be from 0 to {self.n_splits - 1}, got {self.fold!r}")

    def __call__(self, items: Sequence[Any]) -> Split:
        """Indices for training and validation, each in order.

        Raises:
            ValueError: There are fewer items than folds, or not one label an item.
        """
        count = len(items)
        if count < self.n_splits:
            raise ValueError(f"{count} items cannot make {self.n_splits} folds")
        order = permutation(count, self.seed)
        if self.stratify is not None:
            labels = list(self.stratify)
            if len(labels) != count:
                raise ValueError(f"stratify has {len(labels)} labels for {count} items")
            order = order[np.argsort(label_codes(labels)[0][order], kind="stable")]
        mask = np.zeros(count, bool)
        mask[order[self.fold :: self.n_splits]] = True
        return by_mask(mask)
