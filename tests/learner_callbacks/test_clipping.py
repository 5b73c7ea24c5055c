"""Gradients are scaled to the limit, and small ones left alone."""

import math

import pytest
import torch
from support.learners import line_learner
from torte.learner import Callback
from torte.learner.callbacks.clipping import GradientClip


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
def test_gradients_are_clipped_before_the_step(norm_type):
    norms = []

    class Look(Callback):
        order = 20

        def before_step(self):
            flat = torch.cat([p.grad.flatten() for p in self.learn.model.parameters()])
            norms.append(flat.norm(norm_type).item())

    line_learner([GradientClip(0.1, norm_type), Look()]).fit(1)
    assert norms == pytest.approx([0.1] * 5, rel=1e-3)


def test_small_gradients_stay_as_they_are():
    one, other = line_learner(GradientClip(1e9)), line_learner()
    one.fit(2)
    other.fit(2)
    assert one.recorder.raw_losses == other.recorder.raw_losses
