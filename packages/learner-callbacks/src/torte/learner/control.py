"""Exceptions that a callback raises to skip a part of the loop.

::

    CancelException
    ├── CancelStepException       skip the optimizer step, go to after_step
    ├── CancelBackwardException   skip the backward pass, go to after_backward
    ├── CancelBatchException      skip the rest of this batch, go to after_batch
    ├── CancelTrainException      skip the rest of the training part, go to after_train
    ├── CancelValidException      skip the rest of the validation part, go to after_validate
    ├── CancelEpochException      skip the rest of this epoch, go to after_epoch
    └── CancelFitException        end the fit, go to after_fit

Before the named event, the matching `after_cancel_*` event takes place. See `torte.learner.events`.
"""

__all__ = [
    "CancelBackwardException",
    "CancelBatchException",
    "CancelEpochException",
    "CancelException",
    "CancelFitException",
    "CancelStepException",
    "CancelTrainException",
    "CancelValidException",
]


# The names are the paper's, so they end in "Exception" rather than "Error": none is a failure.
class CancelException(Exception):  # noqa: N818
    """Base of all cancel exceptions."""


class CancelStepException(CancelException):
    """Skip the optimizer step and go to `after_step`."""


class CancelBackwardException(CancelException):
    """Skip the backward pass and go to `after_backward`."""


class CancelBatchException(CancelException):
    """Skip the rest of this batch and go to `after_batch`."""


class CancelTrainException(CancelException):
    """Skip the rest of the training part of this epoch and go to `after_train`."""


class CancelValidException(CancelException):
    """Skip the rest of the validation part of this epoch and go to `after_validate`."""


class CancelEpochException(CancelException):
    """Skip the rest of this epoch and go to `after_epoch`."""


class CancelFitException(CancelException):
    """End the fit and go to `after_fit`."""
