"""From what a loader yields to what the model and the loss take.

A batch may be

* a tuple or list: the first `n_inp` are inputs, the others targets (without `n_inp`, all but the
  last are inputs; a single element is an input);
* a mapping (Hugging Face): its entries are the model's keyword arguments; the first key of
  `LABEL_KEYS` that is there holds the targets;
* anything else: one input.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from torte.data.devices import to_device
from torte.data.tensors import plain

__all__ = ["LABEL_KEYS", "call_model", "ready", "split_batch", "split_output"]

LABEL_KEYS = ("labels", "label", "targets", "target", "y")
"""Where the targets are looked for in a mapping, in this order."""

Parts = tuple[Any, ...]


def ready(parts: Parts, device: torch.device | None) -> Parts:
    """Move the parts of a batch to the device and strip semantic types, quickly if all is done."""
    for part in parts:
        if type(part) is not Tensor or (device is not None and part.device != device):
            return tuple(plain(_moved(part, device)) for part in parts)
    return parts


def _moved(part: Any, device: torch.device | None) -> Any:
    return part if device is None else to_device(part, device, non_blocking=True)


def split_batch(batch: Any, n_inp: int | None) -> tuple[Parts, Parts]:
    """Return inputs and targets of a batch, each as a tuple.

    Args:
        batch: What the loader yielded.
        n_inp: How many of a tuple's elements are inputs, or None when the data do not say.
    """
    if isinstance(batch, tuple | list):
        if n_inp is None:
            n_inp = len(batch) - 1 or 1
        batch = tuple(batch)
        return batch[:n_inp], batch[n_inp:]
    if isinstance(batch, Mapping):
        for key in LABEL_KEYS:
            if key in batch:
                return ({k: v for k, v in batch.items() if k != key},), (batch[key],)
    return (batch,), ()


def call_model(model: nn.Module, xb: Parts, labels: Mapping[str, Any] | None = None) -> Any:
    """Call the model on the inputs; a lone mapping is spread over its keyword arguments.

    A model whose `forward` takes one argument, and none of the mapping's keys, gets it whole.

    Args:
        model: The model.
        xb: The inputs.
        labels: Targets to hand over as well, for models that compute their own loss.
    """
    if len(xb) != 1 or not isinstance(xb[0], Mapping):
        return model(*xb)
    keywords = {**xb[0], **(labels or {})}
    if _takes(model, keywords):
        return model(**keywords)
    return model(keywords)


def _takes(model: nn.Module, keywords: Mapping[str, Any]) -> bool:
    """Whether to spread the keywords; raises when the model takes neither them nor one mapping."""
    signature = inspect.signature(model.forward)
    try:
        signature.bind(**keywords)
    except TypeError as error:
        if set(keywords) & set(signature.parameters):
            raise TypeError(
                f"{type(model).__name__}.forward{signature} does not take the batch's keys "
                f"{sorted(map(str, keywords))}: rename or drop some in the loader's collate_fn"
            ) from error
        return False
    return True


def split_output(output: Any) -> tuple[Any, Tensor | None]:
    """Return the predictions and, if the model computed one, the loss of a model's output.

    Outputs with `logits` (Hugging Face's, mappings or objects) give these; others come whole.
    """
    if isinstance(output, Mapping):
        return output.get("logits", output), output.get("loss")
    if isinstance(output, Tensor | tuple | list) or not hasattr(output, "logits"):
        return output, None
    return output.logits, getattr(output, "loss", None)
