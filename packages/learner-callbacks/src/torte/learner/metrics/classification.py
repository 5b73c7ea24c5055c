"""Metrics of single-label classification.

Those that are named like a class return an `AccumMetric` over the function of scikit-learn that
their docstring names; arguments after `axis` are that function's own.
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
    "APScoreBinary",
    "BalancedAccuracy",
    "BrierScore",
    "CohenKappa",
    "F1Score",
    "FBeta",
    "HammingLoss",
    "Jaccard",
    "MatthewsCorrCoef",
    "Precision",
    "Recall",
    "RocAuc",
    "RocAucBinary",
    "accuracy",
    "error_rate",
    "top_k_accuracy",
]


@mean_metric
def accuracy(inp: Tensor, targ: Tensor, axis: int = -1) -> tuple[Tensor, int]:
    """Share of elements whose largest prediction along `axis` is the target.

    Args:
        inp: Scores of each class, for example (batch, classes).
        targ: Class numbers, of the shape of `inp` without `axis`.
        axis: Dimension of the classes.
    """
    pred, targ = flatten_check(inp.argmax(dim=axis), targ)
    return (pred == targ).sum(), targ.numel()


@mean_metric
def error_rate(inp: Tensor, targ: Tensor, axis: int = -1) -> tuple[Tensor, int]:
    """Share of elements whose largest prediction is not the target: `1 - accuracy`."""
    pred, targ = flatten_check(inp.argmax(dim=axis), targ)
    return (pred != targ).sum(), targ.numel()


@mean_metric
def top_k_accuracy(inp: Tensor, targ: Tensor, k: int = 5, axis: int = -1) -> tuple[Tensor, int]:
    """Share of elements whose target is among the `k` largest predictions along `axis`."""
    best = inp.topk(k=min(k, inp.shape[axis]), dim=axis).indices
    expected = targ.reshape(best.narrow(axis, 0, 1).shape)
    return (best == expected).any(dim=axis).sum(), targ.numel()


def APScoreBinary(  # noqa: N802
    axis: int = -1, average: str = "macro", pos_label: int = 1, sample_weight: Any = None
) -> AccumMetric:
    """Average precision of two classes (`average_precision_score`)."""
    return skm_to_fastai(
        SklearnFunction("average_precision_score"),
        axis=axis,
        activation=ActivationType.BinarySoftmax,
        average=average,
        pos_label=pos_label,
        sample_weight=sample_weight,
    )


def BalancedAccuracy(  # noqa: N802
    axis: int = -1, sample_weight: Any = None, adjusted: bool = False
) -> AccumMetric:
    """Mean of the classes' recalls (`balanced_accuracy_score`)."""
    return skm_to_fastai(
        SklearnFunction("balanced_accuracy_score"),
        axis=axis,
        sample_weight=sample_weight,
        adjusted=adjusted,
    )


def BrierScore(  # noqa: N802
    axis: int = -1, sample_weight: Any = None, pos_label: int | None = None
) -> AccumMetric:
    """Mean squared error of the second of two classes' probability (`brier_score_loss`)."""
    return skm_to_fastai(
        SklearnFunction("brier_score_loss"),
        axis=axis,
        activation=ActivationType.BinarySoftmax,
        sample_weight=sample_weight,
        pos_label=pos_label,
    )


def CohenKappa(  # noqa: N802
    axis: int = -1, labels: Any = None, weights: str | None = None, sample_weight: Any = None
) -> AccumMetric:
    """Cohen's kappa (`cohen_kappa_score`)."""
    return skm_to_fastai(
        SklearnFunction("cohen_kappa_score"),
        axis=axis,
        labels=labels,
        weights=weights,
        sample_weight=sample_weight,
    )


def F1Score(  # noqa: N802
    axis: int = -1,
    labels: Any = None,
    pos_label: int = 1,
    average: str | None = "binary",
    sample_weight: Any = None,
) -> AccumMetric:
    """F1 score (`f1_score`)."""
    return skm_to_fastai(
        SklearnFunction("f1_score"),
        axis=axis,
        labels=labels,
        pos_label=pos_label,
        average=average,
        sample_weight=sample_weight,
    )


