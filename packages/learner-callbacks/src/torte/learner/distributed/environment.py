"""Which process this is, among how many, and how it joins the others.

`torchrun` (TorchElastic), Ray Train and `torch.multiprocessing` start the processes; nothing here
does. A script that none of them started is a single process, to which all of this applies as well.
"""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from torte.learner.distributed.meeting import meet

__all__ = ["join_group", "num_distrib", "own_device", "rank0_first", "rank_distrib"]


def rank_distrib() -> int:
    """The rank of this process, from 0; 0 where there is only one."""
    return dist.get_rank() if _is_joined() else int(os.environ.get("RANK", "0"))


def num_distrib() -> int:
    """How many processes train together; 0 where nothing has started several."""
    return dist.get_world_size() if _is_joined() else int(os.environ.get("WORLD_SIZE", "0"))


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def own_device(kind: str) -> torch.device:
    """The device of that kind (cpu, cuda) that belongs to this process, by `LOCAL_RANK`."""
    if kind != "cuda":
        return torch.device(kind)
    local = os.environ.get("LOCAL_RANK")
    number = torch.cuda.current_device() if local is None else int(local)
    return torch.device("cuda", number)


def join_group(
    device: torch.device, backend: str | None = None, timeout: float | None = None
) -> bool:
    """Join the group of processes that this one was started in, unless that is done.

    Args:
        device: Where this process trains.
        backend: PyTorch's communication library; by default NCCL for GPUs and Gloo for the rest.
        timeout: Seconds until a process that waits for the others gives up.

    Returns:
        Whether there are others.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not _is_joined():
        if num_distrib() < 2:
            return False
        backend = backend or ("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        limit = None if timeout is None else timedelta(seconds=timeout)
        _init_group(backend, limit)
        atexit.register(_leave_group)
    return dist.get_world_size() > 1


def _init_group(backend: str, limit: timedelta | None) -> None:
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        dist.init_process_group(backend, timeout=limit)
        return
    limit = limit or dist.default_pg_timeout
    store, rank, size = next(dist.rendezvous("env://", timeout=limit))
    own = meet(store, rank, size, limit)
    dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=limit)


def _leave_group() -> None:
    if _is_joined():
        dist.destroy_process_group()


@contextmanager
def _first_goes_ahead() -> Iterator[None]:
    first = rank_distrib() == 0
    if not first:
        dist.barrier()
    try:
        yield
    finally:
        if first:
            dist.barrier()


def rank0_first(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Call `func` in the first process (to download something, say), then in the others.

    Args:
        func: What to call.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Returns:
        What it returned in this process.
    """
    if num_distrib() < 2:
        return func(*args, **kwargs)
    join_group(own_device("cuda" if torch.cuda.is_available() else "cpu"))
    with _first_goes_ahead():
        return func(*args, **kwargs)
