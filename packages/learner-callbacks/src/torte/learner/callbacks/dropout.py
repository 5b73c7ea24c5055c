"""Dropout at inference, to see how sure a model is."""

from __future__ import annotations

import itertools
from contextlib import ExitStack

import torch
from torch import nn

from torte.data.seeding import mix
from torte.learner.callback import Callback
from torte.learner.state import rng_restored

__all__ = ["MCDropoutCallback"]

_passes = itertools.count()


class MCDropoutCallback(Callback):
    """Turn dropout on in validation and prediction (Gal and Ghahramani 2015, arXiv:1506.02142).

    `learn.get_preds(cbs=MCDropoutCallback())` called repeatedly samples from the model's
    uncertainty: each pass draws other masks, from a seed that follows from `torch.initial_seed()`
    and the number of such passes so far. Generators and modes are put back afterwards.
    """

    run_after = "TrainEvalCallback"

    def __init__(self) -> None:
        super().__init__()
        self._undo = ExitStack()

    def before_validate(self) -> None:
        """Turn dropout on."""
        self._undo.close()
        self._undo = ExitStack()
        self._undo.enter_context(rng_restored())
        model = self.learn.model
        modes = [(module, module.training) for module in model.modules()]
        self._undo.callback(_put_back, modes)
        torch.manual_seed(mix(torch.initial_seed(), next(_passes)))
        for module in model.modules():
            if "dropout" in type(module).__name__.lower():
                module.train()

    def after_validate(self) -> None:
        """Turn it off."""
        self._undo.close()

    def clean_up(self) -> None:
        """Turn it off after an exception too."""
        self._undo.close()


def _put_back(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training
