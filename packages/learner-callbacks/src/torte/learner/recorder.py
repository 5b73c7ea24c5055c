"""`Recorder`: what happened in a fit — losses, learning rates, metrics by epoch."""

import time
from typing import Any

from torch import Tensor

from torte.dispatch import L
from torte.learner.callback import Callback
from torte.learner.loss_log import LossLog, smoothed
from torte.learner.merging import Phase, check_mergeable, merge_phases, shape_sums
from torte.learner.metrics.contract import Metric, batch_size_of
from torte.learner.record_state import record_state, restore_record

__all__ = ["Recorder", "format_time"]


def format_time(seconds: float) -> str:
    """Return a duration as `mm:ss`, or `h:mm:ss` from an hour on.

    >>> format_time(75), format_time(3675)
    ('01:15', '1:01:15')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def as_number(value: Any) -> Any:
    """Return a metric's value as a Python number where it is one; anything else as it is."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else value.detach().cpu()
    return value.item() if getattr(value, "ndim", None) == 0 else value


class _History:
    """What one fit leaves behind. Replaced, never emptied, when another fit begins."""

    def __init__(self, beta: float) -> None:
        self.train = LossLog(beta)
        self.lrs: list[float] = []
        self.iters: list[int] = []
        self.values: list[list[Any]] = []
        self.hps: dict[str, list[Any]] = {}


