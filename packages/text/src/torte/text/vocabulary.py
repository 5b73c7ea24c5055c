"""Tokens to numbers and back."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import is_not
from typing import Any

import numpy as np
import torch

from torte.data.tensors import TensorBase
from torte.dispatch import L, Transform, serializable
from torte.text.corpus import TokenizedCorpus
from torte.text.defaults import default_special_tokens
from torte.text.rules import PAD, UNK
from torte.text.tokenizer import Tokenizer, corpus_part

__all__ = ["FILLER", "Numericalize", "TensorText", "make_vocab", "reverse_text", "words_of"]

FILLER = "xxfake"


@serializable("torte.text.TensorText")
class TensorText(TensorBase):
    """Token numbers: int64 of (steps,) or (batch, steps)."""


@serializable("torte.text.reverse_text")
def reverse_text(x: TensorText) -> TensorText:
    """Turn token numbers round, for models that read from the end."""
    return x.flip(0)  # pyright: ignore[reportReturnType]


def make_vocab(
    count: Mapping[str, int],
    min_freq: int = 3,
    max_vocab: int = 60000,
    special_toks: Sequence[str] | None = None,
) -> list[str]:
    """Make a vocabulary of the commonest tokens.

    Args:
        count: How often each token occurs.
        min_freq: Rarer tokens are left out.
        max_vocab: The most tokens, special ones included.
        special_toks: Tokens that come first, whether they occur or not; by default torte's.

    Returns:
        The special tokens, then the others, commonest first (those as common as one another in the
        order of `count`), then `xxfake` up to a multiple of 8, which is what matrix units like.
    """
    special = list(default_special_tokens() if special_toks is None else special_toks)
    reserved = set(special)
    common = sorted(count.items(), key=lambda entry: -entry[1])
    words = [word for word, times in common if times >= min_freq and word not in reserved]
    vocabulary = special + words[: max(0, max_vocab - len(special))]
    vocabulary += [FILLER] * (-len(vocabulary) % 8)
    return vocabulary


@serializable("torte.text.Numericalize")
class Numericalize(Transform):
    """Tokens to their numbers, and back.

    Args:
        vocab: The tokens in the order of their numbers; otherwise `setup` makes a vocabulary of the
            training texts.
        min_freq: Tokens rarer than this are left out of a vocabulary that is made.
        max_vocab: The most tokens in it.
        special_toks: Tokens that come first in it; by default torte's.
    """

    def __init__(
        self,
        vocab: Sequence[str] | None = None,
        min_freq: int = 3,
        max_vocab: int = 60000,
        special_toks: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.min_freq, self.max_vocab, self.special_toks = min_freq, max_vocab, special_toks
        self.vocab: list[str] | None = None
        self.o2i: dict[str, int] = {}
        self.unknown: int | None = None
        if vocab is not None:
            self._take(vocab)

    def _take(self, vocab: Sequence[str]) -> None:
        """Use a vocabulary."""
        self.vocab = list(vocab)
        # The first of equal tokens counts, and fillers stand for nothing.
        self.o2i = {token: n for n, token in reversed(list(enumerate(vocab))) if token != FILLER}
        self.unknown = self.o2i.get(UNK)

    def setups(self, items: Iterable[Sequence[str]]) -> None:
        """Make a vocabulary of lists of tokens, unless there is one."""
        part = corpus_part(items)
        if self.vocab is not None:
            if part is not None:
                self._compare(part[0].counter(part[1]))
        elif items is not None:
            counter = _counted(items) if part is None else part[0].counter(part[1])
            self._take(make_vocab(counter, self.min_freq, self.max_vocab, self.special_toks))

    def _compare(self, counter: Mapping[str, int]) -> None:
        """Warn where most tokens are not in the vocabulary that was given."""
        unknown = sum(times for token, times in counter.items() if token not in self.o2i)
        if unknown > 0.8 * sum(counter.values()):
            missing = [token for token in counter if token not in self.o2i]
            warnings.warn(
                "four of five tokens are not in the vocabulary, such as "
                f"{missing[:5]}: it may be that of another tokenizer",
                stacklevel=2,
            )

    def encodes(self, o: list | tuple | L) -> TensorText:
        """Return the numbers of tokens; those that the vocabulary has not become `xxunk`.

        Raises:
            KeyError: A token is not in the vocabulary, and neither is `xxunk`.
            TypeError: They are no tokens.
        """
        if self.vocab is None:
            raise RuntimeError("Numericalize has no vocabulary: set it up, or give it one")
        try:
            numbers = [self.o2i.get(token, self.unknown) for token in o]
        except TypeError as error:
            raise _no_tokens(o) from error
        if None in numbers:
            missing = [token for token in o if token not in self.o2i]
            raise KeyError(f"the vocabulary has neither {missing[:5]} nor {UNK!r}")
        return torch.from_numpy(np.array(numbers, dtype=np.int64)).as_subclass(TensorText)

    def table(self, corpus: TokenizedCorpus) -> np.ndarray:
        """Return this vocabulary's number of each word of a corpus: int64, by its number there."""
        return np.array([self.o2i.get(word, self.unknown) for word in corpus.words], np.int64)

    def absorb(self, before: Tokenizer) -> "NumberedAtOnce | None":
        """Return one step for a tokenizer and this, or None where one of them is no plain one."""
        is_plain = type(before) is Tokenizer and type(self) is Numericalize
        return NumberedAtOnce(before, self) if is_plain else None

    def decodes(self, o: TensorText) -> L:
        """Return the tokens of numbers, without padding."""
        vocab = self.vocab or []
        return L(token for n in o.tolist() if (token := vocab[n]) != PAD)

    def config(self) -> dict[str, Any]:
        """How a vocabulary is made."""
        special = None if self.special_toks is None else list(self.special_toks)
        return {"min_freq": self.min_freq, "max_vocab": self.max_vocab, "special_toks": special}

    def state(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"vocab": self.vocab}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take a vocabulary as `state` gave it."""
        if state["vocab"] is not None:
            self._take(state["vocab"])


def _counted(texts: Iterable[Sequence[str]]) -> Counter[str]:
    """Count tokens.

    Raises:
        TypeError: Something else is among them.
    """
    counter: Counter[str] = Counter()
    for tokens in texts:
        try:
            counter.update(tokens)
        except TypeError as error:
            raise _no_tokens(tokens) from error
    return counter


def _no_tokens(found: Any) -> TypeError:
    return TypeError(
        f"{found!r:.80} is no list of tokens: give a tokenizer, which is called with many texts, "
        "as TextBlock(Tokenizer(tok)); a function alone is called with one text"
    )


def words_of(dls: Any) -> list[str]:
    """Return the words of loaders of texts; a classifier's vocabularies are words and classes."""
    vocab = dls.vocab
    is_pair = len(vocab) == 2 and not isinstance(vocab[0], str)
    return list(vocab[0] if is_pair else vocab)


