"""Passes that do not take every sample once: weighted and partial sampling.

Both draw from the loader's (seed, epoch), so a pass repeats and can be taken up in the middle.
"""

from typing import Any

import numpy as np

from torte.data._plan import all_indices
from torte.data.data_block import DataBlock
from torte.data.data_loaders import DataLoaders
from torte.data.errors import LoaderError
from torte.data.seeding import sample_keys
from torte.data.subsets import FilteredBase
from torte.data.tfmd_loader import TfmdDL
from torte.dispatch.patching import patch_to

__all__ = ["PartialDL", "WeightedDL", "partial_dataloaders", "weighted_dataloaders"]


class WeightedDL(TfmdDL):
    """A shuffling `TfmdDL` that draws samples with given probabilities, with replacement.

    A sample that comes several times in a pass gets random transforms of its own each time.

    Args:
        dataset: See `TfmdDL`.
        bs: Samples in a batch.
        wgts: A weight for each sample, at least 0; all alike if `None`. They need not add up to 1.
        kwargs: For `TfmdDL`. Without `shuffle=True` the weights are not used.

    Raises:
        LoaderError: If the weights are not as many as the samples, negative, or all 0.
    """

    def __init__(
        self, dataset: Any = None, bs: int | None = 64, wgts: Any = None, **kwargs: Any
    ) -> None:
        self.wgts = None if wgts is None else np.asarray(wgts, dtype=np.float64)
        super().__init__(dataset, bs=bs, **kwargs)
        if self.wgts is None:
            return
        if self.wgts.shape != (self.n,):
            raise LoaderError(
                f"WeightedDL takes a weight for each of its {self.n} samples,"
                f" got weights of shape {self.wgts.shape}"
            )
        if not np.isfinite(self.wgts).all() or self.wgts.min(initial=0) < 0 or not self.wgts.any():
            raise LoaderError("the weights must be finite, at least 0 and not all 0")

    def get_idxs(self) -> Any:
        """Samples drawn by weight, as many as there are."""
        if self.wgts is None or not self.shuffle or not self.n:
            return super().get_idxs()
        places = np.arange(self.n, dtype=np.int64)
        draws = (sample_keys(self.rng.getrandbits(62), 0, places) >> 10) * 2.0**-53
        edges = np.cumsum(self.wgts)
        found = np.searchsorted(edges, draws * edges[-1], side="right")
        return np.minimum(found, np.flatnonzero(self.wgts)[-1])  # rounding at the upper end

    def new(self, dataset: Any = None, cls: type | None = None, **kwargs: Any) -> Any:
        """A loader like this one; the weights are for this dataset only."""
        if dataset is not None and dataset is not self.dataset:
            kwargs = {"wgts": None, **kwargs}
        return super().new(dataset, cls, **kwargs)


class PartialDL(TfmdDL):
    """A `TfmdDL` that takes only some of the samples, others in each pass.

    Args:
        dataset: See `TfmdDL`.
        bs: Samples in a batch.
        partial_n: How many samples a pass takes; all if `None` or more than there are.
        kwargs: For `TfmdDL`. Without `shuffle=True` the samples keep their order.
    """

    def __init__(
        self, dataset: Any = None, bs: int | None = 64, partial_n: int | None = None, **kwargs: Any
    ) -> None:
        if partial_n is not None and partial_n < 1:
            raise LoaderError(f"partial_n must be at least 1, got {partial_n}")
        self.partial_n = partial_n
        super().__init__(dataset, bs=bs, **kwargs)

    def get_idxs(self) -> Any:
        """`partial_n` of the samples."""
        count = self._taken()
        if count is None or count == self.n:
            return super().get_idxs()
        chosen = self.shuffle_fn(all_indices(self.n))[:count]
        return chosen if self.shuffle else np.sort(chosen)

    def _taken(self) -> int | None:
        if self.partial_n is None or self.n is None:
            return self.n
        return min(self.partial_n, self.n)

    def __len__(self) -> int:
        count, bs = self._taken(), self.bs
        if count is None or bs is None:
            return super().__len__() if count is None else count
        return count // bs + (0 if self.drop_last or count % bs == 0 else 1)

    def new(self, dataset: Any = None, cls: type | None = None, **kwargs: Any) -> Any:
        """A loader like this one; of another dataset it takes all."""
        if dataset is not None and dataset is not self.dataset:
            kwargs = {"partial_n": None, **kwargs}
        return super().new(dataset, cls, **kwargs)


def _of_training(dsets: FilteredBase, wgts: Any) -> np.ndarray:
    """The weights of the training subset, out of those of all items if so many are given."""
    weights, train = np.asarray(wgts, dtype=np.float64), np.asarray(dsets.splits[0])
    total = sum(len(split) for split in dsets.splits)
    if len(weights) == len(train):
        return weights
    if len(weights) == total:
        return weights[train]
    raise LoaderError(
        f"got {len(weights)} weights for {len(train)} training items out of {total} items"
    )


def _first_only(dsets: FilteredBase, **arguments: Any) -> list[dict[str, Any]]:
    return [arguments, *[{} for _ in range(dsets.n_subsets - 1)]]


@patch_to(FilteredBase)
def weighted_dataloaders(dsets: Any, wgts: Any, bs: int = 64, **kwargs: Any) -> DataLoaders:
    """Loaders whose training loader draws by weight; also a method of `Datasets`.

    Args:
        dsets: `Datasets` or `TfmdLists`.
        wgts: A weight for each training item, or for each item of all subsets.
        bs: Samples in a batch.
        kwargs: For `Datasets.dataloaders`.
    """
    own = _first_only(dsets, wgts=_of_training(dsets, wgts))
    return dsets.dataloaders(bs=bs, dl_type=WeightedDL, dl_kwargs=own, **kwargs)


@patch_to(FilteredBase)
def partial_dataloaders(dsets: Any, partial_n: int, bs: int = 64, **kwargs: Any) -> DataLoaders:
    """Loaders whose training loader takes `partial_n` samples a pass; also a method of `Datasets`.

    Args:
        dsets: `Datasets` or `TfmdLists`.
        partial_n: How many samples.
        bs: Samples in a batch.
        kwargs: For `Datasets.dataloaders`.
    """
    own = _first_only(dsets, partial_n=partial_n)
    return dsets.dataloaders(bs=bs, dl_type=PartialDL, dl_kwargs=own, **kwargs)


def _block_parts(block: Any, source: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The datasets of a block, and the arguments for their loaders."""
    items, batches = block.fresh_tfms()
    events = {"after_item": items, "after_batch": batches}
    return block.datasets(source), {**block.dls_kwargs, **events, **kwargs}


def _block_weighted(block: Any, source: Any, wgts: Any, bs: int = 64, **kwargs: Any) -> DataLoaders:
    """Loaders of a source whose training loader draws by weight; see `weighted_dataloaders`."""
    dsets, arguments = _block_parts(block, source, kwargs)
    return weighted_dataloaders(dsets, wgts, bs=bs, **arguments)


def _block_partial(
    block: Any, source: Any, partial_n: int, bs: int = 64, **kwargs: Any
) -> DataLoaders:
    """Loaders of a source whose training loader takes `partial_n` samples a pass."""
    dsets, arguments = _block_parts(block, source, kwargs)
    return partial_dataloaders(dsets, partial_n, bs=bs, **arguments)


DataBlock.weighted_dataloaders = _block_weighted  # pyright: ignore[reportAttributeAccessIssue]
DataBlock.partial_dataloaders = _block_partial  # pyright: ignore[reportAttributeAccessIssue]
