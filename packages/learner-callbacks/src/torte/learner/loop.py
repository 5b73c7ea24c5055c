"""The training loop: fit, epoch, batch. Nothing but `torte.learner.events` describes it better.

This is the only place that runs the events of a fit. The methods are small so that a subclass (or
an assignment: `learn.one_batch = ...`) can replace any of them.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from torte.data.data_loaders import AnyLoader
from torte.dispatch import L
from torte.learner.batches import call_model, ready, split_batch, split_output
from torte.learner.callback import Callback
from torte.learner.callback_set import Callbacks, CallbackSet, as_callbacks
from torte.learner.control import (
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)

__all__ = ["TrainingLoop", "no_log"]

LOOP_STATE = (
    *("_device", "batch", "dl", "epoch", "final_record", "iter", "loss", "loss_grad", "n_epoch"),
    *(
        "n_inp",
        "n_iter",
        "output",
        "pct_train",
        "pred",
        "start_epoch",
        "train_iter",
        "training",
        "xb",
        "yb",
    ),
)
"""The fields that a pass over data changes; a pass within a pass puts them back."""


class TrainingLoop(CallbackSet):
    """The part of the Learner that runs the loop; its fields are what callbacks read and write."""

    dls: Any
    """The loaders: `dls.train`, `dls.valid`, `dls[i]`."""
    model: nn.Module
    """The model in training."""
    opt: Any
    """The optimizer; None until the first fit or `create_opt`."""
    loss_func: Callable[..., Any] | None
    """The loss; None when the model computes its own."""

    def __init__(self) -> None:
        super().__init__()
        self.dl: Any = None
        """The loader in use."""
        self.batch: Any = None
        """The batch as the loader gave it, semantic types and all."""
        self.xb: tuple[Any, ...] = ()
        """Inputs, on the device, as plain tensors: always a tuple."""
        self.yb: tuple[Any, ...] = ()
        """Targets, likewise; empty when there are none."""
        self.output: Any = None
        """What the model returned."""
        self.pred: Any = None
        """The predictions in it: the output itself, or its logits."""
        self.loss: Any = None
        """The loss of the last batch, detached."""
        self.loss_grad: Any = None
        """The loss that the backward pass starts from."""
        self.predicted = False
        """Whether this batch came to have predictions (and a loss), not cancelled before."""
        self.training = False
        self.epoch, self.n_epoch, self.start_epoch = 0, 1, 0
        self.iter = 0
        self.n_iter: int | None = None
        """How many batches the loader has; None when it does not say and was not seen through."""
        self.train_iter = 0
        """How many training batches this fit has done."""
        self.pct_train = 0.0
        """Which fraction of this fit is done, 0 to 1."""
        self.n_inp: int | None = None
        self._device: torch.device | None = None
        self._batch_counts: dict[int, int] = {}
        self.final_record: L = L()
        """The last epoch's row of the recorder."""
        self.fitting = False
        """Whether a fit is going on, rather than a pass that only looks."""
        self._depth = 0

    @property
    def x(self) -> Any:
        """The input of the batch: `xb`, out of its tuple when it is one."""
        return self.xb[0] if len(self.xb) == 1 else self.xb

    @x.setter
    def x(self, value: Any) -> None:
        self.xb = value if isinstance(value, tuple) else (value,)

    @property
    def y(self) -> Any:
        """The target of the batch: `yb`, out of its tuple when it is one."""
        return self.yb[0] if len(self.yb) == 1 else self.yb

    @y.setter
    def y(self, value: Any) -> None:
        self.yb = value if isinstance(value, tuple) else (value,)

    @property
    def device(self) -> torch.device | None:
        """Where batches go: the loaders' device, else that of the model's first parameter."""
        device = getattr(self.dls, "device", None)
        if device is None:
            first = next(self.model.parameters(), None)
            return None if first is None else first.device
        device = torch.device(device)
        if device.type == "cuda" and device.index is None:
            return torch.device("cuda", torch.cuda.current_device())
        return device

    # -- fit and epochs --------------------------------------------------------------------------

    def _run_fit(self, n_epoch: int, start_epoch: int) -> None:
        self.n_epoch, self.start_epoch = n_epoch, start_epoch
        self.epoch = start_epoch
        self.fitting = True
        with self._session():
            try:
                self._section("fit", self.all_epochs, CancelFitException)
            except BaseException:
                # Gradients of an unfinished step must not leak into the next fit.
                self.opt.zero_grad()
                raise
            finally:
                self.fitting = False

    def all_epochs(self) -> None:
        """Run the epochs from `start_epoch` to `n_epoch`."""
        for epoch in range(self.start_epoch, self.n_epoch):
            self.epoch = epoch
            self._section("epoch", self.one_epoch, CancelEpochException)

    def one_epoch(self) -> None:
        """Run the training and the validation part of an epoch."""
        self.epoch_train()
        self.epoch_validate()

    def epoch_train(self) -> None:
        """Run the training part of an epoch."""
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
        return None if dl is None or _length(dl) == 0 else dl

    def _use(self, dl: Any) -> None:
        self.dl = dl
        self.n_iter = _length(dl)
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
        dl, one_batch, number = self.dl, self.one_batch, -1
        # All that AnyLoader adds is moving batches; `split` does that, quickly if they are there.
        batches = iter(dl.loader if type(dl) is AnyLoader else dl)
        try:
            for number, batch in enumerate(batches):
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
        if _length(dl) is None:
            self._batch_counts[id(dl)] = number + 1

    def one_batch(self, i: int, b: Any) -> None:
        """Run one batch `b`, the `i`-th, as training or validation according to `training`."""
        self.iter = i
        self.predicted = False
        fire = self._fire_batch
        try:
            self.split(b)
            fire("before_batch")
            self._do_batch(fire)
        except CancelBatchException:
            fire("after_cancel_batch")
        except CancelException:
            raise
        except BaseException as error:
            shapes = f"inputs {_outline(self.xb)}; targets {_outline(self.yb)}"
            error.add_note(f"{self._whereabouts()}: {shapes}")
            raise
        fire("after_batch")

    def split(self, batch: Any) -> None:
        """Set `xb` and `yb` from a batch (see `torte.learner.batches`)."""
        self.batch = batch
        xb, yb = split_batch(batch, self.n_inp)
        self.xb, self.yb = ready(xb, self._device), ready(yb, self._device)

    def _do_batch(self, fire: Callable[[str], None]) -> None:
        self.loss_grad = None
        self.predict_batch()
        fire("after_pred")
        self.compute_loss()
        fire("after_loss")
        self.predicted = True
        if not self.training or self.loss_grad is None:
            return
        # Written out rather than by `_section`: twice a batch, that call would be felt.
        try:
            fire("before_backward")
            self.backward()
        except CancelBackwardException:
            fire("after_cancel_backward")
        fire("after_backward")
        try:
            fire("before_step")
            self.step()
        except CancelStepException:
            fire("after_cancel_step")
        fire("after_step")
        self.opt.zero_grad()

    def predict_batch(self) -> None:
        """Call the model: sets `output` and `pred`, and `loss_grad` if the model gave a loss."""
        xb = self.xb
        if len(xb) == 1 and type(xb[0]) is Tensor:
            output = self.model(xb[0])
        else:
            xb = ready(xb, None)
            own_loss = self.loss_func is None and len(self.yb) > 0
            output = call_model(self.model, xb, self._label_entry() if own_loss else None)
        self.output = output
        if type(output) is Tensor:
            self.pred = output
        else:
            self.pred, self.loss_grad = split_output(output)

    def _label_entry(self) -> dict[str, Any]:
        """The targets under the key that they had in the batch, for a model that wants them."""
        if not hasattr(self.batch, "keys"):
            return {}
        missing = [key for key in self.batch if key not in self.xb[0]]
        return {missing[0]: self.y} if missing else {}

    def compute_loss(self) -> None:
        """Set `loss_grad` from the loss function and the targets, and `loss`, its detached copy."""
        yb = self.yb
        if self.loss_func is not None and yb:
            if len(yb) > 1 or type(yb[0]) is not Tensor:
                yb = ready(yb, None)
            self.loss_grad = self.loss_func(self.pred, *yb)
        elif self.loss_grad is None and self.training and self.yb:
            raise ValueError(
                "there is no loss: the data do not suggest one and the model returns none; "
                "give the Learner a loss_func"
            )
        if self.loss_grad is None:
            self.loss = None
        else:
            # A copy, so that callbacks may scale loss_grad in place and the record stays true.
            self.loss = self.loss_grad.detach().clone()

    def backward(self) -> None:
        """Compute the gradients of `loss_grad`."""
        self.loss_grad.backward()

    def step(self) -> None:
        """Let the optimizer update the parameters."""
        self.opt.step()

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


def _length(dl: Any) -> int | None:
    """How many batches a loader has, or None if it does not know."""
    try:
        return len(dl)
    except (TypeError, NotImplementedError):
        return None


def _outline(parts: Any) -> str:
    """Types and shapes of a batch's parts, for a message."""
    if isinstance(parts, Tensor):
        return f"{str(parts.dtype).removeprefix('torch.')}{list(parts.shape)}"
    if isinstance(parts, dict):
        return "{" + ", ".join(f"{key}: {_outline(value)}" for key, value in parts.items()) + "}"
    if isinstance(parts, tuple | list):
        return ", ".join(_outline(part) for part in parts)
    return type(parts).__name__
