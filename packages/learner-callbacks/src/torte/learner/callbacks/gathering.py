"""Collecting predictions over a pass."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torte.dispatch import noop
from torte.learner.callback import Callback
from torte.learner.callback_set import Callbacks
from torte.learner.metrics.contract import batch_size_of

__all__ = ["FetchPredsCallback", "GatherPredsCallback", "concatenated", "read_saved"]


def detached(value: Any) -> Any:
    """Return a structure with its tensors detached and in main memory."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: detached(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(detached(item) for item in value)
    return value


def concatenated(parts: Sequence[Any], dim: int = 0) -> Any:
    """Join the batches' results: tensors along `dim`, containers item by item.

    Raises:
        ValueError: If the tensors' other dimensions differ.
    """
    first = parts[0]
    if isinstance(first, Tensor):
        if first.ndim == 0:
            return torch.stack(list(parts))
        try:
            return torch.cat(list(parts), dim=dim)
        except RuntimeError as error:
            shapes = sorted({tuple(part.shape) for part in parts})
            raise ValueError(
                f"batches of shapes {shapes} cannot be joined along dimension {dim}: pad them to "
                "one size, or write them to disk batch by batch (save_preds=..., with_preds=False)"
            ) from error
    if isinstance(first, Mapping):
        return {key: concatenated([part[key] for part in parts], dim) for key in first}
    if isinstance(first, list | tuple):
        return tuple(concatenated(column, dim) for column in zip(*parts, strict=True))
    return list(parts)


_TARGETS = 2
"""The place of the targets among what `_gather` puts together."""


class GatherPredsCallback(Callback):
    """Collect predictions and targets of all batches, in main memory or on disk.

    Args:
        with_input: Whether to collect the inputs too.
        with_loss: Whether to collect the losses too, one a sample (the loss must give them).
        save_preds: Folder for predictions: one safetensors file a batch, `0.safetensors`, …
        save_targs: Folder for targets, likewise.
        with_preds: Whether to keep predictions in memory; say False when they go to disk.
        with_targs: Whether to keep targets in memory.
        concat_dim: Along which dimension batches are joined.
        act: Applied to each batch's predictions before they are kept or written.
    """

    order = 100
    remove_on_fetch = True

    def __init__(
        self,
        with_input: bool = False,
        with_loss: bool = False,
        save_preds: "str | Path | None" = None,
        save_targs: "str | Path | None" = None,
        with_preds: bool = True,
        with_targs: bool = True,
        concat_dim: int = 0,
        act: Callable[[Any], Any] = noop,
    ) -> None:
        super().__init__()
        self.with_input, self.with_loss = with_input, with_loss
        self.with_preds, self.with_targs = with_preds, with_targs
        self.save_preds, self.save_targs = save_preds, save_targs
        self.concat_dim, self.act = concat_dim, act
        self._clear()

    def _clear(self) -> None:
        self._numbers: list[int] = []
        self.preds: list[Any] = []
        self.targets: list[Any] = []
        self.inputs: list[Any] = []
        self.losses: list[Tensor] = []

    def before_validate(self) -> None:
        """Begin a collection; folders are made."""
        self._clear()
        for folder in (self.save_preds, self.save_targs):
            if folder is not None:
                Path(folder).mkdir(parents=True, exist_ok=True)

    def before_batch(self) -> None:
        """Take the inputs before anybody changes them."""
        if self.with_input:
            self.inputs.append(detached(self.learn.xb))

    def after_batch(self) -> None:
        """Take predictions, targets and losses; a batch cancelled before them has none."""
        learn = self.learn
        if not learn.predicted or (learn.share is not None and not learn.share.size):
            del self.inputs[len(self._numbers) :]
            return
        self._numbers.append(learn.iter)
        preds, targets = detached(self.act(learn.pred)), detached(learn.yb)
        if self.with_preds:
            self.preds.append(preds)
        if self.with_targs:
            self.targets.append(targets)
        if self.save_preds is not None:
            _write(Path(self.save_preds), _file_number(learn), preds)
        if self.save_targs is not None:
            one = targets[0] if targets[1:] == () else targets
            _write(Path(self.save_targs), _file_number(learn), one)
        if self.with_loss and learn.loss is not None:
            self.losses.append(_one_a_sample(learn.loss, batch_size_of(learn.yb)))

    def all_tensors(self) -> list[Any]:
        """Return inputs (if wanted), predictions, targets and losses (if wanted), joined.

        What several processes have collected is put together, in the order of the batches.
        """
        if self.learn.world.size > 1:
            self._gather()
        inputs = [_single(self._joined(self.inputs))] if self.with_input else []
        losses = [self._joined(self.losses)] if self.with_loss else []
        targets = self._targets_joined(self.targets)
        return [*inputs, self._joined(self.preds), _single(targets), *losses]

    def _gather(self) -> None:
        """Take in what the other processes have of each batch."""
        own = self.inputs, self.preds, self.targets, self.losses
        found = self.learn.world.gathered((self._numbers, own))
        numbers = sorted({number for held, _ in found for number in held})
        columns = []
        for place in range(len(own)):
            by_number: dict[int, list[Any]] = {number: [] for number in numbers}
            for held, lists in found:
                for number, part in zip(held, lists[place], strict=False):
                    by_number[number].append(part)
            join = self._targets_joined if place == _TARGETS else concatenated
            columns.append([join(parts) for parts in by_number.values() if parts])
        self._numbers = numbers
        self.inputs, self.preds, self.targets, self.losses = columns

    def _joined(self, parts: Sequence[Any]) -> Any:
        return concatenated(parts, self.concat_dim) if parts else None

    def _targets_joined(self, parts: Sequence[Any]) -> Any:
        return self.learn._joined_targets(parts, self.concat_dim) if parts else None


