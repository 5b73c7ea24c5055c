"""Sharded tensors (`DTensor`, as FSDP2 makes them): from whole tensors and back."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "fitted",
    "is_sharded",
    "local",
    "map_tensors_in",
    "sharded_like",
    "strided_like",
    "whole",
]


def is_sharded(value: Any) -> bool:
    """Whether `value` is one process's shard of a larger tensor."""
    return isinstance(value, Tensor) and hasattr(value, "device_mesh")


def sharded_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, the same in all processes, as a shard laid out as `like`; no communication.

    A number (no dimensions) becomes one that every process holds. What is a shard already, or goes
    with a tensor that is none, is returned as it is.
    """
    if not is_sharded(like) or is_sharded(value):
        return value
    from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

    assert isinstance(like, DTensor)
    placements = like.placements if value.dim() else [Replicate()] * like.device_mesh.ndim
    # Shards are dense row by row, and states are stepped through memory along with them.
    return distribute_tensor(value.contiguous(), like.device_mesh, placements, src_data_rank=None)


def strided_like(value: Tensor, like: Tensor) -> Tensor:
    """`value` in the memory format of `like` (channels-last, say), if it is of its shape."""
    if value.shape != like.shape or value.stride() == like.stride():
        return value
    return torch.empty_like(like, dtype=value.dtype, requires_grad=False).copy_(value)


def whole(value: Tensor) -> Tensor:
    """The tensor that a shard is part of. All processes must call it at the same time."""
    return value.full_tensor() if is_sharded(value) else value  # pyright: ignore[reportAttributeAccessIssue]


def local(value: Tensor) -> Tensor:
    """What of a tensor lies in this process's memory; shares it."""
    return value.to_local() if is_sharded(value) else value  # pyright: ignore[reportAttributeAccessIssue]


def map_tensors_in(function: Callable[[Tensor], Any], state: Any) -> Any:
    """A nested state (dicts, lists, tuples) with `function` applied to each tensor, in order."""
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, dict):
        return {key: map_tensors_in(function, value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(map_tensors_in(function, value) for value in state)
    return state


def fitted(value: Tensor, parameter: Tensor) -> Tensor:
    """`value` laid out as the parameter, if it is of its shape."""
    return sharded_like(value, parameter) if value.shape == parameter.shape else value
