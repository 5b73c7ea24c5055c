"""Recipes: how the authors of a model train it, as data for `TabularLearner.fit_recipe`."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from torte.learner import Callback, TrackerCallback
from torte.learner.schedules import Schedule

__all__ = ["BestEpoch", "DropoutSchedule", "Recipe", "coslog4", "flat_cos"]


def coslog4(pos: float) -> float:
    """Return four cosine waves, each twice as long as the one before, that end at zero.

    `½ (1 - cos(2π log₂(1 + 15 t)))`: Holzmüller et al. 2024, "Better by Default".
    """
    return 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * pos)))


def flat_cos(pos: float) -> float:
    """Return 1 for the first half of training, then a cosine from 1 to 0."""
    return 1.0 if pos < 0.5 else 0.5 * (1 + math.cos(math.pi * (2 * pos - 1)))


def constant(pos: float) -> float:
    """Return 1 throughout."""
    return 1.0


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        lr: Learning rate.
        wd: Weight decay.
        n_epoch: Number of epochs.
        lr_shape: The course of the learning rate over training, as a factor.
        wd_shape: The course of the weight decay.
        dropout_shape: The course of the dropout.
        lr_factors: A factor of the learning rate for each parameter group.
        wd_factors: Likewise of the weight decay.
        optimizer: Arguments for Adam.
        label_smoothing: Share of each class target spread over all classes.
        keep_best: Whether the weights of the epoch with the least validation loss are kept.
    """

    lr: float
    wd: float
    n_epoch: int
    lr_shape: Callable[[float], float] = constant
    wd_shape: Callable[[float], float] = constant
    dropout_shape: Callable[[float], float] = constant
    lr_factors: Sequence[float] = (1.0,)
    wd_factors: Sequence[float] = (1.0,)
    optimizer: Mapping[str, float] = field(default_factory=dict)
    label_smoothing: float = 0.0
    keep_best: bool = True

    def rates(self, lr: float | None = None) -> list[float]:
        """Return the learning rate of each parameter group."""
        return [(self.lr if lr is None else lr) * factor for factor in self.lr_factors]

    def schedules(self, lr: float | None = None) -> dict[str, Schedule]:
        """Return the schedules of the optimizer's hyper-parameters, for `ParamScheduler`."""
        rates, decays = np.array(self.rates(lr)), self.wd * np.array(self.wd_factors)
        return {
            "lr": lambda pos: rates * self.lr_shape(pos),
            "wd": lambda pos: decays * self.wd_shape(pos),
        }


class DropoutSchedule(Callback):
    """Scales the model's dropout over training, and puts it back afterwards.

    Args:
        shape: The factor as a function of the share of training that is done.
    """

    order = 60
    run_valid = False

    def __init__(self, shape: Callable[[float], float]) -> None:
        super().__init__()
        self.shape = shape
        self.layers: list[tuple[nn.Dropout, float]] = []

    def before_fit(self) -> None:
        """Note each dropout layer and its probability."""
        modules = self.learn.model.modules()
        self.layers = [(layer, layer.p) for layer in modules if isinstance(layer, nn.Dropout)]

    def before_batch(self) -> None:
        """Set the probabilities of now."""
        factor = self.shape(self.learn.pct_train)
        for layer, most in self.layers:
            layer.p = most * factor

    def after_fit(self) -> None:
        """Put the probabilities back."""
        for layer, most in self.layers:
            layer.p = most


class BestEpoch(TrackerCallback):
    """Keeps the weights of the epoch with the least validation loss, in memory."""

    order = 61
    state_attributes = (*TrackerCallback.state_attributes, "held")

    def before_fit(self) -> None:
        """Forget what a fit before this one kept."""
        super().before_fit()
        self.held: dict[str, Tensor] | None = None

    def after_epoch(self) -> None:
        """Copy the weights if this epoch is the best so far."""
        super().after_epoch()
        if self.new_best:
            weights = self.learn.model.state_dict().items()
            self.held = {name: value.detach().clone() for name, value in weights}

    def after_fit(self) -> None:
        """Put the best weights back."""
        if self.held is not None:
            self.learn.model.load_state_dict(self.held)
            self.held = None


def groups_by(model: nn.Module, group_of: Callable[[str], int], count: int) -> list[list[Any]]:
    """Return a model's parameters in `count` groups, by their names."""
    groups: list[list[Any]] = [[] for _ in range(count)]
    for name, parameter in model.named_parameters():
        groups[group_of(name)].append(parameter)
    return groups
