"""DataLoader: batches of any dataset, each stage of their making open to replacement.

The stages, in the order in which they run; `samps`, `s`, `b` are samples, one sample, a batch:

    main process          before_iter()
                          randomize(key)      a generator for this pass's order
                          get_idxs()          the samples of a pass, in order
                            shuffle_fn(idxs)
                          sample()            those that this pass takes
    worker (or main)      wif()               once, in a new worker
                          create_batches(samps)
                            create_items(samps)
                              do_item(s)
                                create_item(s)
                                after_item(item)
                            do_batch(items)
                              before_batch(items)
                              create_batch(items)
                              retain(b, items)
    main process          after_batch(b)      on the device
                          after_iter()

Each is a short method, replaced in a subclass or by passing a function of that name:
`DataLoader(items, bs=4, create_batch=pad)`. A function that is to be given the loader as its first
argument is marked with `torte.dispatch.method`.

The order and all randomness derive from (seed, epoch, sample index), so the batches are the same
for any number and kind of workers, and a pass can be taken up in the middle by `load_state_dict`.
"""

import random
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, Subset, TensorDataset

from torte.data._copying import CopiedLoader
from torte.data._passes import IteratedLoader, SkippedItemsWarning
from torte.data._peeking import Replayable
from torte.data._plan import all_indices, shuffled
from torte.data._tasks import current_source
from torte.data._travel import check_travel
from torte.data.collation import collate, convert
from torte.data.errors import LoaderError, SkipItemException
from torte.data.seeding import fresh_seed
from torte.data.workers import auto_workers, worker_kind
from torte.dispatch.delegation import funcs_kwargs
from torte.dispatch.semantic import retain_types

__all__ = ["DataLoader", "SkippedItemsWarning"]


