"""Recurrent models: hidden state between batches and the AWD-LSTM's two penalties."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from torte.learner.callback import Callback

__all__ = ["ModelResetter", "RNNCallback", "RNNRegularizer", "rnn_cbs"]


class ModelResetter(Callback):
    """Call the model's `reset` before training, before validation and after the fit."""

    def _reset(self) -> None:
        reset = getattr(self.learn.model, "reset", None)
        if not callable(reset):
            raise TypeError(
                f"ModelResetter needs a model with a method reset, which "
                f"{type(self.learn.model).__name__} has not"
            )
        reset()

    def before_train(self) -> None:
        """Forget the hidden state."""
        self._reset()

    def before_validate(self) -> None:
        """Forget the hidden state."""
        self._reset()

    def after_fit(self) -> None:
        """Forget the hidden state."""
        self._reset()


class RNNCallback(Callback):
    """Keep a recurrent model's raw and dropped-out outputs, and hand on its prediction alone.

    The model returns `(prediction, raw outputs, outputs)`, where the last two are tensors or lists
    with one entry a layer.

    Attributes:
        raw_out: Raw output of the last layer, before dropout.
        out: Output of the last layer, after dropout.
    """

    def after_pred(self) -> None:
        """Split what the model returned.

        Raises:
            ValueError: It did not return three things.
        """
        output = self.learn.pred
        if not isinstance(output, (tuple, list)) or len(output) != 3:
            raise ValueError(
                "RNNCallback needs a model that returns (prediction, raw outputs, outputs), got "
                f"{type(output).__name__}"
            )
        pred, raw, out = (_last(part) for part in output)
        self.learn.pred, self.raw_out, self.out = pred, raw, out

    def after_batch(self) -> None:
        """Let go of the outputs: they hold the batch's graph."""
        self.raw_out = self.out = None


def _last(part: Any) -> Any:
    return part[-1] if isinstance(part, (tuple, list)) else part


class RNNRegularizer(Callback):
    """Activation and temporal activation regularisation (Merity et al. 2017, arXiv:1708.02182).

    `loss + alpha * mean(out²) + beta * mean((raw_t - raw_(t-1))²)`. Needs `RNNCallback`.

    Args:
        alpha: Weight of the activations' penalty.
        beta: Weight of the penalty on changes from step to step.
    """

    run_after = "RNNCallback"
    run_valid = False

    def __init__(self, alpha: float = 0.0, beta: float = 0.0) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta

    def after_loss(self) -> None:
        """Add the penalties to the loss that is differentiated."""
        learn: Any = self.learn
        if learn.loss_grad is None:
            return
        outputs = learn.rnn
        if self.alpha:
            learn.loss_grad = learn.loss_grad + self.alpha * outputs.out.float().square().mean()
        raw: Tensor = outputs.raw_out
        if self.beta and raw.shape[1] > 1:
            steps = (raw[:, 1:] - raw[:, :-1]).float()
            learn.loss_grad = learn.loss_grad + self.beta * steps.square().mean()


def rnn_cbs(alpha: float = 0.0, beta: float = 0.0) -> list[Callback]:
    """Return the callbacks of a recurrent model, the regulariser only if it does something."""
    callbacks: list[Callback] = [ModelResetter(), RNNCallback()]
    if alpha or beta:
        callbacks.append(RNNRegularizer(alpha=alpha, beta=beta))
    return callbacks
