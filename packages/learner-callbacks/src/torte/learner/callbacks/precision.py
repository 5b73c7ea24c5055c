"""Mixed precision and memory formats, by `learn.to_fp16()` and the like."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from torte.dispatch import patch
from torte.learner.callback import Callback
from torte.learner.hooks import map_tensors
from torte.learner.learner import Learner

__all__ = ["AMPMode", "ChannelsLast", "MixedPrecision"]


class AMPMode(StrEnum):
    """Which 16-bit format: float16 has a narrow range (losses are scaled), bfloat16 float32's."""

    FP16 = "fp16"
    BF16 = "bf16"


class MixedPrecision(Callback):
    """Run the model and the loss under PyTorch's automatic mixed precision.

    Predictions are handed on in float32. With float16 the loss is scaled before the backward pass,
    gradients are unscaled before anybody clips them, and steps with overflows are skipped.

    Args:
        amp_mode: Which 16-bit format.
        **kwargs: For `torch.amp.GradScaler` (float16).
    """

    order = 10

    def __init__(self, amp_mode: AMPMode | str = AMPMode.FP16, **kwargs: Any) -> None:
        super().__init__()
        self.amp_mode = AMPMode(amp_mode)
        self.kwargs = kwargs
        self.scaler: torch.amp.GradScaler | None = None
        self._autocast: torch.autocast | None = None
        self._scaler_state: dict[str, Any] | None = None
        self._unscaled = False

    def before_fit(self) -> None:
        """Make the loss scaler; from fit to fit the scale goes on."""
        learn: Any = self.learn
        device = learn.device
        self._device_type = "cpu" if device is None else device.type
        self._dtype = torch.float16 if self.amp_mode == AMPMode.FP16 else torch.bfloat16
        if self.amp_mode == AMPMode.FP16:
            # A new one: a fit that was interrupted may have left the last in the middle of a step.
            last = self._scaler_state if self.scaler is None else self.scaler.state_dict()
            self.scaler = torch.amp.GradScaler(self._device_type, **self.kwargs)
            if last is not None:
                self.scaler.load_state_dict(last)
            learn.step = self._scaled_step

    def before_batch(self) -> None:
        """Enter mixed precision."""
        self._leave()
        self._autocast = torch.autocast(self._device_type, dtype=self._dtype)
        self._autocast.__enter__()

    def enter_part(self, rows: slice) -> None:
        """Enter mixed precision for a part of the batch (see `SplitOnOutOfMemory`)."""
        self.before_batch()

    def after_pred(self) -> None:
        """Hand predictions on in float32."""
        self.learn.pred = map_tensors(_to_float, self.learn.pred)

    def after_loss(self) -> None:
        """Leave mixed precision: the backward pass repeats the forward pass's types by itself."""
        self._leave()

    def before_backward(self) -> None:
        """Scale the loss."""
        learn: Any = self.learn
        if self.scaler is not None:
            learn.loss_grad = self.scaler.scale(learn.loss_grad)

    def before_step(self) -> None:
        """Unscale the gradients."""
        if self.scaler is not None:
            self.scaler.unscale_(self.learn.opt)
            self._unscaled = True

    def _scaled_step(self) -> None:
        """Step unless a gradient overflowed, and adapt the scale."""
        assert self.scaler is not None
        self.scaler.step(self.learn.opt)
        self._update_scale()

    def _update_scale(self) -> None:
        assert self.scaler is not None
        self.scaler.update()
        self._unscaled = False

    def after_batch(self) -> None:
        """Leave mixed precision, and end the step, if the batch was cancelled inside them."""
        self._leave()
        if self._unscaled:
            self._update_scale()

    def clean_up(self) -> None:
        """Leave mixed precision and give the Learner its own step back."""
        self._leave()
        self._unscaled = False
        vars(self.learn).pop("step", None)

    def _leave(self) -> None:
        if self._autocast is not None:
            autocast, self._autocast = self._autocast, None
            autocast.__exit__(None, None, None)

    def state(self) -> dict[str, Any]:
        """Return the loss scaler's state, for a checkpoint."""
        return {} if self.scaler is None else {"scaler": self.scaler.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take the loss scaler's state back."""
        self._scaler_state = state.get("scaler")
        if self.scaler is not None and self._scaler_state is not None:
            self.scaler.load_state_dict(self._scaler_state)


def _to_float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


class ChannelsLast(Callback):
    """Keep images and weights of convolutions with the channels last in memory.

    That is what tensor cores and recent CPUs like best; results are the same up to rounding.
    """

    order = -1

    def before_fit(self) -> None:
        """Lay the model's weights out."""
        _lay_out(self.learn.model, torch.channels_last)

    def before_batch(self) -> None:
        """Lay the images out."""
        learn: Any = self.learn
        learn.xb = map_tensors(_channels_last, learn.xb)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _lay_out(model: torch.nn.Module, memory_format: torch.memory_format) -> None:
    model.to(memory_format=memory_format)


def _replace(learn: Learner, kind: type[Callback], new: Callback | None = None) -> Learner:
    learn.remove_cbs(kind)
    if new is not None:
        learn.add_cb(new)
    return learn


@patch
def to_fp16(self: Learner, **kwargs: Any) -> Learner:
    """Train and predict in mixed precision with float16; arguments are for the loss scaler."""
    return _replace(self, MixedPrecision, MixedPrecision(AMPMode.FP16, **kwargs))


@patch
def to_bf16(self: Learner, **kwargs: Any) -> Learner:
    """Train and predict in mixed precision with bfloat16."""
    return _replace(self, MixedPrecision, MixedPrecision(AMPMode.BF16, **kwargs))


@patch
def to_fp32(self: Learner) -> Learner:
    """Train and predict in full precision again."""
    return _replace(self, MixedPrecision)


@patch
def to_channelslast(
    self: Learner, use_amp: bool = True, amp_mode: AMPMode | str = AMPMode.FP16, **kwargs: Any
) -> Learner:
    """Train with channels last and, as that is where it pays, in mixed precision."""
    _replace(self, ChannelsLast, ChannelsLast())
    if use_amp:
        _replace(self, MixedPrecision, MixedPrecision(amp_mode, **kwargs))
    return self


@patch
def to_contiguous(self: Learner, to_fp32: bool = False) -> Learner:
    """Train with PyTorch's own memory format again, and in full precision if asked for."""
    _replace(self, ChannelsLast)
    _lay_out(self.model, torch.contiguous_format)
    return _replace(self, MixedPrecision) if to_fp32 else self
