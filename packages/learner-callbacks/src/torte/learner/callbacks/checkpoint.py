"""`CheckpointCallback`: a fit that can be killed at any time and goes on where it was."""

import signal
import uuid
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torte.learner.callback import Callback
from torte.learner.callbacks.tracking import better_by_name
from torte.learner.checkpoints.content import gather
from torte.learner.checkpoints.positions import pass_start
from torte.learner.checkpoints.signals import CheckpointExit, StopSignals
from torte.learner.checkpoints.store import Checkpoint, CheckpointStore
from torte.learner.checkpoints.writer import CheckpointWriter, bad_tensor, own_copy

__all__ = ["CheckpointCallback", "NonFiniteCheckpointWarning"]


class NonFiniteCheckpointWarning(UserWarning):
    """A checkpoint was not written, because weights or optimizer state are not finite."""


class CheckpointCallback(Callback):
    """Write checkpoints from which `fit(..., resume=True)` goes on bit for bit.

    ::

        learn.fit_one_cycle(10, cbs=CheckpointCallback(every=100), resume=True)

    The same line begins the training and, when its process was killed, goes on with it: from the
    newest whole checkpoint of this fit, in the middle of an epoch or of an accumulation. A fit that
    was complete is not repeated: its end is loaded. A Learner's fits are told apart by counting
    them, so a script with several goes on in the right one.

    There is one after each `every` batches, one after each `every_epoch` epochs, and one at the end
    of the fit. They are written by a thread, from a copy of the state in main memory; a failure is
    raised at the next batch, or at the end of the fit. Where several processes train together, the
    first one writes; any number of them can go on, from the same sample. (Sharded models are
    written between accumulations.)

    On SIGTERM and SIGINT (Ctrl-C) the step under way is completed, a checkpoint is written, and the
    process leaves with the code `EXIT_CODE` (75, "try again"), by the exception `CheckpointExit`. A
    second Ctrl-C interrupts at once. (That is for fits in the main thread.)

    One whose weights or optimizer state are not finite is never written; a warning says so.

    Args:
        every: After how many training batches to write one; never within an epoch if None.
        every_epoch: After how many epochs to write one; 0 for none.
        keep: How many of this fit's newest ones to keep.
        folder: Where, in `learn.path`. One training, or a script's several, should have it alone.
        monitor: Name of a column of the recorder: the epochs with the best values are kept too.
        comp: Tells whether its first argument is better than the second. By default smaller is
            better for names with "loss" or "error" in them, and larger for others.
        keep_best: How many of those to keep.
        signals: Which signals to heed.
        beside: Whether to write in a thread; otherwise training waits.

    Attributes:
        last: The last checkpoint written.
    """

    # After everything else that happens at the end of a batch, an epoch or a fit.
    order = 1000
    fit_only = True
    remove_on_fetch = True

    def __init__(
        self,
        every: int | None = None,
        every_epoch: bool | int = 1,
        keep: int = 2,
        folder: "str | Path" = "checkpoints",
        monitor: str | None = None,
        comp: Callable[[Any, Any], Any] | None = None,
        keep_best: int = 1,
        signals: Sequence[int] = (signal.SIGTERM, signal.SIGINT),
        beside: bool = True,
    ) -> None:
        super().__init__()
        for name, value, least in (("every", every, 1), ("keep", keep, 1)):
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}")
        if monitor is not None and not every_epoch:
            raise ValueError("monitor needs checkpoints after epochs: set every_epoch too")
        self.every, self.every_epoch = every, int(every_epoch)
        self.keep, self.folder = keep, Path(folder)
        self.monitor, self.keep_best = monitor, keep_best
        self.comp = better_by_name(monitor or "loss") if comp is None else comp
        self.last: Checkpoint | None = None
        self._signals = StopSignals(signals)
        self._writer = CheckpointWriter(beside)
        self._warning: str | None = None
        self._question: Callable[[], bool] | None = None
        self._due = False

    @property
    def store(self) -> CheckpointStore:
        """The checkpoints in the folder."""
        return CheckpointStore(Path(self.learn.path) / self.folder)

    # -- when ------------------------------------------------------------------------------------

    def before_fit(self) -> None:
        """Hear signals; begin a run, unless this fit goes on with one."""
        learn: Any = self.learn
        if self.monitor is not None:
            names = [str(name) for name in learn.recorder.metric_names]
            if self.monitor not in names[1:]:
                raise ValueError(f"cannot monitor {self.monitor!r}: the recorder has {names[1:]}")
        learn.run_id = learn.run_id or uuid.uuid4().hex
        self._question, self._due = None, False
        if learn.world.is_first:
            self.store.remove_leftovers()
        self._signals.install()

    def before_train(self) -> None:
        """Note how the pass begins."""
        self.learn.pass_start = pass_start(self.learn)

    def before_validate(self) -> None:
        """Note how the pass begins."""
        self.learn.pass_start = pass_start(self.learn)

    def after_batch(self) -> None:
        """Write a checkpoint if it is due, or the process is to end."""
        learn = self.learn
        self._look()
        if learn.training and self.every is not None and not learn.train_iter % self.every:
            self._due = True
        stop = self._is_to_stop()
        if (stop or self._due) and self._can_write():
            self.save("train" if learn.training else "validate")
            if stop:
                self._leave()

    def _can_write(self) -> bool:
        """Whether all that is going on can be seen: not so gradients of shards being added up."""
        world = self.learn.world
        return world.holds_all or world.synchronized or not self.learn.training

    def _is_to_stop(self) -> bool:
        """Whether some process was told to end; of several all say so at the same batch."""
        world, received = self.learn.world, self._signals.received is not None
        if world.size == 1:
            return received
        # The answer to the last batch's question: nobody waits for the network.
        answer, self._question = self._question, world.ask(received)
        return answer is not None and answer()

    def after_epoch(self) -> None:
        """Write a checkpoint if it is due, or the process is to end."""
        learn = self.learn
        self._look()
        due = bool(self.every_epoch) and (learn.epoch + 1) % self.every_epoch == 0
        # The end of the fit writes one anyway.
        is_last = learn.epoch + 1 >= learn.n_epoch and self.monitor is None
        stop = learn.world.any(self._signals.received is not None)
        if stop or (due and not is_last):
            self.save("epoch", self._monitored())
        if stop:
            self._leave()

    def _monitored(self) -> float | None:
        if self.monitor is None:
            return None
        recorder = self.learn.recorder
        names = [str(name) for name in recorder.metric_names if name not in ("epoch", "time")]
        value = recorder.values[-1][names.index(self.monitor)]
        return None if value is None else float(value)

    def after_fit(self) -> None:
        """Write the end of the fit, and wait until it is written."""
        stop = self.learn.world.any(self._signals.received is not None)
        self.save("done")
        self._finish()
        if stop:
            self._leave()

    def clean_up(self) -> None:
        """Complete what is being written, and let signals do what they did before."""
        self._signals.restore()
        self._question = None
        try:
            self._writer.close()
        finally:
            self._warn()

    # -- what ------------------------------------------------------------------------------------

    def save(self, phase: str, value: float | None = None) -> None:
        """Begin to write a checkpoint; all processes must call it at the same point.

        Args:
            phase: See `torte.learner.checkpoints.content.gather`.
            value: What is monitored.
        """
        learn: Any = self.learn
        self._due = False
        content = gather(learn, phase)
        if not learn.world.is_first:
            return
        facts = {
            "run": learn.run_id,
            "fit": learn.fit_number,
            "phase": phase,
            "epoch": learn.epoch,
            "n_epoch": learn.n_epoch,
            "step": learn.train_iter,
            "monitor": self.monitor,
            "value": value,
            "processes": learn.world.size,
        }
        self._writer.finish()  # one copy at a time
        self._writer.start(partial(self._write, own_copy(content), facts, self.store))

    def _write(self, content: Any, facts: dict[str, Any], store: CheckpointStore) -> None:
        name = bad_tensor(content)
        if name is not None:
            self._warning = (
                f"no checkpoint was written at epoch {facts['epoch']}, step {facts['step']}: "
                f"{name} is not finite"
            )
            return
        self.last = store.write(content, facts)
        self._prune(store, self.last)

    def _prune(self, store: CheckpointStore, last: Checkpoint) -> None:
        """Remove this fit's older checkpoints; other runs' and the ends of other fits stay."""
        own = [
            checkpoint
            for checkpoint in store.checkpoints()
            if all(checkpoint.facts[key] == last.facts[key] for key in ("run", "fit"))
        ]
        kept = {checkpoint.path for checkpoint in [*own[: self.keep], *self._best(own)]}
        for checkpoint in own:
            if checkpoint.path not in kept:
                store.remove(checkpoint)

    def _best(self, own: list[Checkpoint]) -> list[Checkpoint]:
        best: list[Checkpoint] = []
        for checkpoint in own:
            value = checkpoint.facts["value"]
            if value is None or value != value:
                continue
            place = sum(not self.comp(value, other.facts["value"]) for other in best)
            best.insert(place, checkpoint)
        return best[: self.keep_best]

    # -- telling ---------------------------------------------------------------------------------

    def _look(self) -> None:
        self._writer.look()
        self._warn()

    def _finish(self) -> None:
        self._writer.finish()
        self._warn()

    def _warn(self) -> None:
        warning, self._warning = self._warning, None
        if warning is not None:
            warnings.warn(warning, NonFiniteCheckpointWarning, stacklevel=2)

    def _leave(self) -> None:
        self._finish()
        received = self._signals.received
        raise CheckpointExit(signal.SIGTERM if received is None else received)
