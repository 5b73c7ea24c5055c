"""Metrics that need all predictions at once, and the bridge to scikit-learn.

What is kept between batches is as small as the metric allows (class numbers after an argmax,
booleans after a threshold) and stays on the device; it is moved and computed with in `value` alone.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from torte.data.tensors import plain
from torte.learner.metrics.contract import Metric, flatten_check, wide_dtype

if TYPE_CHECKING:
    from torte.learner.learner import Learner

__all__ = ["AccumMetric", "ActivationType", "optim_metric", "skm_to_fastai"]


class ActivationType(StrEnum):
    """What to apply to predictions before a metric sees them."""

    No = "no"
    Sigmoid = "sigmoid"
    Softmax = "softmax"
    BinarySoftmax = "binarysoftmax"


class AccumMetric(Metric):
    """A function of all predictions and all targets of a phase.

    Args:
        func: Called once, in `value`, as `func(predictions, targets)`.
        dim_argmax: Take the index of the maximum along this dimension.
        activation: "no", "sigmoid", "softmax" (along `dim_argmax`, or the last dimension), or
            "binarysoftmax" (softmax, then the probability of the last class).
        thresh: Compare with this threshold, after the activation.
        to_np: Hand NumPy arrays to the function.
        invert_arg: Call `func(targets, predictions)`, as scikit-learn wants it.
        flatten: Flatten both before the call.
        name: Under which name it is reported; the function's by default.
        **kwargs: For the function.

    Raises:
        ValueError: The activation has no such name.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        dim_argmax: int | None = None,
        activation: ActivationType | str = ActivationType.No,
        thresh: float | None = None,
        to_np: bool = False,
        invert_arg: bool = False,
        flatten: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.func = func
        self.dim_argmax = dim_argmax
        self.activation = ActivationType(activation)
        self.thresh = thresh
        self.to_np = to_np
        self.invert_args = invert_arg
        self.flatten = flatten
        self.kwargs = kwargs
        bare = func.func if isinstance(func, partial) else func
        self.name = name or getattr(bare, "__name__", type(bare).__name__)
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self.preds: list[Tensor] = []
        self.targs: list[Tensor] = []

    def accumulate(self, learn: Learner) -> None:
        """Keep the batch's predictions, reduced as far as the metric allows, and its targets."""
        self._keep(plain(learn.pred), plain(learn.y))

    def _keep(self, pred: Any, targ: Any) -> None:
        if not isinstance(pred, Tensor) or not isinstance(targ, Tensor):
            raise TypeError(
                f"{self.name} takes one tensor of predictions and one of targets, not "
                f"{type(pred).__name__} and {type(targ).__name__}"
            )
        pred = self._prepare(pred.detach())
        targ = targ.detach()
        if self.flatten:
            pred, targ = flatten_check(pred, targ)
        self.preds.append(_compact(pred))
        self.targs.append(_compact(targ))

    def _prepare(self, pred: Tensor) -> Tensor:
        if self.activation in (ActivationType.Softmax, ActivationType.BinarySoftmax):
            dim = -1 if self.dim_argmax is None else self.dim_argmax
            # In the wide dtype: confident predictions must not become ties by saturation.
            pred = F.softmax(pred, dim=dim, dtype=wide_dtype(pred.device))
            if self.activation == ActivationType.BinarySoftmax:
                return self._reduced(pred.select(dim, -1))
        elif self.activation == ActivationType.Sigmoid:
            pred = pred.to(wide_dtype(pred.device)).sigmoid()
        elif self.dim_argmax is not None:
            pred = pred.argmax(dim=self.dim_argmax)
        return self._reduced(pred)

    def _reduced(self, pred: Tensor) -> Tensor:
        return pred if self.thresh is None else pred >= self.thresh

    def __call__(self, preds: Tensor, targs: Tensor) -> Any:
        """Compute the metric of predictions and targets directly."""
        # On a copy, so that a phase under way keeps what it has.
        alone = copy.copy(self)
        alone.reset()
        alone._keep(plain(preds), plain(targs))
        return alone.value

    @property
    def value(self) -> Any:
        """The function of everything kept; `None` before the first batch."""
        if not self.preds:
            return None
        preds, targs = torch.cat(self.preds), torch.cat(self.targs)
        if self.to_np:
            preds, targs = _to_numpy(preds), _to_numpy(targs)
        pair = (targs, preds) if self.invert_args else (preds, targs)
        return self.func(*pair, **self.kwargs)

    def state(self) -> dict[str, Any]:
        """Return predictions and targets kept so far, on their device."""
        return {
            "preds": torch.cat(self.preds) if self.preds else None,
            "targs": torch.cat(self.targs) if self.targs else None,
        }

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Replace what is kept by the processes' predictions and targets, one after another."""
        self.preds = [state["preds"] for state in states if state["preds"] is not None]
        self.targs = [state["targs"] for state in states if state["targs"] is not None]


