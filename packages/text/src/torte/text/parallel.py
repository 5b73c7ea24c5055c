"""Texts to tokens in one process or several, a chunk at a time: the result is always the same.

Workers are sent chunks of texts and send back numbers and the distinct tokens that they stand for,
which is a tenth of what the tokens themselves would be. Only a few chunks are on their way at any
time, so texts may come from an iterator without end.
"""

import sys
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from torte.data.workers import usable_cpus, worker_kind
from torte.dispatch import L
from torte.text.checking import checked_texts
from torte.text.rules import Rule
from torte.text.tokenizers import TextTokenizer, TokenizeWithRules

__all__ = [
    "LARGE_CORPUS",
    "Chunk",
    "numbering",
    "parallel_tokenize",
    "tokenize_texts",
    "tokenized_chunks",
]

LARGE_CORPUS = 4_000_000
"""From so many characters on processes are started, which would take longer than they save below,
and tokens are kept on disk."""
CHUNK_TEXTS, CHUNK_CHARACTERS = 500, 1 << 18


class Chunk(NamedTuple):
    """The tokens of some texts.

    Attributes:
        words: The distinct ones, in the order of appearance.
        numbers: The place in `words` of each token of all texts: uint32.
        lengths: Number of tokens of each text: int64.
    """

    words: list[str]
    numbers: np.ndarray
    lengths: np.ndarray

    def texts(self) -> Iterator[list[str]]:
        """The tokens of each text."""
        words, start = self.words, 0
        numbers = self.numbers.tolist()
        for length in self.lengths.tolist():
            yield [words[number] for number in numbers[start : start + length]]
            start += length


def _chunk_of(tokenize: TokenizeWithRules, texts: list[str], first: int) -> Chunk:
    """Tokenize some texts; an error is told which one it was of, counting from `first`."""
    places = numbering()
    numbers: list[int] = []
    lengths: list[int] = []
    try:
        for tokens in tokenize(texts):
            numbers.extend(map(places.__getitem__, tokens))
            lengths.append(len(tokens))
    except Exception as error:
        error.add_note(f"while tokenizing text number {first + len(lengths)}")
        raise
    if len(lengths) != len(texts):
        raise ValueError(
            f"the tokenizer {tokenize.tok!r} gave the tokens of {len(lengths)} texts for "
            f"{len(texts)}, from number {first} on: it must yield one list a text"
        )
    words = list(places)
    places.default_factory = None  # it refers to the dictionary: a circle, which would stay a while
    return Chunk(words, np.array(numbers, np.uint32), np.array(lengths, np.int64))


def numbering() -> defaultdict[str, int]:
    """Return a dictionary that gives each new word that is looked up the next number."""
    places: defaultdict[str, int] = defaultdict()
    places.default_factory = places.__len__
    return places


def _in_chunks(texts: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    """Yield lists of texts that are neither too many nor too long, and the number of the first."""
    chunk: list[str] = []
    characters = first = 0
    for place, text in enumerate(checked_texts(texts)):
        chunk.append(text)
        characters += len(text)
        if len(chunk) == CHUNK_TEXTS or characters >= CHUNK_CHARACTERS:
            yield chunk, first
            chunk, characters, first = [], 0, place + 1
    if chunk:
        yield chunk, first


def tokenized_chunks(
    texts: Iterable[str], tokenize: TokenizeWithRules, n_workers: int
) -> Iterator[Chunk]:
    """Tokenize texts as they come, in order.

    Args:
        texts: Any iterable; it is read a few chunks ahead.
        tokenize: Rules and tokenizer.
        n_workers: How many processes; below 2 all is done in this one.

    Raises:
        TypeError: An item is no text; the message names its place.
        RuntimeError: A process died.
    """
    chunks = progress(_in_chunks(texts), getattr(texts, "__len__", None))
    if n_workers < 2:
        yield from (_chunk_of(tokenize, chunk, first) for chunk, first in chunks)
        return
    waiting: deque[Future[Chunk]] = deque()
    with _pool(n_workers, tokenize) as pool:
        try:
            for chunk, first in chunks:
                waiting.append(_submitted(pool, chunk, first))
                if len(waiting) > 2 * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a process that tokenizes died: it may have run out of memory; try fewer "
                "n_workers, or n_workers=0 to see where"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


# -- worker processes ------------------------------------------------------------------------------

_tokenize: Any = None  # in a worker process: what it was started with


def _start(tokenize: TokenizeWithRules) -> None:
    global _tokenize  # noqa: PLW0603 - a process has one
    _tokenize = tokenize


def _work(texts: list[str], first: int) -> Chunk:
    return _chunk_of(_tokenize, texts, first)


def _pool(n_workers: int, tokenize: TokenizeWithRules) -> ProcessPoolExecutor:
    """Workers of the kind that loaders have: forked on Linux, so that functions may be local."""
    kind = worker_kind("auto")
    context = get_context("spawn" if kind == "threads" else kind)
    return ProcessPoolExecutor(n_workers, context, _start, (tokenize,))


def _submitted(pool: ProcessPoolExecutor, chunk: list[str], first: int) -> "Future[Chunk]":
    with warnings.catch_warnings():
        # The first chunk starts the processes, as the caller asked for.
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork")
        return pool.submit(_work, chunk, first)


def workers_for(characters: int, n_workers: int | None) -> int:
    """Return how many processes to use: what was asked for, or one a core for a large corpus."""
    if n_workers is not None:
        return n_workers
    return usable_cpus() if characters >= LARGE_CORPUS else 0


# -- progress --------------------------------------------------------------------------------------


def progress(
    chunks: Iterator[tuple[list[str], int]], count: Callable[[], int] | None
) -> Iterator[tuple[list[str], int]]:
    """Show a bar while chunks are taken, in a terminal only."""
    with _bar(count) as advance:
        for chunk in chunks:
            yield chunk
            advance(len(chunk[0]))


@contextmanager
def _bar(count: Callable[[], int] | None) -> Iterator[Callable[[int], Any]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Tokenizing", total=None if count is None else count())
        yield lambda texts: bar.advance(task, texts)


# -- for callers -----------------------------------------------------------------------------------


def parallel_tokenize(
    items: Iterable[str],
    tok: TextTokenizer | None = None,
    rules: Sequence[Rule] | None = None,
    post_rules: Sequence[Rule] | None = None,
    n_workers: int | None = None,
) -> Iterator[list[str]]:
    """Tokenize texts in several processes; the result is the same for any number of them.

    Args:
        items: The texts, of which a few at a time are held.
        tok: The tokenizer; spaCy's for English by default.
        rules: Rules for texts; torte's by default.
        post_rules: Rules for tokens; torte's by default.
        n_workers: How many processes, 0 for none; by default one a core for a large corpus, none
            for a small one or an iterator.

    Yields:
        The tokens of each text, in order.

    Raises:
        TypeError: An item is no text; the message names its place.
    """
    tokenize = TokenizeWithRules(tok, rules, post_rules)
    if n_workers is None and isinstance(items, Sequence):
        n_workers = workers_for(sum(len(t) for t in items if isinstance(t, str)), None)
    for chunk in tokenized_chunks(items, tokenize, n_workers or 0):
        yield from chunk.texts()


def tokenize_texts(
    texts: Iterable[str],
    n_workers: int | None = None,
    rules: Sequence[Rule] | None = None,
    tok: TextTokenizer | None = None,
) -> L:
    """Return the tokens of each text; see `parallel_tokenize`."""
    return L(parallel_tokenize(texts, tok=tok, rules=rules, n_workers=n_workers))
