"""Metrics of multi-label classification: several classes may be right at once.

Predictions are scores of shape (batch, classes), targets zeros and ones of that shape; `sigmoid`
says whether a sigmoid comes before the threshold. Arguments after it are scikit-learn's own.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from torte.learner.metrics.accumulating import (
    AccumMetric,
    ActivationType,
    SklearnFunction,
    skm_to_fastai,
)
from torte.learner.metrics.contract import flatten_check, mean_metric

__all__ = [
    "APScoreMulti",
    "BrierScoreMulti",
    "F1ScoreMulti",
    "FBetaMulti",
    "HammingLossMulti",
    "JaccardMulti",
    "MatthewsCorrCoefMulti",
    "PrecisionMulti",
    "RecallMulti",
    "RocAucMulti",
    "accuracy_multi",
]


@mean_metric
def accuracy_multi(
    inp: Tensor, targ: Tensor, thresh: float = 0.5, sigmoid: bool = True
) -> tuple[Tensor, int]:
    """Share of labels, over all classes, on the right side of the threshold.

    Args:
        inp: Scores, (batch, classes).
        targ: Zeros and ones, (batch, classes).
        thresh: A class is predicted above it.
        sigmoid: Apply a sigmoid first.
    """
    inp, targ = flatten_check(inp, targ)
    if sigmoid:
        inp = inp.sigmoid()
    return ((inp > thresh) == targ.bool()).sum(), targ.numel()


def _multi(name: str, sigmoid: bool, thresh: float | None, **kwargs: Any) -> AccumMetric:
    activation = ActivationType.Sigmoid if sigmoid else ActivationType.No
    return skm_to_fastai(
        SklearnFunction(name), thresh=thresh, activation=activation, flatten=False, **kwargs
    )


def _scored(name: str, sigmoid: bool, **kwargs: Any) -> AccumMetric:
    """Make a metric of probabilities rather than of thresholded labels."""
    activation = ActivationType.Sigmoid if sigmoid else ActivationType.No
    return skm_to_fastai(
        SklearnFunction(name), is_class=False, activation=activation, flatten=False, **kwargs
    )


def APScoreMulti(  # noqa: N802
    sigmoid: bool = True, average: str = "macro", pos_label: int = 1, sample_weight: Any = None
) -> AccumMetric:
    """Average precision (`average_precision_score`)."""
    return _scored(
        "average_precision_score",
        sigmoid,
        average=average,
        pos_label=pos_label,
        sample_weight=sample_weight,
    )


def BrierScoreMulti(  # noqa: N802
    thresh: float | None = 0.5,
    sigmoid: bool = True,
    sample_weight: Any = None,
    pos_label: int | None = None,
) -> AccumMetric:
    """Mean squared error of all labels (`brier_score_loss`), thresholded unless it is `None`."""
    activation = ActivationType.Sigmoid if sigmoid else ActivationType.No
    return skm_to_fastai(
        SklearnFunction("brier_score_loss"),
        is_class=False,
        thresh=thresh,
        activation=activation,
        sample_weight=sample_weight,
        pos_label=pos_label,
    )


def F1ScoreMulti(  # noqa: N802
    thresh: float = 0.5,
    sigmoid: bool = True,
    labels: Any = None,
    pos_label: int = 1,
    average: str | None = "macro",
    sample_weight: Any = None,
) -> AccumMetric:
    """F1 score (`f1_score`)."""
    return _multi(
        "f1_score",
        sigmoid,
        thresh,
        labels=labels,
        pos_label=pos_label,
        average=average,
        sample_weight=sample_weight,
    )


def FBetaMulti(  # noqa: N802
    beta: float,
    thresh: float = 0.5,
    sigmoid: bool = True,
    labels: Any = None,
    pos_label: int = 1,
    average: str | None = "macro",
    sample_weight: Any = None,
) -> AccumMetric:
    """F score that weights recall `beta` times as much as precision (`fbeta_score`)."""
    return _multi(
        "fbeta_score",
        sigmoid,
        thresh,
        beta=beta,
        labels=labels,
        pos_label=pos_label,
        average=average,
        sample_weight=sample_weight,
    )


def HammingLossMulti(  # noqa: N802
    thresh: float = 0.5, sigmoid: bool = True, labels: Any = None, sample_weight: Any = None
) -> AccumMetric:
    """Share of wrong labels (`hamming_loss`, which has no use for `labels` any more)."""
    del labels
    return _multi("hamming_loss", sigmoid, thresh, sample_weight=sample_weight)


def JaccardMulti(  # noqa: N802
    thresh: float = 0.5,
    sigmoid: bool = True,
    labels: Any = None,
    pos_label: int = 1,
    average: str | None = "macro",
    sample_weight: Any = None,
) -> AccumMetric:
    """Intersection over union (`jaccard_score`)."""
    return _multi(
        "jaccard_score",
        sigmoid,
        thresh,
        labels=labels,
        pos_label=pos_label,
        average=average,
        sample_weight=sample_weight,
    )


def MatthewsCorrCoefMulti(  # noqa: N802
    thresh: float = 0.5, sigmoid: bool = True, sample_weight: Any = None
) -> AccumMetric:
    """Matthews' correlation coefficient of all labels in one row (`matthews_corrcoef`)."""
    activation = ActivationType.Sigmoid if sigmoid else ActivationType.No
    return skm_to_fastai(
        SklearnFunction("matthews_corrcoef"),
        thresh=thresh,
        activation=activation,
        sample_weight=sample_weight,
    )


def PrecisionMulti(  # noqa: N802
    thresh: float = 0.5,
    sigmoid: bool = True,
    labels: Any = None,
    pos_label: int = 1,
    average: str | None = "macro",
    sample_weight: Any = None,
) -> AccumMetric:
    """Precision (`precision_score`)."""
    return _multi(
        "precision_score",
        sigmoid,
        thresh,
        labels=labels,
        pos_label=pos_label,
        average=average,
        sample_weight=sample_weight,
    )


def RecallMulti(  # noqa: N802
    thresh: float = 0.5,
    sigmoid: bool = True,
    labels: Any = None,
    pos_label: int = 1,
    average: str | None = "macro",
    sample_weight: Any = None,
) -> AccumMetric:
    """Recall (`recall_score`)."""
    return _multi(
        "recall_score",
        sigmoid,
        thresh,
        labels=labels,
        pos_label=pos_label,
        average=average,
        sample_weight=sample_weight,
    )


def RocAucMulti(  # noqa: N802
    sigmoid: bool = True,
    average: str = "macro",
    sample_weight: Any = None,
    max_fpr: float | None = None,
) -> AccumMetric:
    """Area under the ROC curve (`roc_auc_score`)."""
    return _scored(
        "roc_auc_score",
        sigmoid,
        average=average,
        sample_weight=sample_weight,
        max_fpr=max_fpr,
    )
