"""The texts of a dataset as the numbers that its pipeline gives them, read from where they lie.

A corpus has numbers already, though of another vocabulary. Where a pipeline is nothing but a
`Tokenizer` that tokenized just this collection and `Numericalize`, a table from one vocabulary to
the other is all that is needed: batches are gathered from the corpus, mapped from disk if it is
there, and no text is decoded and looked up word by word.
"""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from torte.text.storage import TokenTexts
from torte.text.tokenizer import Tokenizer, corpus_part
from torte.text.vocabulary import Numericalize, reverse_text

__all__ = ["NumberedTexts", "numbered_texts", "text_lengths"]


class NumberedTexts(Sequence[np.ndarray]):
    """Texts in an array, in any order, with other numbers than it has if so wanted.

    Args:
        tokens: Numbers of all texts.
        begins: Where each text begins: int64.
        lengths: How many tokens each has: int64.
        table: From the numbers in `tokens` to those to give.
        backwards: Whether texts are read from the end.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        begins: np.ndarray,
        lengths: np.ndarray,
        table: np.ndarray | None = None,
        backwards: bool = False,
    ) -> None:
        self.tokens, self.begins, self.lengths = np.asarray(tokens), begins, lengths
        self.table, self.backwards = table, backwards

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        steps = np.arange(int(self.lengths[index]))
        return self.at(np.full(len(steps), index), steps)

    def at(self, texts: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return the tokens at some steps of some texts, two arrays of one shape: int64."""
        steps = self.lengths[texts] - 1 - steps if self.backwards else steps
        numbers = self.tokens[self.begins[texts] + steps]
        return numbers.astype(np.int64) if self.table is None else self.table[numbers]


def _looked_up(dataset: Any) -> NumberedTexts | None:
    """Return the first part of a dataset's items as numbers of its corpus, if that is all it is."""
    tls = getattr(dataset, "tls", None)
    items = dataset if not tls else tls[0]
    part = corpus_part(items)
    if part is None:
        return None
    corpus, places = part
    steps = list(items.tfms.fs)
    first = next(n for n, step in enumerate(steps) if isinstance(step, Tokenizer)) + 1
    numericalize, *rest = steps[first:] or [None]
    is_plain = type(numericalize) is Numericalize and numericalize.unknown is not None
    names = [getattr(step, "name", None) for step in rest]
    if not is_plain or names not in ([], [reverse_text.__name__]):
        return None
    table = numericalize.table(corpus)
    begins, lengths = corpus.store.offsets[:-1], corpus.store.lengths
    return NumberedTexts(corpus.store.tokens, begins[places], lengths[places], table, bool(names))


def text_lengths(dataset: Any) -> np.ndarray | None:
    """Return how many tokens each text of a dataset has, if that is known without making them."""
    found = _looked_up(dataset)
    return None if found is None else found.lengths


def numbered_texts(dataset: Any) -> NumberedTexts:
    """Return the texts of a dataset.

    Args:
        dataset: Texts as token numbers, alone or in tuples of one; of a pipeline as above, or of a
            `TokenStore`, they are read where they lie, all others are collected in memory, in four
            bytes a token.
    """
    if isinstance(dataset, NumberedTexts):
        return dataset
    if isinstance(dataset, TokenTexts):
        return NumberedTexts(dataset.tokens, dataset.offsets[:-1], dataset.lengths)
    return _looked_up(dataset) or _collected(dataset)


def _collected(dataset: Any) -> NumberedTexts:
    numbers, ends = array("i"), array("q", [0])
    for place in range(len(dataset)):
        item = dataset[place]
        text = np.asarray(item[0] if isinstance(item, tuple) else item, np.int32)
        numbers.frombytes(text.tobytes())
        ends.append(len(numbers))
    tokens = np.frombuffer(numbers, np.int32) if numbers else np.empty(0, np.int32)
    offsets = np.frombuffer(ends, np.int64)
    return NumberedTexts(tokens, offsets[:-1], np.diff(offsets))
