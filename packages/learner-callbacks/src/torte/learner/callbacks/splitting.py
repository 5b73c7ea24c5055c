"""`SplitOnOutOfMemory`: a batch that is too large for the device is computed in parts."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from torte.learner.callback import Callback
from torte.learner.metrics.contract import batch_size_of
from torte.learner.state import MODULE_TABLES

__all__ = ["SplitBatchWarning", "SplitOnOutOfMemory"]


class SplitBatchWarning(UserWarning):
    """Batches did not fit into the device's memory and are computed in parts from here on."""


class SplitOnOutOfMemory(Callback):
    """Compute batches in halves, quarters, … where the device's memory is too small for them.

    When the model, the loss or the backward pass runs out of memory, what the attempt has changed
    is put back (gradients, buffers, random generators, callbacks' counts), and the batch is
    computed again in twice as many parts, one after another, whose gradients add up; later batches
    are computed in as many from the start. The step, and everything around it, is that of the whole
    batch: `learn.pred` and `learn.loss` are put together, and the losses of parts count by their
    numbers of samples, so that the gradients are the whole batch's.

    Limits: batch normalisation takes its statistics over each part; dropout draws other numbers;
    losses that are no mean over samples (class weights, ignored targets) are weighted by samples
    all the same. The optimizer's own memory is not looked after. Several processes split each as it
    has to, and add their gradients up after the backward pass rather than during it; where they
    must take part in each other's passes (sharded models, batch normalisation over the whole batch)
    or accumulate gradients over batches, the error is raised.

    A callback that sets up something for a forward pass in `before_batch` may write
    `enter_part(rows)`, called before each part with its samples as a slice.

    Args:
        smallest: Raise the error rather than compute parts of fewer samples.

    Attributes:
        parts: In how many parts batches are computed now.
    """

    order = 95

    def __init__(self, smallest: int = 1) -> None:
        super().__init__()
        if smallest < 1:
            raise ValueError(f"smallest must be at least 1, not {smallest}")
        self.smallest = smallest
        self.parts = 1

    def before_fit(self) -> None:
        """Stand between the loop and the batch."""
        vars(self.learn)["_compute"] = self._compute

    def after_fit(self) -> None:
        """Let the loop be."""
        self.clean_up()

    def clean_up(self) -> None:
        """Let the loop be."""
        vars(self.learn).pop("_compute", None)

    def _compute(self, fire: Callable[[str], None]) -> bool:
        learn: Any = self.learn
        world = learn.world
        if world.size == 1:
            return self._in_as_many_parts_as_needed(fire)
        if not world.computes_apart or self._weighs():
            return type(learn)._compute(learn, fire)
        world.synchronize_gradients(False)
        try:
            steps = self._in_as_many_parts_as_needed(fire)
        finally:
            world.synchronize_gradients(True)
        if steps:
            world.finish_gradients(learn)
        return steps

    def _weighs(self) -> bool:
        """Whether a callback weights each part's loss by its samples already."""
        return any(getattr(callback, "weighs_samples", False) for callback in self.learn.cbs)

    def _in_as_many_parts_as_needed(self, fire: Callable[[str], None]) -> bool:
        learn: Any = self.learn
        size = batch_size_of(learn.yb if len(learn.yb) else learn.xb)
        while True:
            found = self._attempt(fire, size)
            if isinstance(found, bool):
                return found
            if size // (2 * self.parts) < self.smallest:
                found.add_note(
                    f"the batch of {size} was computed in {self.parts} parts already, and "
                    f"SplitOnOutOfMemory may not make them smaller than {self.smallest}"
                )
                raise found
            self.parts *= 2
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
            warnings.warn(
                f"out of memory: batches of {size} are computed in {self.parts} parts from here on",
                SplitBatchWarning,
                stacklevel=2,
            )

    def _attempt(self, fire: Callable[[str], None], size: int) -> bool | torch.OutOfMemoryError:
        """Whether a step is to follow; or the error, with everything as it was."""
        learn: Any = self.learn
        back = self._remembered()
        whole = learn.xb, learn.yb
        try:
            if self.parts == 1:
                return type(learn)._compute(learn, fire)
            return self._in_parts(fire, size)
        except torch.OutOfMemoryError as error:
            learn.output = learn.pred = learn.loss = learn.loss_grad = None
            learn.xb, learn.yb = whole
            back()
            # Its traceback would keep the tensors of the attempt.
            return error.with_traceback(None)

    def _remembered(self) -> Callable[[], None]:
        """A function that puts back what a failed attempt changes."""
        learn: Any = self.learn
        grads = [(p, None if p.grad is None else p.grad.clone()) for p in learn.model.parameters()]
        buffers = [(buffer, buffer.clone()) for buffer in learn.model.buffers()]
        between = ("after_pred", "after_loss", "before_backward", "after_backward")
        callbacks = {cb for event in between for cb, _ in learn._bound[event]}
        tables = [(vars(cb), _shallow(vars(cb))) for cb in callbacks if cb is not self]
        tables += [(vars(module), _shallow(vars(module))) for module in learn.model.modules()]
        random = torch.get_rng_state()
        device = learn.device if learn.device is not None and learn.device.type == "cuda" else None
        on_device = None if device is None else torch.cuda.get_rng_state(device)

        def back() -> None:
            for parameter, grad in grads:
                parameter.grad = grad
            for buffer, kept in buffers:
                buffer.detach().copy_(kept)
            for table, kept in tables:
                table.update(kept)
            torch.set_rng_state(random)
            if on_device is not None and device is not None:
                torch.cuda.set_rng_state(on_device, device)

        return back

    def _in_parts(self, fire: Callable[[str], None], size: int) -> bool:
        learn: Any = self.learn
        xb, yb = learn.xb, learn.yb
        weighs = self._weighs()
        sums_up = getattr(learn.loss_func, "reduction", "mean") == "sum"
        preds, losses, steps = [], [], False
        for rows in _slices(size, self.parts):
            share = 1.0 if sums_up else (rows.stop - rows.start) / size
            learn.xb, learn.yb = _rows_of(xb, rows, size), _rows_of(yb, rows, size)
            for callback in learn.cbs:
                enter_part = getattr(type(callback), "enter_part", None)
                if enter_part is not None and callback.run:
                    enter_part(callback, rows)
            steps = self._one_part(fire, 1.0 if weighs else share)
            preds.append(_detached(learn.pred))
            if learn.loss is not None:
                losses.append(learn.loss * share)
        learn.xb, learn.yb = xb, yb
        learn.pred = _joined(preds)
        learn.loss = torch.stack(losses).sum(0) if losses else None
        learn.output, learn.loss_grad = None, learn.loss
        return steps

    def _one_part(self, fire: Callable[[str], None], weight: float) -> bool:
        """The loop's own computation, with the loss weighted before callbacks see it."""
        learn: Any = self.learn
        compute_loss = learn.compute_loss

        def weighted() -> None:
            compute_loss()
            if learn.loss_grad is not None and learn.training:
                learn.loss_grad = learn.loss_grad * weight

        before = vars(learn).get("compute_loss")
        vars(learn)["compute_loss"] = weighted
        try:
            return type(learn)._compute(learn, fire)
        finally:
            del vars(learn)["compute_loss"]
            if before is not None:
                vars(learn)["compute_loss"] = before


