"""Metrics of regression. Predictions and targets have the same number of elements."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from torte.learner.metrics.accumulating import (
    AccumMetric,
    ActivationType,
    SklearnFunction,
    skm_to_fastai,
)
from torte.learner.metrics.contract import flatten_check, mean_metric, wide_dtype

__all__ = [
    "ExplainedVariance",
    "PearsonCorrCoef",
    "R2Score",
    "SpearmanCorrCoef",
    "exp_rmspe",
    "mae",
    "mse",
    "msle",
    "rmse",
]


def _flat_floats(inp: Tensor, targ: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten both and widen them, so that differences and their sums lose nothing."""
    inp, targ = flatten_check(inp, targ)
    wide = wide_dtype(inp.device)
    return inp.to(wide), targ.to(wide)


@mean_metric
def mse(inp: Tensor, targ: Tensor) -> tuple[Tensor, int]:
    """Mean squared error."""
    inp, targ = _flat_floats(inp, targ)
    return (inp - targ).square().sum(), targ.numel()


@mean_metric
def mae(inp: Tensor, targ: Tensor) -> tuple[Tensor, int]:
    """Mean absolute error."""
    inp, targ = _flat_floats(inp, targ)
    return (inp - targ).abs().sum(), targ.numel()


@mean_metric
def msle(inp: Tensor, targ: Tensor) -> tuple[Tensor, int]:
    """Mean squared difference of `log(1 + x)`."""
    inp, targ = _flat_floats(inp, targ)
    return (inp.log1p() - targ.log1p()).square().sum(), targ.numel()


def _root_mean_square_error(preds: Tensor, targs: Tensor) -> Tensor:
    preds, targs = _flat_floats(preds, targs)
    return (preds - targs).square().mean().sqrt()


def _exponential_rmspe(preds: Tensor, targs: Tensor) -> Tensor:
    preds, targs = _flat_floats(preds, targs)
    preds, targs = preds.exp(), targs.exp()
    return ((targs - preds) / targs).square().mean().sqrt()


rmse = AccumMetric(_root_mean_square_error, name="rmse")
"""Root of the mean squared error over all elements."""

exp_rmspe = AccumMetric(_exponential_rmspe, name="exp_rmspe")
"""Root of the mean squared percentage error of the exponentials, for targets that are logs."""


def ExplainedVariance(sample_weight: Any = None) -> AccumMetric:  # noqa: N802
    """Share of the variance explained (`explained_variance_score`)."""
    return skm_to_fastai(
        SklearnFunction("explained_variance_score"), is_class=False, sample_weight=sample_weight
    )


def R2Score(sample_weight: Any = None) -> AccumMetric:  # noqa: N802
    """Coefficient of determination (`r2_score`)."""
    return skm_to_fastai(SklearnFunction("r2_score"), is_class=False, sample_weight=sample_weight)


class _Correlation:
    """The coefficient alone of one of SciPy's correlation functions, computed in float64."""

    def __init__(self, name: str) -> None:
        self.__name__ = name
        self._function = SklearnFunction(name, module="scipy.stats")

    def __call__(self, x: Any, y: Any, **kwargs: Any) -> float:
        wide = [np.asarray(value.cpu() if isinstance(value, Tensor) else value) for value in (x, y)]
        pair = (value.astype(np.float64) for value in wide)
        return float(self._function(*pair, **kwargs).statistic)


def PearsonCorrCoef(  # noqa: N802
    dim_argmax: int | None = None,
    activation: ActivationType | str = ActivationType.No,
    thresh: float | None = None,
    to_np: bool = False,
    invert_arg: bool = False,
    flatten: bool = True,
    name: str | None = None,
) -> AccumMetric:
    """Pearson's correlation coefficient (`scipy.stats.pearsonr`)."""
    return AccumMetric(
        _Correlation("pearsonr"),
        dim_argmax=dim_argmax,
        activation=activation,
        thresh=thresh,
        to_np=to_np,
        invert_arg=invert_arg,
        flatten=flatten,
        name=name,
    )


def SpearmanCorrCoef(  # noqa: N802
    dim_argmax: int | None = None,
    axis: int = 0,
    nan_policy: str = "propagate",
    activation: ActivationType | str = ActivationType.No,
    thresh: float | None = None,
    to_np: bool = False,
    invert_arg: bool = False,
    flatten: bool = True,
    name: str | None = None,
) -> AccumMetric:
    """Spearman's rank correlation coefficient (`scipy.stats.spearmanr`)."""
    return AccumMetric(
        _Correlation("spearmanr"),
        dim_argmax=dim_argmax,
        activation=activation,
        thresh=thresh,
        to_np=to_np,
        invert_arg=invert_arg,
        flatten=flatten,
        name=name,
        axis=axis,
        nan_policy=nan_policy,
    )
