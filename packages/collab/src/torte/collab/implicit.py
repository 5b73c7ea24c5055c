r"""Losses of pairs beside negatives: implicit feedback, which says what was seen and no more.

Both take the scores of a pair's own item, in column 0, and of negatives behind it.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from torte.data.tensors import plain
from torte.dispatch import serializable
from torte.learner.losses.base import check_reduction, reduce_loss

__all__ = ["BPRLoss", "SampledSoftmaxLoss"]


class _CandidateLoss:
    """A loss of the scores of candidates, the first of which is the right one.

    Args:
        reduction: "mean", "sum" or "none" over the rows.
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = check_reduction(reduction)

    def __call__(self, scores: Tensor, log_counts: Tensor | None = None) -> Tensor:
        """Return the loss.

        Args:
            scores: (rows, 1 + negatives).
            log_counts: The same shape: the logarithm of how often each candidate is expected among
                the negatives; 0 in column 0.

        Raises:
            ValueError: The shapes do not fit, or there are no negatives.
        """
        scores = plain(scores)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if scores.ndim != 2 or scores.shape[1] < 2:
            raise ValueError(
                f"{type(self).__name__} needs scores of (rows, 1 + negatives), got "
                f"{tuple(scores.shape)}: make the loaders with implicit=True"
            )
        if log_counts is not None and log_counts.shape != scores.shape:
            raise ValueError(
                f"{type(self).__name__}: scores of shape {tuple(scores.shape)} do not fit log "
                f"counts of shape {tuple(log_counts.shape)}"
            )
        return reduce_loss(self._rows(scores, log_counts), self.reduction)

    def _rows(self, scores: Tensor, log_counts: Tensor | None) -> Tensor:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"reduction": self.reduction}


@serializable("torte.collab.BPRLoss")
class BPRLoss(_CandidateLoss):
    r"""Bayesian personalized ranking: the pair's own item before each of the negatives.

    .. math::
        -\frac{1}{n} \sum_{j=1}^{n} \log \sigma(s_0 - s_j)

    The paper's penalty on squared factors is the optimizer's weight decay.

    Rendle, Freudenthaler, Gantner and Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from
    Implicit Feedback", UAI 2009, https://arxiv.org/abs/1205.2618.

    Args:
        reduction: "mean", "sum" or "none" over the rows.
    """

    def _rows(self, scores: Tensor, log_counts: Tensor | None) -> Tensor:
        return F.softplus(scores[:, 1:] - scores[:, :1]).mean(dim=1)


@serializable("torte.collab.SampledSoftmaxLoss")
class SampledSoftmaxLoss(_CandidateLoss):
    r"""Cross-entropy of the pair's own item among all that the user has not seen, by a sample.

    .. math::
        -s_0 + \log\Big(e^{s_0} + \sum_{j=1}^{n} e^{s_j - \log(n q_j)}\Big)

    where :math:`q_j` is the probability with which negative :math:`j` was drawn: the sum over the
    negatives has as its expectation the sum over everything unseen, so that popular items are not
    held down by being drawn more often (logQ correction).

    Bengio and Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural
    Probabilistic Language Model", IEEE Trans. Neural Networks 19(4), 2008; the form with the own
    item apart: Blanc and Rendle, "Adaptive Sampled Softmax with Kernel Based Sampling", ICML 2018,
    https://arxiv.org/abs/1712.00527; in recommending: Yi et al., "Sampling-Bias-Corrected Neural
    Modeling for Large Corpus Item Recommendations", RecSys 2019.

    Args:
        reduction: "mean", "sum" or "none" over the rows.
        temperature: Scores are divided by it.

    Raises:
        ValueError: `temperature` is not above 0.
    """

    def __init__(self, reduction: str = "mean", temperature: float = 1.0) -> None:
        super().__init__(reduction)
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.temperature = temperature

    def _rows(self, scores: Tensor, log_counts: Tensor | None) -> Tensor:
        logits = scores / self.temperature
        if log_counts is not None:
            logits = logits - log_counts
        return logits.logsumexp(dim=1) - logits[:, 0]

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().config(), "temperature": self.temperature}
