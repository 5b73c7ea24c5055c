"""A corpus of tokens: made in one pass over texts of any number, kept on disk, found again.

Tokens are kept as numbers of a vocabulary of their own: every distinct token of the corpus, in the
order of appearance. Memory holds that vocabulary, a few chunks of text, and some 40 bytes a text.
A corpus is named by the content of its texts and the configuration of the tokenizer, so that later
runs and other processes find it again.
"""

import json
import re
import shutil
import tempfile
import warnings
import weakref
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from torte.data.config import torte_path
from torte.dispatch import describe, undescribable
from torte.text.lookup import TextDigests, TextIndex
from torte.text.parallel import (
    LARGE_CORPUS,
    Chunk,
    numbering,
    tokenized_chunks,
    workers_for,
)
from torte.text.storage import TokenStore, TokenTexts, TokenWriter
from torte.text.tokenizers import TokenizeWithRules

__all__ = ["TokenizedCorpus", "cached_corpus", "configuration_of"]

_PART = 1 << 17  # tokens that are counted at a time
# Han, kana, Thai, Lao, Burmese and Khmer put no spaces between words.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]{12}")


class TokenizedCorpus(Sequence[list[str]]):
    """The tokens of many texts, as numbers in one array.

    Args:
        words: Every distinct token, in the order of its number.
        store: The numbers of each text.
        by_text: Finds texts by their content, where that was kept.
    """

    def __init__(
        self, words: Sequence[str], store: TokenTexts, by_text: TextIndex | None = None
    ) -> None:
        self.words, self.store, self.by_text = list(words), store, by_text

    @classmethod
    def of(cls, texts: Iterable[list[str]]) -> "TokenizedCorpus":
        """Number the tokens of texts, in memory."""
        places = numbering()
        numbers, offsets = array("I"), array("q", [0])
        for tokens in texts:
            numbers.extend(map(places.__getitem__, tokens))
            offsets.append(len(numbers))
        return cls(list(places), _in_memory(numbers, offsets))

    @classmethod
    def read(cls, folder: str | Path) -> "TokenizedCorpus":
        """Map a corpus that was written before."""
        store = TokenStore(folder)
        return cls(store.meta["words"], store, TextIndex(store.attached("index")))

    def find(self, text: str) -> list[str] | None:
        """Return the tokens of a text by its content; None where it is not in the corpus."""
        numbers = self.find_numbers(text)
        return None if numbers is None else [self.words[n] for n in numbers.tolist()]

    def find_numbers(self, text: str) -> np.ndarray | None:
        """Return the numbers of a text's tokens, as `find` does the tokens."""
        place = None if self.by_text is None else self.by_text.find(text)
        return None if place is None else self.store[place]

    def counter(self, places: np.ndarray | None = None) -> Counter[str]:
        """Count tokens.

        Args:
            places: Of which texts; by default of all.

        Returns:
            How often each occurs, in the order in which they first do.
        """
        counts = np.zeros(len(self.words), np.int64)
        first = np.full(len(self.words), np.iinfo(np.int64).max)
        passed = 0
        for part in self._parts(places):
            seen, at, times = np.unique(part, return_index=True, return_counts=True)
            counts[seen] += times
            first[seen] = np.minimum(first[seen], passed + at)
            passed += len(part)
        order = np.argsort(first, kind="stable")[: int((counts > 0).sum())]
        return Counter({self.words[n]: int(counts[n]) for n in order.tolist()})

    def _parts(self, places: np.ndarray | None) -> Iterator[np.ndarray]:
        """Yield the numbers of texts, about as many at a time."""
        waiting: list[np.ndarray] = []
        size = 0
        for place in range(len(self)) if places is None else places.tolist():
            waiting.append(self.store[place])
            size += len(waiting[-1])
            if size >= _PART:
                yield np.concatenate(waiting)
                waiting, size = [], 0
        if size:
            yield np.concatenate(waiting)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        words = self.words
        return [words[number] for number in self.store[index].tolist()]


def _in_memory(numbers: array, offsets: array) -> TokenTexts:
    # Empty buffers have no memory that an array could share.
    tokens = np.frombuffer(numbers, np.uint32) if numbers else np.empty(0, np.uint32)
    return TokenTexts(tokens, np.frombuffer(offsets, np.int64))


