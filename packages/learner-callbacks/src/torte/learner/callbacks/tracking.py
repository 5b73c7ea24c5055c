"""Callbacks that watch a number: stop, save the best, lower the rate, notice divergence."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch

from torte.learner.callback import Callback
from torte.learner.control import CancelFitException
from torte.learner.loop import no_log
from torte.learner.loss_log import LateValue

__all__ = [
    "EarlyStoppingCallback",
    "ReduceLROnPlateau",
    "SaveModelCallback",
    "TerminateOnNaNCallback",
    "TrackerCallback",
]


class TerminateOnNaNCallback(Callback):
    """End the fit when the training loss is not finite, before it reaches the weights.

    On a GPU the loss is looked at when it arrives, a few batches later, so that nothing waits for
    the device; every epoch's training part ends with a certain look.
    """

    order = -9
    run_valid = False

    def before_fit(self) -> None:
        """Begin to watch."""
        self._bad: torch.Tensor | None = None
        self._late = LateValue()

    def after_loss(self) -> None:
        """Look at the loss, or at what is known of earlier ones."""
        loss = self.learn.loss
        if loss is None:
            return
        bad = (~torch.isfinite(loss)).any().float()
        self._bad = bad if self._bad is None else torch.maximum(self._bad, bad)
        if self.learn.world.size > 1:
            # All processes stop at the same batch, so they cannot look when it suits them.
            found = self.learn.world.any(self._bad)
        else:
            found = self._late.offer(self._bad)
        if found:
            raise CancelFitException

    def after_train(self) -> None:
        """Look for certain."""
        if self._bad is not None and self.learn.world.any(self._bad):
            raise CancelFitException


def better_by_name(monitor: str) -> Callable[[Any, Any], Any]:
    """Tell the better of two values of a column: the smaller loss or error, else the larger."""
    return operator.lt if "loss" in monitor or "error" in monitor else operator.gt


class TrackerCallback(Callback):
    """Keep the best value of a metric or loss, and note whether the last one is a new best.

    Args:
        monitor: Name of the recorder's column to watch.
        comp: Tells whether its first argument is better than the second. By default smaller is
            better for names with "loss" or "error" in them, and larger for others.
        min_delta: How much better a value must be to count.
        reset_on_fit: Forget the best at the start of each fit.

    Attributes:
        best: The best value so far.
        new_best: Whether the last epoch's value is it.
    """

    order = 60
    remove_on_fetch = True
    fit_only = True
    state_attributes: ClassVar[tuple[str, ...]] = ("best", "new_best")

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Callable[[Any, Any], Any] | None = None,
        min_delta: float = 0.0,
        reset_on_fit: bool = True,
    ) -> None:
        super().__init__()
        self.monitor = monitor
        self.comp = better_by_name(monitor) if comp is None else comp
        self.min_delta = abs(min_delta)
        self.reset_on_fit = reset_on_fit
        self.best: float | None = None
        self.new_best = False

    @property
    def _smaller_is_better(self) -> bool:
        return bool(self.comp(0.0, 1.0))

    def before_fit(self) -> None:
        """Find the column, and forget the best if asked to.

        Raises:
            ValueError: There is no such column.
        """
        # A fit that starts at a later epoch goes on from a checkpoint: keep what it knew.
        if self.best is None or (self.reset_on_fit and self.learn.start_epoch == 0):
            self.best = math.inf if self._smaller_is_better else -math.inf
        names = [str(name) for name in self.learn.recorder.metric_names]
        tracked = [name for name in names if name not in ("epoch", "time")]
        if self.monitor not in tracked:
            raise ValueError(
                f"{type(self).__name__} cannot monitor {self.monitor!r}: the recorder has {tracked}"
            )
        self._column = tracked.index(self.monitor)

    def after_epoch(self) -> None:
        """Compare the epoch's value with the best."""
        row = self.learn.recorder.values[-1]
        value = math.nan if row[self._column] is None else float(row[self._column])
        self.new_best = self._is_better(value)
        if self.new_best:
            self.best = value

    def _is_better(self, value: float) -> bool:
        margin = -self.min_delta if self._smaller_is_better else self.min_delta
        return bool(self.comp(value - margin, self.best))

    def say(self, message: str) -> None:
        """Tell the user, unless the learner logs nothing."""
        if self.learn.logger is not no_log:
            print(message)  # noqa: T201


