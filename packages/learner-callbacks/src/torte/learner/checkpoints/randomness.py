"""The global random generators as tensors and JSON."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from torte.data.seeding import mix

__all__ = ["random_state", "restore_random", "restore_random_of"]


def random_state() -> dict[str, Any]:
    """The state of the generators of Python, NumPy and torch (CPU, and GPUs that are in use)."""
    version, internal, gauss = random.getstate()
    # The legacy generator is the one that users' own code draws from.
    kind, keys, place, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "python": [version, torch.tensor(internal), gauss],
        "numpy": [kind, torch.from_numpy(np.array(keys, np.int64)), place, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": gpus,
    }


def restore_random(state: Mapping[str, Any]) -> None:
    """Put the generators where `random_state` found them."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    kind, keys, place, has_gauss, cached = state["numpy"]
    words = keys.numpy().astype(np.uint32)
    np.random.set_state((kind, words, place, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        for device, found in list(enumerate(state["cuda"]))[: torch.cuda.device_count()]:
            torch.cuda.set_rng_state(found, device)


def restore_random_of(rank: int, states: Sequence[Mapping[str, Any]]) -> None:
    """Take the generators of process `rank`; a process that there was not gets a stream of its own.

    That stream derives from the first process's, so that it repeats.
    """
    if rank < len(states):
        restore_random(states[rank])
        return
    restore_random(states[0])
    seed = mix(int(states[0]["torch"][:8].view(torch.int64)), int(torch.initial_seed()), rank)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % (1 << 32))  # noqa: NPY002
