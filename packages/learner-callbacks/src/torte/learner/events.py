"""The training loop and its events.

This is the whole loop. Every name in the left column is an event: the callbacks that define a
method of that name are called there, in order, and may read and change everything or cancel what
follows::

    after_create                          the Learner was made
    before_fit
        for each epoch:
    before_epoch
    before_train
            for each training batch:
    before_batch                          learn.xb and learn.yb are set
                pred = model(*xb)
    after_pred
                loss = loss_func(pred, *yb)   (when there are targets)
    after_loss
    before_backward                       training with targets from here
                loss.backward()
    after_cancel_backward                 (only after CancelBackwardException)
    after_backward
    before_step
                opt.step()
    after_cancel_step                     (only after CancelStepException)
    after_step
                opt.zero_grad()
    after_cancel_batch                    (only after CancelBatchException)
    after_batch
    after_cancel_train                    (only after CancelTrainException)
    after_train
    before_validate
            for each validation batch: before_batch, after_pred, after_loss,
            after_cancel_batch, after_batch; no gradients
    after_cancel_validate                 (only after CancelValidException)
    after_validate
    after_cancel_epoch                    (only after CancelEpochException)
    after_epoch
    after_cancel_fit                      (only after CancelFitException)
    after_fit

A cancel exception ends its own section at once: the section's `after_cancel_*` event follows, then
its `after_*` event, and the loop goes on behind it. The `after_*` events of sections *inside* the
cancelled one are not reached: `CancelFitException` raised within a batch goes straight to
`after_cancel_fit`. After `CancelStepException` the gradients are still zeroed; to keep them, as
accumulation does, raise `CancelBatchException` in `before_step`.
"""

from enum import StrEnum

__all__ = ["EVENT_ALIASES", "INNER_EVENTS", "Event", "event"]


class Event(StrEnum):
    """One member for each event of the loop; a member is equal to its name as a string."""

    after_create = "after_create"
    """Once, when the Learner and its callbacks are complete."""
    before_fit = "before_fit"
    """Before anything of a fit: optimizer and hyper-parameters are there; set up here."""
    before_epoch = "before_epoch"
    """At the start of each epoch; `learn.epoch` counts from zero."""
    before_train = "before_train"
    """Before the training part of an epoch."""
    before_batch = "before_batch"
    """A batch was drawn and split into `learn.xb` and `learn.yb`; change the inputs here."""
    after_pred = "after_pred"
    """The model has made `learn.pred`; change the output before the loss sees it."""
    after_loss = "after_loss"
    """`learn.loss` and `learn.loss_grad` are computed; add penalties to `learn.loss_grad` here."""
    before_backward = "before_backward"
    """In training only, before gradients are computed from `learn.loss_grad`."""
    after_cancel_backward = "after_cancel_backward"
    """The backward pass was cancelled."""
    after_backward = "after_backward"
    """The gradients are there."""
    before_step = "before_step"
    """The last moment to change gradients (clipping) before the update."""
    after_cancel_step = "after_cancel_step"
    """The optimizer step was cancelled."""
    after_step = "after_step"
    """The parameters were updated; the gradients are not zeroed yet."""
    after_cancel_batch = "after_cancel_batch"
    """The batch was cancelled; `after_batch` follows."""
    after_batch = "after_batch"
    """The end of each batch, in training and validation."""
    after_cancel_train = "after_cancel_train"
    """The training part was cancelled; `after_train` follows."""
    after_train = "after_train"
    """The end of the training part of an epoch."""
    before_validate = "before_validate"
    """Before the validation part of an epoch."""
    after_cancel_validate = "after_cancel_validate"
    """The validation part was cancelled; `after_validate` follows."""
    after_validate = "after_validate"
    """The end of the validation part of an epoch."""
    after_cancel_epoch = "after_cancel_epoch"
    """The epoch was cancelled; `after_epoch` follows."""
    after_epoch = "after_epoch"
    """The end of each epoch."""
    after_cancel_fit = "after_cancel_fit"
    """The fit was cancelled; `after_fit` follows."""
    after_fit = "after_fit"
    """The end of the fit. Not reached after an ordinary exception: see `Callback.clean_up`."""


event = Event

INNER_EVENTS: frozenset[str] = frozenset(
    {
        Event.before_batch,
        Event.after_pred,
        Event.after_loss,
        Event.before_backward,
        Event.after_cancel_backward,
        Event.after_backward,
        Event.before_step,
        Event.after_cancel_step,
        Event.after_step,
        Event.after_cancel_batch,
        Event.after_batch,
    }
)
"""The events of a batch: a callback's `run_train` and `run_valid` switch these and only these."""

EVENT_ALIASES: dict[str, str] = {
    "begin_fit": "before_fit",
    "begin_epoch": "before_epoch",
    "begin_train": "before_train",
    "begin_batch": "before_batch",
    "begin_backward": "before_backward",
    "begin_step": "before_step",
    "begin_validate": "before_validate",
}
"""The paper's spellings: a callback that defines `begin_fit` is called at `before_fit`."""
