"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from torte.learner.callback import Callback
from torte.optim.shards import sharded_like

__all__ = ["EMA"]


class EMA(Callback):
    """Keep an exponential moving average of the weights; validate with it and end up with it.

    After each step `average = decay_t * average + (1 - decay_t) * weight`, for parameters and
    floating-point buffers (batch-norm statistics). With `warm_up`, `decay_t` is the smaller of
    `decay` and `(1 + t) / (10 + t)`, so that the average soon forgets the random start. Validation
    (and so `SaveModelCallback`) sees the averaged weights; training goes on with the others.

    Args:
        decay: Weight of the past at each update.
        every: Update after each so many steps (the decay stays per update).
        warm_up: Whether to begin with a smaller decay.
        final: Leave the averaged weights in the model at the end of the fit.
    """

    # Before the trackers (60): what SaveModelCallback loads at the end is what stays.
    order = 55
    fit_only = True

    def __init__(
        self, decay: float = 0.9998, every: int = 1, warm_up: bool = True, final: bool = True
    ) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and less than 1, not {decay}")
        self.decay = decay
        self.every = every
        self.warm_up = warm_up
        self.final = final
        self.updates = 0
        self.averages: dict[str, Tensor] = {}
        self._swapped = False
        self._steps = 0
        self._restored = False

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        model = self.learn.model
        yield from model.named_parameters()
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                yield name, buffer

    def before_fit(self) -> None:
        """Start from the present weights, unless a checkpoint has brought the averages."""
        self._steps = 0
        self._swapped = False
        if self._restored:
            self._restored = False
            self.averages = self._laid_out(self.averages)
            return
        self.updates = 0
        self.averages = {name: weight.detach().clone() for name, weight in self._weights()}

    def before_train(self) -> None:
        """Go on with the trained weights."""
        self._swap(False)

    def after_step(self) -> None:
        """Update the averages; nothing waits for the device."""
        self._steps += 1
        if self._steps % self.every:
            return
        self.updates += 1
        decay = self.decay
        if self.warm_up:
            decay = min(decay, (1 + self.updates) / (10 + self.updates))
        by_dtype: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for name, weight in self._weights():
            averages, weights = by_dtype.setdefault(weight.dtype, ([], []))
            averages.append(self.averages[name])
            weights.append(weight.detach())
        for averages, weights in by_dtype.values():
            torch._foreach_lerp_(averages, weights, 1 - decay)

    def before_validate(self) -> None:
        """Validate with the averaged weights."""
        self._swap(True)

    def after_fit(self) -> None:
        """Leave the averaged weights in the model, or the trained ones."""
        self._swap(self.final)
        if self.final:
            # What was trained is given up; the averages stay at hand.
            self.averages = {name: weight.detach().clone() for name, weight in self._weights()}
        self._swapped = False

    def clean_up(self) -> None:
        """Put the trained weights back after an exception."""
        self._swap(False)

    @torch.no_grad()
    def _swap(self, averaged: bool) -> None:
        """Exchange weights and averages in place: the optimizer keeps its tensors."""
        if averaged == self._swapped:
            return
        for name, weight in self._weights():
            kept = weight.clone()
            weight.copy_(self.averages[name])
            self.averages[name].copy_(kept)
        self._swapped = averaged

    def _laid_out(self, averages: dict[str, Tensor]) -> dict[str, Tensor]:
        """Averages where and as the weights are, those of other models left out."""
        weights = dict(self._weights())
        return {
            name: sharded_like(average.to(weights[name], copy=True), weights[name].detach())
            for name, average in averages.items()
            if name in weights
        }

    def state(self) -> dict[str, Any]:
        """Return averages and counters. While the model has the averages, they are its weights."""
        averages = {f"averages.{name}": tensor for name, tensor in self.averages.items()}
        counters = {"updates": self.updates, "steps": self._steps, "swapped": self._swapped}
        return {**counters, **averages}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take averages back; the fit under way goes on with them, or the next one."""
        self.updates, self._steps = int(state["updates"]), int(state["steps"])
        self._swapped = bool(state["swapped"])
        prefix = "averages."
        self.averages = {
            k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)
        }
        fitting = self.learn is not None and self.learn.fitting
        self._restored = not fitting
        if fitting:
            self.averages = self._laid_out(self.averages)
