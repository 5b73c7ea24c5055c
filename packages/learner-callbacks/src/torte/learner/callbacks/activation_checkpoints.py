"""Less memory for more time: activations that are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from torte.dispatch import patch
from torte.learner.callback import Callback
from torte.learner.learner import Learner

__all__ = ["ActivationCheckpoints"]

Layers = Iterable[nn.Module] | Callable[[nn.Module], bool] | None


class ActivationCheckpoints(Callback):
    """Keep only the inputs of some layers for the backward pass, and run these a second time then.

    Gradients are the same (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"):
    dropout draws the same numbers again, and batch-norm statistics count each batch once. Outside
    of fits the model is as it was.

    Args:
        layers: The layers; or a function of a module that says whether it is one; by default the
            layers of the model's outermost `nn.Sequential` containers.
    """

    def __init__(self, layers: Layers = None) -> None:
        super().__init__()
        self.layers = layers
        self._wrapped: list[nn.Module] = []

    def before_fit(self) -> None:
        """Wrap the layers.

        Raises:
            ValueError: If there are none.
        """
        if not self.learn.fitting:
            return
        self._wrapped = chosen_layers(self.learn.model, self.layers)
        for layer in self._wrapped:
            vars(layer)["forward"] = _Checkpointed(layer)

    def clean_up(self) -> None:
        """Take the wrapping off."""
        for layer in self._wrapped:
            vars(layer).pop("forward", None)
        self._wrapped = []


class _Checkpointed:
    """A layer's forward pass that keeps no activations."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward = type(self.layer).forward
        if not torch.is_grad_enabled():
            return forward(self.layer, *args, **kwargs)
        return checkpoint(
            forward, self.layer, *args, use_reentrant=False, context_fn=self._contexts, **kwargs
        )

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(self.layer)


@contextmanager
def _statistics_kept(layer: nn.Module) -> Iterator[None]:
    """Have modules work on copies of their buffers, such as batch norm's running statistics."""
    tables = [module._buffers for module in layer.modules()]
    kept = [dict(table) for table in tables]
    for table in tables:
        table.update({k: None if v is None else v.detach().clone() for k, v in table.items()})
    try:
        yield
    finally:
        for table, own in zip(tables, kept, strict=True):
            table.update(own)


def chosen_layers(model: nn.Module, layers: Layers) -> list[nn.Module]:
    """Return the layers that are meant, outermost ones alone.

    Raises:
        ValueError: If there are none.
    """
    if layers is None:
        found = list(_of_outermost_sequentials(model))
    elif callable(layers):
        found = [module for module in model.modules() if layers(module)]
    else:
        found = list(layers)
    inner = {id(m) for layer in found for m in layer.modules() if m is not layer}
    found = [layer for layer in found if id(layer) not in inner]
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no layer whose activations could be computed again: "
            "give layers=[...], or a function that says of a module whether it is one"
        )
    return found


def _of_outermost_sequentials(model: nn.Module) -> Iterator[nn.Module]:
    """Their layers that have parameters; containers of nothing but containers are opened."""
    children = list(model.children())
    opened = all(isinstance(child, nn.Sequential) for child in children)
    if isinstance(model, nn.Sequential) and not opened:
        yield from (child for child in children if any(True for _ in child.parameters()))
    else:
        for child in children:
            yield from _of_outermost_sequentials(child)


@patch
def checkpoint_activations(self: Learner, layers: Layers = None) -> Learner:
    """Train with less memory: see `ActivationCheckpoints`."""
    self.remove_cbs(ActivationCheckpoints)
    self.add_cb(ActivationCheckpoints(layers))
    return self
