"""Remembering how things were, and putting them back.

"Looking never changes": what only looks at a Learner (`lr_find`, `validate`, `get_preds`,
`predict`) runs inside these context managers, which restore in `finally`: also after an exception
or Ctrl-C.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from torte.data.loader import DataLoader

__all__ = [
    "MODULE_TABLES",
    "attributes_restored",
    "copy_state",
    "loaders_restored",
    "model_restored",
    "module_attributes_restored",
    "modules_of",
    "optimizer_restored",
    "remember",
    "remember_attributes",
    "rng_restored",
]


def copy_state(value: Any) -> Any:
    """Copy tensors and containers all the way down; anything else is shared."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copy_state(item) for key, item in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(copy_state(item) for item in value)
    return value


_MUTABLE = (torch.Tensor, dict, list, tuple, set)
_IMMUTABLE = frozenset({bool, int, float, str, bytes, type(None)})


def _is_fixed(value: Any) -> bool:
    """Whether `remember` has nothing to do for a value (a layer's attributes mostly are such)."""
    kind = type(value)
    if kind is tuple:
        return _IMMUTABLE.issuperset(map(type, value)) or all(map(_is_fixed, value))
    return kind in _IMMUTABLE or not isinstance(value, _MUTABLE)


def remember(value: Any) -> Callable[[], Any]:
    """Return a function that brings `value` back to what it is now and returns it.

    The same object comes back, its contents restored in place: whoever else holds it sees that too.
    Tensors and plain containers are followed all the way down; anything else counts as immutable.
    """
    if isinstance(value, torch.Tensor):
        return _remember_tensor(value)
    if type(value) is dict:
        entries = {key: remember(item) for key, item in value.items()}
        return lambda: _refill_dict(value, {key: back() for key, back in entries.items()})
    if type(value) is list:
        if all(_is_fixed(item) for item in value):
            plain = value.copy()
            return lambda: _refill_list(value, plain)
        items = [remember(item) for item in value]
        return lambda: _refill_list(value, [back() for back in items])
    if type(value) is tuple and not _is_fixed(value):
        parts = [remember(item) for item in value]
        return lambda: ([back() for back in parts], value)[1]
    if type(value) is set:
        members = value.copy()
        return lambda: (value.clear(), value.update(members), value)[2]
    return lambda: value


def _remember_tensor(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    saved = tensor.detach().clone()

    def back() -> torch.Tensor:
        # Writing only what differs leaves autograd's version counters of untouched tensors alone.
        now = tensor.detach()
        if now.shape != saved.shape or now.dtype != saved.dtype or now.device != saved.device:
            tensor.data = saved
        elif not torch.equal(now, saved):
            now.copy_(saved)
        return tensor

    return back


def _refill_list(target: list[Any], items: list[Any]) -> list[Any]:
    target[:] = items
    return target


def _refill_dict(target: dict[Any, Any], entries: dict[Any, Any]) -> dict[Any, Any]:
    target.clear()
    target.update(entries)
    return target


@contextmanager
def rng_restored() -> Iterator[None]:
    """Leave the global generators of Python, NumPy and torch (CPU and GPUs in use) as they were."""
    # The legacy generator is the one that users' own code draws from.
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


MODULE_TABLES = frozenset(vars(nn.Module())) - {"training"}
"""What every module has of PyTorch's own: its parameters, buffers, hooks and submodules."""


@contextmanager
def module_attributes_restored(model: nn.Module) -> Iterator[None]:
    """Leave the plain attributes of a model's modules as they were, modes included.

    Among them is the hidden state that recurrent models carry from batch to batch.
    """
    back = remember_attributes(modules_of(model), skip=MODULE_TABLES)
    try:
        yield
    finally:
        back()


@contextmanager
def model_restored(model: nn.Module) -> Iterator[None]:
    """Leave parameters, gradients, buffers, modes and plain attributes of a model as they were."""
    tensors = [remember(tensor) for tensor in (*model.parameters(), *model.buffers())]
    grads = [(p, p.grad, remember(p.grad)) for p in model.parameters()]
    with module_attributes_restored(model):
        try:
            yield
        finally:
            for back in tensors:
                back()
            for parameter, grad, back in grads:
                back()
                parameter.grad = grad


@contextmanager
def optimizer_restored(optimizer: Any) -> Iterator[None]:
    """Leave the state and the hyper-parameters of an optimizer as they were."""
    saved = copy_state(optimizer.state_dict())
    try:
        yield
    finally:
        optimizer.load_state_dict(saved)


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Every module of a model once, the model first, in half the time of `Module.modules`."""
    found, seen = [model], {id(model)}
    for module in found:  # grows as the walk goes on
        for child in module._modules.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                found.append(child)
    return found


def remember_attributes(
    objects: Iterable[Any], skip: frozenset[str] = frozenset()
) -> Callable[[], None]:
    """Return a function that puts the attributes of objects back, in place (see `remember`)."""
    saved: list[tuple[dict[str, Any], dict[str, Any], int]] = []
    backs: list[Callable[[], Any]] = []
    for one in objects:
        table = vars(one)
        kept = {name: value for name, value in table.items() if name not in skip}
        saved.append((table, kept, len(table)))
        backs += [
            remember(value)
            for value in kept.values()
            if type(value) not in _IMMUTABLE and not _is_fixed(value)
        ]

    def back_all() -> None:
        for back in backs:
            back()
        for table, kept, length in saved:
            table.update(kept)
            if len(table) > length:
                for name in table.keys() - skip - kept.keys():
                    del table[name]

    return back_all


@contextmanager
def attributes_restored(objects: Iterable[Any]) -> Iterator[None]:
    """Leave the attributes of objects as they were, in place (see `remember`)."""
    back = remember_attributes(objects)
    try:
        yield
    finally:
        back()


@contextmanager
def loaders_restored(loaders: Iterable[Any]) -> Iterator[None]:
    """Leave the position (seed, epoch) of torte's own loaders as it was; others keep none."""
    with ExitStack() as stack:
        for loader in loaders:
            if isinstance(loader, DataLoader):
                stack.callback(loader.load_state_dict, loader.state_dict())
        yield
