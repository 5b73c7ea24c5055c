"""Labels to numbers and back: one of several classes, several at once, one-hot.

All of these learn their vocabulary from the training split when they are set up, unless it is
given, and decode to the label that went in.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from torte.data.tensors import TensorCategory, TensorMultiCategory
from torte.data.titles import (
    Category,
    MultiCategory,
    TitledFloat,
    TitledInt,
    TitledTuple,
)
from torte.data.vocabularies import CategoryMap, is_missing, plain_label
from torte.dispatch import DisplayedTransform, serializable

__all__ = [
    "Categorize",
    "EncodedMultiCategorize",
    "MultiCategorize",
    "OneHotEncode",
    "get_c",
    "one_hot",
    "one_hot_decode",
]

_TITLED: dict[type, type] = {str: Category, int: TitledInt, float: TitledFloat, tuple: TitledTuple}


def one_hot(x: int | Iterable[int] | Tensor, c: int) -> Tensor:
    """A vector of `c` zeros with ones at the number, or numbers, `x`: uint8 of shape (c,)."""
    result = torch.zeros(c, dtype=torch.uint8)
    found = list(x) if isinstance(x, Iterable) and not isinstance(x, Tensor) else x
    numbers = torch.as_tensor(found, dtype=torch.int64).reshape(-1)
    if len(numbers):
        result[numbers] = 1
    return result


def one_hot_decode(x: Tensor, vocab: Sequence[Any] | None = None) -> list[Any]:
    """The numbers (or, with a vocabulary, the labels) at which a vector of shape (c,) is not 0."""
    numbers = torch.as_tensor(x).reshape(-1).nonzero().reshape(-1).tolist()
    return numbers if vocab is None else [vocab[number] for number in numbers]


def _titled(label: Any) -> Any:
    """A label that shows itself: equal to the label that went in, whatever its type."""
    kind = _TITLED.get(type(label))
    return kind(label) if kind else label


def _lookup(vocab: Sequence[Any], number: Any) -> Any:
    index = int(number)
    if not 0 <= index < len(vocab):
        raise IndexError(f"category number {index}, but the vocabulary has {len(vocab)} categories")
    return vocab[index]


def _vocab_of(o: "Categorize | EncodedMultiCategorize") -> CategoryMap:
    if o.vocab is None:
        raise ValueError(
            f"{o.name} has no vocabulary yet: call setup with the training labels, or pass `vocab=`"
        )
    return o.vocab


@serializable
class Categorize(DisplayedTransform):
    """One label an item to its number, a `TensorCategory`; decodes to a `Category`.

    Args:
        vocab: The categories, if they are known; otherwise those of the training split are used.
        sort: Whether to sort the categories; otherwise they keep their order.
        add_na: Whether category 0 is `#na#`, which then stands for unknown and missing labels too.
    """

    order = 1
    vocab: CategoryMap | None

    def __init__(
        self, vocab: Iterable[Any] | None = None, sort: bool = True, add_na: bool = False
    ) -> None:
        super().__init__()
        self.sort, self.add_na = sort, add_na
        self.vocab = None if vocab is None else CategoryMap(vocab, sort=sort, add_na=add_na)
        self.is_given = vocab is not None

    @property
    def c(self) -> int:
        """The number of categories."""
        return len(_vocab_of(self))

    def setups(self, items: Any) -> None:
        """Learn the vocabulary from labels, unless it was given."""
        if self.vocab is None and items is not None:
            self.vocab = CategoryMap(items, sort=self.sort, add_na=self.add_na)

    def encodes(self, o: Any) -> TensorCategory:
        """The number of a label, int64 of shape ().

        Raises:
            UnknownLabelError: The label is not in the vocabulary.
        """
        return TensorCategory(torch.tensor(_vocab_of(self).number(o)))

    def decodes(self, o: Tensor | int) -> Any:
        """The label of a number: a `Category`, or its like for labels that are no strings.

        A plain tensor of several numbers comes back as it is.
        """
        if isinstance(o, Tensor) and o.numel() != 1 and not isinstance(o, TensorCategory):
            return o
        return _titled(_lookup(_vocab_of(self), o))

    def config(self) -> dict[str, Any]:
        """How the vocabulary is learned; what it is belongs to the state."""
        return {"sort": self.sort, "add_na": self.add_na}

    def state(self) -> dict[str, Any]:
        """The vocabulary as JSON values."""
        return {"vocab": None if self.vocab is None else list(self.vocab), "given": self.is_given}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take a vocabulary as `state` gave it."""
        vocab = state["vocab"]
        self.is_given = state["given"]
        # `#na#` is in the stored list already, at its place.
        self.vocab = None if vocab is None else CategoryMap(vocab, sort=False, add_na=self.add_na)


