"""DataLoaders: the training loader, the validation loader and any more, on one device."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import torch

from torte.data._peeking import Replayable
from torte.data.devices import default_device, to_device
from torte.data.display import show_batch
from torte.data.errors import LoaderError
from torte.data.loader import DataLoader
from torte.data.tfmd_loader import TfmdDL, batch_to_samples
from torte.dispatch.delegation import GetAttr

__all__ = ["AnyLoader", "DataLoaders"]


class AnyLoader(GetAttr):
    """Any iterable of batches as one of `DataLoaders`: its batches are moved to the device.

    Args:
        loader: A PyTorch `DataLoader`, a list of batches, a generator, … Attributes that this
            object lacks are read from it, and then from its dataset.
        device: Where batches are moved; `None` to leave them.
        n_inp: How many elements of a batch are the model's input; all but the last if `None`.
    """

    _default = "loader"

    def __init__(self, loader: Iterable[Any], device: Any = None, n_inp: int | None = None) -> None:
        self.loader: Any = Replayable(loader) if isinstance(loader, Iterator) else loader
        self.device = None if device is None else torch.device(device)
        self.given_n_inp = n_inp

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            yield batch if self.device is None else to_device(batch, self.device)

    def __len__(self) -> int:
        """Number of batches.

        Raises:
            TypeError: If the iterable has no length.
        """
        return len(self.loader)

    @property
    def dataset(self) -> Any:
        """The dataset of the loader, or the iterable itself."""
        return getattr(self.loader, "dataset", self.loader)

    @property
    def bs(self) -> int | None:
        """The loader's batch size, if it tells."""
        return getattr(self.loader, "batch_size", None)

    @property
    def n(self) -> int | None:
        """Number of samples, if the dataset tells."""
        try:
            return len(self.dataset)
        except TypeError:
            return None

    @property
    def n_inp(self) -> int:
        """How many elements of a batch are the model's input."""
        if self.given_n_inp is not None:
            return self.given_n_inp
        batch = self.one_batch()
        is_many = isinstance(batch, (tuple, list)) and len(batch) > 1
        return len(batch) - 1 if is_many else 1

    def one_batch(self) -> Any:
        """The first batch; an iterable that can be read only once keeps it."""
        with Replayable.looking(self.loader):
            for batch in self:
                return batch
        raise ValueError("this loader does not contain any batches")

    def decode_batch(self, b: Any, max_n: int = 9, full: bool = True) -> list[Any]:
        """The samples of a batch: there are no transforms to undo."""
        return batch_to_samples(b, max_n)

    def show_batch(self, b: Any = None, max_n: int = 9, ctxs: Any = None, **kwargs: Any) -> None:
        """Show some samples as their types are shown."""
        b = self.one_batch() if b is None else b
        b = b if isinstance(b, (tuple, list)) else (b,)
        samples = [tuple(sample) for sample in batch_to_samples(tuple(b), max_n)]
        targets = b[self.n_inp :]
        y = targets[0] if len(targets) == 1 else targets
        show_batch(b[0], y, samples, ctxs=ctxs, max_n=max_n, **kwargs)

    def to(self, device: Any) -> Self:
        """Move batches to `device` from now on."""
        self.device = None if device is None else torch.device(device)
        return self

    def new(self, dataset: Any = None, **kwargs: Any) -> Any:
        """A loader of other data, batched alike.

        Raises:
            LoaderError: If this wraps something else than a PyTorch loader.
        """
        wrapped = self.loader
        if not isinstance(wrapped, torch.utils.data.DataLoader):
            raise LoaderError(
                f"a {type(wrapped).__name__} cannot be made anew for other data:"
                " make the loader yourself and pass it where it is needed"
            )
        arguments = {"bs": wrapped.batch_size, "num_workers": wrapped.num_workers}
        if wrapped.collate_fn is not torch.utils.data.default_collate and wrapped.batch_size:
            arguments["create_batch"] = wrapped.collate_fn
        dataset = wrapped.dataset if dataset is None else dataset
        known = {"device": self.device, "n_inp": self.given_n_inp}
        return TfmdDL(dataset, **{**arguments, **known, **kwargs})


