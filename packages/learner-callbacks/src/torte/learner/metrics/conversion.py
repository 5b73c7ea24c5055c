"""Metrics of whatever a user passes as one: functions, classes, torchmetrics objects."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torte.data.tensors import plain
from torte.learner.metrics.averages import AvgMetric
from torte.learner.metrics.contract import Metric, snake_case

if TYPE_CHECKING:
    from torte.learner.learner import Learner

__all__ = ["TorchMetric", "mk_metric", "mk_metrics"]


class TorchMetric(Metric):
    """A metric of the torchmetrics library, as it is.

    Args:
        metric: A `torchmetrics.Metric`. It follows the predictions to their device.
        name: Under which name it is reported; the class's in snake case by default.
    """

    def __init__(self, metric: Any, name: str | None = None) -> None:
        self.metric = metric
        self._batches = 0
        self.name = name or snake_case(type(metric).__name__)

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
        """Return the metric's own state, and how many batches are in it."""
        return {"metric": dict(self.metric.metric_state), "batches": self._batches}

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Replace the metric's state by those of several processes, merged as it merges them.

        Raises:
            RuntimeError: It does not say how (`full_state_update=True` without a `merge_state`).
        """
        self.reset()
        # The processes' states are together here already: `compute` need not ask for them.
        self.metric.sync_on_compute = False
        used = [state["metric"] for state in states if state["batches"]]
        for count, state in enumerate(used, 1):
            self.metric._update_count = count  # what an average of averages is weighted by
            self.metric.merge_state(_on(self.metric.device, state))
        self._batches = sum(state["batches"] for state in states)


def _on(device: Any, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _on(device, item) for key, item in value.items()}
    return [_on(device, item) for item in value] if isinstance(value, list) else value


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
    torchmetrics = sys.modules.get("torchmetrics")
    if torchmetrics is not None and isinstance(metrics, torchmetrics.MetricCollection):
        named = metrics.items(keep_base=False, copy_state=False)
        return [TorchMetric(member, name=str(name)) for name, member in named]
    if isinstance(metrics, Iterable) and not isinstance(metrics, (str, Metric, torch.nn.Module)):
        return [metric for item in metrics for metric in mk_metrics(item)]
    return [mk_metric(metrics)]
