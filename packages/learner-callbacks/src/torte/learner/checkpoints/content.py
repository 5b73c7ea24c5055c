"""What is in a checkpoint of a fit, gathered from the Learner and put back into it.

========== =====================================================================================
model      parameters and persistent buffers by name
trained    which parameters require gradients
buffers    buffers that the model's state leaves out, and tensors that its modules carry from batch
           to batch in plain attributes (the hidden state of a recurrent model)
opt        the optimizer's state and hyper-parameters, and how far it is frozen
gradients  of steps that are not complete (accumulation)
loop       epoch, batch, progress, the number of batches seen
loaders    the position of each loader
callbacks  what each callback's `state` gives, by name
random     the random generators of each process, now and at the start of the pass
========== =====================================================================================
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from torte.learner.checkpoints.positions import loader_states, restore_loaders
from torte.learner.checkpoints.randomness import random_state
from torte.learner.persistence import (
    bare_name,
    model_state,
    restore_content,
    unwrapped,
    whole_state,
)
from torte.learner.state import MODULE_TABLES
from torte.optim.shards import sharded_like

__all__ = ["gather", "restore", "restore_weights"]

LOOP_FIELDS = ("epoch", "iter", "train_iter", "pct_train", "n_epoch", "n_iter", "predicted")


def gather(learn: Any, phase: str) -> dict[str, Any]:
    """Return what a checkpoint holds; in all processes at once, whole in the first.

    Args:
        learn: The Learner, between two batches or two epochs.
        phase: "train" or "validate" within one, "epoch" between two, "done" at the end.
    """
    world = learn.world
    content = {
        "phase": phase,
        **_weights(learn),
        "gradients": _gradients(learn),
        "loop": _loop(learn),
        "loaders": loader_states(learn),
        "callbacks": _callbacks(learn),
        "random": world.gathered(random_state()),
        "pass_start": learn.pass_start,
    }
    return whole_state(content, keep=world.is_first)


def _weights(learn: Any) -> dict[str, Any]:
    model = unwrapped(learn.model)
    return {
        "model": model_state(model),
        "trained": [bare_name(n) for n, p in _parameters(model) if p.requires_grad],
        "buffers": {f"{name}.{key}": value for name, _, key, value in _carried(model)},
        "opt": learn.opt.state_dict(),
        "frozen_idx": getattr(learn.opt, "frozen_idx", None),
    }


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return model.named_parameters(remove_duplicate=False)


def _carried(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, Any]]:
    """(module's name, module, attribute, value) of tensors that are in no state dict."""
    for name, module in model.named_modules():
        for key in sorted(module._non_persistent_buffers_set):
            if module._buffers.get(key) is not None:
                yield name, module, key, module._buffers[key]
        for key, value in vars(module).items():
            if key not in MODULE_TABLES and _is_tensors(value):
                yield name, module, key, value


def _is_tensors(value: Any) -> bool:
    """Whether a value is a tensor without a graph, or nothing but such, nested."""
    if isinstance(value, Tensor):
        return not value.requires_grad
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_tensors, value))


def _gradients(learn: Any) -> dict[str, Tensor]:
    """Gradients that wait for a step; of several processes the mean, as their sum will be."""
    found = {name: p.grad for name, p in _parameters(unwrapped(learn.model)) if p.grad is not None}
    world = learn.world
    if world.size == 1 or not world.any(bool(found)):
        return found
    flat = torch.cat([grad.detach().double().cpu().reshape(-1) for grad in found.values()])
    parts = (world.summed(flat) / world.size).split([grad.numel() for grad in found.values()])
    return {
        name: part.reshape(grad.shape).to(grad.dtype)
        for (name, grad), part in zip(found.items(), parts, strict=True)
    }


def _loop(learn: Any) -> dict[str, Any]:
    loaders = getattr(learn.dls, "loaders", None) or []
    counts = [learn._batch_counts.get(id(dl)) for dl in loaders]
    fields = {name: getattr(learn, name) for name in LOOP_FIELDS}
    return {**fields, "final_record": list(learn.final_record), "batch_counts": counts}


def _callbacks(learn: Any) -> dict[str, Any]:
    return {callback.name: callback.state() for callback in _keepers(learn)}


def _keepers(learn: Any) -> list[Any]:
    """The callbacks that have state, and their turn in this process."""
    first = learn.world.is_first
    return [cb for cb in learn._ordered if _keeps_state(cb) and (first or not cb.rank0_only)]


def _keeps_state(callback: Any) -> bool:
    from torte.learner.callback import Callback

    kind = type(callback)
    return bool(callback.state_attributes) or kind.state is not Callback.state


# -- back ------------------------------------------------------------------------------------------


def restore_weights(learn: Any, content: Mapping[str, Any], source: str) -> None:
    """Put model and optimizer back; if anything does not fit, nothing has changed.

    Raises:
        FileFormatError: If it is of another model.
        StateMismatchError: If it is of another optimizer.
    """
    restore_content(content, source, learn.model, learn.opt, with_opt=True, strict=True)
    model = unwrapped(learn.model)
    trained = set(content["trained"])
    for name, parameter in _parameters(model):
        parameter.requires_grad_(bare_name(name) in trained)
    if content["frozen_idx"] is not None:
        learn.opt.frozen_idx = content["frozen_idx"]
    _restore_carried(model, content["buffers"])


def _restore_carried(model: nn.Module, saved: Mapping[str, Any]) -> None:
    modules = dict(model.named_modules())
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    for place, value in saved.items():
        name, _, key = place.rpartition(".")
        if name in modules:
            setattr(modules[name], key, _on(value, device))


def _on(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, copy=True)
    return type(value)(_on(item, device) for item in value)


def restore(learn: Any, content: Mapping[str, Any], source: str) -> None:
    """Put everything back but the random generators, which come last of all."""
    restore_weights(learn, content, source)
    for name, parameter in _parameters(unwrapped(learn.model)):
        grad = content["gradients"].get(name)
        if grad is not None:
            parameter.grad = sharded_like(torch.empty_like(parameter).copy_(grad), parameter)
    _restore_loop(learn, content["loop"])
    restore_loaders(learn, content["loaders"])
    _restore_callbacks(learn, content["callbacks"], source)
    learn.pass_start = content["pass_start"]


def _restore_loop(learn: Any, loop: Mapping[str, Any]) -> None:
    for name in LOOP_FIELDS:
        if name not in ("n_epoch", "n_iter"):
            setattr(learn, name, loop[name])
    learn.final_record = type(learn.final_record)(loop["final_record"])
    loaders = getattr(learn.dls, "loaders", None) or []
    for loader, count in zip(loaders, loop["batch_counts"], strict=False):
        if count is not None:
            learn._batch_counts[id(loader)] = count


def _restore_callbacks(learn: Any, saved: Mapping[str, Any], source: str) -> None:
    keepers = {callback.name: callback for callback in _keepers(learn)}
    if learn.world.is_first and keepers.keys() != saved.keys():
        without, unknown = sorted(keepers.keys() - saved), sorted(saved.keys() - keepers)
        warnings.warn(
            f"the callbacks are not those of the checkpoint {source}: "
            f"it has nothing for {without} and something for {unknown}, which are not here",
            stacklevel=2,
        )
    for name, callback in keepers.items():
        if name not in saved:
            continue
        try:
            callback.load_state(saved[name])
        except Exception as error:
            error.add_note(f"while callback {callback!r} took its state from {source}")
            raise
