"""A tokenizer of Hugging Face as a transform: text to token numbers with its own vocabulary."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from torte.data.titles import TitledStr
from torte.dispatch import Transform, serializable
from torte.text.vocabulary import TensorText

__all__ = ["TransformersTokenizer", "WordsReader", "library"]


def library() -> Any:
    """Return the library `transformers`.

    Raises:
        ImportError: It is not installed; the message names the extra.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "models of Hugging Face need the extra: pip install 'torte-text[transformers]'"
        ) from error
    return transformers


def _loaded(tokenizer: Any) -> Any:
    """Return a tokenizer, loaded where it is given by name or folder; code of others never runs."""
    if not isinstance(tokenizer, str | Path):
        return tokenizer
    return library().AutoTokenizer.from_pretrained(str(tokenizer), trust_remote_code=False)


def _to_config(transform: "TransformersTokenizer") -> dict[str, Any]:
    return transform.config()


def _from_config(backend: str, special: dict[str, str], **settings: Any) -> "TransformersTokenizer":
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_text(backend, encoding="utf-8")
        fast = library().PreTrainedTokenizerFast(
            tokenizer_file=str(file), padding_side=settings.pop("padding_side"), **special
        )
    return TransformersTokenizer(fast, **settings)


@serializable("torte.text.TransformersTokenizer", to_config=_to_config, from_config=_from_config)
class TransformersTokenizer(Transform):
    """Texts, or lists of words, to token numbers with the special tokens that the model expects.

    Args:
        tokenizer: A tokenizer of `transformers`, or the name or folder of one.
        max_length: Longer texts are cut; by default the length that the tokenizer states for its
            model, or 512 if it states none.

    Raises:
        ValueError: The tokenizer has neither a padding token nor an end token to pad with.
    """

    def __init__(self, tokenizer: Any, max_length: int | None = None) -> None:
        super().__init__()
        self.tokenizer = _loaded(tokenizer)
        stated = self.tokenizer.model_max_length
        # Tokenizers that know no limit state one of 10^30.
        self.max_length = max_length or (stated if stated < 10**6 else 512)
        self.pad_idx = self._padding_token()

    def _padding_token(self) -> int:
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise ValueError(
            "the tokenizer has no padding token to make texts of a batch equally long: "
            "set tokenizer.pad_token to one of its tokens"
        )

    def encodes(self, o: str | list) -> TensorText:
        """Return the numbers of a text, or of a list of words.

        Numbers of words remember in `words` which word each belongs to (-1 for special tokens).
        """
        is_text = isinstance(o, str)
        found = self.tokenizer(
            o, truncation=True, max_length=self.max_length, is_split_into_words=not is_text
        )
        numbers = torch.tensor(found["input_ids"], dtype=torch.int64)
        if is_text:
            return TensorText(numbers)
        words = [-1 if word is None else word for word in found.word_ids()]
        return TensorText(numbers, words=words)  # pyright: ignore[reportCallIssue]

    def decodes(self, o: TensorText) -> TitledStr:
        """Return the text, without special tokens."""
        numbers = [number for number in o.tolist() if number >= 0]
        return TitledStr(self.tokenizer.decode(numbers, skip_special_tokens=True))

    def config(self) -> dict[str, Any]:
        """Everything of the tokenizer, as JSON.

        Raises:
            TypeError: It is one without a description in JSON (a slow one, in Python).
        """
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise TypeError(
                f"{type(self.tokenizer).__name__} cannot be written to a file as JSON: "
                "use the fast tokenizer of this model (AutoTokenizer finds it)"
            )
        special = {k: v for k, v in self.tokenizer.special_tokens_map.items() if type(v) is str}
        return {
            "backend": backend.to_str(),
            "special": special,
            "padding_side": self.tokenizer.padding_side,
            "max_length": self.max_length,
        }


@serializable("torte.text.WordsReader")
class WordsReader(Transform):
    """Rows to the words in one of their columns; lists of words stay as they are.

    Args:
        column: The column, by name.
    """

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column

    def encodes(self, o: Any) -> list:
        """Return the words of a row, or of a sequence.

        Raises:
            TypeError: The column holds something else than words.
        """
        words = o[self.column] if hasattr(o, "index") and hasattr(o, "iloc") else o
        if isinstance(words, str) or not all(isinstance(word, str) for word in _listed(words)):
            raise TypeError(f"column {self.column!r} holds {words!r}, not a list of words")
        return _listed(words)


def _listed(words: Any) -> list[Any]:
    try:
        return list(words)
    except TypeError:
        return [words]
