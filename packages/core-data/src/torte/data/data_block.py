"""`DataBlock`: how to get from a source to loaders, stated piece by piece.

    DataBlock(
        blocks=(ImageBlock, CategoryBlock),      # what the parts of an item are
        get_items=get_image_files,               # source → items
        splitter=GrandparentSplitter(),          # items → training and validation
        get_y=parent_label,                      # item → raw target (get_x: → raw input)
        item_tfms=Resize(224),                   # on items, before they join a batch
        batch_tfms=aug_transforms(),             # on batches, on the device
    ).dataloaders(path)

When something does not work, `block.summary(source)` shows which step fails, and on what.
"""

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torte.data.blocks import TransformBlock
from torte.data.categories import Categorize, MultiCategorize
from torte.data.datasets import Datasets
from torte.data.getters import FuncGetter, ItemGetter
from torte.data.splitters import RandomSplitter
from torte.data.vocabularies import MISSING
from torte.dispatch import ItemTransform, L, Pipeline, Transform, funcs_kwargs, noop

if TYPE_CHECKING:
    from torte.data.data_loaders import DataLoaders

__all__ = ["DataBlock"]


def _identity(tfm: Any) -> Any:
    """What a transform is told apart by: its class, or for a function the function itself."""
    if isinstance(tfm, type):
        return tfm
    is_plain = not isinstance(tfm, Transform) or type(tfm) in {Transform, ItemTransform}
    return id(tfm) if is_plain else type(tfm)


def merge_tfms(*groups: Iterable[Any]) -> list[Any]:
    """Transforms of several sources as one list of instances.

    Where two sources have a transform of one class, the later source's stands; a source's own
    list may hold a class more than once.
    """
    merged: dict[Any, list[Any]] = {}
    for group in groups:
        found: dict[Any, list[Any]] = {}
        for tfm in group:
            found.setdefault(_identity(tfm), []).append(tfm)
        for key, tfms in found.items():
            # A bare class is a default, which does not displace an instance with settings.
            if key not in merged or not all(isinstance(tfm, type) for tfm in tfms):
                merged[key] = tfms
    flat = [tfm for tfms in merged.values() for tfm in tfms]
    return [tfm() if isinstance(tfm, type) else tfm for tfm in flat]


def _fresh(tfm: Any, copies: dict[int, tuple[Any, Any]]) -> Any:
    """A copy of a transform, the same one for the same transform.

    What one source taught it must not leak into the next use of the block.
    """
    if not isinstance(tfm, Transform):
        return tfm
    if id(tfm) not in copies:
        # The original is held too: the number of one that is gone could come again.
        copies[id(tfm)] = (tfm, copy.copy(tfm))
    return copies[id(tfm)][1]


def _whole(getter: Any) -> Any:
    """A getter as a transform of whole items: a function is not run on a tuple's elements."""
    if isinstance(getter, Transform | Pipeline):
        return getter
    if isinstance(getter, type) and issubclass(getter, Transform):
        return getter()
    if not callable(getter):
        raise TypeError(f"a getter must be a function or a Transform, not {getter!r}")
    return FuncGetter(getter)


def _zipped(columns: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*columns, strict=True))