def _single(value: Any) -> Any:
    """Take the one out of a tuple of one; an empty tuple is nothing."""
    if isinstance(value, tuple) and len(value) < 2:
        return value[0] if value else None
    return value


def _one_a_sample(loss: Tensor, samples: int) -> Tensor:
    """Average the losses within each sample (a sequence's tokens, a mask's pixels)."""
    loss = loss.detach().cpu()
    if loss.ndim == 0 or loss.numel() % samples:
        raise ValueError(
            f"with_loss needs one loss a sample, but the loss of {samples} samples has shape "
            f"{tuple(loss.shape)}: give the loss function a `reduction` that can be 'none'"
        )
    return loss.reshape(samples, -1).mean(1)


def _file_number(learn: Any) -> int:
    """Numbers that sort by batch, and within it by process."""
    return learn.iter * learn.world.size + learn.world.rank


def _write(folder: Path, number: int, value: Any) -> None:
    from safetensors.torch import save_file

    from torte.learner.files import written

    tensors = {"": value} if isinstance(value, Tensor) else dict(_leaves(value, ""))
    with written(folder / f"{number}.safetensors") as path:
        save_file({name or "value": t.contiguous().clone() for name, t in tensors.items()}, path)


def _leaves(value: Any, name: str) -> Any:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _leaves(item, f"{name}.{at}".lstrip("."))


def read_saved(folder: "str | Path", concat_dim: int = 0) -> Any:
    """Return what `save_preds` or `save_targs` wrote, joined in the order of the batches.

    Returns:
        A tensor; a dict of tensors by place in the structure if there were several.

    Raises:
        FileNotFoundError: If the folder holds no such files.
    """
    from safetensors.torch import load_file

    files = sorted(Path(folder).glob("*.safetensors"), key=lambda file: int(file.stem))
    if not files:
        raise FileNotFoundError(f"there are no saved batches in {str(folder)!r}")
    joined = concatenated([load_file(file) for file in files], concat_dim)
    return joined["value"] if set(joined) == {"value"} else joined


class FetchPredsCallback(Callback):
    """Fetch predictions after each validation of a fit, as `self.preds`.

    Callbacks that are `remove_on_fetch` are left out meanwhile.

    Args:
        ds_idx: Of which loader.
        dl: Or of this loader.
        with_input: Whether to fetch inputs too.
        with_decoded: Whether to fetch decoded predictions too.
        cbs: Callbacks for the fetching.
        reorder: Whether to put the results into the order of the dataset.
    """

    remove_on_fetch = True
    fit_only = True

    def __init__(
        self,
        ds_idx: int = 1,
        dl: Any = None,
        with_input: bool = False,
        with_decoded: bool = False,
        cbs: Callbacks = None,
        reorder: bool = True,
    ) -> None:
        super().__init__()
        self.ds_idx, self.loader, self.cbs, self.reorder = ds_idx, dl, cbs, reorder
        self.with_input, self.with_decoded = with_input, with_decoded
        self.preds: Any = None

    def after_validate(self) -> None:
        """Fetch."""
        learn = self.learn
        with learn.removed_cbs(cb for cb in learn.cbs if cb.remove_on_fetch):
            self.preds = learn.get_preds(
                ds_idx=self.ds_idx,
                dl=self.loader,
                with_input=self.with_input,
                with_decoded=self.with_decoded,
                inner=True,
                reorder=self.reorder,
                cbs=self.cbs,
            )
