"""Batch normalisation over the whole batch, though each process has only a part of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["synchronized_batchnorm"]

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synchronized_batchnorm(learn: Any) -> Callable[[], None]:
    """Let the batch-norm layers of a Learner's model take statistics over all processes.

    The layers stay what they are, with their parameters and names; only their `forward` is another
    meanwhile: on GPUs that of `torch.nn.SyncBatchNorm`, elsewhere the same in plain arithmetic.

    Returns:
        A function that undoes it.
    """
    layers = [layer for layer in learn.model.modules() if type(layer) in KINDS]
    for layer in layers:
        layer.forward = partial(_forward, layer, learn)

    def undo() -> None:
        for layer in layers:
            vars(layer).pop("forward", None)

    return undo


def _forward(layer: Any, learn: Any, inputs: Tensor) -> Tensor:
    if not layer.training or learn.world.size == 1:
        return type(layer).forward(layer, inputs)
    layer._check_input_dim(inputs)
    if inputs.device.type == "cuda":
        return _torchs_own(layer)(inputs)
    counts = learn.share is None or learn.share.size > 0
    return _normalized(layer, inputs, counts)


def _torchs_own(layer: Any) -> nn.SyncBatchNorm:
    """PyTorch's layer over the same parameters and buffers."""
    made = nn.SyncBatchNorm(
        layer.num_features,
        layer.eps,
        layer.momentum,
        affine=False,
        track_running_stats=layer.track_running_stats,
    )
    made.weight, made.bias, made.affine = layer.weight, layer.bias, layer.affine
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(made, name, getattr(layer, name))
    return made


class _Sum(torch.autograd.Function):
    """The sum over processes, of values and of the gradients that come back."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        total = grad_outputs[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def _normalized(layer: Any, inputs: Tensor, counts: bool) -> Tensor:
    """Normalize by mean and variance over all processes, less rows that do not count."""
    dims = [0, *range(2, inputs.dim())]
    shape = [1, -1, *[1] * (inputs.dim() - 2)]
    weight = float(counts)
    size = inputs.new_tensor([weight * inputs.numel() / inputs.shape[1]])
    total: Any = _Sum.apply(torch.cat([inputs.sum(dims) * weight, size]))
    count = total[-1].detach()
    mean = total[:-1] / count
    centered = inputs - mean.view(shape)
    variance: Any = _Sum.apply((centered * centered).sum(dims) * weight)
    variance = variance / count
    _update(layer, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
    result = centered * torch.rsqrt(variance + layer.eps).view(shape)
    if layer.weight is not None:
        result = result * layer.weight.view(shape) + layer.bias.view(shape)
    return result


@torch.no_grad()
def _update(layer: Any, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics as batch normalisation does."""
    if layer.running_mean is None:
        return
    layer.num_batches_tracked.add_(1)
    share = layer.momentum
    if share is None:
        share = 1.0 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean.to(layer.running_mean), share)
    layer.running_var.lerp_(variance.to(layer.running_var), share)
