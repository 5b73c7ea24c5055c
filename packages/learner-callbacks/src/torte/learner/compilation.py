"""`learn.compile()`: the model through `torch.compile`, with everything else as it was."""

from typing import Any

import torch
from torch import nn

from torte.dispatch import patch
from torte.learner.learner import Learner
from torte.learner.persistence import unwrapped

__all__ = ["is_compiled"]


def is_compiled(model: nn.Module) -> bool:
    """Whether calls of a model go through `torch.compile`, however that was asked for."""
    inner = getattr(model, "_orig_mod", None)
    return inner is not None or getattr(model, "_compiled_call_impl", None) is not None


@patch
def compile(self: Learner, **kwargs: Any) -> Learner:  # noqa: D417
    """Compile the model's forward and backward passes with `torch.compile`.

    The model stays the same object, so that names in files, parameter groups, `freeze` and `export`
    know nothing of it. It is compiled when it is first called: once for training and once for
    prediction, and again, for all sizes, when a batch of another size comes. Hooks that are there
    at a call are part of it: for that, PyTorch's setting `skip_nnmodule_hook_guards` is off from
    then on in this process.

    Args:
        **kwargs: For `torch.compile`: `mode`, `fullgraph`, `dynamic`, `backend`.
    """
    # By default compiled code does not look whether hooks were added: `hook_output`, `summary` and
    # ActivationStats would see nothing.
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    unwrapped(self.model).compile(**kwargs)
    return self


@patch
def uncompile(self: Learner) -> Learner:
    """Run the model's own code again."""
    unwrapped(self.model)._compiled_call_impl = None
    return self
