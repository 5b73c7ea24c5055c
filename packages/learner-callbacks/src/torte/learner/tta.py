"""Test-time augmentation: predictions averaged over randomly transformed copies of each item."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from torte.data import IntToFloatTensor, Normalize, TfmdDL, ToTensor
from torte.dispatch import Pipeline, patch
from torte.learner.learner import Learner

__all__ = ["tta"]

_TRAINING = 0
_ENCODING = (ToTensor, IntToFloatTensor, Normalize)
"""What makes tensors for the model out of items: not for test-time augmentation to leave out."""


@patch
def tta(  # noqa: D417
    self: Learner,
    ds_idx: int = 1,
    dl: Any = None,
    n: int = 4,
    item_tfms: Any = None,
    batch_tfms: Any = None,
    beta: float | None = 0.25,
    use_max: bool = False,
) -> tuple[Any, ...]:
    """Return predictions and targets over a loader, with test-time augmentation.

    The loader's items are predicted `n` times as training has them, each time with other draws, and
    once as validation has them. Nothing of the learner or its loaders changes.

    Args:
        ds_idx: Of which of the learner's loaders.
        dl: Or of this one, a `TfmdDL` such as `learn.dls.test_dl(items)`.
        n: How many augmented copies of each item.
        item_tfms: In place of the loader's transforms of items (tensors are made of them as ever).
        batch_tfms: In place of its transforms of batches (numbers are normalized as ever).
        beta: Weight of the prediction on the item itself against the mean over the copies; None:
            return `((mean over the copies, on the item itself), targets)`.
        use_max: Instead of means, the largest of all predictions.

    Returns:
        `(predictions, targets)`, as `get_preds` has them.

    Raises:
        ValueError: If `n` is less than 1, or there is no such loader.
        TypeError: If the loader has no pipelines of transforms.
    """
    if n < 1:
        raise ValueError(f"{n=}: test-time augmentation needs at least one copy")
    dl = self._loader_to_look_at(ds_idx, dl)
    if not isinstance(dl, TfmdDL):
        raise TypeError(
            f"test-time augmentation needs a loader with transforms, which {type(dl).__name__} is "
            "not: see torte.data.TfmdDL, or learn.dls.test_dl(items)"
        )
    together: Callable[[Tensor, Tensor], Tensor] = torch.maximum if use_max else torch.add
    copies: Any = None
    with _as_in_training(dl, item_tfms, batch_tfms) as augmented:
        for number in range(n):
            augmented.load_state_dict({"seed": dl.seed, "epoch": number, "position": 0})
            found = self.get_preds(dl=augmented)[0]
            copies = found if copies is None else _combined(together, copies, found)
    preds, targets = self.get_preds(dl=dl)
    if use_max:
        return _combined(torch.maximum, copies, preds), targets
    mean = _combined(lambda total, _: total / n, copies, preds)
    if beta is None:
        return (mean, preds), targets
    return _combined(lambda one, other: torch.lerp(one, other, beta), mean, preds), targets


@contextmanager
def _as_in_training(dl: TfmdDL, item_tfms: Any, batch_tfms: Any) -> Iterator[TfmdDL]:
    """A loader of the same items whose transforms take them to be of the training set."""
    own = getattr(dl.dataset, "set_split_idx", None)
    with nullcontext() if own is None else own(_TRAINING):
        given = {"after_item": item_tfms, "after_batch": batch_tfms}
        pipes: dict[str, Any] = {
            name: Pipeline([tfms, [step for step in getattr(dl, name) if _encodes(step)]])
            for name, tfms in given.items()
            if tfms is not None
        }
        augmented = dl.new(shuffle=False, drop_last=False, **pipes)
        for name in ("after_item", "before_batch", "after_batch"):
            getattr(augmented, name).split_idx = _TRAINING
        yield augmented


def _encodes(step: Any) -> bool:
    return isinstance(step, _ENCODING)


def _combined(function: Callable[[Tensor, Tensor], Tensor], one: Any, other: Any) -> Any:
    """`function` of the tensors at the same places of two structures."""
    if isinstance(one, Tensor):
        return function(one, other)
    if isinstance(one, dict):
        return {key: _combined(function, value, other[key]) for key, value in one.items()}
    return tuple(_combined(function, *pair) for pair in zip(one, other, strict=True))
