"""`Tokenizer`: texts to tokens in a pipeline, the whole corpus at once when that is set up."""

from collections.abc import Sequence
from functools import partial
from inspect import isroutine
from pathlib import Path
from typing import Any

import numpy as np

from torte.data.tfmd_lists import TfmdLists
from torte.data.titles import TitledStr
from torte.dispatch import L, Transform, serializable
from torte.text.corpus import TokenizedCorpus, cached_corpus
from torte.text.reading import TextReader, texts_of
from torte.text.rules import Rule
from torte.text.storage import TokenStore
from torte.text.tokenizers import TextTokenizer, TokenizeWithRules

__all__ = ["Tokenizer", "corpus_part", "tokenizing_step"]


@serializable("torte.text.Tokenizer")
class Tokenizer(Transform):
    """Texts to lists of tokens, and back to text.

    Args:
        tok: The tokenizer, also one of Hugging Face's as it is; spaCy's for English by default.
        rules: Rules for texts; torte's by default.
        post_rules: Rules for tokens; torte's by default.
        sep: Put between tokens when they are decoded.
        n_workers: How many processes tokenize a corpus, 0 for none; by default one a core for a
            large corpus.
        cache_dir: Folder for tokenized corpora; by default large ones go to torte's folder for
            scratch files, small ones stay in memory.
        reader: From items to texts, where they are rows or paths.

    Raises:
        TypeError: `tok` is no tokenizer.
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
        reader: TextReader | None = None,
    ) -> None:
        super().__init__()
        self.tokenize = TokenizeWithRules(tok, rules, post_rules)
        self.tok = self.tokenize.tok
        self.rules, self.post_rules = self.tokenize.rules, self.tokenize.post_rules
        self.sep, self.n_workers, self.cache_dir = sep, n_workers, cache_dir
        self.reader = reader
        self.corpus: TokenizedCorpus | None = None
        self.source: tuple[Any, Any] | None = None

    @classmethod
    def from_df(
        cls,
        text_cols: str | int | Sequence[str | int],
        tok: TextTokenizer | None = None,
        rules: Sequence[Rule] | None = None,
        sep: str = " ",
        mark_fields: bool | None = None,
        tok_text_col: str = "text",
        **kwargs: Any,
    ) -> "Tokenizer":
        """Make a tokenizer of the rows of a frame.

        Args:
            text_cols: The columns that hold text.
            tok: See the class.
            rules: See the class.
            sep: See the class.
            mark_fields: Whether columns are marked; by default if there are several.
            tok_text_col: Accepted for compatibility: tokens are not put into the frame.
            **kwargs: For the class: `n_workers`, `cache_dir`, …
        """
        reader = TextReader(text_cols, mark_fields=mark_fields)
        return cls(tok, rules, sep=sep, reader=reader, **kwargs)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        tok: TextTokenizer | None = None,
        rules: Sequence[Rule] | None = None,
        encoding: str = "utf-8",
        output_dir: str | Path | None = None,
        skip_if_exists: bool = True,
        **kwargs: Any,
    ) -> "Tokenizer":
        """Make a tokenizer of the text files in a folder.

        Args:
            path: The folder.
            tok: See the class.
            rules: See the class.
            encoding: Of the files.
            output_dir: Another name for `cache_dir`.
            skip_if_exists: Accepted for compatibility: tokens are found again by the content of the
                files.
            **kwargs: For the class: `n_workers`, `cache_dir`, …

        Raises:
            FileNotFoundError: There is no such folder.
        """
        if not Path(path).is_dir():
            raise FileNotFoundError(f"there is no folder {str(path)!r} with texts")
        kwargs.setdefault("cache_dir", output_dir)
        return cls(tok, rules, reader=TextReader(encoding=encoding), **kwargs)

    # -- tokens ----------------------------------------------------------------------------------

    def setups(self, items: Any) -> None:
        """Tokenize the corpus, or find it in the cache."""
        if items is None:
            return
        texts = texts_of(items, self.reader)
        setup = getattr(self.tok, "setup", None)
        if setup is not None:
            texts = list(texts) if iter(texts) is texts else texts
            setup(texts, self.rules)
        self.corpus = cached_corpus(texts, self.tokenize, self.n_workers, self.cache_dir)
        # By these the loaders know that they may read the corpus itself.
        self.source = (getattr(items, "collection", None), getattr(items, "positions", None))

    def encodes(self, o: Any) -> Any:
        """Return the tokens of a text or of a file's; lists of tokens stay as they are."""
        if isinstance(o, Path) or (self.reader is not None and not isinstance(o, str)):
            o = (self.reader or TextReader()).encodes(o)
        if not isinstance(o, str):
            return o
        found = None if self.corpus is None else self.corpus.find(o)
        return L(next(iter(self.tokenize([o]))) if found is None else found)

    def fuse(self, following: Any) -> Any:
        """One step for this and a following transform that can take the tokenizer in."""
        absorb = getattr(following, "absorb", None)
        return None if absorb is None else absorb(self)

    def decodes(self, o: L) -> TitledStr:
        """Join tokens to a text."""
        return TitledStr(self.sep.join(o))

    # -- state -----------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # Another process maps a corpus on disk; one in memory is not sent to it.
        is_mapped = self.corpus is not None and isinstance(self.corpus.store, TokenStore)
        return {**self.__dict__, "corpus": self.corpus if is_mapped else None, "source": None}

    def config(self) -> dict[str, Any]:
        """How texts are tokenized; the corpus is not part of it."""
        return {
            "tok": self.tok,
            "rules": list(self.rules),
            "post_rules": list(self.post_rules),
            "sep": self.sep,
            "reader": self.reader,
        }


def tokenizing_step(tok_tfm: Any) -> Any:
    """Return the step of a pipeline that is meant by a tokenizer or by such a step.

    Args:
        tok_tfm: A transform (or the class of one), a function from one text to its tokens, or a
            tokenizer, which is put into a `Tokenizer`.
    """
    is_step = isinstance(tok_tfm, Transform) or (
        isinstance(tok_tfm, type) and issubclass(tok_tfm, Transform)
    )
    if tok_tfm is None or is_step or isroutine(tok_tfm) or isinstance(tok_tfm, partial):
        return tok_tfm
    return Tokenizer(tok_tfm)


def corpus_part(items: Any) -> tuple[TokenizedCorpus, np.ndarray] | None:
    """Return the corpus whose texts these items are, and their places in it.

    Args:
        items: A `TfmdLists`, or anything else, which has no corpus.
    """
    if not isinstance(items, TfmdLists):
        return None
    made = next((step for step in items.tfms.fs if isinstance(step, Tokenizer)), None)
    if made is None or made.corpus is None or made.source is None:
        return None
    collection, positions = made.source
    if collection is not items.collection:
        return None
    if positions is None:
        places = items.positions
        return made.corpus, np.arange(len(items)) if places is None else places
    return (made.corpus, np.arange(len(items))) if positions is items.positions else None
