"""Metrics of language models and translation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from torte.data.tensors import plain
from torte.learner.metrics.averages import AvgLoss
from torte.learner.metrics.contract import Metric

if TYPE_CHECKING:
    from torte.learner.learner import Learner

__all__ = ["CorpusBLEUMetric", "Perplexity", "perplexity"]


class Perplexity(AvgLoss):
    """The exponential of the average loss, which must be a cross-entropy."""

    @property
    def value(self) -> Tensor | None:
        """The perplexity, a tensor of no dimensions on the device; `None` without samples."""
        mean = super().value
        return None if mean is None else torch.as_tensor(mean).exp()

    @property
    def default_name(self) -> str:
        """Plainly "perplexity"."""
        return "perplexity"


perplexity = Perplexity()
"""A `Perplexity` ready to pass as a metric."""


class CorpusBLEUMetric(Metric):
    """Corpus BLEU with n-grams of up to four words, one reference a sentence.

    Papineni et al. 2002: `exp(min(0, 1 - r / c)) * (p_1 p_2 p_3 p_4)^(1/4)`, where `r` and `c` are
    the lengths of all references and predictions and `p_n` the clipped precision of n-grams over
    the corpus. Nothing is smoothed: without a match of four words in the corpus it is 0, as
    sacrebleu's with `smooth_method="none"`.

    Args:
        vocab_sz: Number of words; kept for the sake of a known signature, counting needs none.
        axis: Dimension of the words' scores in the predictions.
    """

    sums: ClassVar[tuple[str, ...]] = ("pred_len", "targ_len")
    max_n: ClassVar[int] = 4

    def __init__(self, vocab_sz: int = 5000, axis: int = -1) -> None:
        self.axis = axis
        self.vocab_sz = vocab_sz
        self.reset()

    def reset(self) -> None:
        """Set all counts to 0."""
        self.pred_len = 0
        self.targ_len = 0
        self.corrects = [0] * self.max_n
        self.counts = [0] * self.max_n
        self._pending: list[tuple[Tensor, Tensor]] = []

    def accumulate(self, learn: Learner) -> None:
        """Keep the batch's words as numbers, on the device; they are counted in `value`."""
        words = plain(learn.pred).argmax(dim=self.axis)
        self._pending.append((words, plain(learn.y).detach()))

    def _count_pending(self) -> None:
        pending, self._pending = self._pending, []
        for words, targets in pending:
            for pred, targ in zip(words.tolist(), targets.tolist(), strict=True):
                self._count_sentence(pred, targ)

    def _count_sentence(self, pred: Sequence[int], targ: Sequence[int]) -> None:
        self.pred_len += len(pred)
        self.targ_len += len(targ)
        for n in range(1, self.max_n + 1):
            found, reference = _ngrams(pred, n), _ngrams(targ, n)
            self.corrects[n - 1] += sum((found & reference).values())
            self.counts[n - 1] += sum(found.values())

    @property
    def value(self) -> float | None:
        """BLEU in [0, 1]; `None` before the first sentence."""
        self._count_pending()
        if self.targ_len == 0:
            return None
        if min(self.corrects) == 0:
            return 0.0
        ratios = zip(self.corrects, self.counts, strict=True)
        precision = math.exp(sum(math.log(c / t) for c, t in ratios) / self.max_n)
        brevity = math.exp(min(0.0, 1 - self.targ_len / self.pred_len))
        return brevity * precision

    def state(self) -> dict[str, Any]:
        """Return lengths and n-gram counts."""
        self._count_pending()
        return {
            "pred_len": self.pred_len,
            "targ_len": self.targ_len,
            "corrects": list(self.corrects),
            "counts": list(self.counts),
        }

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Replace the counts by the processes' sums."""
        super().merge(states)
        self._pending = []
        for name in ("corrects", "counts"):
            columns = zip(*(state[name] for state in states), strict=True)
            setattr(self, name, [sum(column) for column in columns])


def _ngrams(words: Sequence[int], n: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
