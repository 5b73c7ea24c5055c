"""What collections divided into subsets share: `train`, `valid`, and loaders for all of them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

if TYPE_CHECKING:
    from torte.data.data_loaders import DataLoaders

__all__ = ["FilteredBase"]


class FilteredBase:
    """Base of collections with subsets: `TfmdLists` and `Datasets`.

    A subclass has `splits` (the index array of each subset), `subset(i)` and `new_empty()`.
    """

    dl_type: type | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def splits(self) -> Sequence[Any]:
        """The index array of each subset."""
        raise NotImplementedError

    def subset(self, i: int) -> Self:
        """Subset number `i` as a collection of its own."""
        raise NotImplementedError

    @property
    def n_subsets(self) -> int:
        """How many subsets there are."""
        return len(self.splits)

    @property
    def train(self) -> Self:
        """The training subset."""
        return self.subset(0)

    @property
    def valid(self) -> Self:
        """The validation subset."""
        return self.subset(1)

    def overlapping_splits(self) -> bool:
        """Whether an item is in more than one subset."""
        import numpy as np

        positions = np.concatenate([np.unique(split) for split in self.splits])
        return len(np.unique(positions)) != len(positions)

    def dataloaders(
        self,
        bs: int = 64,
        shuffle_train: bool | None = None,
        shuffle: bool = True,
        val_shuffle: bool = False,
        n: int | None = None,
        path: str | os.PathLike[str] = ".",
        dl_type: type | None = None,
        dl_kwargs: Sequence[dict[str, Any]] | None = None,
        device: torch.device | str | None = None,
        drop_last: bool | None = None,
        val_bs: int | None = None,
        **kwargs: Any,
    ) -> "DataLoaders":
        """One loader for each subset, held together as `DataLoaders`.

        Args:
            bs: Items a training batch.
            shuffle_train: Older name of `shuffle`.
            shuffle: Whether to shuffle the training items.
            val_shuffle: Whether to shuffle the other subsets' items.
            n: Use only this many training items a pass.
            path: Where the loaders' learner keeps its files.
            dl_type: The loader class; by default the data's own, else `TfmdDL`.
            dl_kwargs: More arguments for each loader, one dictionary a subset.
            device: Where batches go; by default the GPU if there is one.
            drop_last: Whether to leave out an incomplete last training batch; by default, if the
                training items are shuffled and make at least one whole batch.
            val_bs: Items a batch of the other subsets; by default as many as a training batch.
            kwargs: For every loader: `after_item`, `before_batch`, `after_batch`, `num_workers`, …

        Raises:
            ValueError: The training subset is empty, or `dl_kwargs` does not fit the subsets.
        """
        from torte.data.data_loaders import DataLoaders
        from torte.data.tfmd_loader import TfmdDL

        shuffle = shuffle if shuffle_train is None else shuffle_train
        loader_type: Any = dl_type or self.dl_type or TfmdDL
        own = list(dl_kwargs) if dl_kwargs is not None else [{}] * self.n_subsets
        if len(own) != self.n_subsets:
            raise ValueError(f"dl_kwargs has {len(own)} entries for {self.n_subsets} subsets")
        train = self.subset(0)
        if drop_last is None:
            drop_last = shuffle and len(train) >= (bs or 1)
        first = {"bs": bs, "shuffle": shuffle, "drop_last": drop_last, "n": n, "device": device}
        loaders = [loader_type(train, **{**kwargs, **first, **own[0]})]
        rest = {"bs": val_bs or bs, "shuffle": val_shuffle, "drop_last": False, "n": None}
        loaders += [
            loaders[0].new(self.subset(i), **{**rest, **own[i]}) for i in range(1, self.n_subsets)
        ]
        return DataLoaders(*loaders, path=Path(path), device=device)
