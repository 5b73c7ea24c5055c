"""Training or evaluation mode, the device, and how far the fit has come."""

from typing import Any

import torch

from torte.data.devices import to_device
from torte.learner.callback import Callback

__all__ = ["CudaCallback", "SkipToEpoch", "TrainEvalCallback"]


class TrainEvalCallback(Callback):
    """Put the model on the loaders' device and into the right mode, and count progress.

    `learn.pct_train` is `(epoch + batches done / n_iter) / n_epoch`, computed afresh at each batch,
    so no rounding adds up. When the loader has no length, the number of batches of the epoch before
    is taken for it; within the first epoch progress then stands still.
    """

    order = -10
    run_valid = False

    def before_fit(self) -> None:
        """Reset the counters and place the model."""
        learn = self.learn
        learn.train_iter = 0
        learn.pct_train = learn.epoch / max(learn.n_epoch, 1)
        device = getattr(learn.dls, "device", None)
        if device is not None:
            learn.model.to(device)
        reset = getattr(learn.model, "reset", None)
        if callable(reset):
            reset()

    def before_train(self) -> None:
        """Training mode."""
        learn = self.learn
        learn.pct_train = learn.epoch / max(learn.n_epoch, 1)
        learn.training = True
        learn.model.train()

    def after_batch(self) -> None:
        """Count the batch."""
        learn = self.learn
        learn.train_iter += 1
        if learn.n_iter:
            done = min(learn.iter + 1, learn.n_iter) / learn.n_iter
            learn.pct_train = (learn.epoch + done) / learn.n_epoch

    def before_validate(self) -> None:
        """Evaluation mode."""
        self.learn.training = False
        self.learn.model.eval()


class CudaCallback(Callback):
    """Move the model and each batch to a device, for loaders that do not do it themselves.

    Args:
        device: Where to; the GPU if there is one by default.
    """

    def __init__(self, device: "torch.device | str | int | None" = None) -> None:
        super().__init__()
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.target = torch.device(device)

    def before_fit(self) -> None:
        """Move the model."""
        self.learn.model.to(self.target)

    def before_batch(self) -> None:
        """Move the batch."""
        learn: Any = self.learn
        learn.xb, learn.yb = to_device(learn.xb, self.target), to_device(learn.yb, self.target)


class SkipToEpoch(Callback):
    """Start the fit at a later epoch, with progress (so schedules) as if the others were done.

    Args:
        epoch: The first epoch to run, counted from 0.
    """

    order = 70

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.first = epoch

    def before_fit(self) -> None:
        """Set the first epoch."""
        learn = self.learn
        learn.start_epoch = max(learn.start_epoch, self.first)
        learn.epoch = learn.start_epoch
        learn.pct_train = learn.start_epoch / max(learn.n_epoch, 1)
