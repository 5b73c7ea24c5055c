"""`Datasets`: several pipelines in parallel over one collection, giving a tuple an item."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from torte.data.getters import FuncGetter
from torte.data.item_store import as_index, hold, name_item
from torte.data.subsets import FilteredBase
from torte.data.tfmd_lists import TfmdLists, check_splits
from torte.dispatch import ItemTransform, L, Transform, undescribable

__all__ = ["Datasets", "decode_at", "show_at", "test_set"]


class Datasets(FilteredBase):
    """A collection whose item `i` is the tuple of what each pipeline makes of item `i`.

    What the class does not have is looked up in the pipelines' transforms: `dsets.vocab` is the
    vocabulary, or an `L` of them if there are several.

    Args:
        items: A list, array, frame (its items are rows) or any other collection.
        tfms: One pipeline (a list of transforms) for each part of the tuple.
        tls: The transformed lists themselves, in place of `items` and `tfms`.
        n_inp: How many parts are the model's inputs; all but the last by default.
        dl_type: The loader class for `dataloaders`.
        use_list: Whether to make a list of `items` first.
        do_setup: Whether to set up the transforms now.
        split_idx: The subset that these items are.
        train_setup: Whether transforms learn from the training split alone.
        splits: Indices of each subset's items.
        types: As for `TfmdLists`.
        verbose: Whether to print what is set up.
    """

    def __init__(
        self,
        items: Any = None,
        tfms: Sequence[Any] | None = None,
        tls: Sequence[TfmdLists] | None = None,
        n_inp: int | None = None,
        dl_type: type | None = None,
        use_list: bool | None = None,
        do_setup: bool = True,
        split_idx: int | None = None,
        train_setup: bool = True,
        splits: Any = None,
        types: Sequence[str] | None = None,
        verbose: bool = False,
    ) -> None:
        if tls is None:
            if items is None:
                raise ValueError("Datasets needs items, or tls")
            held = hold(items, use_list)
            splits = None if splits is None else check_splits(splits, len(held))
            tls = [
                TfmdLists(
                    held,
                    each,
                    do_setup=do_setup,
                    split_idx=split_idx,
                    train_setup=train_setup,
                    splits=splits,
                    types=types,
                    verbose=verbose,
                )
                for each in (tfms if tfms is not None else [None])
            ]
        self.tls: list[TfmdLists] = L(list(tls))
        if not self.tls:
            raise ValueError("Datasets needs at least one pipeline")
        self.n_inp = max(1, len(self.tls) - 1) if n_inp is None else n_inp
        if not 0 <= self.n_inp <= len(self.tls):
            raise ValueError(f"n_inp={n_inp!r}, but there are {len(self.tls)} parts")
        self.dl_type = dl_type
        self._one_source = all(tl._shares_items(self.tls[0]) for tl in self.tls)

    def __len__(self) -> int:
        return len(self.tls[0])

    def __getitem__(self, index: Any) -> Any:
        """The tuple of one item, or an `L` of such tuples."""
        if type(index) is not int:
            if not (hasattr(index, "__index__") and getattr(index, "ndim", 0) == 0):
                return L([self[int(i)] for i in as_index(index, len(self))])
            index = int(index)
        tls = self.tls
        if not self._one_source:
            return tuple([tl[index] for tl in tls])
        raw = tls[0].raw(index)
        try:
            return tuple([tl.tfms(raw, split_idx=tl.split_idx) for tl in tls])
        except Exception as error:
            name_item(error, index, raw)
            raise

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return (self[index] for index in range(len(self)))

    # -- what the parts have in common -----------------------------------------------------------

    @property
    def items(self) -> Any:
        """The items before any transform."""
        return self.tls[0].items

    @property
    def splits(self) -> Sequence[Any]:
        """The index array of each subset."""
        return self.tls[0].splits

    @property
    def split_idx(self) -> int | None:
        """The subset that these items are."""
        return self.tls[0].split_idx

    @property
    def types(self) -> list[list[str]]:
        """The names of the types that the first item goes through, for each part."""
        return L([tl.types for tl in self.tls])

    @contextmanager
    def set_split_idx(self, i: int | None) -> Iterator[Self]:
        """Within this context, transforms take the items to be of subset `i`."""
        before = [tl.split_idx for tl in self.tls]
        try:
            for tl in self.tls:
                tl.split_idx = i
            yield self
        finally:
            for tl, old in zip(self.tls, before, strict=True):
                tl.split_idx = old

    def _with(self, tls: Sequence[TfmdLists]) -> Self:
        other = copy.copy(self)
        other.tls = L(list(tls))
        other._one_source = all(tl._shares_items(tls[0]) for tl in tls)
        return other

    def subset(self, i: int) -> Self:
        """The items of split `i`."""
        return self._with([tl.subset(i) for tl in self.tls])

    def new_empty(self) -> Self:
        """The same transforms on no items."""
        return self._with([tl.new_empty() for tl in self.tls])

    def config(self) -> dict[str, Any]:
        """What makes these datasets again, without their items.

        Steps that start a target's pipeline and cannot be described are left out: they make a
        label of an item, which inference has no use for.
        """
        tls = [tl.new_empty() for tl in self.tls]
        targets = [tl.from_step(_first_describable(tl)) for tl in tls[self.n_inp :]]
        return {"tls": [*tls[: self.n_inp], *targets], "n_inp": self.n_inp}

    # -- back again ------------------------------------------------------------------------------

    def _paired(self, o: Any) -> list[tuple[Any, TfmdLists]]:
        parts = o if isinstance(o, tuple | list) else (o,)
        if len(parts) > len(self.tls):
            raise ValueError(f"an item of {len(parts)} parts for {len(self.tls)} pipelines")
        return list(zip(parts, self.tls, strict=False))

    def decode(self, o: Any, full: bool = True) -> tuple[Any, ...]:
        """Undo the transforms on a tuple (or on the inputs alone); `full`: all of them."""
        return tuple(tl.decode(part, full=full) for part, tl in self._paired(o))

    def show(self, o: Any, ctx: Any = None, **kwargs: Any) -> Any:
        """Show the parts of a tuple one after the other, on one context."""
        for part, tl in self._paired(o):
            ctx = tl.show(part, ctx=ctx, **kwargs)
        return ctx

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "tls":
            raise AttributeError(name)
        found = [getattr(tl, name) for tl in self.tls if hasattr(tl, name)]
        if not found:
            raise AttributeError(f"neither Datasets nor a transform in it has {name!r}")
        return found[0] if len(found) == 1 else L(found)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for tl in self.tls for name in dir(tl.tfms))})

    def __repr__(self) -> str:
        shown = self.tls[0]._shown()
        tfms = [list(tl.tfms.fs) for tl in self.tls]
        return f"{type(self).__name__}: {shown}\ntfms - {tfms}"


def _first_describable(tl: TfmdLists) -> int:
    """The place after the last of a pipeline's leading functions that cannot be described."""
    start = 0
    for place, step in enumerate(tl.tfms.fs):
        if type(step) not in {Transform, ItemTransform, FuncGetter}:
            break
        start = place + 1 if undescribable(step) else start
    return start


