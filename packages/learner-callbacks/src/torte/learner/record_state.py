"""The record of a fit as a checkpoint keeps it, also when as many processes do not go on.

Where several processes train together, each has its own losses and sums of the epoch under way, to
be put together at its end. A checkpoint has those of all. As many processes take up each its own;
if there are more or fewer, the first takes all of them, put together, and the others have none.
"""

import copy
import time
from collections.abc import Sequence
from typing import Any

import torch

from torte.learner.loss_log import LossLog
from torte.learner.merging import Phase, empty_sums, is_sum
from torte.learner.metrics.contract import Metric
from torte.learner.packing import packed_numbers, unpacked_numbers
from torte.optim.shards import map_tensors_in

__all__ = ["record_state", "restore_record"]

State = dict[str, Any]


def record_state(recorder: Any) -> State:
    """Return all that a `Recorder` has; in all processes at once."""
    history = recorder._history
    own = {
        "train": history.train.state(),
        "valid": recorder._valid.state(),
        "metrics": [metric_state(metric) for metric in recorder._metrics],
        "shaped": recorder._shaped,
        "phases": [
            [is_train, phase.start, phase.states, phase.sums_up]
            for is_train, phase in recorder._phases
        ],
    }
    world = recorder.learn.world if recorder.learn is not None else None
    return {
        "lrs": packed_numbers(history.lrs),
        "iters": history.iters,
        "values": history.values,
        "hps": {name: packed_numbers(values) for name, values in history.hps.items()},
        "names": [str(name) for name in recorder.metric_names],
        "log": list(recorder.log),
        "train_row": recorder._train_row,
        "valid_row": recorder._valid_row,
        "epoch_begin": recorder._epoch_begin,
        "merged": recorder._merged,
        "elapsed": time.monotonic() - recorder._started if recorder._started else None,
        "processes": [own] if world is None else world.gathered(_in_main_memory(own, world.size)),
    }


def _in_main_memory(state: Any, processes: int) -> Any:
    return state if processes == 1 else map_tensors_in(lambda tensor: tensor.cpu(), state)


def restore_record(recorder: Any, state: State) -> None:
    """Let a `Recorder` have what `record_state` gave."""
    learn = recorder.learn
    history = recorder._history = type(recorder._history)(recorder.beta)
    history.lrs, history.iters = unpacked_numbers(state["lrs"]), list(state["iters"])
    history.values = [list(row) for row in state["values"]]
    history.hps = {name: unpacked_numbers(values) for name, values in state["hps"].items()}
    recorder.metric_names = type(recorder.metric_names)(state["names"])
    recorder.log = type(recorder.log)(state["log"])
    recorder._train_row, recorder._valid_row = state["train_row"], state["valid_row"]
    recorder._epoch_begin, recorder._merged = state["epoch_begin"], state["merged"]
    elapsed = state["elapsed"]
    recorder._started = 0.0 if elapsed is None else time.monotonic() - elapsed
    recorder._metrics = [] if learn is None else list(learn.metrics)
    size, rank = (1, 0) if learn is None else (learn.world.size, learn.world.rank)
    device = None if learn is None else learn.device
    _restore_own(recorder, state["processes"], size, rank, device)


def _restore_own(
    recorder: Any, states: Sequence[State], size: int, rank: int, device: torch.device | None
) -> None:
    same = len(states) == size
    own = states[rank] if same else states[0]
    train, valid = recorder._history.train, LossLog(recorder.beta)
    train.load_state(own["train"], device)
    valid.load_state(own["valid"], device)
    recorder._valid, recorder._shaped = valid, own["shaped"] and (same or rank == 0)
    of_metrics = [own["metrics"]] if same else [each["metrics"] for each in states]
    has_part = same or rank == 0
    for place, metric in enumerate(recorder._metrics):
        parts = [each[place] for each in of_metrics]
        restore_metric(metric, _on(parts, device), has_part)
    sums_up = getattr(recorder.learn and recorder.learn.loss_func, "reduction", "mean") == "sum"
    if not same:
        for log, name, start in ((train, "train", recorder._merged), (valid, "valid", 0)):
            _share_out(log, [each[name] for each in states], start, rank == 0, sums_up)
    recorder._phases = [
        (is_train, Phase(train if is_train else valid, start, _phase_states(
            recorder._metrics, [each["phases"][number][2] for each in states], rank, same, device
        ), summed))
        for number, (is_train, start, _, summed) in enumerate(own["phases"])
    ]  # fmt: skip


def _share_out(
    log: LossLog, states: Sequence[State], start: int, is_first: bool, sums_up: bool
) -> None:
    """Give the losses from `start` on to the first process, weighted by samples, others none."""
    logs = [LossLog(log.beta) for _ in states]
    for each, state in zip(logs, states, strict=True):
        each.load_state(state)
    parts = [each.numbers(start) for each in logs]
    sizes = torch.stack([size for _, size in parts])
    weights = (sizes > 0).double() if sums_up else sizes
    losses = torch.stack([loss for loss, _ in parts])
    total = torch.where(weights > 0, losses * weights, 0.0).sum(0)
    total = total if sums_up else total / sizes.sum(0).clamp(min=1)
    counted = sizes.sum(0).long() if is_first else sizes.sum(0).long() * 0
    log.replace(start, total.tolist(), counted.tolist())


def _phase_states(
    metrics: Sequence[Metric],
    states: Sequence[Sequence[State]],
    rank: int,
    same: bool,
    device: torch.device | None,
) -> list[State]:
    if same:
        return _on(list(states[rank]), device)
    found = []
    for place in range(len(states[0])):
        alone = copy.copy(metrics[place])
        restore_metric(alone, _on([each[place] for each in states], device), rank == 0)
        found.append(alone.state())
    return found


def _on(value: Any, device: torch.device | None) -> Any:
    return map_tensors_in(lambda tensor: tensor.to(device), value)


def _has_own_state(metric: Metric) -> bool:
    kind = type(metric)
    return bool(kind.sums) or kind.merge is not Metric.merge


def metric_state(metric: Metric) -> State:
    """Return what a metric has accumulated; of one that does not say, all of its attributes."""
    if _has_own_state(metric):
        return metric.state()
    return {name: value for name, value in vars(metric).items() if not callable(value)}


def restore_metric(metric: Metric, states: Sequence[State], has_part: bool = True) -> None:
    """Let a metric have what several accumulated, or (without a part) nothing of that shape."""
    if not _has_own_state(metric):
        vars(metric).update(states[0])
        return
    metric.merge(states)
    if has_part:
        return
    if is_sum(metric):
        empty_sums(metric)
    else:
        metric.reset()
