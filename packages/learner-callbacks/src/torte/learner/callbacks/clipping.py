"""Gradient clipping."""

from __future__ import annotations

from torch import nn

from torte.learner.callback import Callback

__all__ = ["GradientClip"]


class GradientClip(Callback):
    """Scale the gradients down when their norm over all parameters exceeds a limit.

    Args:
        max_norm: The limit.
        norm_type: Which norm; 2 is Euclid's, `inf` the largest entry's size.
    """

    # After gradients are complete (accumulation, 6) and unscaled (mixed precision, 10).
    order = 11
    run_valid = False

    def __init__(self, max_norm: float = 1.0, norm_type: float = 2.0) -> None:
        super().__init__()
        self.max_norm = max_norm
        self.norm_type = norm_type

    def before_step(self) -> None:
        """Clip; nothing waits for the device."""
        nn.utils.clip_grad_norm_(self.learn.model.parameters(), self.max_norm, self.norm_type)