def decode_at(o: Any, idx: int) -> Any:
    """The item at `idx`, transformed and decoded again."""
    return o.decode(o[idx])


def show_at(o: Any, idx: int, **kwargs: Any) -> Any:
    """Show the item at `idx`."""
    return o.show(o[idx], **kwargs)


def test_set(
    dsets: Datasets | TfmdLists,
    test_items: Any,
    rm_tfms: int | Sequence[int] | None = None,  # noqa: PT028 - no test
    with_labels: bool = False,  # noqa: PT028
) -> Any:
    """New items with the transforms of `dsets`, treated as validation items.

    Args:
        dsets: The data whose transforms to use.
        test_items: Items like those of `dsets`, or of a type that its pipelines reach later on
            (opened images in place of paths): the transforms before that are left out.
        rm_tfms: How many transforms to leave out of each pipeline; judged by type by default.
        with_labels: Whether the targets can be made from the items too.

    Raises:
        TypeError: The items fit nowhere into a pipeline.
    """
    if isinstance(dsets, TfmdLists):
        tls, parts = [dsets], None
    elif isinstance(dsets, Datasets):
        tls = list(dsets.tls if with_labels else dsets.tls[: dsets.n_inp])
        parts = dsets
    else:
        raise TypeError(f"a test set needs Datasets or TfmdLists, not {type(dsets).__name__}")
    held = hold(test_items)
    new = [tl.new(held, split_idx=1) for tl in tls]
    new = [tl.from_step(at) for tl, at in zip(new, _starts(new, rm_tfms), strict=True)]
    if parts is None:
        return new[0]
    return Datasets(tls=new, n_inp=min(parts.n_inp, len(new)), dl_type=parts.dl_type)


test_set.__test__ = False  # pyright: ignore[reportFunctionMemberAccess] - pytest looks at names


def _starts(tls: Sequence[TfmdLists], given: int | Sequence[int] | None) -> list[int]:
    if isinstance(given, int):
        return [given] * len(tls)
    if given is not None:
        return list(given)
    return [tl.infer_idx(tl.raw(0)) if len(tl) else 0 for tl in tls]
