"""Tokenizers behind one interface: called with texts, they give lists of tokens.

    WhitespaceTokenizer     splits at white space; needs nothing
    SpacyTokenizer          spaCy's rules for any of its languages (the default)
    SentencePieceTokenizer  subwords; trains its model in `setup` (`sentencepieces.py`)
    HuggingFaceTokenizer    any tokenizer of `tokenizers` or `transformers`

Anything else with `__call__(texts)` that yields a list of tokens for each text serves as well. A
tokenizer that needs to see the corpus first has `setup(texts, rules)`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from torte.dispatch import Transform, serializable
from torte.text.checking import whole_text
from torte.text.defaults import default_post_rules, default_rules, default_special_tokens
from torte.text.rules import DEFAULT_POST_RULES, Rule, apply_rules

__all__ = [
    "BaseTokenizer",
    "HuggingFaceTokenizer",
    "SpacyTokenizer",
    "TextTokenizer",
    "TokenizeWithRules",
    "WhitespaceTokenizer",
    "WordTokenizer",
    "tokenize1",
]


# About 400 bytes each; then spaCy's tokenizer is made anew.
MOST_STRINGS = 200_000


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
        self.special_toks = list(default_special_tokens() if special_toks is None else special_toks)
        self.buf_sz = buf_sz
        self._make()

    def _make(self) -> None:
        """Make the language's tokenizer, which remembers every string that it has seen."""
        language = self._language()
        self._split = self._splitter(language.tokenizer)
        self._strings = language.vocab.strings
        self._most_strings = len(self._strings) + MOST_STRINGS

    def _language(self) -> Any:
        import spacy

        try:
            return spacy.blank(self.lang)
        except ImportError as error:
            raise ValueError(
                f"spaCy has no tokenizer for the language {self.lang!r} ({error}): "
                "give a language code such as 'en', or 'xx' for none in particular"
            ) from error

    def _splitter(self, tokenizer: Any) -> Callable[[str], list[str]]:
        """Return a function that splits a text and keeps special tokens whole."""
        from spacy.symbols import ORTH

        def split(text: str) -> list[str]:
            return [token.text for token in tokenizer(text)]

        # One special case makes spaCy match them all against every text, which is ten times as
        # slow; tokens that its rules keep whole anyway, such as torte's own, need none.
        cut = [token for token in self.special_toks if split(token) != [token]]
        if cut and not hasattr(tokenizer, "add_special_case"):  # as that for Chinese
            return _around(cut, split)
        for token in cut:
            tokenizer.add_special_case(token, [{ORTH: token}])
        return split

    def __call__(self, items: Iterable[str]) -> Iterator[list[str]]:
        """Give the tokens of each text."""
        if len(self._strings) > self._most_strings:
            self._make()
        return (self._split(whole_text(text)) for text in items)

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes make their own: spaCy's tokenizer takes longer to send than to make.
        made = ("_split", "_strings", "_most_strings")
        return {key: value for key, value in self.__dict__.items() if key not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make()


WordTokenizer = SpacyTokenizer


def _around(
    special: Sequence[str], split: Callable[[str], list[str]]
) -> Callable[[str], list[str]]:
    """Return a function that splits what is between special tokens."""
    known = set(special)
    words = re.compile(rf"(?<!\S)({'|'.join(map(re.escape, special))})(?!\S)")

    def split_between(text: str) -> list[str]:
        tokens: list[str] = []
        for part in words.split(text):
            # The spaces around special tokens are theirs.
            tokens += [part] if part in known else split(part.strip(" "))
        return tokens

    return split_between


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
            texts = [whole_text(text) for text in items]
            return (encoding.tokens for encoding in self.tokenizer.encode_batch(texts))
        convert = self.tokenizer.convert_ids_to_tokens
        return (convert(self.tokenizer(whole_text(text))["input_ids"]) for text in items)


def tokenizer_of(tok: Any) -> TextTokenizer:
    """Return the tokenizer that is meant.

    Args:
        tok: A tokenizer, the class of one, one of Hugging Face's as it is, or None for spaCy's.

    Raises:
        TypeError: It is none of these.
    """
    if tok is None or isinstance(tok, type):
        return SpacyTokenizer() if tok is None else tok()
    if isinstance(tok, Transform):
        raise TypeError(
            f"tok is {tok!r}, a step of a pipeline: give it as tok_tfm, or its own tokenizer as tok"
        )
    if hasattr(tok, "get_vocab"):
        return HuggingFaceTokenizer(tok)
    if not callable(tok):
        raise TypeError(f"tok is {tok!r}, no tokenizer: give one, such as SpacyTokenizer('en')")
    return tok  # pyright: ignore[reportReturnType]


class TokenizeWithRules:
    """Rules, then a tokenizer, then rules for each token.

    Halves of surrogate pairs become `\ufffd` before all of them.

    Args:
        tok: The tokenizer; see `tokenizer_of`.
        rules: Rules for texts; by default `defaults.text_proc_rules`.
        post_rules: Rules for tokens; by default `defaults.text_postproc_rules`.

    Raises:
        TypeError: `tok` is no tokenizer.
    """

    def __init__(
        self,
        tok: TextTokenizer | None = None,
        rules: Sequence[Rule] | None = None,
        post_rules: Sequence[Rule] | None = None,
    ) -> None:
        self.tok = tokenizer_of(tok)
        self.rules = tuple(default_rules() if rules is None else rules)
        self.post_rules = tuple(default_post_rules() if post_rules is None else post_rules)

    def __call__(self, batch: Iterable[str]) -> Iterator[list[str]]:
        """Give the tokens of each text."""
        rules, post_rules = self.rules, self.post_rules
        prepared = (apply_rules(whole_text(text), rules) for text in batch)
        if post_rules == DEFAULT_POST_RULES:
            # Most tokens hold no space: looking is cheaper than calling a function on each.
            for tokens in self._tokenized(prepared):
                yield [token.replace(" ", "▁") if " " in token else token for token in tokens]
        else:
            for tokens in self._tokenized(prepared):
                yield [apply_rules(token, post_rules) for token in tokens]

    def _tokenized(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """Yield what the tokenizer makes of texts, each a list."""
        try:
            for tokens in self.tok(texts):
                if isinstance(tokens, str):
                    raise TypeError(f"{tokens[:40]!r} is no list of tokens")
                yield tokens
        except (TypeError, AttributeError) as error:
            error.add_note(
                f"from the tokenizer {self.tok!r}: one is called with an iterable of texts and "
                "gives a list of tokens for each"
            )
            raise


def tokenize1(
    text: str,
    tok: TextTokenizer,
    rules: Sequence[Rule] | None = None,
    post_rules: Sequence[Rule] | None = None,
) -> list[str]:
    """Return the tokens of one text."""
    return next(iter(TokenizeWithRules(tok, rules, post_rules)([text])))