class EarlyStoppingCallback(TrackerCallback):
    """End the fit once the value has not improved for some epochs.

    Args:
        monitor: Name of the recorder's column to watch.
        comp: Tells whether its first argument is better than the second.
        min_delta: How much better a value must be to count.
        patience: After how many epochs without improvement to stop.
        reset_on_fit: Forget the best at the start of each fit.
    """

    # After SaveModelCallback, so that an epoch that ends the fit is saved too.
    order = 63
    state_attributes: ClassVar[tuple[str, ...]] = ("best", "new_best", "wait")

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Callable[[Any, Any], Any] | None = None,
        min_delta: float = 0.0,
        patience: int = 1,
        reset_on_fit: bool = True,
    ) -> None:
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        self.patience = patience
        self.wait = 0

    def before_fit(self) -> None:
        """Begin to count."""
        super().before_fit()
        if self.learn.start_epoch == 0:
            self.wait = 0

    def after_epoch(self) -> None:
        """Count epochs without improvement, and stop when there are enough."""
        super().after_epoch()
        if self.new_best:
            self.wait = 0
            return
        self.wait += 1
        if self.wait >= self.patience:
            best_epoch = self.learn.epoch - self.wait
            self.say(f"No improvement since epoch {best_epoch}: early stopping")
            raise CancelFitException


class SaveModelCallback(TrackerCallback):
    """Save the model whenever the value improves, and load the best at the end of the fit.

    Args:
        monitor: Name of the recorder's column to watch.
        comp: Tells whether its first argument is better than the second.
        min_delta: How much better a value must be to count.
        fname: Name of the file, as for `learn.save`.
        every_epoch: Save at the end of every epoch instead, or of every so many; the epoch's number
            is added to the name.
        at_end: Save at the end of the fit too, and load nothing.
        with_opt: Save and load the optimizer's state too.
        reset_on_fit: Forget the best at the start of each fit.

    Attributes:
        last_saved_path: The last file written.
    """

    order = 61
    state_attributes: ClassVar[tuple[str, ...]] = ("best", "new_best", "_saved_best")

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Callable[[Any, Any], Any] | None = None,
        min_delta: float = 0.0,
        fname: str = "model",
        every_epoch: bool | int = False,
        at_end: bool = False,
        with_opt: bool = False,
        reset_on_fit: bool = True,
    ) -> None:
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        if every_epoch and at_end:
            raise ValueError("every_epoch and at_end cannot both be set: at_end adds nothing")
        self.fname = fname
        self.every_epoch = every_epoch
        self.at_end = at_end
        self.with_opt = with_opt
        self.last_saved_path: Path | None = None
        self._saved_best = False

    def _save(self, name: str) -> None:
        self.last_saved_path = self.learn.save(name, with_opt=self.with_opt)

    def before_fit(self) -> None:
        """Begin to watch, unless every epoch is saved."""
        self._saved_best = False
        if not self.every_epoch:
            super().before_fit()

    def after_epoch(self) -> None:
        """Save the model if it is the best, or its turn."""
        if self.every_epoch:
            if self.learn.epoch % int(self.every_epoch) == 0:
                self._save(f"{self.fname}_{self.learn.epoch}")
            return
        super().after_epoch()
        if self.new_best:
            self.say(
                f"Better model found at epoch {self.learn.epoch} "
                f"with {self.monitor} value: {self.best}."
            )
            self._save(self.fname)
            self._saved_best = True

    def after_fit(self) -> None:
        """Load the best model, or save the last."""
        if self.at_end:
            self._save(self.fname)
        elif self._saved_best:
            self.learn.load(self.fname, with_opt=self.with_opt)


class ReduceLROnPlateau(TrackerCallback):
    """Divide the learning rate once the value has not improved for some epochs.

    Args:
        monitor: Name of the recorder's column to watch.
        comp: Tells whether its first argument is better than the second.
        min_delta: How much better a value must be to count.
        patience: After how many epochs without improvement to act.
        factor: What to divide the learning rates by.
        min_lr: How low they may go.
        reset_on_fit: Forget the best at the start of each fit.
    """

    order = 65
    state_attributes: ClassVar[tuple[str, ...]] = ("best", "new_best", "wait")

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Callable[[Any, Any], Any] | None = None,
        min_delta: float = 0.0,
        patience: int = 1,
        factor: float = 10.0,
        min_lr: float = 0.0,
        reset_on_fit: bool = True,
    ) -> None:
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        self.patience = patience
        self.factor = factor
        self.min_lr = min_lr
        self.wait = 0

    def before_fit(self) -> None:
        """Begin to count."""
        super().before_fit()
        if self.learn.start_epoch == 0:
            self.wait = 0

    def after_epoch(self) -> None:
        """Count epochs without improvement, and lower the rates when there are enough."""
        super().after_epoch()
        if self.new_best:
            self.wait = 0
            return
        self.wait += 1
        if self.wait < self.patience:
            return
        groups = self.learn.opt.param_groups
        for group in groups:
            group["lr"] = max(group["lr"] / self.factor, self.min_lr)
        self.wait = 0
        self.say(f"Epoch {self.learn.epoch}: reducing lr to {groups[-1]['lr']}")
