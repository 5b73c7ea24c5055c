"""What several processes recorded of an epoch, put together with one collective.

Losses and the metrics that are sums and counts travel as one vector of float64 numbers that is
added up over the processes. Metrics that must keep predictions are gathered beside it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torte.learner.loss_log import LossLog
from torte.learner.metrics.contract import Metric
from torte.learner.world import World

__all__ = ["Phase", "check_mergeable", "merge_phases", "shape_sums"]

State = dict[str, Any]


class Phase(NamedTuple):
    """What one process recorded of the training or the validation part of an epoch.

    Attributes:
        log: The losses, this process's means, with its numbers of samples.
        start: The first of the phase's losses.
        states: Each metric's state; empty if there were none in this phase.
        sums_up: Whether losses are sums over samples rather than means.
    """

    log: LossLog
    start: int
    states: list[State]
    sums_up: bool


def is_sum(metric: Metric) -> bool:
    """Whether a metric's state is nothing but sums and counts by name."""
    kind = type(metric)
    return bool(kind.sums) and kind.state is Metric.state and kind.merge is Metric.merge


def check_mergeable(metrics: Sequence[Metric]) -> None:
    """Refuse a metric of which it is not known how processes put it together.

    Raises:
        TypeError: Names it.
    """
    for metric in metrics:
        kind = type(metric)
        if not kind.sums and kind.merge is Metric.merge:
            raise TypeError(
                f"several processes cannot put {kind.__name__} together: name its attributes that"
                " are sums or counts in `sums`, or write `state` and `merge`"
            )


def shape_sums(metrics: Sequence[Metric], learn: Any) -> None:
    """Give the sums of metrics the shapes that they will have, in a process without samples."""
    for metric in filter(is_sum, metrics):
        metric.accumulate(learn)
        empty_sums(metric)


def empty_sums(metric: Metric) -> None:
    """Set a metric's sums to zeros of the shapes that they have."""
    for name in metric.sums:
        value = getattr(metric, name)
        zero = torch.zeros_like(value) if isinstance(value, Tensor) else type(value)(0)
        setattr(metric, name, zero)


def merge_phases(
    world: World, phases: Sequence[Phase], metrics: Sequence[Metric]
) -> list[list[Any]]:
    """Put the phases of all processes together, the losses in place.

    Returns:
        For each phase the metrics' values. Afterwards the metrics hold the last phase.
    """
    mine = [vector for phase in phases for vector in _vectors(phase, metrics)]
    flat = torch.cat([torch.empty(0, dtype=torch.float64), *mine])
    parts = iter(world.summed(flat).split([len(vector) for vector in mine]))
    kept = [
        [state for metric, state in zip(metrics, phase.states, strict=False) if not is_sum(metric)]
        for phase in phases
    ]
    gathered = world.gathered(_in_main_memory(kept)) if any(kept) else []
    values = []
    for number, phase in enumerate(phases):
        _take_losses(phase, next(parts), next(parts))
        if phase.states:
            others = iter(zip(*(each[number] for each in gathered), strict=True))
            _take_states(phase, metrics, parts, others)
            values.append([metric.value for metric in metrics])
        else:
            values.append([])
    return values


def _vectors(phase: Phase, metrics: Sequence[Metric]) -> Iterator[Tensor]:
    losses, sizes = phase.log.numbers(phase.start)
    weights = (sizes > 0).double() if phase.sums_up else sizes
    # A process that had no sample of a batch may have computed anything for it.
    yield torch.where(weights > 0, losses * weights, 0.0)
    yield sizes
    for metric, state in zip(metrics, phase.states, strict=False):
        if is_sum(metric):
            for name in metric.sums:
                yield torch.as_tensor(state[name]).detach().cpu().reshape(-1).double()


def _take_losses(phase: Phase, totals: Tensor, sizes: Tensor) -> None:
    means = totals if phase.sums_up else totals / sizes.clamp(min=1)
    phase.log.replace(phase.start, means.tolist(), sizes.long().tolist())


def _take_states(
    phase: Phase, metrics: Sequence[Metric], parts: Iterator[Tensor], others: Iterator[Any]
) -> None:
    for metric, state in zip(metrics, phase.states, strict=True):
        if is_sum(metric):
            metric.merge([{name: _like(state[name], next(parts)) for name in metric.sums}])
        else:
            metric.merge(list(next(others)))


def _like(own: Any, total: Tensor) -> Any:
    """A total as the kind of number or tensor that it was added up from."""
    if isinstance(own, Tensor):
        return total.reshape(own.shape).to(own)
    return type(own)(total.item())


def _in_main_memory(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: _in_main_memory(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_in_main_memory(item) for item in value)
    return value