@funcs_kwargs
class DataBlock:
    """A recipe from a source to `Datasets` and `DataLoaders`.

    `get_items`, `splitter`, `get_x` and `get_y` are methods that a subclass may define or the
    constructor may be given as functions.

    Args:
        blocks: The kind of each part: blocks, or functions that make them.
        dl_type: The loader class; by default the one that a block asks for.
        getters: One function a part, from item to raw part; in place of `get_x` and `get_y`.
        n_inp: How many parts are inputs; all but the last by default.
        item_tfms: Transforms on items, besides those of the blocks.
        batch_tfms: Transforms on batches, besides those of the blocks.
        get_items: From the source to the items; by default the source is the items.
        splitter: From the items to the indices for training and validation; by default
            `RandomSplitter()`.
        get_x: From an item to the raw input; a list if there are several.
        get_y: From an item to the raw target; a list if there are several.
    """

    _methods: ClassVar[list[str]] = ["get_items", "splitter", "get_y", "get_x"]
    get_items: Callable[[Any], Any] | None = None
    splitter: Callable[[Any], Any] | None = None
    get_x: Any = None
    get_y: Any = None
    blocks: Any = (TransformBlock, TransformBlock)
    dl_type: type | None = None

    def __init__(
        self,
        blocks: Any = None,
        dl_type: type | None = None,
        getters: Sequence[Any] | None = None,
        n_inp: int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise TypeError(
                f"DataBlock has no argument {next(iter(kwargs))!r}: besides its own it takes "
                f"{self._methods}"
            )
        given = self.blocks if blocks is None else blocks
        self.blocks = L([b() if callable(b) else b for b in L(given)])
        for block in self.blocks:
            if not isinstance(block, TransformBlock):
                raise TypeError(f"blocks must be TransformBlocks or make them, not {block!r}")
        self.n_inp = max(1, len(self.blocks) - 1) if n_inp is None else n_inp
        if not 0 <= self.n_inp <= len(self.blocks):
            raise ValueError(f"n_inp={n_inp!r}, but there are {len(self.blocks)} blocks")
        self.getters = self._all_getters(getters)
        wanted = [dl_type, *(block.dl_type for block in self.blocks), self.dl_type]
        self.dl_type = next((each for each in wanted if each is not None), None)
        self.type_tfms = [list(block.type_tfms) for block in self.blocks]
        self._own_item_tfms, self._own_batch_tfms = L(item_tfms), L(batch_tfms)
        self.dls_kwargs = {k: v for block in self.blocks for k, v in block.dls_kwargs.items()}

    def _all_getters(self, getters: Sequence[Any] | None) -> list[Any]:
        count = len(self.blocks)
        if getters is not None:
            if self.get_x is not None or self.get_y is not None:
                raise ValueError("give either getters, or get_x and get_y")
            self._check_count("getters", len(getters), count)
            return list(getters)
        found = [noop] * count
        for name, start, stop in (("get_x", 0, self.n_inp), ("get_y", self.n_inp, count)):
            given = getattr(self, name)
            if given is not None:
                functions = list(given) if isinstance(given, list | tuple) else [given]
                self._check_count(name, len(functions), stop - start)
                found[start:stop] = functions
        return found

    def _check_count(self, name: str, given: int, wanted: int) -> None:
        if given != wanted:
            raise ValueError(
                f"{name} has {given} functions, but of the {len(self.blocks)} blocks "
                f"{wanted} need one (n_inp={self.n_inp})"
            )

    @property
    def item_tfms(self) -> list[Any]:
        """All transforms on items: the blocks', then the block's own."""
        return merge_tfms(*(block.item_tfms for block in self.blocks), self._own_item_tfms)

    @property
    def batch_tfms(self) -> list[Any]:
        """All transforms on batches: the blocks', then the block's own."""
        return merge_tfms(*(block.batch_tfms for block in self.blocks), self._own_batch_tfms)

    def new(self, item_tfms: Any = None, batch_tfms: Any = None) -> Self:
        """The same recipe with other transforms on items and batches."""
        other = copy.copy(self)
        other._own_item_tfms, other._own_batch_tfms = L(item_tfms), L(batch_tfms)
        return other

    @classmethod
    def from_columns(
        cls,
        blocks: Any = None,
        getters: Sequence[Any] | None = None,
        get_items: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """A block whose source is a tuple of columns, one for each part.

        Args:
            blocks: The kind of each part.
            getters: By default part `i` is column `i`.
            get_items: From the source to the columns.
            kwargs: For `DataBlock`.
        """
        if getters is None:
            getters = [ItemGetter(i) for i in range(2 if blocks is None else len(L(blocks)))]
        items = _zipped if get_items is None else lambda source: _zipped(get_items(source))
        return cls(blocks=blocks, getters=getters, get_items=items, **kwargs)

    # -- from a source to data -------------------------------------------------------------------

    def items_of(self, source: Any) -> Any:
        """The items of a source.

        Raises:
            ValueError: There are none; the message names the source.
        """
        items = source if self.get_items is None else self.get_items(source)
        if not hasattr(items, "__len__"):
            items = list(items)
        if len(items) == 0:
            raise ValueError(self._no_items(source))
        return items

    def _no_items(self, source: Any) -> str:
        name = getattr(self.get_items, "__name__", None) or repr(self.get_items)
        how = (
            "the source has no items" if self.get_items is None else f"{name} found no items in it"
        )
        if not isinstance(source, str | os.PathLike):
            return f"{how}: {type(source).__name__} {source!r:.200}"
        if not os.path.isdir(source):  # noqa: PTH112
            return f"{str(source)!r}: {how}"
        inside = sorted(os.listdir(source))  # noqa: PTH208
        listing = f"it holds {inside[:5]!r}{' …' if len(inside) > 5 else ''}"
        return f"folder {str(source)!r}: {how}; {listing if inside else 'it is empty'}"

    def splits_of(self, items: Any) -> Any:
        """The indices of each subset.

        Raises:
            ValueError: No item is left for training.
        """
        splits = (RandomSplitter() if self.splitter is None else self.splitter)(items)
        if len(splits) == 0 or len(splits[0]) == 0:
            name = getattr(self.splitter, "__name__", None) or repr(self.splitter)
            raise ValueError(f"{name} put none of the {len(items)} items into the training set")
        return splits

    def fresh_type_tfms(self) -> list[list[Any]]:
        """The getter and type transforms of each part, not set up yet."""
        copies: dict[int, tuple[Any, Any]] = {}
        return [
            [_fresh(tfm, copies) for tfm in (_whole(getter), *type_tfms)]
            for getter, type_tfms in zip(self.getters, self.type_tfms, strict=True)
        ]

    def fresh_tfms(self) -> tuple[list[Any], list[Any]]:
        """The transforms on items and on batches, not set up yet."""
        copies: dict[int, tuple[Any, Any]] = {}
        item_tfms, batch_tfms = self.item_tfms, self.batch_tfms
        return [_fresh(t, copies) for t in item_tfms], [_fresh(t, copies) for t in batch_tfms]

    def datasets(self, source: Any, verbose: bool = False) -> Datasets:
        """The items of a source with the type transforms of each block, divided into subsets.

        Args:
            source: What `get_items` takes: a path, a frame, a list, …
            verbose: Whether to print what is done.

        Raises:
            ValueError: There are no items, none for training, or only one class to tell apart.
        """
        items = self.items_of(source)
        if verbose:
            print(f"Collected {len(items)} items from {source}")  # noqa: T201
        splits = self.splits_of(items)
        if verbose:
            sizes = ", ".join(str(len(split)) for split in splits)
            print(f"{len(splits)} subsets of sizes {sizes}")  # noqa: T201
        dsets = Datasets(
            items,
            tfms=self.fresh_type_tfms(),
            splits=splits,
            dl_type=self.dl_type,
            n_inp=self.n_inp,
            verbose=verbose,
        )
        self._check_classes(dsets, source)
        return dsets

    def _check_classes(self, dsets: Datasets, source: Any) -> None:
        """A single class cannot be told apart from anything: most likely the source is wrong."""
        for tl in dsets.tls[self.n_inp :]:
            for tfm in tl.tfms.fs:
                single = isinstance(tfm, Categorize) and not isinstance(tfm, MultiCategorize)
                if not single or tfm.is_given or tfm.vocab is None:
                    continue
                classes = [label for label in tfm.vocab if label != MISSING]
                if len(classes) < 2:
                    where = f" in {str(source)!r}" if isinstance(source, str | os.PathLike) else ""
                    raise ValueError(
                        f"all {len(dsets.train)} training items{where} have the one label "
                        f"{classes!r}: at least two classes were expected. If one is "
                        "meant, give the vocabulary: CategoryBlock(vocab=[...])"
                    )

    def dataloaders(
        self,
        source: Any,
        path: str | os.PathLike[str] = ".",
        verbose: bool = False,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        **kwargs: Any,
    ) -> "DataLoaders":
        """Loaders for each subset of a source.

        Args:
            source: What `get_items` takes.
            path: Where the loaders' learner keeps its files.
            verbose: Whether to print what is done.
            item_tfms: In place of the block's own.
            batch_tfms: In place of the block's own.
            kwargs: For `Datasets.dataloaders`: `bs`, `shuffle`, `num_workers`, `device`, …
        """
        block = self._with_tfms(item_tfms, batch_tfms)
        dsets = block.datasets(source, verbose=verbose)
        item_tfms, batch_tfms = block.fresh_tfms()
        events = {"after_item": item_tfms, "after_batch": batch_tfms}
        return dsets.dataloaders(path=path, **{**block.dls_kwargs, **events, **kwargs})

    def _with_tfms(self, item_tfms: Any, batch_tfms: Any) -> Self:
        if item_tfms is None and batch_tfms is None:
            return self
        return self.new(
            self._own_item_tfms if item_tfms is None else item_tfms,
            self._own_batch_tfms if batch_tfms is None else batch_tfms,
        )

    def summary(self, source: Any, bs: int = 4, show_batch: bool = False, **kwargs: Any) -> None:
        """Walk one sample and one batch through every step, printing what each makes of it.

        Args:
            source: What `get_items` takes.
            bs: Items in the batch.
            show_batch: Whether to show the batch at the end.
            kwargs: For `show_batch`.

        Raises:
            Exception: What the failing step raised, after the step has been printed.
        """
        from torte.data.summary import summarize

        summarize(self, source, bs=bs, show_batch=show_batch, **kwargs)
