"""Metrics of tokens, where some targets do not count."""

from typing import Any

from torch import Tensor

from torte.learner.metrics.accumulating import AccumMetric, SklearnFunction
from torte.learner.metrics.contract import flatten_check, mean_metric
from torte.text.transformers.batching import IGNORED

__all__ = ["TokenF1Score", "token_accuracy"]


@mean_metric
def token_accuracy(
    inp: Tensor, targ: Tensor, axis: int = -1, ignore_index: int = IGNORED
) -> tuple[Tensor, Tensor]:
    """Share of tokens, of those that count, whose largest score is the target.

    Args:
        inp: Scores of (batch, steps, classes).
        targ: Class numbers of (batch, steps).
        axis: Dimension of the classes.
        ignore_index: Target of tokens that do not count.
    """
    pred, targ = flatten_check(inp.argmax(dim=axis), targ)
    counts = targ != ignore_index
    return ((pred == targ) & counts).sum(), counts.sum()


class TokenF1Score(AccumMetric):
    """F1 of the tokens that count (`sklearn.metrics.f1_score`).

    Args:
        axis: Dimension of the classes.
        ignore_index: Target of tokens that do not count.
        labels: The classes to average over; by default all that occur.
        average: `"macro"`, `"micro"` or `"weighted"`.
    """

    def __init__(
        self,
        axis: int = -1,
        ignore_index: int = IGNORED,
        labels: Any = None,
        average: str = "macro",
    ) -> None:
        self.ignore_index = ignore_index
        super().__init__(
            SklearnFunction("f1_score"),
            dim_argmax=axis,
            to_np=True,
            invert_arg=True,
            flatten=True,
            labels=labels,
            average=average,
        )

    def _keep(self, pred: Any, targ: Any) -> None:
        super()._keep(pred, targ)
        counts = self.targs[-1] != self.ignore_index
        self.preds[-1], self.targs[-1] = self.preds[-1][counts], self.targs[-1][counts]
