"""What a metric is, and the metrics that are averages.

A `Metric` has three parts (the paper's section 4.4): `reset` at the start of a phase, `accumulate`
after each batch, `value` at the end. What it accumulates stays on the device of the predictions:
nothing here waits for the device before `value` is asked for.

Its state is sums and counts by name (`state`), so the states of several processes are merged by
adding them up (`merge`); metrics that must keep predictions concatenate them instead.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec

import torch
from torch import Tensor

from torte.data.tensors import plain

if TYPE_CHECKING:
    from torte.learner.learner import Learner

__all__ = [
    "AvgLoss",
    "AvgMetric",
    "AvgSmoothLoss",
    "LossMetric",
    "LossMetrics",
    "MeanFunction",
    "Metric",
    "TorchMetric",
    "ValueMetric",
    "batch_size_of",
    "flatten_check",
    "mean_metric",
    "mk_metric",
    "mk_metrics",
    "wide_dtype",
]

P = ParamSpec("P")


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return the widest floating dtype to sum in on a device: float64 wherever there is one."""
    return torch.float32 if device.type == "mps" else torch.float64


def flatten_check(inp: Tensor, targ: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten predictions and targets to one dimension, having checked that their sizes agree.

    Raises:
        ValueError: They have different numbers of elements.
    """
    if inp.numel() != targ.numel():
        raise ValueError(
            f"predictions of shape {tuple(inp.shape)} and targets of shape {tuple(targ.shape)} "
            f"have different numbers of elements ({inp.numel()} and {targ.numel()})"
        )
    return inp.reshape(-1), targ.reshape(-1)


def batch_size_of(batch: Any) -> int:
    """Return the number of samples in a batch: the length of the first tensor in the structure.

    Raises:
        ValueError: There is no tensor in it.
    """
    for tensor in _tensors(batch):
        return tensor.shape[0] if tensor.ndim else 1
    raise ValueError(f"found no tensor in the batch to count its samples: {batch!r}")


def _tensors(batch: Any) -> Iterable[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict):
        for value in batch.values():
            yield from _tensors(value)
    elif isinstance(batch, (tuple, list)):
        for value in batch:
            yield from _tensors(value)


class Metric:
    """A quantity accumulated over the batches of a phase.

    Subclasses write `reset`, `accumulate` and the property `value`. Those that keep their sums in
    attributes named in `sums` can be merged across processes with nothing more to write.
    """

    sums: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that hold sums or counts, numbers or tensors."""

    def reset(self) -> None:
        """Forget everything, ready for a new phase."""

    def accumulate(self, learn: Learner) -> None:
        """Take in one batch: read `learn.pred`, `learn.yb`, `learn.y`, `learn.loss` and so on."""
        raise NotImplementedError(f"{type(self).__name__} must write accumulate(self, learn)")

    @property
    def value(self) -> Any:
        """The metric over everything taken in since `reset`; `None` before the first batch."""
        raise NotImplementedError(f"{type(self).__name__} must write the property value")

    @property
    def name(self) -> str:
        """Under which name it is reported: the class's in snake case, less a final "Metric"."""
        given = self.__dict__.get("_name")
        if given is not None:
            return given
        bare = type(self).__name__.removesuffix("Metric") or type(self).__name__
        words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", bare)
        return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()

    @name.setter
    def name(self, value: str) -> None:
        self.__dict__["_name"] = value

    def state(self) -> dict[str, Any]:
        """Return what was accumulated, by name."""
        return {name: getattr(self, name) for name in self.sums}

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Replace what was accumulated by the sum of several processes' `state`."""
        for name in self.sums:
            setattr(self, name, sum(state[name] for state in states))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class MeanFunction(Generic[P]):
    """A metric function that is a mean, and knows its numerator and denominator apart.

    Called, it returns their ratio. `AvgMetric` adds both up instead, so the value over several
    batches is the value over all of their elements, whatever the sizes of the batches.
    """

    __name__: str

    def __init__(self, parts: Callable[P, tuple[Tensor, Tensor | int]]) -> None:
        self.parts = parts
        update_wrapper(self, parts)
        self.__signature__ = inspect.signature(parts).replace(return_annotation=Tensor)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        """Return the sum over the count."""
        total, count = self.parts(*args, **kwargs)
        ratio = total / count
        inp = args[0] if args else next(iter(kwargs.values()))
        wide = isinstance(inp, Tensor) and inp.dtype == torch.float64
        return ratio if wide else ratio.to(torch.float32)

    def __repr__(self) -> str:
        return f"<metric {self.__name__}{self.__signature__}>"

    def __reduce__(self) -> str:
        # The decorated function is found under its own name, as functions are.
        return self.__name__


def mean_metric(parts: Callable[P, tuple[Tensor, Tensor | int]]) -> MeanFunction[P]:
    """Make a metric function of one that returns a sum and the count to divide it by.

    Example:
        >>> @mean_metric
        ... def share_above(inp, targ, limit=1.0):
        ...     return ((inp - targ).abs() > limit).sum(), targ.numel()
        >>> share_above(torch.tensor([0.0, 3.0]), torch.tensor([0.0, 0.0]))
        tensor(0.5000)
    """
    return MeanFunction(parts)


def _function_name(func: Callable[..., Any]) -> str:
    if isinstance(func, partial):
        return _function_name(func.func)
    return getattr(func, "__name__", None) or type(func).__name__


def _parts_of(func: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return what yields (sum, count) of a metric function, seeing through `functools.partial`."""
    if isinstance(func, partial):
        parts = _parts_of(func.func)
        return None if parts is None else partial(parts, *func.args, **func.keywords)
    return func.parts if isinstance(func, MeanFunction) else None


class AvgMetric(Metric):
    """The average of a function of predictions and targets, weighted by the number of samples.

    Args:
        func: Called as `func(learn.pred, *learn.yb)` after each batch. A function made by
            `mean_metric` (`accuracy`, `mse`, …) is averaged over elements, exactly.
    """

    sums: ClassVar[tuple[str, ...]] = ("total", "count")

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        self._parts = _parts_of(func)
        self.reset()

    def reset(self) -> None:
        """Set sum and count to 0."""
        self.total: Tensor | float = 0.0
        self.count: Tensor | int = 0

    def accumulate(self, learn: Learner) -> None:
        """Add the batch's sum and count, on the device of the predictions."""
        pred, targets = plain(learn.pred), plain(learn.yb)
        with torch.no_grad():
            if self._parts is not None:
                total, count = self._parts(pred, *targets)
            else:
                count = batch_size_of(targets if len(targets) else pred)
                total = _widen(self.func(pred, *targets)) * count
            self.total = self.total + _widen(total)
            self.count = self.count + count

    @property
    def value(self) -> Tensor | float | None:
        """The weighted average, a tensor of no dimensions on the device; `None` without samples."""
        if isinstance(self.count, int) and self.count == 0:
            return None
        return self.total / self.count

    @property
    def name(self) -> str:
        """The function's name."""
        return self.__dict__.get("_name") or _function_name(self.func)

    @name.setter
    def name(self, value: str) -> None:
        self.__dict__["_name"] = value


def _widen(value: Any) -> Any:
    return value.detach().to(wide_dtype(value.device)) if isinstance(value, Tensor) else value


class AvgLoss(Metric):
    """The average of the losses, weighted by the number of samples."""

    sums: ClassVar[tuple[str, ...]] = ("total", "count")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Set sum and count to 0."""
        self.total: Tensor | float = 0.0
        self.count = 0

    def accumulate(self, learn: Learner) -> None:
        """Add the batch's loss times its number of samples."""
        size = batch_size_of(learn.yb if len(learn.yb) else learn.xb)
        loss = self._loss(learn)
        self.total = self.total + _widen(loss if loss.ndim == 0 else loss.mean()) * size
        self.count += size

    def _loss(self, learn: Learner) -> Tensor:
        return learn.loss

    @property
    def value(self) -> Tensor | float | None:
        """The weighted average, a tensor of no dimensions on the device; `None` without samples."""
        return self.total / self.count if self.count else None

    @property
    def name(self) -> str:
        """Always "loss"."""
        return "loss"


class LossMetric(AvgLoss):
    """The average of a part of the loss that the loss function keeps in an attribute.

    Args:
        attr: Attribute of `learn.loss_func`, read after each batch.
        nm: Under which name it is reported; `attr` by default.
    """

    def __init__(self, attr: str, nm: str | None = None) -> None:
        super().__init__()
        self.attr = attr
        self.nm = nm

    def _loss(self, learn: Learner) -> Tensor:
        return getattr(learn.loss_func, self.attr)

    @property
    def name(self) -> str:
        """The name given, or the attribute's."""
        return self.attr if self.nm is None else self.nm


def LossMetrics(  # noqa: N802
    attrs: str | Sequence[str], nms: str | Sequence[str] | None = None
) -> list[LossMetric]:
    """Make a `LossMetric` of each attribute, given as a list or as one string with commas."""
    names = attrs.split(",") if isinstance(attrs, str) else list(attrs)
    shown = names if nms is None else nms.split(",") if isinstance(nms, str) else list(nms)
    return [LossMetric(attr, nm) for attr, nm in zip(names, shown, strict=True)]


class AvgSmoothLoss(Metric):
    """An exponentially weighted average of the training losses, corrected for its start at 0.

    Args:
        beta: Weight of the past at each batch.
    """

    def __init__(self, beta: float = 0.98) -> None:
        self.beta = beta
        self.reset()

    def reset(self) -> None:
        """Forget all losses."""
        self.count = 0
        self.val: Tensor | float = 0.0

    def accumulate(self, learn: Learner) -> None:
        """Take in the batch's loss; nothing waits for the device."""
        self.count += 1
        loss = learn.loss.detach()
        loss = loss if loss.ndim == 0 else loss.mean()
        # A new tensor at each batch: whoever was given the last value keeps it.
        self.val = loss * (1 - self.beta) + self.val * self.beta

    @property
    def value(self) -> Tensor | float | None:
        """The smoothed loss, a tensor of no dimensions on the device; `None` without batches."""
        return self.val / (1 - self.beta**self.count) if self.count else None

    @property
    def name(self) -> str:
        """Always "loss"."""
        return "loss"

    def state(self) -> dict[str, Any]:
        """Return the average so far and the number of batches in it."""
        return {"count": self.count, "val": self.val}

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Average the processes' averages, which have seen the same number of batches."""
        self.count = max(state["count"] for state in states)
        self.val = sum(state["val"] for state in states) / len(states)


class ValueMetric(Metric):
    """Report a value that something else, a callback say, has computed.

    Args:
        func: Returns the value.
        metric_name: Under which name it is reported; the function's by default.
    """

    def __init__(self, func: Callable[[], Any], metric_name: str | None = None) -> None:
        self.func = func
        self.metric_name = metric_name

    def accumulate(self, learn: Learner) -> None:
        """Take in nothing."""

    @property
    def value(self) -> Any:
        """What the function returns now."""
        return self.func()

    @property
    def name(self) -> str:
        """The name given, or the function's."""
        return self.metric_name or _function_name(self.func)


class TorchMetric(Metric):
    """A metric of the torchmetrics library, as it is.

    Args:
        metric: A `torchmetrics.Metric`. It follows the predictions to their device.
        name: Under which name it is reported; the class's in snake case by default.
    """

    def __init__(self, metric: Any, name: str | None = None) -> None:
        self.metric = metric
        self._batches = 0
        words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(metric).__name__)
        self.name = name or re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()

    def reset(self) -> None:
        """Reset the metric."""
        self.metric.reset()
        self._batches = 0

    def accumulate(self, learn: Learner) -> None:
        """Update the metric with predictions and targets."""
        pred, targets = plain(learn.pred), plain(learn.yb)
        if isinstance(pred, Tensor) and self.metric.device != pred.device:
            self.metric.to(pred.device)
        with torch.no_grad():
            self.metric.update(pred, *targets)
        self._batches += 1

    @property
    def value(self) -> Any:
        """What the metric computes; `None` before the first batch."""
        return self.metric.compute() if self._batches else None

    def state(self) -> dict[str, Any]:
        """Return nothing: torchmetrics synchronises its own state between processes."""
        return {}


def mk_metric(m: Any) -> Metric:
    """Make a `Metric` of whatever a user passes as one.

    Args:
        m: A metric, a class of metrics that needs no arguments, a torchmetrics object, or a
            function of predictions and targets.

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(m, type):
        m = m()
    if isinstance(m, Metric):
        return m
    torchmetrics = sys.modules.get("torchmetrics")
    if torchmetrics is not None:
        if isinstance(m, torchmetrics.MetricCollection):
            raise TypeError("a MetricCollection holds several metrics; pass *collection.values()")
        if isinstance(m, torchmetrics.Metric):
            return TorchMetric(m)
    if callable(m):
        return AvgMetric(m)
    raise TypeError(
        f"{m!r} is no metric: pass a Metric, a function of (predictions, *targets) or a "
        f"torchmetrics object"
    )


def mk_metrics(metrics: Any) -> list[Metric]:
    """Make a list of metrics of what a user passes: nothing, one, or any nesting of several."""
    if metrics is None:
        return []
    if isinstance(metrics, Iterable) and not isinstance(metrics, (str, Metric, torch.nn.Module)):
        return [metric for item in metrics for metric in mk_metrics(item)]
    torchmetrics = sys.modules.get("torchmetrics")
    if torchmetrics is not None and isinstance(metrics, torchmetrics.MetricCollection):
        named = metrics.items(keep_base=False, copy_state=False)
        return [TorchMetric(member, name=str(name)) for name, member in named]
    return [mk_metric(metrics)]
