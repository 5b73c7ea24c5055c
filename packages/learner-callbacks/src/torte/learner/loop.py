"""The training loop: fit and epochs. Nothing but `torte.learner.events` describes it better.

This and `torte.learner.batch_loop` are the only places that run the events of a fit. The methods
are small so that a subclass (or an assignment: `learn.one_batch = ...`) can replace any of them.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from torte.data.data_loaders import AnyLoader
from torte.learner.allocation import freed_memory_kept
from torte.learner.batch_loop import BatchLoop
from torte.learner.callback import Callback
from torte.learner.callback_set import Callbacks, as_callbacks
from torte.learner.control import (
    CancelEpochException,
    CancelException,
    CancelFitException,
    CancelTrainException,
    CancelValidException,
)
from torte.learner.loaders import loader_length

if TYPE_CHECKING:
    from torte.learner.checkpoints.resuming import Resumption

__all__ = ["TrainingLoop", "no_log"]


class TrainingLoop(BatchLoop):
    """The part of the Learner that runs fits, epochs and passes."""

    def __init__(self) -> None:
        super().__init__()
        self._batch_counts: dict[int, int] = {}
        self._depth = 0
        self._resumption: Resumption | None = None

    # -- fit and epochs --------------------------------------------------------------------------

    @property
    def resuming(self) -> bool:
        """Whether the fit goes on from a checkpoint whose state is still to be put back."""
        return self._resumption is not None

    def _run_fit(self, n_epoch: int, start_epoch: int, resume: "bool | str | Path" = False) -> None:
        if resume and self._was_complete(resume, n_epoch):
            self.fit_number += 1
            return
        self.n_epoch, self.start_epoch = n_epoch, start_epoch
        self.epoch = start_epoch
        self.fit_number += 1
        self.fitting = True
        with self._session(), freed_memory_kept(self._keeps_memory()):
            try:
                self._section("fit", self.all_epochs, CancelFitException)
            except BaseException:
                # Gradients of an unfinished step must not leak into the next fit.
                self.opt.zero_grad()
                self.fit_number -= 1
                raise
            finally:
                self.fitting, self._resumption = False, None

    def _keeps_memory(self) -> bool:
        """Whether this fit takes main memory anew in every batch, and may hold on to it."""
        from torte.learner.defaults import defaults

        device = self.device
        return defaults.keep_memory and (device is None or device.type == "cpu")

    def _was_complete(self, resume: "bool | str | Path", n_epoch: int) -> bool:
        """Find where to go on; whether that is the end of the fit, which is then restored."""
        from torte.learner.checkpoints.resuming import find_resumption

        found = find_resumption(self, resume, self.fit_number + 1)
        if found is None:
            return False
        found.check(self)
        if not found.is_over(n_epoch):
            self._resumption = found
            return False
        found.restore_end(self)
        if self.logger is not no_log:
            print(f"This fit was complete: its end is loaded from {found.source}")  # noqa: T201
        return True

    def all_epochs(self) -> None:
        """Run the epochs from `start_epoch` to `n_epoch`, or those that are left."""
        first = self.start_epoch
        if self._resumption is not None:
            first = self._resumption.at_start(self)
        for epoch in range(first, self.n_epoch):
            self.epoch = epoch
            self._section("epoch", self.one_epoch, CancelEpochException)

    def one_epoch(self) -> None:
        """Run the training and the validation part of an epoch."""
        self.epoch_train()
        self.epoch_validate()

    def epoch_train(self) -> None:
        """Run the training part of an epoch, unless it was complete at the checkpoint."""
        if self._resumption is not None and self._resumption.is_in("validate"):
            return
        self._use(self.dls.train)
        self._section("train", self.all_batches, CancelTrainException)

    def epoch_validate(self, ds_idx: int = 1, dl: Any = None) -> None:
        """Run the validation part of an epoch, if there is a loader for it."""
        if dl is None:
            dl = self.loader(ds_idx)
        if dl is None:
            return
        self._use(dl)
        with torch.no_grad():
            self._section("validate", self.all_batches, CancelValidException)

    def loader(self, ds_idx: int) -> Any:
        """Return the loader of that number, or None if there is none or it has no batches."""
        loaders = getattr(self.dls, "loaders", None)
        if loaders is not None and ds_idx >= len(loaders):
            return None
        dl = self.dls[ds_idx]
        return None if dl is None or loader_length(dl) == 0 else dl

    def _use(self, dl: Any) -> None:
        self.dl = dl
        self.n_iter = loader_length(dl)
        if self.n_iter is None:
            self.n_iter = self._batch_counts.get(id(dl))
        n_inp = _inputs_in(dl)
        self.n_inp = _inputs_in(getattr(self.dls, "train", None)) if n_inp is None else n_inp
        self._device = self.device

    # -- batches ---------------------------------------------------------------------------------

    def all_batches(self) -> None:
        """Run all batches of the loader in use.

        Raises:
            ValueError: If the training loader yields nothing.
        """
        dl, one_batch, start = self.dl, self.one_batch, 0
        if self._resumes_here():
            assert self._resumption is not None
            start, batches = self._resumption.batches(self, dl)
        else:
            batches = self.world.batches(self, dl)
        number = start - 1
        try:
            for number, batch in enumerate(batches, start):
                one_batch(number, batch)
        finally:
            # A pass that ended early is over: do not leave workers and file handles waiting.
            close = getattr(batches, "close", None)
            if close is not None and batches is not dl:
                close()
        if number < 0 and self.training:
            raise ValueError(
                f"the training loader {type(dl).__name__} yielded no batch in epoch {self.epoch}: "
                "it is empty (fewer items than a batch, with drop_last?), or an iterator that was "
                "used up (give an object that can be iterated again, such as a list)"
            )
        if loader_length(dl) is None:
            self._batch_counts[id(dl)] = number + 1

    def _resumes_here(self) -> bool:
        """Whether the pass that begins is the one in which a checkpoint was written."""
        if self._resumption is None or self._depth > 1:
            return False
        return self._resumption.is_in("train" if self.training else "validate")

    # -- sections and sessions -------------------------------------------------------------------

    def _section(self, name: str, body: Callable[[], None], cancel: type[CancelException]) -> None:
        """Run `before_<name>`, body, `after_<name>`; on a cancel, `after_cancel_<name>` too."""
        try:
            self._fire(f"before_{name}")
            body()
        except cancel:
            self._fire(f"after_cancel_{name}")
        self._fire(f"after_{name}")

    @contextmanager
    def _session(self, visitors: Iterable[Callback] = ()) -> Iterator[None]:
        """Clean up after a fit or a pass however it ends.

        Within another session, only the visitors (the callbacks of this pass alone) are done with.
        """
        outermost = self._depth == 0
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self._clean_up(list(self.cbs) if outermost else list(visitors))
            if outermost:
                self._forget_batch()

    def _clean_up(self, callbacks: list[Callback]) -> None:
        failures: list[Exception] = []
        for callback in callbacks:
            callback.__dict__.pop("run", None)
            try:
                callback.clean_up()
            except Exception as error:  # noqa: BLE001
                # Everyone's turn comes first; then it is raised.
                error.add_note(f"in callback {callback!r}, clean_up")
                failures.append(error)
        if failures:
            raise failures[0]

    def _forget_batch(self) -> None:
        """Let go of the last batch, its graph and the loader: they may hold much memory."""
        self.dl = self.batch = self.output = self.pred = self.loss = self.loss_grad = None
        self.xb = self.yb = ()
        self.share = None

    logger: Callable[[Any], Any]
    """Called with each epoch's row of the recorder."""
    create_mbar: bool
    """Whether progress shows the table of epochs."""

    @contextmanager
    def no_logging(self) -> Iterator[Any]:
        """Log no rows of epochs within the block."""
        before, self.logger = self.logger, no_log
        try:
            yield self
        finally:
            self.logger = before

    @contextmanager
    def no_mbar(self) -> Iterator[Any]:
        """Show no table of epochs within the block, only bars."""
        before, self.create_mbar = self.create_mbar, False
        try:
            yield self
        finally:
            self.create_mbar = before

    @contextmanager
    def validation_context(self, cbs: Callbacks = None, inner: bool = False) -> Iterator[Any]:
        """Have callbacks for one pass without training, between the events that surround it.

        Args:
            cbs: Callbacks for this pass alone.
            inner: Whether the pass takes place within a fit, whose own events go on around it.
        """
        visitors = as_callbacks(cbs)
        quiet = self.no_logging(), self.no_mbar()
        with quiet[0], quiet[1], self.added_cbs(visitors), self._session(visitors):
            if not inner:
                self(["before_fit", "before_epoch"])
            yield self
            if not inner:
                self(["after_epoch", "after_fit"])


def no_log(row: Any) -> None:
    """Log nothing: what `learn.logger` is within `learn.no_logging()`."""


def _inputs_in(dl: Any) -> int | None:
    """How many elements of a batch are inputs, if the loader was told or knows by its data."""
    if isinstance(dl, AnyLoader):
        # Its `n_inp` would look at a batch, and a PyTorch loader draws random numbers for that.
        return dl.given_n_inp
    return getattr(dl, "n_inp", None)
