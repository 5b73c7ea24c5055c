"""Writing checkpoints beside the training, from an own copy of the state."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from torte.optim.shards import map_tensors_in

__all__ = ["CheckpointWriter", "bad_tensor", "own_copy"]


def own_copy(content: Any) -> Any:
    """Copy nested tensors to main memory, so that training may go on with the originals."""
    devices: set[torch.device] = set()

    def copied(tensor: Tensor) -> Tensor:
        if tensor.device.type != "cuda":
            return tensor.detach().to("cpu", copy=True)
        devices.add(tensor.device)
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return pinned.copy_(tensor.detach(), non_blocking=True)

    result = map_tensors_in(copied, content)
    for device in devices:
        torch.cuda.current_stream(device).synchronize()
    return result


def bad_tensor(content: Mapping[str, Any]) -> str | None:
    """Name a tensor that no checkpoint should have; None if all is well.

    Those are weights and optimizer state that are not finite, and buffers with NaN in them (a mask
    may well be infinite).
    """
    trained = content["trained"]
    for name, tensor in _named("", {"model": content["model"], "opt": content["opt"]}):
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        low, high = torch.aminmax(tensor)
        if bool(torch.isnan(low)) or bool(torch.isnan(high)):
            return name
        strict = name.startswith("opt.") or name.removeprefix("model.") in trained
        if strict and not bool(torch.isfinite(low) & torch.isfinite(high)):
            return name
    return None


def _named(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _named(f"{name}.{key}" if name else str(key), item)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _named(f"{name}.{place}", item)


class CheckpointWriter:
    """Does one piece of work at a time in a thread of its own; failures come out at the next turn.

    Args:
        beside: Whether to work in a thread at all.
    """

    def __init__(self, beside: bool) -> None:
        self.beside = beside
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin a piece of work, once the one before it is done.

        Raises:
            Exception: What the one before it raised, or this one if there is no thread.
        """
        self.finish()
        if not self.beside:
            work()
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending = self._pool.submit(work)

    def look(self) -> None:
        """Raise what a piece of work raised that is over; waits for none."""
        if self._pending is not None and self._pending.done():
            self.finish()

    def finish(self) -> None:
        """Wait for the work under way, and raise what it raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Finish, and end the thread."""
        try:
            self.finish()
        finally:
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.shutdown()