def _shallow(table: dict[str, Any]) -> dict[str, Any]:
    """What is in an object, less what PyTorch keeps in modules; lists as they are now."""
    return {
        name: value.copy() if type(value) is list else value
        for name, value in table.items()
        if name not in MODULE_TABLES
    }


def _slices(size: int, parts: int) -> Iterator[slice]:
    """Rows in so many parts, as equal as can be."""
    edges = [size * place // parts for place in range(parts + 1)]
    return (slice(a, b) for a, b in itertools.pairwise(edges) if b > a)


def _rows_of(value: Any, rows: slice, size: int) -> Any:
    """Some rows of a batch of any structure; what has not one row a sample is for all of them."""
    if isinstance(value, Tensor):
        return value[rows] if value.ndim and len(value) == size else value
    if isinstance(value, Mapping):
        return type(value)({k: _rows_of(v, rows, size) for k, v in value.items()})  # pyright: ignore[reportCallIssue]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_rows_of(item, rows, size) for item in value))
    if isinstance(value, list | tuple):
        # A list with an entry a sample (of other things than tensors) is cut as well.
        if len(value) == size and not any(isinstance(item, Tensor) for item in value):
            return value[rows]
        return type(value)(_rows_of(item, rows, size) for item in value)
    return value


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: _detached(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_detached(item) for item in value)
    return value


def _joined(parts: list[Any]) -> Any:
    """Predictions of parts, put together; numbers (no dimensions) are the last part's."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts) if first.ndim else parts[-1]
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        return tuple(_joined(list(items)) for items in zip(*parts, strict=True))
    return first
