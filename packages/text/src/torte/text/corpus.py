"""Texts to tokens: one at a time, or a whole corpus at once, in parallel and cached.

A corpus is tokenized when a pipeline is set up. Its tokens are kept as numbers of a vocabulary of
their own (every distinct token of the corpus, in the order of appearance), in memory or, with
`cache_dir`, memory-mapped from disk, where later runs and other processes find it again by the
content of the texts and the configuration of the tokenizer.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np

from torte.data.titles import TitledStr
from torte.dispatch import L, Transform, describe, serializable, undescribable
from torte.text.rules import Rule
from torte.text.storage import TokenStore, TokenWriter
from torte.text.tokenizers import SpacyTokenizer, TextTokenizer, TokenizeWithRules

__all__ = ["TokenizedCorpus", "Tokenizer", "parallel_tokenize", "tokenize_texts"]

# Below this many texts, starting processes takes longer than they save.
SMALL_CORPUS = 4000
CHUNK = 500


def _tokenized_chunk(tokenize: TokenizeWithRules, texts: list[str]) -> list[list[str]]:
    return list(tokenize(texts))


def parallel_tokenize(
    items: Sequence[str],
    tok: TextTokenizer | None = None,
    rules: Sequence[Rule] | None = None,
    post_rules: Sequence[Rule] | None = None,
    n_workers: int | None = None,
) -> Iterator[list[str]]:
    """Tokenize texts in several processes; the result is the same for any number of them.

    Args:
        items: The texts.
        tok: The tokenizer; spaCy's for English by default.
        rules: Rules for texts; torte's by default.
        post_rules: Rules for tokens; torte's by default.
        n_workers: How many processes, 0 for none; by default one a core for a large corpus, none
            for a small one.

    Yields:
        The tokens of each text, in order.

    Raises:
        TypeError: An item is no text; the message names its place.
    """
    items = list(items)
    for place, text in enumerate(items):
        if not isinstance(text, str):
            raise TypeError(
                f"text number {place} is {text!r}, not a string: drop or fill such rows"
            )
    tokenize = TokenizeWithRules(SpacyTokenizer() if tok is None else tok, rules, post_rules)
    if n_workers is None:
        n_workers = 0 if len(items) < SMALL_CORPUS else cpu_count() or 1
    if n_workers < 2:
        yield from tokenize(items)
        return
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        for tokens in pool.map(_tokenized_chunk, [tokenize] * len(chunks), chunks):
            yield from tokens


def tokenize_texts(
    texts: Sequence[str],
    n_workers: int | None = None,
    rules: Sequence[Rule] | None = None,
    tok: TextTokenizer | None = None,
) -> L:
    """Return the tokens of each text; see `parallel_tokenize`."""
    return L(parallel_tokenize(texts, tok=tok, rules=rules, n_workers=n_workers))


class TokenizedCorpus(Sequence[list[str]]):
    """The tokens of many texts, as numbers in one array.

    Args:
        words: Every distinct token, in the order of its number.
        store: The numbers of each text.
    """

    def __init__(self, words: Sequence[str], store: Sequence[np.ndarray]) -> None:
        self.words, self.store = list(words), store

    @classmethod
    def of(cls, texts: Iterable[list[str]]) -> "TokenizedCorpus":
        """Number the tokens of texts."""
        numbers: dict[str, int] = {}
        store = [
            np.array([numbers.setdefault(token, len(numbers)) for token in tokens], dtype=np.uint32)
            for tokens in texts
        ]
        return cls(list(numbers), store)

    def write(self, folder: Path) -> None:
        """Write the corpus where `read` finds it."""
        with TokenWriter(folder, len(self.words), {"words": self.words}) as writer:
            writer.add_all(self.store)

    @classmethod
    def read(cls, folder: Path) -> "TokenizedCorpus":
        """Map a corpus that was written before."""
        store = TokenStore(folder)
        return cls(store.meta["words"], store)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        words = self.words
        return [words[number] for number in self.store[index].tolist()]


def _digest(texts: Sequence[str]) -> str:
    """A name for the content of texts."""
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


@serializable("torte.text.Tokenizer")
class Tokenizer(Transform):
    """Texts to lists of tokens, and back to text.

    Args:
        tok: The tokenizer; spaCy's for English by default.
        rules: Rules for texts; torte's by default.
        post_rules: Rules for tokens; torte's by default.
        sep: Put between tokens when they are decoded.
        n_workers: See `parallel_tokenize`.
        cache_dir: Folder for tokenized corpora; by default they are kept in memory.
    """

    train_setup = False  # all texts are tokenized at once, whichever part they are in

    def __init__(
        self,
        tok: TextTokenizer | None = None,
        rules: Sequence[Rule] | None = None,
        post_rules: Sequence[Rule] | None = None,
        sep: str = " ",
        n_workers: int | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.tok = SpacyTokenizer() if tok is None else tok
        self.tokenize = TokenizeWithRules(self.tok, rules, post_rules)
        self.rules, self.post_rules = self.tokenize.rules, self.tokenize.post_rules
        self.sep, self.n_workers, self.cache_dir = sep, n_workers, cache_dir
        self.corpus: TokenizedCorpus | None = None
        self._places: dict[str, int] = {}

    # -- tokens ----------------------------------------------------------------------------------

    def setups(self, items: Iterable[str]) -> None:
        """Tokenize the corpus, or find it in the cache."""
        if items is None:
            return
        texts = list(items)
        setup = getattr(self.tok, "setup", None)
        if setup is not None:
            setup(texts, self.rules)
        self.corpus = self._cached(texts)
        self._places = {text: place for place, text in enumerate(texts)}

    def _cached(self, texts: list[str]) -> TokenizedCorpus:
        """Return the tokenized corpus, from the cache if it is there."""
        if self.cache_dir is None or undescribable([self.tok, *self.rules, *self.post_rules]):
            return self._tokenized(texts)
        configuration = json.dumps(describe([self.tok, *self.rules, *self.post_rules]))
        folder = Path(self.cache_dir) / _digest([configuration, *texts])
        if not folder.exists():
            self._tokenized(texts).write(folder)
        return TokenizedCorpus.read(folder)

    def _tokenized(self, texts: list[str]) -> TokenizedCorpus:
        return TokenizedCorpus.of(
            parallel_tokenize(texts, self.tok, self.rules, self.post_rules, self.n_workers)
        )

    def encodes(self, o: str) -> L:
        """Return the tokens of a text."""
        place = self._places.get(o)
        if place is not None and self.corpus is not None:
            return L(self.corpus[place])
        return L(next(iter(self.tokenize([o]))))

    def decodes(self, o: L) -> TitledStr:
        """Join tokens to a text."""
        return TitledStr(self.sep.join(o))

    # -- state -----------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "corpus": None, "_places": {}}

    def config(self) -> dict[str, Any]:
        """How texts are tokenized; the corpus is not part of it."""
        return {
            "tok": self.tok,
            "rules": list(self.rules),
            "post_rules": list(self.post_rules),
            "sep": self.sep,
        }
