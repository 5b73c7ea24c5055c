"""Where batches go: picking a device, moving structures there, copying ahead on CUDA."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from torte.data._structure import leaves, map_leaves

__all__ = ["default_device", "moved_ahead", "pinned", "to_cpu", "to_device"]


def default_device(use: bool | int | None = None) -> torch.device:
    """The device to compute on: CUDA's current one, else Apple's, else the CPU.

    Args:
        use: `False` for the CPU whatever there is; `True` to insist on an accelerator; `None` (or
            -1) for whichever there is.

    Raises:
        RuntimeError: If `use` is true and there is none.
    """
    if use is not False:
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        if torch.backends.mps.is_available():
            return torch.device("mps")
        if use is True:
            raise RuntimeError("no accelerator was found: neither CUDA nor MPS is available")
    return torch.device("cpu")


def to_device(b: Any, device: Any = None, non_blocking: bool = False) -> Any:
    """`b`, any structure, with its tensors on `device` (the default one if `None`).

    Other objects that have a `to` method are moved by it.
    """
    device = default_device() if device is None else torch.device(device)

    def move(value: Any) -> Any:
        if isinstance(value, Tensor):
            same = value.device == device
            return value if same else value.to(device, non_blocking=non_blocking)
        return value

    return map_leaves(move, b)


def to_cpu(b: Any) -> Any:
    """`b`, any structure, with its tensors on the CPU."""
    return to_device(b, torch.device("cpu"))


def pinned(b: Any) -> Any:
    """`b`, any structure, with its tensors in page-locked memory."""

    def pin(value: Any) -> Any:
        return value.pin_memory() if isinstance(value, Tensor) else value

    return map_leaves(pin, b)


def moved_ahead(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """Move batches to a CUDA device, each while the one before it is in use.

    The copies run on a stream of their own; the consumer's stream waits for the copy it needs.
    """
    stream = torch.cuda.Stream(device)
    source = iter(batches)
    waiting: list[tuple[Any, torch.cuda.Event]] = []
    error: BaseException | None = None
    while True:
        try:
            batch = next(source)
        except StopIteration:
            break
        except Exception as caught:  # noqa: BLE001 - the batch before it comes first
            error = caught
            break
        with torch.cuda.stream(stream):
            moved = to_device(batch, device, non_blocking=True)
            event = torch.cuda.Event()
            event.record(stream)
        waiting.append((moved, event))
        if len(waiting) > 1:
            yield _arrived(*waiting.pop(0), device)
    while waiting:
        yield _arrived(*waiting.pop(0), device)
    if error is not None:
        raise error


def _arrived(batch: Any, event: torch.cuda.Event, device: torch.device) -> Any:
    current = torch.cuda.current_stream(device)
    current.wait_event(event)
    for leaf in leaves(batch):
        if isinstance(leaf, Tensor) and leaf.device.type == "cuda":
            leaf.record_stream(current)  # its memory is not to be reused before this stream is done
    return batch