class Recorder(Callback):
    """Register losses and learning rates by batch, and losses and metrics by epoch.

    Where several processes train together, the epoch's row and the losses of its batches are those
    of all of them, put together at the end of the epoch; until then losses are this process's own.

    `train_loss` in an epoch's row is the mean over the samples of that epoch, which can be compared
    with `valid_loss`; fastai shows the smoothed loss there, which is `losses[-1]` here. A fit from
    a later `start_epoch` has rows for the epochs that it ran, and none for those before.

    Recording a batch costs about two microseconds and never waits for the device; numbers are read
    at the end of an epoch or when somebody looks.

    Args:
        add_time: Whether to add the duration of each epoch.
        train_metrics: Whether to compute the metrics on the training batches as well.
        valid_metrics: Whether to compute them on the validation batches.
        beta: Weight of the past in the smoothed loss (see `torte.learner.loss_log.smoothed`).
    """

    order = 50
    remove_on_fetch = True

    def __init__(
        self,
        add_time: bool = True,
        train_metrics: bool = False,
        valid_metrics: bool = True,
        beta: float = 0.98,
    ) -> None:
        super().__init__()
        self.add_time, self.beta = add_time, beta
        self.train_metrics, self.valid_metrics = train_metrics, valid_metrics
        self.metric_names: L = L()
        self.log: L = L()
        self._history = _History(beta)
        self._valid = LossLog(beta)
        self._metrics: list[Metric] = []
        self._epoch_begin = self._merged = 0
        self._shaped = False
        """Whether the metrics have taken in a batch of this phase."""
        self._clear_epoch()

    # -- what was recorded -----------------------------------------------------------------------

    @property
    def lrs(self) -> list[float]:
        """The learning rate (of the last group) at each training batch."""
        return self._history.lrs

    @property
    def raw_losses(self) -> list[float]:
        """The training loss of each batch."""
        return self._history.train.tolist()

    @property
    def losses(self) -> list[float]:
        """The smoothed training loss after each batch."""
        return smoothed(self.raw_losses, self.beta)

    @property
    def smooth_loss(self) -> LossLog:
        """The record of training losses; its `value` is the smoothed loss now, on the device."""
        return self._history.train

    @property
    def values(self) -> list[list[Any]]:
        """One row an epoch: what `metric_names` names, less epoch and time."""
        return self._history.values

    @property
    def iters(self) -> list[int]:
        """How many training batches had been done at the end of each epoch."""
        return self._history.iters

    @property
    def hps(self) -> dict[str, list[Any]]:
        """The value of every scheduled hyper-parameter at each training batch."""
        return self._history.hps

    @hps.setter
    def hps(self, value: dict[str, list[Any]]) -> None:
        self._history.hps = value

    # -- events ----------------------------------------------------------------------------------

    def before_fit(self) -> None:
        """Begin a new record and name its columns."""
        self._history = _History(self.beta)
        self._metrics = list(self.learn.metrics)
        names = [metric.name for metric in self._metrics]
        train = [f"train_{name}" for name in names] if self.train_metrics else []
        valid = names if self.valid_metrics else []
        if self.train_metrics and self.valid_metrics:
            valid = [f"valid_{name}" for name in names]
        loss = ["train_loss", *train, "valid_loss", *valid]
        self._merged = 0
        if self.learn.world.size > 1:
            check_mergeable(self._metrics)
        self.metric_names = L(["epoch", *loss, *(["time"] if self.add_time else [])])

    def before_epoch(self) -> None:
        """Start the clock."""
        self._clear_epoch()
        self._started = time.monotonic()
        self.log = L([self.learn.epoch])

    def _clear_epoch(self) -> None:
        self._phases: list[tuple[bool, Phase]] = []
        self._train_row: list[Any] | None = None
        self._valid_row: list[Any] | None = None
        self._started = 0.0

    def before_train(self) -> None:
        """Mark where the epoch begins."""
        self._epoch_begin = self._history.train.count
        if self.train_metrics:
            self._reset_metrics()

    def before_validate(self) -> None:
        """Begin the averages over the validation part."""
        self._valid = LossLog(self.beta)
        if self.valid_metrics:
            self._reset_metrics()

    def _reset_metrics(self) -> None:
        self._shaped = False
        for metric in self._metrics:
            metric.reset()

    def after_batch(self) -> None:
        """Record the batch, unless it was cancelled before it had a loss."""
        learn = self.learn
        if not learn.predicted:
            return
        loss = learn.loss
        if learn.training:
            history = self._history
            if loss is not None:
                history.train.append(loss, _size(learn))
                history.lrs.append(learn.opt.param_groups[-1]["lr"])
            if not self.train_metrics:
                return
        else:
            if loss is not None:
                self._valid.append(loss, _size(learn))
            if not self.valid_metrics:
                return
        if learn.yb and self._metrics:
            self._accumulate(learn)

    def _accumulate(self, learn: Any) -> None:
        if learn.share is None or learn.share.size:
            for metric in self._metrics:
                metric.accumulate(learn)
        elif not self._shaped:
            shape_sums(self._metrics, learn)
        self._shaped = True

    def after_train(self) -> None:
        """Read the averages over the training part."""
        history = self._history.train
        if self.learn.world.size > 1:
            self._note_phase(True, history, self._epoch_begin, self.train_metrics)
            return
        values = self._metric_values() if self.train_metrics else []
        self._set_row(True, [history.mean(self._epoch_begin), *values])

    def after_validate(self) -> None:
        """Read the averages over the validation part."""
        if self.learn.world.size > 1:
            self._note_phase(False, self._valid, 0, self.valid_metrics)
            self._merge()
            return
        values = self._metric_values() if self.valid_metrics else []
        self._set_row(False, [self._valid.mean(), *values])

    def _metric_values(self) -> list[Any]:
        return [as_number(metric.value) for metric in self._metrics]

    def _set_row(self, is_train: bool, row: list[Any]) -> None:
        if is_train:
            self._train_row = row
        else:
            self._valid_row = row
        self.log = L([*self.log, *row])

    def _note_phase(self, is_train: bool, log: LossLog, start: int, with_metrics: bool) -> None:
        states = [metric.state() for metric in self._metrics] if with_metrics else []
        sums_up = getattr(self.learn.loss_func, "reduction", "mean") == "sum"
        self._phases.append((is_train, Phase(log, start, states, sums_up)))

    def _merge(self) -> None:
        """Put together what the processes recorded since the last time: one collective."""
        phases, self._phases = self._phases, []
        if not phases:
            return
        found = merge_phases(self.learn.world, [phase for _, phase in phases], self._metrics)
        for (is_train, phase), values in zip(phases, found, strict=True):
            if is_train:
                self._merged = phase.log.count
            self._set_row(is_train, [phase.log.mean(phase.start), *map(as_number, values)])

    @property
    def valid_record(self) -> L:
        """Loss and metrics of the last validation."""
        return L(self._valid_row or [])

    def after_epoch(self) -> None:
        """Close the epoch's row and hand it to the learner's logger."""
        self._merge()
        metrics = len(self._metrics)
        train_row = self._train_row or [None] * (1 + metrics * self.train_metrics)
        valid_row = self._valid_row or [None] * (1 + metrics * self.valid_metrics)
        row = [*train_row, *valid_row]
        self._history.values.append(row)
        self._history.iters.append(self._history.train.count)
        self.learn.final_record = L(row)
        duration = [format_time(time.monotonic() - self._started)] if self.add_time else []
        self.log = L([self.learn.epoch, *row, *duration])
        self.learn.logger(list(self.log))

    def after_fit(self) -> None:
        """Take in the losses of an epoch that was broken off."""
        begun = self._history.train
        if self.learn.world.size > 1 and begun.count > self._merged:
            self._note_phase(True, begun, self._merged, False)
            self._merge()

    def state(self) -> dict[str, Any]:
        """Return the record, and what the metrics have taken in of this phase."""
        return record_state(self)

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on with the record."""
        restore_record(self, state)

    # -- plots -----------------------------------------------------------------------------------

    def plot_loss(
        self,
        skip_start: int = 5,
        with_valid: bool = True,
        log: bool = False,
        show_epochs: bool = False,
        ax: Any = None,
    ) -> Any:
        """Draw the smoothed training loss by batch and the validation loss by epoch.

        Args:
            skip_start: How many batches to leave out at the start.
            with_valid: Whether to draw the validation losses.
            log: Whether the losses' axis is logarithmic.
            show_epochs: Whether to mark the ends of the epochs.
            ax: Matplotlib axes; new ones by default.

        Returns:
            The axes.
        """
        from torte.learner.plots import plot_losses

        return plot_losses(self, skip_start, with_valid, log, show_epochs, ax)

    def plot_lr_find(self, skip_end: int = 5, ax: Any = None) -> Any:
        """Draw what the learner's last `lr_find` saw, which is kept as `learn.last_search`.

        Args:
            skip_end: How many points to leave out at the end.
            ax: Matplotlib axes; new ones by default.

        Returns:
            The axes.

        Raises:
            ValueError: If there was no search.
        """
        search = self.learn.last_search
        if search is None:
            raise ValueError("there was no learning-rate search to draw: call learn.lr_find first")
        return search.plot(skip_end, ax)

    def plot_sched(self, keys: Any = None, figsize: tuple[float, float] | None = None) -> Any:
        """Draw the scheduled hyper-parameters by batch; `keys` chooses some. Returns the figure."""
        from torte.learner.plots import plot_schedules

        return plot_schedules(self.hps, keys, figsize)


def _size(learn: Any) -> int:
    """How many samples the batch has: by its targets, else by its inputs."""
    if learn.share is not None:
        return learn.share.size
    parts = learn.yb or learn.xb
    first = parts[0] if parts else None
    if type(first) is Tensor and (shape := first.shape):
        return shape[0]
    try:
        return batch_size_of(parts)
    except ValueError:
        return 1
