"""`ProgressCallback`: the table of epochs and the bar of batches."""

import time
from typing import Any

from torte.learner.callback import Callback
from torte.learner.callbacks.displays import Display, choose_display
from torte.learner.loop import no_log
from torte.learner.loss_log import LateValue
from torte.learner.recorder import Recorder, format_time

__all__ = ["ProgressCallback"]


class ProgressCallback(Callback):
    """Show how a fit goes: a live bar and a row an epoch in a terminal, a table in a notebook.

    Where the output is neither (a log file, a pipe), each epoch prints one line and batches none.
    `learn.no_logging()` leaves out the rows and `learn.no_bar()` the whole callback.

    Args:
        kind: Where to show it: `"terminal"`, `"notebook"`, `"lines"`, `"off"`, or `"auto"`.
    """

    order = 60
    run_after = Recorder
    rank0_only = True

    def __init__(self, kind: str = "auto") -> None:
        super().__init__()
        self.kind = kind
        self.display: Display | None = None
        self._old_logger: Any = None
        self._begun = 0.0
        self._loss = LateValue()
        self._label = ""

    def before_fit(self) -> None:
        """Set up the display and take over the learner's logger, if anybody logs."""
        self.display = choose_display(self.kind)
        learn = self.learn
        if self.display is None or learn.logger is no_log or not learn.fitting:
            return
        if not learn.create_mbar or not hasattr(learn, "recorder"):
            return
        self._old_logger, learn.logger = learn.logger, self._write_row
        self.display.header([str(name) for name in learn.recorder.metric_names])

    def before_train(self) -> None:
        """Begin a bar."""
        self._begin("train")

    def before_validate(self) -> None:
        """Begin a bar."""
        self._begin("valid")

    def _begin(self, part: str) -> None:
        learn = self.learn
        if not learn.fitting and learn.n_iter == 1:
            self.clean_up()  # one prediction is made before a bar could be read
        self._begun = time.monotonic()
        epoch = f"epoch {learn.epoch + 1}/{learn.n_epoch} " if learn.fitting else ""
        self._label = epoch + part

    def after_batch(self) -> None:
        """Advance the bar, at most ten times a second."""
        display = self.display
        if display is not None and display.due():
            learn = self.learn
            done, total = learn.iter + 1, learn.n_iter
            spent = time.monotonic() - self._begun
            note = format_time(spent)
            if total and total >= done:
                note += f" < {format_time(spent / done * (total - done))}"
            loss = self._loss.offer(learn.smooth_loss) if learn.training else None
            if loss is not None:
                note += f"  loss {loss:.4f}"
            display.progress(self._label, done, total, note)

    def _write_row(self, row: Any) -> None:
        if self.display is not None:
            self.display.row(list(row))

    def after_fit(self) -> None:
        """Take down the bar and give the logger back."""
        self.clean_up()

    def clean_up(self) -> None:
        """Take down the bar and give the logger back, however the fit ended."""
        if self.display is not None:
            self.display.stop()
            self.display = None
        if self._old_logger is not None:
            self.learn.logger, self._old_logger = self._old_logger, None
