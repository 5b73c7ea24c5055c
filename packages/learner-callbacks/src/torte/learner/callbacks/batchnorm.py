"""Batch normalisation in frozen layers."""

from __future__ import annotations

from torte.learner.callback import Callback
from torte.learner.layers.inspection import set_bn_eval

__all__ = ["BnFreeze"]


class BnFreeze(Callback):
    """Keep the running statistics of batch normalisation whose weights are frozen.

    Such layers are put in evaluation mode during training. (By default the Learner never freezes
    batch normalisation: this callback makes sense with `train_bn=False`.)
    """

    run_after = "TrainEvalCallback"

    def before_train(self) -> None:
        """Put frozen batch normalisation in evaluation mode."""
        set_bn_eval(self.learn.model)
