"""`DistributedTrainer`: what the loop does otherwise where several processes train together."""

from typing import Any

import torch.distributed as dist

from torte.data.sharing import part_of
from torte.learner.callback import Callback
from torte.learner.distributed.processes import Processes
from torte.learner.distributed.strategies import Strategy

__all__ = ["DistributedTrainer"]


class DistributedTrainer(Callback):
    """Lets the Learner's processes compute the gradients of whole batches.

    `learn.distributed()` adds it. Each process computes the mean loss over its part of a batch;
    before the backward pass that is weighted by the number of samples, so that the gradients are
    those of the mean over the whole batch also where the parts are not equally large. A process
    that has no sample of a batch goes along with weight 0.

    Args:
        strategy: How the processes share the model; without one there is nothing to do.
    """

    # Before everything that looks at the model (TrainEvalCallback, -10) or scales the loss (10).
    order = -20

    def __init__(self, strategy: Strategy | None = None) -> None:
        super().__init__()
        self.strategy = Strategy() if strategy is None else strategy
        self._weights: dict[Any, float] = {}
        self._sums_up = False

    def before_fit(self) -> None:
        """Find out how losses are to be put together."""
        self._sums_up = getattr(self.learn.loss_func, "reduction", "mean") == "sum"
        self._weights = {}

    def before_train(self) -> None:
        """Share the model."""
        self.strategy.before_train(self.learn)

    def before_backward(self) -> None:
        """Weight the loss by this process's part of the batch's samples."""
        learn: Any = self.learn
        share = learn.share
        if share is None:
            return
        key = share.total, share.size > 0
        weight = self._weights.get(key)
        if weight is None:
            weight = self._weights[key] = self._weight(*key)
        if weight != 1.0:
            learn.loss_grad = learn.loss_grad * weight

    def _weight(self, total: int, has_samples: bool) -> float:
        """What the mean over processes, which the gradients are, makes the mean over samples."""
        world = self.learn.world
        if not has_samples:
            return 0.0
        if self._sums_up:
            return float(world.size)
        part = part_of(total, world.rank, world.size)
        return (part.stop - part.start) * world.size / total

    def after_train(self) -> None:
        """Give the Learner its own model back, with the same buffers in every process."""
        self._end_train()
        if self.learn.world.size > 1:
            for buffer in self.learn.model.buffers():
                dist.broadcast(buffer, src=0)

    def _end_train(self) -> None:
        if isinstance(self.learn.world, Processes):
            self.learn.world.synchronize_gradients(True)
        self.strategy.after_train(self.learn)

    def clean_up(self) -> None:
        """Give the Learner its own model back, however the fit ended."""
        self._end_train()
