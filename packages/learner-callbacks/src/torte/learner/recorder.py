"""`Recorder`: what happened in a fit — losses, learning rates, metrics by epoch."""

import time
from typing import Any

from torch import Tensor

from torte.dispatch import L
from torte.learner.callback import Callback
from torte.learner.loss_log import LossLog, smoothed
from torte.learner.metrics.contract import Metric, batch_size_of

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
        self._epoch_begin = 0
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
        self.metric_names = L(["epoch", *loss, *(["time"] if self.add_time else [])])

    def before_epoch(self) -> None:
        """Start the clock."""
        self._clear_epoch()
        self._started = time.monotonic()
        self.log = L([self.learn.epoch])

    def _clear_epoch(self) -> None:
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
        if learn.yb:
            for metric in self._metrics:
                metric.accumulate(learn)

    def after_train(self) -> None:
        """Read the averages over the training part."""
        loss = self._history.train.mean(self._epoch_begin)
        self._train_row = [loss, *(self._metric_values() if self.train_metrics else [])]
        self.log = L([*self.log, *self._train_row])

    def after_validate(self) -> None:
        """Read the averages over the validation part."""
        values = self._metric_values() if self.valid_metrics else []
        self._valid_row = [self._valid.mean(), *values]
        self.log = L([*self.log, *self._valid_row])

    def _metric_values(self) -> list[Any]:
        return [as_number(metric.value) for metric in self._metrics]

    @property
    def valid_record(self) -> L:
        """Loss and metrics of the last validation."""
        return L(self._valid_row or [])

    def after_epoch(self) -> None:
        """Close the epoch's row and hand it to the learner's logger."""
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
    parts = learn.yb or learn.xb
    first = parts[0] if parts else None
    if type(first) is Tensor and (shape := first.shape):
        return shape[0]
    try:
        return batch_size_of(parts)
    except ValueError:
        return 1
