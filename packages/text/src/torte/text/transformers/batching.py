"""Batches for Hugging Face's models: `{"input_ids": …, "attention_mask": …}` and targets."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from torte.data.categories import Categorize
from torte.data.tensors import TensorCategory
from torte.data.titles import TitledTuple
from torte.data.vocabularies import CategoryMap
from torte.dispatch import ItemTransform, L, serializable
from torte.text.batching import SortedDL
from torte.text.language_loader import LMTensorText
from torte.text.vocabulary import TensorText

__all__ = [
    "IGNORED",
    "PadTokens",
    "Task",
    "TensorTokenCategory",
    "TokenCategorize",
    "TransformersDL",
]

IGNORED = -100
"""The target of tokens that count neither in the loss nor in metrics, as in `transformers`."""


class Task(StrEnum):
    """What a model is for."""

    SEQUENCE = "sequence"
    """One target a text."""
    TOKEN = "token"
    """One class a word."""
    CAUSAL = "causal"
    """The next token."""


@serializable("torte.text.TensorTokenCategory")
class TensorTokenCategory(TensorCategory):
    """Class numbers of words or tokens: int64 of (steps,) or (batch, steps)."""


@serializable("torte.text.TokenCategorize")
class TokenCategorize(Categorize):
    """A list of labels, one a word, to class numbers; decodes to the labels."""

    def setups(self, items: Any) -> None:
        """Learn the vocabulary from lists of labels, unless it was given."""
        if self.vocab is None and items is not None:
            labels = (label for each in items for label in each)
            self.vocab = CategoryMap(labels, sort=self.sort, add_na=self.add_na)

    def encodes(self, o: Any) -> TensorTokenCategory:
        """The numbers of labels, int64 of shape (words,)."""
        numbers = [int(super(TokenCategorize, self).encodes(label)) for label in o]
        return TensorTokenCategory(torch.tensor(numbers, dtype=torch.int64))

    def decodes(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, o: TensorTokenCategory
    ) -> TitledTuple:
        """The labels of numbers; those that are ignored are left out."""
        vocab: Any = self.vocab
        return TitledTuple([vocab[number] for number in o.tolist() if number >= 0])


def aligned(labels: Tensor, words: Sequence[int]) -> Tensor:
    """Return a label for each token: that of its word at the word's first token, else `IGNORED`.

    Args:
        labels: Class numbers of (words,).
        words: For each token the place of its word, -1 for special tokens.

    Raises:
        ValueError: There are fewer labels than words.
    """
    if max(words, default=-1) >= len(labels):
        raise ValueError(f"a text has {max(words) + 1} words or more, but {len(labels)} labels")
    firsts = [
        word >= 0 and (place == 0 or words[place - 1] != word) for place, word in enumerate(words)
    ]
    numbers = labels.tolist()
    found = [numbers[w] if first else IGNORED for w, first in zip(words, firsts, strict=True)]
    return torch.tensor(found, dtype=torch.int64)


@serializable("torte.text.PadTokens")
class PadTokens(ItemTransform):
    """Pads texts and per-token targets to one length, and makes masks.

    Samples become `({"input_ids": numbers, "attention_mask": 1 or 0}, target)`. Targets of words
    are put at the first token of each word; those of a causal language model are the tokens one
    step later. Everything else in them is `IGNORED`.

    Args:
        pad_idx: Number of the padding token.
        task: What the model is for.
        length: The length; by default that of the longest text.
        pad_first: Whether padding goes before the text.
    """

    def __init__(
        self,
        pad_idx: int,
        task: Task | str = Task.SEQUENCE,
        length: int | None = None,
        pad_first: bool = False,
    ) -> None:
        super().__init__()
        self.pad_idx, self.task, self.length = pad_idx, Task(task), length
        self.pad_first = pad_first

    def encodes(self, samples: list) -> Any:
        """Pad."""
        length = self.length or max((len(sample[0]) for sample in samples), default=0)
        return [self._padded(sample, length) for sample in samples]

    def _padded(self, sample: tuple[Any, ...], length: int) -> tuple[Any, ...]:
        text, targets = sample[0], self._targets(sample)
        numbers = torch.as_tensor(text).as_subclass(Tensor)
        inputs = {
            "input_ids": self._filled(numbers, length, self.pad_idx).as_subclass(TensorText),
            "attention_mask": self._filled(torch.ones_like(numbers), length, 0),
        }
        if self.task != Task.SEQUENCE:
            targets = [
                self._filled(t.as_subclass(Tensor), length, IGNORED).as_subclass(type(t))
                for t in targets
            ]
        return (inputs, *targets)

    def _targets(self, sample: tuple[Any, ...]) -> list[Any]:
        """Return the targets of a sample, one a token where the task wants that."""
        text, targets = sample[0], list(sample[1:])
        if self.task == Task.CAUSAL:
            numbers = text.as_subclass(Tensor)
            later = torch.cat([numbers[1:], numbers.new_tensor([IGNORED])])
            return [later.as_subclass(LMTensorText)]
        if self.task == Task.TOKEN:
            return [aligned(t, text.words).as_subclass(TensorTokenCategory) for t in targets]
        return targets

    def _filled(self, values: Tensor, length: int, filler: int) -> Tensor:
        room = values.new_full((length - len(values),), filler)
        return torch.cat([room, values] if self.pad_first else [values, room])

    def decodes(self, sample: tuple) -> Any:
        """Take the padding off."""
        inputs, *targets = sample
        if isinstance(inputs, dict):
            inputs = inputs["input_ids"][inputs["attention_mask"].bool()]
        return (inputs, *targets)

    def config(self) -> dict[str, Any]:
        """The arguments."""
        return {
            "pad_idx": self.pad_idx,
            "task": str(self.task),
            "length": self.length,
            "pad_first": self.pad_first,
        }


@serializable("torte.text.TransformersDL")
class TransformersDL(SortedDL):
    """A `SortedDL` whose batches are for one of Hugging Face's models; see `PadTokens`."""

    @property
    def padding(self) -> PadTokens:
        """How texts are padded.

        Raises:
            ValueError: No `PadTokens` is in `before_batch`.
        """
        steps: Iterable[Any] = self.before_batch.fs  # pyright: ignore[reportAttributeAccessIssue]
        found = next((step for step in steps if isinstance(step, PadTokens)), None)
        if found is None:
            raise ValueError("the loader does not pad: give it before_batch=PadTokens(pad_idx)")
        return found

    def of_one_length(self) -> "TransformersDL":
        """Return a loader like this whose batches all have the length of the longest text."""
        pad = self.padding
        longest = int(self.lengths.max(initial=1))
        return self.new(before_batch=PadTokens(pad.pad_idx, pad.task, longest, pad.pad_first))

    def _decode_samples(self, b: Any, max_n: int, full: bool = True) -> L[Any]:
        """Undo the transforms; a language model's targets are texts as its inputs are."""
        whole = super()._decode_samples
        if self.padding.task != Task.CAUSAL or not isinstance(b, tuple | list):
            return whole(b, max_n, full)
        parts = [whole((part,), max_n, full) for part in b]
        return L([tuple(text[0] for text in texts) for texts in zip(*parts, strict=True)])

    def show_results(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, b: Any, out: Any, max_n: int = 9, **kwargs: Any
    ) -> Any:
        """Show targets beside predictions, those of tokens where there is a target."""
        if self.padding.task != Task.SEQUENCE:
            out = out.masked_fill(torch.as_tensor(b[1]).as_subclass(Tensor).cpu() < 0, IGNORED)
        return super().show_results(b, out, max_n, **kwargs)
