"""A batch of two for tracing a model: what the learner's own loaders give."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from torte.learner.batches import ready, split_batch
from torte.learner.learner import Learner

__all__ = ["example_arguments"]

_ROWS = 2


def example_arguments(learn: Learner) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments that a model is called with: a batch of two rows.

    They come from the first batch of the validation loader, or else of the training loader; the
    loaders are left as they were.

    Raises:
        ValueError: If no loader has a batch, as after `load_learner`.
    """
    inputs = _first_inputs(learn)
    if len(inputs) == 1 and isinstance(inputs[0], Mapping):
        return (), {key: _rows(value) for key, value in inputs[0].items()}
    return tuple(map(_rows, inputs)), {}


def _first_inputs(learn: Learner) -> tuple[Any, ...]:
    with learn.alone(), learn.looking():
        for number in (1, 0):
            dl = learn.loader(number)
            if dl is None:
                continue
            learn._use(dl)
            batch = next(iter(dl), None)
            if batch is not None:
                return ready(split_batch(batch, learn.n_inp)[0], learn.device)
    raise ValueError("no loader of the learner has a batch to trace the model with")


def _rows(value: Any) -> Any:
    """The first rows of a batch, repeated where it has fewer."""
    if isinstance(value, Tensor):
        return torch.cat([value] * _ROWS)[:_ROWS] if len(value) < _ROWS else value[:_ROWS]
    if isinstance(value, Mapping):
        return {key: _rows(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_rows(item) for item in value)
    return value
