"""SentencePiece: pieces of words, by a model that is trained on the corpus."""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torte.data.config import torte_path
from torte.dispatch import describe, serializable, undescribable
from torte.text.checking import whole_text
from torte.text.defaults import default_rules, default_special_tokens
from torte.text.lookup import TextDigests
from torte.text.rules import Rule, apply_rules

__all__ = ["SentencePieceTokenizer", "SubwordTokenizer"]

MOST_SENTENCES = 1_000_000
# SentencePiece passes over sentences of more than 4,192 bytes: a character has at most four.
_LONGEST = 1000


def _sentences(text: str) -> Iterator[str]:
    """Cut a text into parts that the trainer takes, at spaces where there are any."""
    text = whole_text(text).replace("\0", " ")
    while len(text) > _LONGEST:
        end = text.rfind(" ", 1, _LONGEST)
        end = _LONGEST if end < 0 else end
        yield text[:end]
        text = text[end:]
    yield text


@serializable("torte.text.SentencePieceTokenizer")
class SentencePieceTokenizer:
    """Subwords by SentencePiece (Kudo and Richardson, 2018, https://arxiv.org/abs/1808.06226).

    `setup` trains a model on the corpus, unless one is given or was trained on the same texts with
    the same settings before. Of more than a million sentences a million are trained on.

    Args:
        lang: Code of the language: `zh` and `ja` have more characters to cover.
        special_toks: Tokens that are never split; by default torte's.
        sp_model: Path of a trained model.
        vocab_sz: Number of subwords; by default a sixth of the corpus's distinct words, between
            1,000 and `max_vocab_sz`, as a multiple of 8.
        max_vocab_sz: The most that `vocab_sz` becomes by default.
        model_type: `unigram` or `bpe`.
        char_coverage: Share of characters to cover; by default 0.99999 (0.9998 for `zh` and `ja`).
        cache_dir: Folder for the trained model, `spm.model`; by default one in torte's folder for
            scratch files (see `torte_cfg`), named by the texts and the settings.
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
        self.special_toks = list(default_special_tokens() if special_toks is None else special_toks)
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
            rules = default_rules() if rules is None else rules
            texts = list(items) if iter(items) is items else items
            self.sp_model = str(self._found_or_trained(texts, rules))
        return {"sp_model": self.sp_model}

    def fingerprint(self) -> str:
        """Return what tells one model from another, whatever its file is called."""
        return hashlib.blake2b(Path(self.sp_model or "").read_bytes(), digest_size=16).hexdigest()

    def _found_or_trained(self, texts: Iterable[str], rules: Sequence[Rule]) -> Path:
        """Return the path of a model of these texts."""
        key = self._key(texts, rules)
        if self.cache_dir is not None:
            folder = Path(self.cache_dir)
        elif key is None:
            folder = Path(tempfile.mkdtemp("-torte"))
        else:
            folder = torte_path("storage") / "sentencepiece" / key
        folder.mkdir(parents=True, exist_ok=True)
        model, stamp = folder / "spm.model", folder / "spm.key"
        if key is None or not stamp.is_file() or stamp.read_text() != key or not model.is_file():
            stamp.unlink(missing_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".training-") as beside:
                self._train(texts, rules, Path(beside) / "spm")
                for name in ("spm.vocab", "spm.model"):
                    (Path(beside) / name).replace(folder / name)
                (Path(beside) / "key").write_text(key or "")
                (Path(beside) / "key").replace(stamp)
        return model

    def _key(self, texts: Iterable[str], rules: Sequence[Rule]) -> str | None:
        """Return a name for texts, settings and rules; None where rules cannot be told apart."""
        if undescribable(list(rules)):
            return None
        digests = TextDigests()
        for _ in digests.watch(texts):
            pass
        sizes = [self.vocab_sz, self.max_vocab_sz, self.model_type, self.char_coverage]
        return digests.of_all(json.dumps([sizes, self.special_toks, describe(list(rules))]))

    def _train(self, texts: Iterable[str], rules: Sequence[Rule], prefix: Path) -> None:
        """Train, and write `<prefix>.model` and `<prefix>.vocab`."""
        import sentencepiece

        words: set[str] = set()
        # On disk meanwhile: the words have to be counted before anything is trained.
        with prefix.with_name("sentences").open("w+", encoding="utf-8") as sentences:
            for text in texts:
                for sentence in _sentences(apply_rules(text, rules)):
                    words.update(sentence.split())
                    sentences.write(json.dumps(sentence) + "\n")
            sentences.seek(0)
            size = self.vocab_sz or min(max(1000, len(words) // 6), self.max_vocab_sz) // 8 * 8
            # The model's own pieces for unknown and padding are torte's first two tokens.
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=map(json.loads, sentences),
                model_prefix=str(prefix),
                vocab_size=size,
                character_coverage=self.char_coverage,
                model_type=self.model_type,
                unk_id=len(self.special_toks),
                pad_id=-1,
                bos_id=-1,
                eos_id=-1,
                user_defined_symbols=[f"▁{token}" for token in self.special_toks],
                hard_vocab_limit=False,
                input_sentence_size=MOST_SENTENCES,
                minloglevel=2,
            )

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
        return (encode(whole_text(text), out_type=str) for text in items)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_processor": None}


SubwordTokenizer = SentencePieceTokenizer