def _compact(tensor: Tensor) -> Tensor:
    """Return the tensor, copied if it is a view that would keep a larger storage alive."""
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


def _to_numpy(tensor: Tensor) -> Any:
    tensor = tensor.cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()


def skm_to_fastai(
    func: Callable[..., Any],
    is_class: bool = True,
    thresh: float | None = None,
    axis: int = -1,
    activation: ActivationType | str | None = None,
    **kwargs: Any,
) -> AccumMetric:
    """Make a metric of a function of scikit-learn's `sklearn.metrics` signature.

    Args:
        func: Called as `func(targets, predictions)` with flat arrays.
        is_class: For classification: predictions are turned into classes, by an argmax along
            `axis`, or, when `thresh` is given, by a sigmoid and that threshold. `False` hands
            predictions on as they are (regression).
        thresh: Threshold for targets with several labels.
        axis: Dimension of the classes.
        activation: Apply this instead of what `is_class` and `thresh` say.
        **kwargs: For the function.
    """
    dim_argmax = axis if is_class and thresh is None else None
    if activation is None:
        sigmoid = is_class and thresh is not None
        activation = ActivationType.Sigmoid if sigmoid else ActivationType.No
    return AccumMetric(
        func,
        dim_argmax=dim_argmax,
        activation=activation,
        thresh=thresh,
        to_np=True,
        invert_arg=True,
        **kwargs,
    )


class SklearnFunction:
    """A function of `sklearn.metrics` by name, imported when it is first called.

    Args:
        name: Name in the module.
        module: Where to find it.
    """

    def __init__(self, name: str, module: str = "sklearn.metrics") -> None:
        self.__name__ = name
        self._module = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(self._module), self.__name__)(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{self._module}.{self.__name__}"


def optim_metric(
    f: Callable[..., Any],
    argname: str,
    bounds: tuple[float, float],
    tol: float = 0.01,
    do_neg: bool = True,
    get_x: bool = False,
) -> Callable[[Tensor, Tensor], Any]:
    """Make a function that finds the best value of one of a metric's arguments on given data.

    Args:
        f: A metric function of (predictions, targets) with an argument `argname`.
        argname: The argument to choose, a threshold say.
        bounds: Where to look.
        tol: How close to come to the best argument.
        do_neg: Look for the largest value rather than the smallest.
        get_x: Return the best argument beside the best value.

    Returns:
        A function of (predictions, targets) that returns the best value, or a pair of the best
        argument and that value. It suits `AccumMetric`, which hands it all predictions at once.
    """
    sign = -1 if do_neg else 1

    def best(preds: Tensor, targs: Tensor) -> Any:
        from scipy.optimize import minimize_scalar

        def objective(value: float) -> float:
            return sign * float(f(preds, targs, **{argname: value}))

        found: Any = minimize_scalar(
            objective, bounds=bounds, method="bounded", options={"xatol": tol}
        )
        value = sign * float(found.fun)
        return (float(found.x), value) if get_x else value

    best.__name__ = f"opt_{getattr(f, '__name__', 'metric')}"
    return best
