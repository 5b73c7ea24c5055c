"""Meeting the other processes anew after a restart.

TorchElastic keeps one store for all lives of a group (PyTorch 2.11 to 2.15, unless
`TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1` is set), so processes that were started again find the
addresses of the dead in it and now and then wait for them for ever. Here they agree on a name that
no earlier life had, and keep what they tell each other under it.
"""

import json
import time
import uuid
from datetime import timedelta
from typing import Any

import torch.distributed as dist

__all__ = ["meet"]

_PAUSE = 0.02  # seconds between two looks into the store
_PATIENCE = 1.0  # seconds until a name is asked for again, which may be that of an earlier life


def meet(store: Any, rank: int, size: int, limit: timedelta) -> Any:
    """Return a part of the store that this life of the group has for itself.

    The first process names the life, every other one answers under that name with a number of its
    own, and the first one confirms the numbers: a name left from an earlier life confirms others.

    Args:
        store: The store that all processes see.
        rank: Which process this is.
        size: How many there are.
        limit: How long to wait for the others.

    Raises:
        TimeoutError: Some did not come in time.
    """
    deadline = time.monotonic() + limit.total_seconds()
    life = _lead(store, size, deadline) if rank == 0 else _follow(store, rank, deadline)
    return dist.PrefixStore(f"torte/{life}", store)


def _lead(store: Any, size: int, deadline: float) -> str:
    life = uuid.uuid4().hex
    store.set("torte/life", life)
    numbers = {}
    for rank in range(1, size):
        if not _appears(store, f"torte/{life}/here/{rank}", deadline):
            raise TimeoutError(f"process {rank} of {size} did not come")
        numbers[str(rank)] = store.get(f"torte/{life}/here/{rank}").decode()
    store.set(f"torte/{life}/all", json.dumps(numbers))
    return life


def _follow(store: Any, rank: int, deadline: float) -> str:
    number = uuid.uuid4().hex
    while _appears(store, "torte/life", deadline):
        life = store.get("torte/life").decode()
        store.set(f"torte/{life}/here/{rank}", number)
        if _appears(store, f"torte/{life}/all", min(deadline, time.monotonic() + _PATIENCE)):
            if json.loads(store.get(f"torte/{life}/all")).get(str(rank)) == number:
                return life
            time.sleep(_PAUSE)
    raise TimeoutError(f"process {rank} was not met by the first one")


def _appears(store: Any, key: str, deadline: float) -> bool:
    """Wait for a key until the deadline."""
    while not store.check([key]):
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True
