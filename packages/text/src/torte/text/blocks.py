"""`TextBlock`: what a data block needs to know about text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torte.data.blocks import TransformBlock
from torte.text.batching import PadChunk, SortedDL
from torte.text.language_loader import LMDataLoader
from torte.text.reading import TextReader
from torte.text.tokenizer import Tokenizer, tokenizing_step
from torte.text.vocabulary import Numericalize, reverse_text

__all__ = ["TextBlock"]


class TextBlock(TransformBlock):
    """Texts, as input of a classifier or of a language model.

    Args:
        tok_tfm: The tokenizer, bare or in a `Tokenizer`; a function from one text to its tokens; or
            None where items are lists of tokens already.
        reader: From items to text, where they are not text themselves.
        vocab: The tokens in the order of their numbers; by default those of the training texts.
        is_lm: Whether texts are for a language model.
        seq_len: Steps that a model reads at once.
        min_freq: Tokens rarer than this are left out of a vocabulary that is made.
        max_vocab: The most tokens in it.
        backwards: Whether texts are read from the end.
        special_toks: Tokens that come first in a vocabulary that is made; by default torte's.
    """

    def __init__(
        self,
        tok_tfm: Any = None,
        vocab: Sequence[str] | None = None,
        is_lm: bool = False,
        seq_len: int = 72,
        min_freq: int = 3,
        max_vocab: int = 60000,
        reader: TextReader | None = None,
        backwards: bool = False,
        special_toks: Sequence[str] | None = None,
    ) -> None:
        numericalize = Numericalize(vocab, min_freq, max_vocab, special_toks)
        reverse = reverse_text if backwards else None
        tokenize = tokenizing_step(tok_tfm)
        steps = [s for s in (reader, tokenize, numericalize, reverse) if s is not None]
        if is_lm:
            super().__init__(steps, dl_type=LMDataLoader, dls_kwargs={"seq_len": seq_len})
        else:
            before_batch = PadChunk(seq_len=seq_len)
            super().__init__(steps, dl_type=SortedDL, dls_kwargs={"before_batch": before_batch})

    @classmethod
    def from_df(
        cls,
        text_cols: str | Sequence[str] | None = None,
        vocab: Sequence[str] | None = None,
        is_lm: bool = False,
        seq_len: int = 72,
        min_freq: int = 3,
        max_vocab: int = 60000,
        mark_fields: bool | None = None,
        backwards: bool = False,
        tok_text_col: str = "text",
        **kwargs: Any,
    ) -> "TextBlock":
        """Make a block for texts in a frame.

        Args:
            text_cols: The columns that hold text, where no getter picks one.
            vocab: See the class.
            is_lm: See the class.
            seq_len: See the class.
            min_freq: See the class.
            max_vocab: See the class.
            mark_fields: Whether columns are marked; by default if there are several.
            backwards: See the class.
            tok_text_col: Accepted for compatibility: tokens are not put into the frame.
            **kwargs: For `Tokenizer`: `tok`, `rules`, `n_workers`, `cache_dir`, …
        """
        reader = TextReader(text_cols, mark_fields=mark_fields)
        tokenizer = Tokenizer(**kwargs)
        return cls(tokenizer, vocab, is_lm, seq_len, min_freq, max_vocab, reader, backwards)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        vocab: Sequence[str] | None = None,
        is_lm: bool = False,
        seq_len: int = 72,
        min_freq: int = 3,
        max_vocab: int = 60000,
        encoding: str = "utf-8",
        backwards: bool = False,
        **kwargs: Any,
    ) -> "TextBlock":
        """Make a block for texts in files.

        Args:
            path: The folder that they are in.
            vocab: See the class.
            is_lm: See the class.
            seq_len: See the class.
            min_freq: See the class.
            max_vocab: See the class.
            encoding: Of the files.
            backwards: See the class.
            **kwargs: For `Tokenizer`.

        Raises:
            FileNotFoundError: There is no such folder.
        """
        if not Path(path).is_dir():
            raise FileNotFoundError(f"there is no folder {str(path)!r} with texts")
        reader = TextReader(encoding=encoding)
        tokenizer = Tokenizer(**kwargs)
        return cls(tokenizer, vocab, is_lm, seq_len, min_freq, max_vocab, reader, backwards)