def _as_labels(o: Any) -> Iterable[Any]:
    return [o] if isinstance(o, str) or not isinstance(o, Iterable) else o


@serializable
class MultiCategorize(Categorize):
    """Several labels an item to their numbers, a `TensorMultiCategory`; decodes to `MultiCategory`.

    Args:
        vocab: The categories, kept in this order; otherwise the sorted ones of the training split.
        add_na: As for `Categorize`.
    """

    def __init__(self, vocab: Iterable[Any] | None = None, add_na: bool = False) -> None:
        super().__init__(vocab=vocab, sort=vocab is None, add_na=add_na)

    @property
    def c(self) -> int:
        """Not known here: how wide the target is, `OneHotEncode` says, which comes after."""
        raise AttributeError("MultiCategorize has no c: OneHotEncode has")

    def setups(self, items: Any) -> None:
        """Learn the vocabulary from the labels of all items, unless it was given."""
        if self.vocab is None and items is not None:
            found: dict[Any, None] = {}
            for labels in items:
                found.update(dict.fromkeys(plain_label(label) for label in _as_labels(labels)))
            self.vocab = CategoryMap(found, add_na=self.add_na)

    def encodes(self, o: Any) -> TensorMultiCategory:
        """The numbers of an item's labels, int64 of shape (number of labels,).

        Raises:
            UnknownLabelError: Names every label that is not in the vocabulary.
        """
        labels = [] if is_missing(o) else _as_labels(o)
        numbers = _vocab_of(self).map_objs(labels)
        return TensorMultiCategory(torch.tensor(list(numbers), dtype=torch.int64))

    def decodes(  # pyright: ignore[reportIncompatibleMethodOverride] - a table of its own
        self, o: TensorMultiCategory
    ) -> MultiCategory:
        """The labels of numbers."""
        vocab = _vocab_of(self)
        return MultiCategory([_lookup(vocab, number) for number in o])

    def config(self) -> dict[str, Any]:
        """How the vocabulary is learned."""
        return {"add_na": self.add_na}


@serializable
class OneHotEncode(DisplayedTransform):
    """Category numbers to a vector of zeros and ones, float32 of shape (c,).

    Args:
        c: The number of categories; by default that of the vocabulary of the transform before it.
    """

    order = 2

    def __init__(self, c: int | None = None) -> None:
        super().__init__()
        self.c = c

    def setups(self, items: Any) -> None:
        """Take the number of categories from the items' vocabulary."""
        vocab = getattr(items, "vocab", None)
        if self.c is None and vocab is not None:
            self.c = len(vocab)

    def encodes(self, o: TensorMultiCategory) -> TensorMultiCategory:
        """The one-hot vector of category numbers."""
        if not self.c:
            raise ValueError("OneHotEncode does not know the number of categories: pass `c=`")
        return TensorMultiCategory(one_hot(o, self.c).float())

    def decodes(self, o: TensorMultiCategory) -> TensorMultiCategory:
        """The category numbers of a one-hot vector."""
        return TensorMultiCategory(torch.tensor(one_hot_decode(o), dtype=torch.int64))


@serializable
class EncodedMultiCategorize(DisplayedTransform):
    """Targets that are one-hot already: numbers to float32, decoded with the given vocabulary.

    Args:
        vocab: The category of each place, in order.
    """

    order = 1

    def __init__(self, vocab: Iterable[Any]) -> None:
        super().__init__()
        self.vocab: CategoryMap | None = CategoryMap(vocab, sort=False)
        self.c = len(self.vocab)

    def encodes(self, o: Any) -> TensorMultiCategory:
        """A one-hot row (list, array or tensor) as float32 of shape (c,).

        Raises:
            ValueError: The row does not have one number a category.
        """
        row = torch.as_tensor(o).float()
        if row.shape != (self.c,):
            raise ValueError(
                f"a row of {self.c} numbers was expected, got shape {tuple(row.shape)}"
            )
        return TensorMultiCategory(row)

    def decodes(self, o: TensorMultiCategory) -> MultiCategory:
        """The labels at the places that are not 0."""
        return MultiCategory(one_hot_decode(o, _vocab_of(self)))

    def config(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"vocab": list(_vocab_of(self))}


def get_c(dls: Any) -> int:
    """How many outputs a model needs: the targets' `c`, or the size of their vocabulary.

    Raises:
        ValueError: The targets say neither.
    """
    for source in (dls, getattr(dls, "train", None), getattr(dls, "train_ds", None)):
        c = getattr(source, "c", None)
        if c:
            return c if isinstance(c, int) else c[-1]
    vocab = getattr(dls, "vocab", None)
    if vocab is None:
        raise ValueError("the number of outputs is not known from the data: pass `n_out=`")
    nested = len(vocab) > 0 and isinstance(vocab[-1], CategoryMap | list | tuple)
    return len(vocab[-1] if nested else vocab)