@funcs_kwargs
class DataLoader(IteratedLoader, CopiedLoader):
    """An iterable of batches made from a dataset.

    Args:
        dataset: Anything with `__getitem__`, or any iterable (each pass calls `iter`); `None` if
            `create_item` needs none.
        bs: Samples in a batch; `None` for a dataset that gives ready-made batches.
        shuffle: A new order for each pass.
        drop_last: Leave a last, smaller batch out.
        num_workers: How many workers make batches; 0 for none, `None` to choose.
        n: Number of samples in a pass; the length of the dataset if `None`.
        device: Where batches are moved before `after_batch`; `None` to leave them.
        indexed: Whether samples are looked up by index; by default if the dataset allows it.
        pin_memory: Go through page-locked memory; by default if the device is CUDA's.
        timeout: Seconds to wait for a worker's batch; 0 for ever.
        batch_size: Another name for `bs`.
        worker_kind: "fork", "forkserver", "spawn" (processes), "threads", or "auto": see
            `torte.data.workers.worker_kind`.
        seed: What order and randomness derive from; drawn from torch's generator if `None`.
        persistent_workers: Keep worker processes from pass to pass. They do not see later changes
            to the dataset or its transforms.
        prefetch_factor: How many batches each worker makes ahead.
        skip_failures: Leave out items that raise, and tell of them in `failures` and by a
            `SkippedItemsWarning` at the end of the pass.
        split_stream: Several workers share one iterable dataset: each takes its own batches of it
            and passes over the rest. `False` for a dataset that hands each item out only once.
        kwargs: Functions for the extension points.

    Attributes:
        epoch: Number of the next pass. Passes that were begun count, looking (`one_batch`) not.
        failures: The exceptions of the items that the latest pass left out.

    Raises:
        LoaderError: If the arguments contradict each other or the dataset.
        TravelError: If the workers are processes that start afresh and something that they need
            cannot be pickled; names it.
    """

    _methods: ClassVar[list[str]] = [
        "wif",
        "before_iter",
        "get_idxs",
        "shuffle_fn",
        "sample",
        "randomize",
        "create_batches",
        "create_items",
        "do_item",
        "create_item",
        "after_item",
        "before_batch",
        "do_batch",
        "create_batch",
        "retain",
        "after_batch",
        "after_iter",
    ]
    _main_only: ClassVar[tuple[str, ...]] = (
        "before_iter",
        "get_idxs",
        "shuffle_fn",
        "sample",
        "randomize",
        "after_batch",
        "after_iter",
    )

    def __init__(
        self,
        dataset: Any = None,
        bs: int | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        num_workers: int | None = 0,
        n: int | None = None,
        device: Any = None,
        indexed: bool | None = None,
        pin_memory: bool | None = None,
        timeout: float = 0,
        batch_size: int | None = None,
        worker_kind: str = "auto",
        seed: int | None = None,
        persistent_workers: bool = False,
        prefetch_factor: int = 2,
        skip_failures: bool = False,
        split_stream: bool = True,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise TypeError(
                f"{type(self).__name__} has no argument {', '.join(map(repr, kwargs))};"
                f" functions can be given for {', '.join(self._methods)}"
            )
        self.dataset: Any = Replayable(dataset) if isinstance(dataset, Iterator) else dataset
        self.bs = bs if batch_size is None else batch_size
        self.shuffle, self.drop_last = shuffle, drop_last
        self.indexed = self._can_index() if indexed is None else indexed
        self.n = self._length_of_dataset() if n is None else n
        self.device = None if device is None else torch.device(device)
        self.pin_memory, self.timeout = pin_memory, timeout
        self.persistent_workers, self.prefetch_factor = persistent_workers, prefetch_factor
        self.skip_failures, self.split_stream = skip_failures, split_stream
        self.seed = fresh_seed() if seed is None else int(seed)
        self._start_counting()
        self.rng = random.Random(self.seed)
        self._num_workers, self._worker_kind = num_workers, worker_kind
        self._check(n)

    # -- what the arguments come to ----

    def _can_index(self) -> bool:
        has_index = self.dataset is not None and hasattr(self.dataset, "__getitem__")
        return has_index and not isinstance(self.dataset, IterableDataset)

    def _length_of_dataset(self) -> int | None:
        try:
            return len(self.dataset)
        except (TypeError, NotImplementedError):
            return None

    def _check(self, n: int | None) -> None:
        """Contradictions are found when the loader is made, not in the middle of a pass."""
        for name, least in (("bs", 1), ("n", 0), ("num_workers", 0), ("prefetch_factor", 1)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__")):
                raise LoaderError(f"{name} must be an integer, got {value!r}")
            if value is not None and value < least:
                raise LoaderError(f"{name} must be at least {least}, got {value}")
        known = self._length_of_dataset()
        if self.indexed and n is not None and known is not None and n > known:
            raise LoaderError(f"n={n} is more than the dataset's {known} samples")
        if self.shuffle and self._is_own("get_idxs") and (self.n is None or not self.indexed):
            raise LoaderError(
                f"shuffle=True needs a dataset with indices and a length, which"
                f" {type(self.dataset).__name__} does not have: shuffle where it is made"
            )
        if self.num_workers and self.worker_kind in ("spawn", "forkserver"):
            check_travel(self.for_workers(), self.worker_kind)

    @property
    def num_workers(self) -> int:
        """How many workers a pass starts."""
        if self._num_workers is not None:
            return self._num_workers
        try:
            batches = len(self)
        except TypeError:
            batches = None
        return auto_workers(batches, self._worker_kind)

    @num_workers.setter
    def num_workers(self, value: int | None) -> None:
        self._num_workers = value

    @property
    def worker_kind(self) -> str:
        """The kind of worker a pass starts, never "auto"."""
        return worker_kind(self._worker_kind)

    @worker_kind.setter
    def worker_kind(self, value: str) -> None:
        self._worker_kind = value

    @property
    def batch_size(self) -> int | None:
        """Another name for `bs`."""
        return self.bs

    @property
    def prebatched(self) -> bool:
        """Whether the dataset gives ready-made batches."""
        return self.bs is None

    @property
    def pins_memory(self) -> bool:
        """Whether batches go through page-locked memory."""
        wanted = self._is_on_cuda() if self.pin_memory is None else self.pin_memory
        return wanted and torch.accelerator.is_available()

    def _is_on_cuda(self) -> bool:
        return self.device is not None and self.device.type == "cuda"

    def _is_own(self, name: str) -> bool:
        """Whether an extension point is this class's own, not replaced."""
        own = getattr(DataLoader, name)
        return name not in vars(self) and getattr(type(self), name) is own

    @property
    def planned(self) -> bool:
        """Whether the samples of every batch are known before it is made."""
        chosen = not (self._is_own("get_idxs") and self._is_own("sample"))
        return self.makes_batches_singly and (self.indexed or (chosen and self.dataset is None))

    @property
    def makes_batches_singly(self) -> bool:
        """Whether each batch is made by itself, not by a `create_batches` of the user's."""
        return self._is_own("create_batches")

    @property
    def makes_items_singly(self) -> bool:
        """Whether each item is made by itself, not by a `create_items` of the user's."""
        return self._is_own("create_items")

    @property
    def fetches_together(self) -> bool:
        """Whether the dataset gives all items of a batch at once, as Hugging Face's do."""
        dataset = self.dataset
        while isinstance(dataset, Subset):  # has the method whether or not its dataset has
            dataset = dataset.dataset
        return (
            self.indexed
            and hasattr(dataset, "__getitems__")
            and self.makes_items_singly
            and all(map(self._is_own, ("do_item", "create_item")))
        )

    @property
    def only_looks_up(self) -> bool:
        """Whether items come as they lie in a list, tuple, tensor or array: nothing draws."""
        steps = getattr(self.after_item, "fs", None)
        return (
            self.indexed
            and type(self.dataset) in (list, tuple, Tensor, np.ndarray, TensorDataset)
            and all(map(self._is_own, ("do_item", "create_item")))
            and (self._is_own("after_item") if steps is None else not steps)
        )

    @property
    def draws_once(self) -> bool:
        """Whether each sample is known to come at most once in a pass."""
        return all(map(self._is_own, ("get_idxs", "sample", "shuffle_fn")))

    def is_end(self, error: Exception) -> bool:
        """Whether an item's exception means that there are no more."""
        if self.indexed:
            return self.n is None and isinstance(error, IndexError)
        return isinstance(error, StopIteration)

    @property
    def it(self) -> Iterator[Any]:
        """The iterator that `create_item` takes from if the dataset has no indices."""
        source = current_source.items
        if source is None:
            raise LoaderError("there is no iterator outside of a pass")
        return source

    def __len__(self) -> int:
        """Number of batches in a pass.

        Raises:
            TypeError: If the dataset has no length and no `n` was given.
        """
        if self.n is None:
            raise TypeError(
                f"this {type(self).__name__} has no length: its dataset"
                f" ({type(self.dataset).__name__}) has none and no n was given"
            )
        if self.bs is None:
            return self.n
        return self.n // self.bs + (0 if self.drop_last or self.n % self.bs == 0 else 1)

    def to(self, device: Any) -> Self:
        """Move batches to `device` from now on."""
        self.device = None if device is None else torch.device(device)
        return self

    # -- sample creation: the extension points of the main process ----

    def randomize(self, key: int) -> Any:
        """Make `self.rng` the generator of this pass, from a number that is mixed for it."""
        self.rng = random.Random(key)

    def get_idxs(self) -> Any:
        """The samples of a pass in order: an array, any sequence or an iterator."""
        idxs = all_indices(self.n)
        return self.shuffle_fn(idxs) if self.shuffle else idxs

    def shuffle_fn(self, idxs: Any) -> Any:
        """A random order of `idxs`."""
        return shuffled(idxs, self.rng.getrandbits(62))

    def sample(self) -> Any:
        """The samples that this pass takes, in order."""
        return self.get_idxs()

    # -- item creation: in the workers ----

    def wif(self) -> Any:
        """Called once in each new worker."""

    def create_items(self, samps: Iterable[Any]) -> Any:
        """The items of one batch. Replace it to make them in one go, such as rows of a table."""
        return [item for s in samps if (item := self.do_item(s)) is not None]

    def do_item(self, s: Any) -> Any:
        """Make the item of sample `s`; `None` leaves it out."""
        try:
            return self.after_item(self.create_item(s))
        except SkipItemException:
            return None

    def create_item(self, s: Any) -> Any:
        """The raw item of sample `s`; of an iterable dataset `s` is `None`: take the next."""
        if self.indexed:
            return self.dataset[s]
        if self.dataset is None:
            raise NotImplementedError(f"{type(self).__name__} needs a dataset or a create_item")
        return next(self.it)

    def after_item(self, item: Any) -> Any:
        """Called with each item."""
        return item

    # -- batch creation ----

    def create_batches(self, samps: Iterable[Any]) -> Iterator[Any]:
        """The batches of a stream of samples.

        A replacement decides by itself what makes up a batch, at a price: with several workers
        each batches its own part of the samples, and resuming has to make what was seen.
        """
        for chunk in self.chunkify(samps):
            items = self.create_items(chunk)
            if items:
                yield self.do_batch(items[0] if self.bs is None else items)

    def chunkify(self, b: Iterable[Any]) -> Iterator[list[Any]]:
        """Lists of `bs` of the things in `b`."""
        chunk: list[Any] = []
        for each in b:
            chunk.append(each)
            if len(chunk) == (self.bs or 1):
                yield chunk
                chunk = []
        if chunk and not self.drop_last:
            yield chunk

    def do_batch(self, b: Any) -> Any:
        """Make a batch of a list of items."""
        items = self.before_batch(b)
        return self.retain(self.create_batch(items), items)

    def before_batch(self, b: Any) -> Any:
        """Called with each list of items."""
        return b

    def create_batch(self, b: Any) -> Any:
        """Put items together; of a ready-made batch, turn arrays into tensors."""
        return convert(b) if self.bs is None else collate(b)

    def retain(self, res: Any, b: Any) -> Any:
        """Give the batch `res` the semantic types of the items `b` where it lost them."""
        if isinstance(b, list) and b and isinstance(res, tuple) and isinstance(b[0], tuple):
            return retain_types(res, b[0])
        return res