class NumberedAtOnce:
    """`Tokenizer` and `Numericalize` in one step of a pipeline.

    The texts of the tokenizer's corpus are numbers already, of the corpus's own vocabulary: they
    are looked up in a table from that one to the other, and no word is made and looked up.

    Args:
        tokenizer: The first step.
        numericalize: The second.
    """

    fuse = None

    def __init__(self, tokenizer: Tokenizer, numericalize: Numericalize) -> None:
        self.tokenizer, self.numericalize = tokenizer, numericalize
        self.name = f"{tokenizer.name} and {numericalize.name}"
        self._made_for: tuple[Any, Any] | None = None
        self._table = np.empty(0, np.int64)

    def __call__(self, o: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        """Return the token numbers of a text."""
        corpus, last = self.tokenizer.corpus, self.numericalize
        if corpus is not None and last.unknown is not None and isinstance(o, str):
            known = corpus.find_numbers(o)
            if known is not None:
                numbers = self._table_of(corpus)[known]
                return torch.from_numpy(numbers).as_subclass(TensorText)
        tokens = self.tokenizer(o, split_idx=split_idx, **kwargs)
        return last(tokens, split_idx=split_idx, **kwargs)

    def _table_of(self, corpus: TokenizedCorpus) -> np.ndarray:
        """Return the table, made anew where the corpus or the vocabulary is another one."""
        made_for = (corpus, self.numericalize.o2i)
        if self._made_for is None or any(map(is_not, self._made_for, made_for)):
            self._table, self._made_for = self.numericalize.table(corpus), made_for
        return self._table

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made_for": None, "_table": np.empty(0, np.int64)}
