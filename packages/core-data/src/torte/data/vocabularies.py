"""`CategoryMap`: the categories of a column in their order, and the number of each."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Final, SupportsIndex, overload

from torte.dispatch import L, is_iter

__all__ = ["MISSING", "CategoryMap", "UnknownLabelError"]

MISSING: Final = "#na#"
"""The category that stands for a missing or unknown value (`add_na=True`)."""


class UnknownLabelError(KeyError):
    """A label that is not in the vocabulary.

    Args:
        labels: The labels at fault.
        vocab: The labels that there are.
        remedy: A sentence of what to do, where `add_na=True` does not help.
    """

    def __init__(self, labels: list[Any], vocab: Sequence[Any], remedy: str | None = None) -> None:
        super().__init__(labels, vocab, remedy)
        self.labels, self.vocab, self.remedy = labels, vocab, remedy

    def __str__(self) -> str:
        if any(is_missing(label) for label in self.labels):
            remedy = self.remedy or (
                f"leave such items out, or let missing labels count as {MISSING!r} (`add_na=True`)"
            )
            return f"an item has no label ({self.labels!r}): {remedy}"
        what = "label" if len(self.labels) == 1 else "labels"
        named = ", ".join(repr(label) for label in self.labels)
        shown = ", ".join(repr(v) for v in self.vocab[:10]) + (
            ", …" if len(self.vocab) > 10 else ""
        )
        words = {str(v): v for v in self.vocab}
        near = [words[w] for w in get_close_matches(str(self.labels[0]), words, n=1)]
        hint = f" Did you mean {near[0]!r}?" if near else ""
        remedy = self.remedy or (
            f"Give the whole vocabulary (`vocab=`), or let unknown labels count as {MISSING!r} "
            "(`add_na=True`)."
        )
        return (
            f"{what} {named} not in the vocabulary of {len(self.vocab)} categories ({shown}): it "
            f"was not in the training data.{hint} {remedy}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.labels, self.vocab, self.remedy)


def plain_label(label: Any) -> Any:
    """A label as a Python value: NumPy scalars and single-element tensors are unpacked."""
    if type(label) is str:
        return label
    item = getattr(label, "item", None)
    return item() if item is not None and getattr(label, "ndim", 0) == 0 else label


def is_missing(label: Any) -> bool:
    """Whether a label is None, NaN, NaT or pandas' NA."""
    if label is None:
        return True
    try:
        return bool(label != label)  # only NaN and NaT differ from themselves
    except (TypeError, ValueError):
        return type(label).__name__ == "NAType"


def _frame_categories(col: Any, strict: bool) -> list[Any] | None:
    """The categories of a pandas categorical column, in their order; None for anything else."""
    categories = getattr(getattr(col, "dtype", None), "categories", None)
    if categories is None:
        return None
    if strict:
        present = set(col.dropna().unique())
        return [plain_label(c) for c in categories if c in present]
    return [plain_label(c) for c in categories]


def _unique(labels: Iterable[Any]) -> list[Any]:
    try:
        found = dict.fromkeys(plain_label(label) for label in labels)
    except TypeError as error:
        raise TypeError(f"a label cannot be counted: {error}; labels must be hashable") from error
    return [label for label in found if not is_missing(label)]


def _sorted(labels: list[Any]) -> list[Any]:
    try:
        return sorted(labels)
    except TypeError:
        # Labels of several types have no order of their own; this one is the same every time.
        return sorted(labels, key=lambda label: (type(label).__name__, str(label)))


class CategoryMap(Sequence[Any]):
    """The distinct values of a column as an immutable sequence, with the reverse in `o2i`.

    Args:
        col: Labels, or a pandas categorical column (whose order of categories is kept).
        sort: Whether to sort the labels; otherwise they keep the order of first appearance.
        add_na: Whether to put `#na#` first, for missing and unknown values.
        strict: For a categorical column, whether to leave out categories that do not occur.
    """

    def __init__(
        self, col: Iterable[Any], sort: bool = True, add_na: bool = False, strict: bool = False
    ) -> None:
        items = _frame_categories(col, strict)
        if items is None:
            items = _unique(col)
            items = _sorted(items) if sort else items
        if add_na:
            items = [MISSING, *(item for item in items if item != MISSING)]
        self.items = L(items)
        self.o2i: dict[Hashable, int] = {item: index for index, item in enumerate(items)}
        self.add_na = add_na

    def number(self, label: Any) -> int:
        """The number of one label.

        Raises:
            UnknownLabelError: The label is not in the vocabulary, and there is no `#na#`.
        """
        try:
            return self.o2i[label]
        except (KeyError, TypeError):
            pass
        found = self.o2i.get(plain_label(label)) if _hashable(plain_label(label)) else None
        if found is None and self.add_na:
            return 0
        if found is None:
            raise UnknownLabelError([plain_label(label)], self.items)
        return found

    def map_objs(self, objs: Iterable[Any]) -> L:
        """The numbers of labels.

        Raises:
            UnknownLabelError: Names all labels that are not in the vocabulary.
        """
        labels = [plain_label(label) for label in objs]
        if not self.add_na:
            unknown = dict.fromkeys(
                label for label in labels if not _hashable(label) or label not in self.o2i
            )
            if unknown:
                raise UnknownLabelError(list(unknown), self.items)
        return L([self.number(label) for label in labels])

    def map_ids(self, ids: Iterable[SupportsIndex]) -> L:
        """The labels of numbers."""
        return L([self[int(index)] for index in ids])

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int]) -> L: ...
    def __getitem__(self, index: SupportsIndex | slice | Sequence[int]) -> Any:
        """One label, or an `L` of those that a slice or several numbers pick."""
        if isinstance(index, slice) or (is_iter(index) and not isinstance(index, str)):
            return self.items[index]
        return self.items[int(index)]  # pyright: ignore[reportArgumentType] - not a sequence here

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __contains__(self, label: object) -> bool:
        return _hashable(label) and label in self.o2i

    def __eq__(self, other: object) -> bool:
        if isinstance(other, CategoryMap):
            return list(self.items) == list(other.items)
        return isinstance(other, Sequence | L) and list(self.items) == list(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return repr(list(self.items))


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