class DataLoaders(GetAttr):
    """A training loader, a validation loader, and any more.

    Args:
        loaders: `DataLoader`s, or any iterables of batches (see `AnyLoader`).
        path: Where models and results of this data are kept.
        device: Where batches are moved; by default that of the first loader that has one, or else
            `default_device()`.

    Attributes that it lacks (`vocab`, `c`, …) are read from the first loader.
    """

    _default = "train"

    def __init__(self, *loaders: Any, path: str | Path = ".", device: Any = None) -> None:
        if not loaders:
            raise LoaderError("DataLoaders takes at least one loader: DataLoaders(train, valid)")
        self.loaders = [_as_loader(loader) for loader in loaders]
        self.path = Path(path)
        chosen = [each.device for each in self.loaders if each.device is not None]
        device = device if device is not None else (chosen[0] if chosen else default_device())
        self.to(device)

    def __getitem__(self, index: int) -> Any:
        return self.loaders[index]

    def __len__(self) -> int:
        return len(self.loaders)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loaders)

    @property
    def train(self) -> Any:
        """The training loader."""
        return self.loaders[0]

    @property
    def valid(self) -> Any:
        """The validation loader.

        Raises:
            LoaderError: If there is only one loader.
        """
        if len(self.loaders) < 2:
            raise LoaderError("there is no validation loader: this DataLoaders has one loader only")
        return self.loaders[1]

    @property
    def train_ds(self) -> Any:
        """The dataset of the training loader."""
        return self.train.dataset

    @property
    def valid_ds(self) -> Any:
        """The dataset of the validation loader."""
        return self.valid.dataset

    @property
    def device(self) -> torch.device:
        """Where batches are moved."""
        return self._device

    @device.setter
    def device(self, value: Any) -> None:
        self.to(value)

    def to(self, device: Any) -> Self:
        """Move batches to `device` from now on."""
        self._device = default_device() if device is None else torch.device(device)
        for loader in self.loaders:
            loader.to(self._device)
        return self

    def cuda(self) -> Self:
        """Move batches to the accelerator from now on."""
        return self.to(default_device(use=True))

    def cpu(self) -> Self:
        """Keep batches on the CPU from now on."""
        return self.to(torch.device("cpu"))

    def one_batch(self) -> Any:
        """One batch of the training loader, which does not advance."""
        return self.train.one_batch()

    def show_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Show a batch of the training loader; see `TfmdDL.show_batch`."""
        return self.train.show_batch(*args, **kwargs)

    def add_tfms(self, tfms: Any, event: str, loaders: Any = None) -> None:
        """Add transforms to a pipeline of some loaders.

        Args:
            tfms: One or several.
            event: "after_item", "before_batch" or "after_batch".
            loaders: The number of a loader, or several; all if `None`.
        """
        chosen = range(len(self.loaders)) if loaders is None else loaders
        for number in [chosen] if isinstance(chosen, int) else chosen:
            self.loaders[number].add_tfms(tfms, event)

    def new_empty(self) -> Self:
        """The same without any data."""
        loaders = [loader.new(loader.dataset.new_empty()) for loader in self.loaders]
        return type(self)(*loaders, path=self.path, device=self.device)

    def test_dl(
        self, test_items: Any, rm_type_tfms: Any = None, with_labels: bool = False, **kwargs: Any
    ) -> Any:
        """A loader of other items, made as the validation set's are.

        Args:
            test_items: The items, as those that the datasets were made from.
            rm_type_tfms: How many of the first item transforms to leave out, for items that are
                already what those would make.
            with_labels: Whether the items have their targets with them.
            kwargs: For the new loader.
        """
        like = self.loaders[1] if len(self.loaders) > 1 else self.loaders[0]
        dataset = _test_set(like.dataset, test_items, rm_type_tfms, with_labels)
        return like.new(dataset, **{"shuffle": False, "drop_last": False, **kwargs})

    @classmethod
    def from_dsets(
        cls,
        *ds: Any,
        path: str | Path = ".",
        bs: int = 64,
        device: Any = None,
        dl_type: type[DataLoader] = TfmdDL,
        **kwargs: Any,
    ) -> Self:
        """Loaders around datasets, the first one for training.

        Args:
            ds: Datasets.
            path: See `DataLoaders`.
            bs: Samples in a batch.
            device: See `DataLoaders`.
            dl_type: The class of the loaders.
            kwargs: For each loader; a tuple or list as long as `ds` holds one value for each.
                By default the first shuffles and drops its last, smaller batch.
        """
        first = (True, *[False] * (len(ds) - 1))
        kwargs = {"bs": bs, "shuffle": first, "drop_last": first, **kwargs}
        loaders = []
        for number, dataset in enumerate(ds):
            chosen = {name: _nth(value, number, len(ds)) for name, value in kwargs.items()}
            loaders.append(dl_type(dataset, **chosen))
        return cls(*loaders, path=path, device=device)

    @classmethod
    def from_dblock(
        cls,
        dblock: Any,
        source: Any,
        path: str | Path = ".",
        bs: int = 64,
        val_bs: int | None = None,
        shuffle: bool = True,
        device: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Loaders of a data block; see `DataBlock.dataloaders`."""
        return dblock.dataloaders(
            source, path=path, bs=bs, val_bs=val_bs, shuffle=shuffle, device=device, **kwargs
        )


def _as_loader(loader: Any) -> Any:
    if isinstance(loader, (DataLoader, AnyLoader)):
        return loader
    if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
        raise LoaderError(f"DataLoaders takes iterables of batches, got {loader!r:.100}")
    return AnyLoader(loader)


def _nth(value: Any, number: int, count: int) -> Any:
    """The value for loader `number`: every loader's own, or the one for all."""
    if isinstance(value, (tuple, list)) and len(value) == count:
        return value[number]
    return value


def _test_set(dataset: Any, items: Any, rm_type_tfms: Any, with_labels: bool) -> Any:
    """A dataset of `items` made as `dataset` is; the items themselves if it has no transforms."""
    from torte.data.datasets import Datasets, test_set
    from torte.data.tfmd_lists import TfmdLists

    if hasattr(dataset, "test_set"):
        return dataset.test_set(items, with_labels=with_labels)
    if isinstance(dataset, (Datasets, TfmdLists)):
        return test_set(dataset, items, rm_tfms=rm_type_tfms, with_labels=with_labels)
    return items
