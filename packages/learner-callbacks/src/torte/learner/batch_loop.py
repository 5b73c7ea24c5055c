"""One batch: split, model, loss, backward, step, and the events between them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torte.data.sharing import BatchShare
from torte.dispatch import L
from torte.learner.batches import call_model, ready, split_batch, split_output
from torte.learner.callback_set import CallbackSet
from torte.learner.control import (
    CancelBackwardException,
    CancelBatchException,
    CancelException,
    CancelStepException,
)
from torte.learner.metrics.contract import batch_size_of

__all__ = ["LOOP_STATE", "BatchLoop"]

LOOP_STATE = (
    *("_device", "batch", "dl", "epoch", "final_record", "iter", "loss", "loss_grad", "n_epoch"),
    *(
        "n_inp",
        "n_iter",
        "output",
        "fit_number",
        "pass_start",
        "pct_train",
        "pred",
        "share",
        "start_epoch",
        "train_iter",
        "training",
        "xb",
        "yb",
    ),
)
"""The fields that a pass over data changes; a pass within a pass puts them back."""


class BatchLoop(CallbackSet):
    """The part of the Learner that runs a batch; its fields are what callbacks read and write."""

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
        self.final_record: L = L()
        """The last epoch's row of the recorder."""
        self.fitting = False
        """Whether a fit is going on, rather than a pass that only looks."""
        self.fit_number = -1
        """Which of this Learner's fits this is, counted from 0; one that failed does not count."""
        self.run_id: str | None = None
        """The run that this Learner's checkpoints belong to."""
        self.pass_start: Any = None
        """How the pass over the loader in use began, where that is needed to go on with it."""
        self.share: BatchShare | None = None
        """Which part of the batch is this process's; None when it is alone and has all."""

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
    def n_samples(self) -> int:
        """How many samples the batch has, over all processes."""
        if self.share is not None:
            return self.share.total
        return batch_size_of(self.yb if len(self.yb) else self.xb)

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
        if self._compute(fire):
            self._update(fire)

    def _compute(self, fire: Callable[[str], None]) -> bool:
        """Predictions, loss and gradients; whether a step is to follow."""
        self.loss_grad = None
        self.predict_batch()
        fire("after_pred")
        self.compute_loss()
        fire("after_loss")
        self.predicted = True
        if not self.training or self.loss_grad is None:
            return False
        # Written out rather than by `_section`: twice a batch, that call would be felt.
        try:
            fire("before_backward")
            self.backward()
        except CancelBackwardException:
            fire("after_cancel_backward")
        fire("after_backward")
        return True

    def _update(self, fire: Callable[[str], None]) -> None:
        """The step."""
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
            if type(yb[0]) is not Tensor or len(yb) > 1:
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


def _outline(parts: Any) -> str:
    """Types and shapes of a batch's parts, for a message."""
    if isinstance(parts, Tensor):
        return f"{str(parts.dtype).removeprefix('torch.')}{list(parts.shape)}"
    if isinstance(parts, dict):
        return "{" + ", ".join(f"{key}: {_outline(value)}" for key, value in parts.items()) + "}"
    if isinstance(parts, tuple | list):
        return ", ".join(_outline(part) for part in parts)
    return type(parts).__name__