class _Numbering:
    """Words of chunks to numbers of the whole corpus."""

    def __init__(self) -> None:
        self.places = numbering()
        self._unspaced = 0

    def renumbered(self, chunk: Chunk) -> np.ndarray:
        """Return the numbers of a chunk's tokens."""
        before = len(self.places)
        count = len(chunk.words)
        table = np.fromiter(map(self.places.__getitem__, chunk.words), np.uint32, count)
        if len(self.places) > before and self._unspaced >= 0:
            self._watch(chunk)
        return table[chunk.numbers]

    def _watch(self, chunk: Chunk) -> None:
        """Warn once where whole sentences of a script without spaces come out as tokens."""
        long = sum(1 for word in chunk.words if _UNSPACED.search(word))
        if long * 10 > len(chunk.words):
            self._unspaced = -1
            example = next(word for word in chunk.words if _UNSPACED.search(word))
            warnings.warn(
                f"a tenth of the tokens are whole sentences, such as {example[:12]!r}: the texts "
                "are in a script without spaces between words, which this tokenizer does not cut. "
                "Use SpacyTokenizer('zh') for Chinese, that of their language for others, or "
                "SentencePieceTokenizer for any",
                stacklevel=2,
            )


def configuration_of(tokenize: TokenizeWithRules) -> str | None:
    """Return what decides which tokens a text gets; None where that cannot be told.

    A tokenizer whose result depends on more than its description (on a model's file) has a
    `fingerprint()`.
    """
    parts = [tokenize.tok, *tokenize.rules, *tokenize.post_rules]
    if undescribable(parts):
        return None
    fingerprint = getattr(tokenize.tok, "fingerprint", None)
    return json.dumps([describe(parts), fingerprint() if fingerprint else None])


def cached_corpus(
    texts: Iterable[str],
    tokenize: TokenizeWithRules,
    n_workers: int | None = None,
    cache_dir: str | Path | None = None,
) -> TokenizedCorpus:
    """Tokenize texts, unless that was done before.

    Args:
        texts: They are read twice, to know their content before they are tokenized; an iterator
            is read once and always tokenized.
        tokenize: Rules and tokenizer.
        n_workers: How many processes, 0 for none; by default one a core for a large corpus.
        cache_dir: Where corpora are kept; by default those of 4 million characters and more go to
            torte's folder for scratch files (see `torte_cfg`), smaller ones stay in memory. A
            corpus whose tokenizer cannot be described is not found again, and deleted with the
            object.

    Raises:
        TypeError: An item is no text; the message names its place.
    """
    digests = TextDigests()
    configuration = configuration_of(tokenize)
    once = iter(texts) is texts
    if not once:
        for _ in digests.watch(texts):
            pass
        if cache_dir is None and digests.characters < LARGE_CORPUS:
            return _small(texts, tokenize, digests, workers_for(0, n_workers))
    folder = torte_path("storage") / "tokens" if cache_dir is None else Path(cache_dir)
    if configuration is None:
        folder = Path(tempfile.mkdtemp(prefix="torte-tokens-"))
    found = folder / digests.of_all(configuration or "")
    if once or not found.exists():
        watched = digests.watch(texts) if once else texts
        characters = LARGE_CORPUS if once else digests.characters
        chunks = tokenized_chunks(watched, tokenize, workers_for(characters, n_workers))
        found = _write(chunks, folder, lambda: digests.of_all(configuration or ""), digests.index)
    corpus = TokenizedCorpus.read(found)
    if configuration is None:
        weakref.finalize(corpus, shutil.rmtree, folder, ignore_errors=True)
    return corpus


def _small(
    texts: Iterable[str], tokenize: TokenizeWithRules, digests: TextDigests, n_workers: int
) -> TokenizedCorpus:
    """Tokenize texts and keep the tokens in memory."""
    merged = _Numbering()
    numbers, offsets = array("I"), array("q", [0])
    for chunk in tokenized_chunks(texts, tokenize, n_workers):
        ends = offsets[-1] + np.cumsum(chunk.lengths)
        numbers.frombytes(merged.renumbered(chunk).tobytes())
        offsets.frombytes(ends.tobytes())
    return TokenizedCorpus(list(merged.places), _in_memory(numbers, offsets), digests.index())


def _write(
    chunks: Iterable[Chunk],
    folder: Path,
    name: Callable[[], str],
    index: Callable[[], TextIndex],
) -> Path:
    """Write chunks to a folder in this one, whose name and index are known at the end."""
    merged = _Numbering()
    with TokenWriter(folder / "new", None) as writer:
        for chunk in chunks:
            writer.extend(merged.renumbered(chunk), chunk.lengths)
        writer.vocab_size = len(merged.places)
        writer.meta["words"] = list(merged.places)
        writer.attach("index", index().table)
        writer.folder = folder / name()
    return writer.folder