def FBeta(  # noqa: N802
    beta: float,
    axis: int = -1,
    labels: Any = None,
    pos_label: int = 1,
    average: str | None = "binary",
    sample_weight: Any = None,
) -> AccumMetric:
    """F score that weights recall `beta` times as much as precision (`fbeta_score`)."""
    return skm_to_fastai(
        SklearnFunction("fbeta_score"),
        axis=axis,
        beta=beta,
        labels=labels,
        pos_label=pos_label,
        average=average,
        sample_weight=sample_weight,
    )


def HammingLoss(axis: int = -1, sample_weight: Any = None) -> AccumMetric:  # noqa: N802
    """Share of wrong labels (`hamming_loss`)."""
    return skm_to_fastai(SklearnFunction("hamming_loss"), axis=axis, sample_weight=sample_weight)


def Jaccard(  # noqa: N802
    axis: int = -1,
    labels: Any = None,
    pos_label: int = 1,
    average: str | None = "binary",
    sample_weight: Any = None,
) -> AccumMetric:
    """Jaccard score: intersection over union (`jaccard_score`)."""
    return skm_to_fastai(
        SklearnFunction("jaccard_score"),
        axis=axis,
        labels=labels,
        pos_label=pos_label,
        average=average,
        sample_weight=sample_weight,
    )


def Precision(  # noqa: N802
    axis: int = -1,
    labels: Any = None,
    pos_label: int = 1,
    average: str | None = "binary",
    sample_weight: Any = None,
) -> AccumMetric:
    """Precision (`precision_score`)."""
    return skm_to_fastai(
        SklearnFunction("precision_score"),
        axis=axis,
        labels=labels,
        pos_label=pos_label,
        average=average,
        sample_weight=sample_weight,
    )


def Recall(  # noqa: N802
    axis: int = -1,
    labels: Any = None,
    pos_label: int = 1,
    average: str | None = "binary",
    sample_weight: Any = None,
) -> AccumMetric:
    """Recall (`recall_score`)."""
    return skm_to_fastai(
        SklearnFunction("recall_score"),
        axis=axis,
        labels=labels,
        pos_label=pos_label,
        average=average,
        sample_weight=sample_weight,
    )


def RocAuc(  # noqa: N802
    axis: int = -1,
    average: str = "macro",
    sample_weight: Any = None,
    max_fpr: float | None = None,
    multi_class: str = "ovr",
) -> AccumMetric:
    """Area under the ROC curve of several classes, from probabilities (`roc_auc_score`)."""
    if multi_class not in ("ovr", "ovo"):
        raise ValueError(f"multi_class must be 'ovr' or 'ovo', not {multi_class!r}")
    return skm_to_fastai(
        SklearnFunction("roc_auc_score"),
        axis=axis,
        activation=ActivationType.Softmax,
        flatten=False,
        average=average,
        sample_weight=sample_weight,
        max_fpr=max_fpr,
        multi_class=multi_class,
    )


def RocAucBinary(  # noqa: N802
    axis: int = -1,
    average: str = "macro",
    sample_weight: Any = None,
    max_fpr: float | None = None,
    multi_class: str = "raise",
) -> AccumMetric:
    """Area under the ROC curve of two classes (`roc_auc_score`)."""
    return skm_to_fastai(
        SklearnFunction("roc_auc_score"),
        axis=axis,
        activation=ActivationType.BinarySoftmax,
        average=average,
        sample_weight=sample_weight,
        max_fpr=max_fpr,
        multi_class=multi_class,
    )


def MatthewsCorrCoef(sample_weight: Any = None, **kwargs: Any) -> AccumMetric:  # noqa: N802
    """Matthews' correlation coefficient (`matthews_corrcoef`)."""
    return skm_to_fastai(
        SklearnFunction("matthews_corrcoef"), sample_weight=sample_weight, **kwargs
    )
