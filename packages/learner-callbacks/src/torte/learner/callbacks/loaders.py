"""Loaders that draw items by weight, or only some of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from torte.data import DataBlock, DataLoaders, Datasets, TfmdDL
from torte.data.subsets import FilteredBase
from torte.dispatch import patch

__all__ = ["PartialDL", "WeightedDL"]


class WeightedDL(TfmdDL):
    """A loader that draws training items with replacement, with probabilities by weight.

    Without `shuffle` it goes through the items in order. The draws follow from the loader's seed
    and the number of the pass.

    Args:
        dataset: See `TfmdDL`.
        bs: Samples in a batch.
        wgts: One weight an item, not all 0; equal ones when `None`.
        **kwargs: For `TfmdDL`.

    Raises:
        ValueError: Weights are negative, not finite, all 0, or not one an item.
    """

    def __init__(
        self, dataset: Any = None, bs: int | None = None, wgts: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(dataset=dataset, bs=bs, **kwargs)
        self.wgts = None if wgts is None else _probabilities(wgts)
        count = None if dataset is None else len(dataset)
        if self.wgts is not None and count is not None and len(self.wgts) != count:
            raise ValueError(f"{len(self.wgts)} weights were given for {count} items")

    def get_idxs(self) -> Any:
        """Draw the items of a pass."""
        if not self.shuffle or self.wgts is None or not self.n:
            return super().get_idxs()
        generator = np.random.default_rng(self.rng.getrandbits(62))
        return generator.choice(len(self.wgts), size=self.n, p=self.wgts)


def _probabilities(wgts: Any) -> np.ndarray:
    weights = np.asarray(wgts, dtype=np.float64).reshape(-1)
    if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise ValueError("weights must be finite, at least 0, and not all 0")
    return weights / weights.sum()


class PartialDL(TfmdDL):
    """A loader that takes another random part of the items at each pass.

    Args:
        dataset: See `TfmdDL`.
        bs: Samples in a batch.
        partial_n: How many items; all of them when `None`.
        **kwargs: For `TfmdDL`.

    Raises:
        ValueError: There are fewer items than that.
    """

    def __init__(
        self,
        dataset: Any = None,
        bs: int | None = None,
        partial_n: int | None = None,
        **kwargs: Any,
    ) -> None:
        count = None if dataset is None else len(dataset)
        if partial_n is not None and count is not None and not 0 < partial_n <= count:
            raise ValueError(f"partial_n={partial_n} items cannot be taken of {count}")
        # Before the rest, which asks for the length.
        self.partial_n = partial_n
        super().__init__(dataset=dataset, bs=bs, **kwargs)

    def get_idxs(self) -> Any:
        """Choose the items of a pass; in the order of the dataset unless shuffled."""
        if self.partial_n is None or self.n is None:
            return super().get_idxs()
        generator = np.random.default_rng(self.rng.getrandbits(62))
        chosen = generator.choice(self.n, size=self.partial_n, replace=False)
        return chosen if self.shuffle else np.sort(chosen)

    def __len__(self) -> int:
        """Count the batches of a pass."""
        if self.partial_n is None or self.bs is None:
            return super().__len__()
        whole, rest = divmod(self.partial_n, self.bs)
        return whole + (1 if rest and not self.drop_last else 0)


@patch
def weighted_dataloaders(self: Datasets, wgts: Any, bs: int = 64, **kwargs: Any) -> DataLoaders:
    """Make loaders whose training items are drawn by weight.

    Args:
        self: The datasets.
        wgts: One weight a training item, or one an item of all subsets together.
        bs: Samples in a batch.
        **kwargs: For `Datasets.dataloaders`.
    """
    weights = np.asarray(wgts, dtype=np.float64)
    if len(weights) != len(self.splits[0]) and len(weights) == len(self):
        weights = weights[np.asarray(self.splits[0])]
    rest = [{"wgts": None}] * (self.n_subsets - 1)
    own = [{"wgts": weights}, *rest]
    return self.dataloaders(bs=bs, dl_type=WeightedDL, dl_kwargs=own, **kwargs)


@patch
def partial_dataloaders(
    self: FilteredBase, partial_n: int, bs: int = 64, **kwargs: Any
) -> DataLoaders:
    """Make loaders whose training part takes `partial_n` items at each pass.

    Args:
        self: The datasets.
        partial_n: How many.
        bs: Samples in a batch.
        **kwargs: For `dataloaders`.
    """
    own = [{"partial_n": partial_n}, *[{"partial_n": None}] * (self.n_subsets - 1)]
    return self.dataloaders(bs=bs, dl_type=PartialDL, dl_kwargs=own, **kwargs)


def _block_weighted(
    self: DataBlock, source: Any, wgts: Any, bs: int = 64, verbose: bool = False, **kwargs: Any
) -> DataLoaders:
    """Make loaders of a source whose training items are drawn by weight.

    Args:
        self: The block.
        source: What `get_items` takes.
        wgts: One weight a training item, or one an item.
        bs: Samples in a batch.
        verbose: Print what is done.
        **kwargs: For `Datasets.dataloaders`.
    """
    dsets = self.datasets(source, verbose=verbose)
    item_tfms, batch_tfms = self.fresh_tfms()
    events = {"after_item": item_tfms, "after_batch": batch_tfms}
    return dsets.weighted_dataloaders(wgts, bs, **{**self.dls_kwargs, **events, **kwargs})


DataBlock.weighted_dataloaders = _block_weighted  # pyright: ignore[reportAttributeAccessIssue]
