"""Gradient accumulation: large batches in small pieces."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from torte.learner.callback import Callback
from torte.learner.control import CancelBatchException, CancelStepException

__all__ = ["GradientAccumulation"]


class GradientAccumulation(Callback):
    """Step once the gradients of at least `n_acc` samples are accumulated.

    The gradient of a group of batches is that of one batch of all its samples, exactly: each
    batch's mean loss counts by its number of samples, also when the group is larger than `n_acc` or
    the last one of an epoch is smaller. (Batch normalisation still sees the small batches. A loss
    with `reduction="sum"` is summed.) Where several processes train together, gradients are added
    up over them once a group, not once a batch.

    Args:
        n_acc: Number of samples.
    """

    # Before mixed precision unscales (10) and clipping (11): they act on whole groups only.
    order = 6
    run_valid = False
    weighs_samples = True
    """It weights each loss by its number of samples, of a part of a batch as well."""
    state_attributes: ClassVar[tuple[str, ...]] = ("count",)

    def __init__(self, n_acc: int = 32) -> None:
        super().__init__()
        if n_acc < 1:
            raise ValueError(f"n_acc must be at least 1, not {n_acc}")
        self.n_acc = n_acc
        self.count = 0
        self._synchronized = True

    def before_fit(self) -> None:
        """Begin with nothing accumulated."""
        self.count = 0

    def before_batch(self) -> None:
        """Add gradients up over processes only in the batch that a step follows."""
        learn = self.learn
        if learn.world.size == 1:
            return
        # Without a known end any batch may be the last one.
        self._synchronized = (
            learn.n_iter is None or self.count + learn.n_samples >= self.n_acc or self._is_last()
        )
        learn.world.synchronize_gradients(self._synchronized)

    def _is_last(self) -> bool:
        return self.learn.n_iter is not None and self.learn.iter == self.learn.n_iter - 1

    def after_loss(self) -> None:
        """Weight the loss by the number of samples."""
        learn: Any = self.learn
        if learn.loss_grad is None:
            return
        size = learn.n_samples
        self.count += size
        if not self._sums():
            # By n_acc and not yet by the group's size, which is not known before its end.
            learn.loss_grad = learn.loss_grad * (size / self.n_acc)

    def _sums(self) -> bool:
        return getattr(self.learn.loss_func, "reduction", "mean") == "sum"

    def before_step(self) -> None:
        """Go on accumulating, or prepare the group's gradient for the step."""
        if self.count < self.n_acc and not self._is_last():
            raise CancelBatchException
        self._complete()

    def _complete(self) -> None:
        """Divide by the number of samples that the group really has."""
        if self.count != self.n_acc and not self._sums():
            grads = [p.grad for p in self.learn.model.parameters() if p.grad is not None]
            if grads:
                torch._foreach_mul_(grads, self.n_acc / self.count)
        self.count = 0

    def after_train(self) -> None:
        """Step for what is left when the loader did not say which batch is its last."""
        if self.count == 0:
            return
        learn: Any = self.learn
        if not self._synchronized:
            learn.world.finish_gradients(learn)
        # In before_step the group passes for a whole one: it is completed here already.
        self._complete()
        self.count = self.n_acc
        try:
            learn("before_step")
            learn.step()
        except CancelStepException:
            learn("after_cancel_step")
        learn("after_step")
        learn.opt.zero_grad()

    def clean_up(self) -> None:
        """Drop the gradients of a group that was interrupted."""
        if self.count and self.learn.opt is not None:
            self.learn.opt.zero_grad()
        self.learn.world.synchronize_gradients(True)
        self.count = 0
