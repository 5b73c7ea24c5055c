"""Tokenizers behind one interface: called with texts, they give lists of tokens.

    WhitespaceTokenizer     splits at white space; needs nothing
    SpacyTokenizer          spaCy's rules for any of its languages (the default)
    SentencePieceTokenizer  subwords, unigram or BPE; trains its model in `setup` and keeps it
    HuggingFaceTokenizer    any tokenizer of `tokenizers` or `transformers`

Anything else with `__call__(texts)` that yields a list of tokens for each text serves as well. A
tokenizer that needs to see the corpus first has `setup(texts, rules)`.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from torte.dispatch import serializable
from torte.text.rules import DEFAULT_POST_RULES, DEFAULT_RULES, SPECIAL_TOKENS, Rule, apply_rules

__all__ = [
    "BaseTokenizer",
    "HuggingFaceTokenizer",
    "SentencePieceTokenizer",
    "SpacyTokenizer",
    "SubwordTokenizer",
    "TextTokenizer",
    "TokenizeWithRules",
    "WhitespaceTokenizer",
    "WordTokenizer",
    "tokenize1",
]


class TextTokenizer(Protocol):
    """What a tokenizer is."""

    def __call__(self, items: Iterable[str]) -> Iterable[list[str]]:
        """Give the tokens of each text."""
        ...


@serializable("torte.text.WhitespaceTokenizer")
class WhitespaceTokenizer:
    """Splits text at a character, by default at white space of any kind.

    Args:
        split_char: What separates tokens; None for white space.
    """

    def __init__(self, split_char: str | None = None) -> None:
        self.split_char = split_char

    def __call__(self, items: Iterable[str]) -> Iterator[list[str]]:
        """Give the tokens of each text."""
        return (text.split(self.split_char) for text in items)


@serializable("torte.text.BaseTokenizer")
class BaseTokenizer(WhitespaceTokenizer):
    """Splits text at single spaces.

    Args:
        split_char: What separates tokens.
    """

    def __init__(self, split_char: str = " ") -> None:
        super().__init__(split_char)


@serializable("torte.text.SpacyTokenizer")
class SpacyTokenizer:
    """spaCy's tokenizer for a language, without any of its models.

    Args:
        lang: A language code that spaCy knows: `en`, `de`, `xx` (none in particular), …
        special_toks: Tokens that are never split; by default torte's.
        buf_sz: Accepted for compatibility: texts stream through one by one.

    Raises:
        ValueError: spaCy does not know the language.
    """

    def __init__(
        self, lang: str = "en", special_toks: Sequence[str] | None = None, buf_sz: int = 5000
    ) -> None:
        self.lang = lang
        self.special_toks = list(SPECIAL_TOKENS if special_toks is None else special_toks)
        self.buf_sz = buf_sz
        self._split = self._made()

    def _made(self) -> Callable[[str], Any]:
        """Make the language's tokenizer."""
        import spacy
        from spacy.symbols import ORTH

        try:
            tokenizer: Any = spacy.blank(self.lang).tokenizer
        except ImportError as error:
            raise ValueError(
                f"spaCy has no tokenizer for the language {self.lang!r} ({error}): "
                "give a language code such as 'en', or 'xx' for none in particular"
            ) from error
        for token in self.special_toks:
            # One special case makes spaCy match them all against every text, which is ten times as
            # slow; tokens that its rules keep whole anyway, such as torte's own, need none.
            if [part.text for part in tokenizer(token)] != [token]:
                tokenizer.add_special_case(token, [{ORTH: token}])
        return tokenizer

    def __call__(self, items: Iterable[str]) -> Iterator[list[str]]:
        """Give the tokens of each text."""
        return ([token.text for token in self._document(text)] for text in items)

    def _document(self, text: str) -> Any:
        """Tokenize a text; halves of surrogate pairs, which no file may hold, become `\ufffd`."""
        try:
            return self._split(text)
        except UnicodeEncodeError:
            whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return self._split(whole)

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes make their own: spaCy's tokenizer takes longer to send than to make.
        return {key: value for key, value in self.__dict__.items() if key != "_split"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._split = self._made()


WordTokenizer = SpacyTokenizer


@serializable("torte.text.SentencePieceTokenizer")
class SentencePieceTokenizer:
    """Subwords by SentencePiece (Kudo and Richardson, 2018, https://arxiv.org/abs/1808.06226).

    `setup` trains a model on the corpus and stores it in `cache_dir`, unless one is given.

    Args:
        lang: Code of the language: `zh` and `ja` have more characters to cover.
        special_toks: Tokens that are never split; by default torte's.
        sp_model: Path of a trained model.
        vocab_sz: Number of subwords; by default a sixth of the corpus's distinct words, between
            1,000 and `max_vocab_sz`, as a multiple of 8.
        max_vocab_sz: The most that `vocab_sz` becomes by default.
        model_type: `unigram` or `bpe`.
        char_coverage: Share of characters to cover; by default 0.99999 (0.9998 for `zh` and `ja`).
        cache_dir: Folder for the trained model; by default a temporary one.
    """

    def __init__(
        self,
        lang: str = "en",
        special_toks: Sequence[str] | None = None,
        sp_model: str | Path | None = None,
        vocab_sz: int | None = None,
        max_vocab_sz: int = 30000,
        model_type: str = "unigram",
        char_coverage: float | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        if model_type not in ("unigram", "bpe"):
            raise ValueError(f"model_type is {model_type!r}: there are 'unigram' and 'bpe'")
        self.lang = lang
        self.special_toks = list(SPECIAL_TOKENS if special_toks is None else special_toks)
        self.vocab_sz, self.max_vocab_sz, self.model_type = vocab_sz, max_vocab_sz, model_type
        default_coverage = 0.9998 if lang in ("zh", "ja") else 0.99999
        self.char_coverage = default_coverage if char_coverage is None else char_coverage
        self.cache_dir = cache_dir
        self.sp_model = None if sp_model is None else str(sp_model)
        self._processor: Any = None
        if sp_model is not None and not Path(sp_model).is_file():
            raise FileNotFoundError(f"there is no SentencePiece model at {sp_model}")

    def setup(
        self, items: Iterable[str], rules: Sequence[Rule] | None = None
    ) -> dict[str, str | None]:
        """Train a model on texts that have been through the rules, unless there is one.

        Returns:
            `{"sp_model": path}`, by which the same tokenizer can be made again.
        """
        if self.sp_model is None:
            rules = DEFAULT_RULES if rules is None else rules
            self.sp_model = self._trained([apply_rules(text, rules) for text in items])
        return {"sp_model": self.sp_model}

    def _trained(self, texts: list[str]) -> str:
        """Train, and return the path of the model."""
        import sentencepiece

        folder = Path(self.cache_dir) if self.cache_dir else Path(tempfile.mkdtemp("-torte"))
        folder.mkdir(parents=True, exist_ok=True)
        words = {word for text in texts for word in text.split()}
        size = self.vocab_sz or min(max(1000, len(words) // 6), self.max_vocab_sz) // 8 * 8
        # The model's own pieces for unknown and padding are torte's first two tokens.
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_prefix=str(folder / "spm"),
            vocab_size=size,
            character_coverage=self.char_coverage,
            model_type=self.model_type,
            unk_id=len(self.special_toks),
            pad_id=-1,
            bos_id=-1,
            eos_id=-1,
            user_defined_symbols=[f"▁{token}" for token in self.special_toks],
            hard_vocab_limit=False,
            minloglevel=2,
        )
        return str(folder / "spm.model")

    @property
    def processor(self) -> Any:
        """The loaded SentencePiece model.

        Raises:
            RuntimeError: There is none yet.
        """
        if self._processor is None:
            if self.sp_model is None:
                raise RuntimeError(
                    "SentencePiece has no model: call setup(texts), or give sp_model"
                )
            import sentencepiece

            self._processor = sentencepiece.SentencePieceProcessor(model_file=self.sp_model)
        return self._processor

    def __call__(self, items: Iterable[str]) -> Iterator[list[str]]:
        """Give the tokens of each text."""
        encode = self.processor.encode
        return (encode(text, out_type=str) for text in items)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_processor": None}


SubwordTokenizer = SentencePieceTokenizer


class HuggingFaceTokenizer:
    """A tokenizer of Hugging Face's `transformers` or `tokenizers`, as it is.

    It has rules, special tokens and a vocabulary of its own: use it with `rules=[]`, and take its
    `vocab` for the numericalization.

    Args:
        tokenizer: The tokenizer object.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @property
    def vocab(self) -> list[str]:
        """Its tokens in the order of their numbers."""
        entries: dict[str, int] = self.tokenizer.get_vocab()
        return sorted(entries, key=entries.__getitem__)

    def __call__(self, items: Iterable[str]) -> Iterator[list[str]]:
        """Give the tokens of each text, special ones included."""
        if hasattr(self.tokenizer, "encode_batch"):
            return (encoding.tokens for encoding in self.tokenizer.encode_batch(list(items)))
        convert = self.tokenizer.convert_ids_to_tokens
        return (convert(self.tokenizer(text)["input_ids"]) for text in items)


class TokenizeWithRules:
    """Rules, then a tokenizer, then rules for each token.

    Args:
        tok: The tokenizer.
        rules: Rules for texts; by default `DEFAULT_RULES`.
        post_rules: Rules for tokens; by default `DEFAULT_POST_RULES`.
    """

    def __init__(
        self,
        tok: TextTokenizer,
        rules: Sequence[Rule] | None = None,
        post_rules: Sequence[Rule] | None = None,
    ) -> None:
        self.tok = tok
        self.rules = tuple(DEFAULT_RULES if rules is None else rules)
        self.post_rules = tuple(DEFAULT_POST_RULES if post_rules is None else post_rules)

    def __call__(self, batch: Iterable[str]) -> Iterator[list[str]]:
        """Give the tokens of each text."""
        rules, post_rules = self.rules, self.post_rules
        prepared = (apply_rules(text, rules) for text in batch)
        if post_rules == DEFAULT_POST_RULES:
            # Most tokens hold no space: looking is cheaper than calling a function on each.
            for tokens in self.tok(prepared):
                yield [token.replace(" ", "▁") if " " in token else token for token in tokens]
        else:
            for tokens in self.tok(prepared):
                yield [apply_rules(token, post_rules) for token in tokens]


def tokenize1(
    text: str,
    tok: TextTokenizer,
    rules: Sequence[Rule] | None = None,
    post_rules: Sequence[Rule] | None = None,
) -> list[str]:
    """Return the tokens of one text."""
    return next(iter(TokenizeWithRules(tok, rules, post_rules)([text])))
