"""Keeping what went through the loop, mainly for tests, and stopping epochs early."""

from __future__ import annotations

from typing import Any

from torte.dispatch import L
from torte.learner.callback import Callback
from torte.learner.callbacks.gathering import detached
from torte.learner.control import CancelTrainException, CancelValidException

__all__ = ["CollectDataCallback", "ShortEpochCallback"]


class CollectDataCallback(Callback):
    """Keep `(xb, yb, pred, loss)` of every batch, detached and in main memory.

    Attributes:
        data: What was collected in the last fit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.data: L[Any] = L()

    def before_fit(self) -> None:
        """Begin a collection."""
        self.data = L()

    def after_batch(self) -> None:
        """Keep the batch."""
        learn = self.learn
        self.data.append(detached((learn.xb, learn.yb, learn.pred, learn.loss)))


class ShortEpochCallback(Callback):
    """End the training part of each epoch after a share of its batches; for trying things out.

    Args:
        pct: The share.
        short_valid: Whether to cut validation too.
    """

    # Last of all, so that the batch that ends the part is recorded.
    order = 90

    def __init__(self, pct: float = 0.01, short_valid: bool = True) -> None:
        super().__init__()
        self.pct = pct
        self.short_valid = short_valid

    def after_batch(self) -> None:
        """Cancel the rest once the share is done."""
        learn = self.learn
        if learn.n_iter is None or learn.iter / learn.n_iter < self.pct:
            return
        if learn.training:
            raise CancelTrainException
        if self.short_valid:
            raise CancelValidException
