"""A model's layers as a table: output shapes, parameters, multiply-adds; nothing is changed.

`Learner.summary()` runs one batch of the training data through the model; `summarize_model` does it
for any module and inputs. Multiply-adds are counted by PyTorch's own FLOP counter (two FLOPs each),
so functions called between layers count in the total as well.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from torte.dispatch import patch
from torte.learner.batches import call_model, ready, split_batch
from torte.learner.hooks import evaluating
from torte.learner.learner import Learner
from torte.learner.metrics.contract import batch_size_of

__all__ = [
    "LayerSummary",
    "ModelSummary",
    "is_whole",
    "layer_info",
    "module_summary",
    "summarize_model",
    "walk_layers",
]


@dataclass
class LayerSummary:
    """One layer of a model: one row of the table."""

    name: str
    """Its path in the model."""
    kind: str
    """Its class."""
    params: int
    """Its parameters; those shared with a layer above count there."""
    trainable: int
    """How many of them are being trained."""
    output_shape: Any = None
    """Shape of its output with the batch dimension, a list for several; `None` if not called."""
    multiply_adds: int = 0
    """Multiply-adds for the batch, over all calls."""
    calls: int = 0
    """How often it was called."""


@dataclass
class ModelSummary:
    """A table of a model's layers. Printing it, or looking at it in a notebook, shows the table."""

    model: str
    input_shape: Any
    batch_size: int
    layers: list[LayerSummary]
    total_params: int
    total_trainable: int
    total_multiply_adds: int
    """For the whole batch, calls between layers included."""
    notes: list[str] = field(default_factory=list)

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Return the table's cells: layer, output shape, parameters, multiply-adds, trainable."""
        return [
            (
                f"{layer.name} ({layer.kind})" if layer.name else layer.kind,
                _shape_text(layer.output_shape) if layer.calls else "not called",
                f"{layer.params:,}",
                f"{layer.multiply_adds // self.batch_size:,}",
                _trained_text(layer),
            )
            for layer in self.layers
        ]

    def __str__(self) -> str:
        rows = [_HEADER, *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
        lines = [_line(row, widths) for row in rows]
        rule = "-" * len(lines[0])
        head = f"{self.model} (input shape: {_shape_text(self.input_shape)})"
        return "\n".join([head, rule, lines[0], rule, *lines[1:], rule, *self.totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def cells(tag: str, row: Sequence[str]) -> str:
            return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)

        body = "".join(f"<tr>{cells('td', row)}</tr>" for row in self.rows())
        head = f"{self.model} (input shape: {_shape_text(self.input_shape)})"
        totals = "<br>".join(map(html.escape, self.totals()))
        return (
            f"<p>{html.escape(head)}</p><table><thead><tr>{cells('th', _HEADER)}</tr></thead>"
            f"<tbody>{body}</tbody></table><p>{totals}</p>"
        )

    def totals(self) -> list[str]:
        """Return the lines under the table."""
        frozen = self.total_params - self.total_trainable
        return [
            f"Total params: {self.total_params:,}",
            f"Total trainable params: {self.total_trainable:,}",
            f"Total non-trainable params: {frozen:,}",
            f"Total multiply-adds by sample: {self.total_multiply_adds // self.batch_size:,}",
            *self.notes,
        ]


_HEADER = ("Layer (type)", "Output shape", "Param #", "Mult-adds", "Trainable")


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*left, *right])


def _trained_text(layer: LayerSummary) -> str:
    if layer.params == 0:
        return ""
    if layer.trainable == 0:
        return "False"
    return "True" if layer.trainable == layer.params else f"{layer.trainable:,}"


def _shape_text(shape: Any) -> str:
    if shape is None:
        return ""
    if isinstance(shape, torch.Size):
        return " x ".join(map(str, shape)) or "scalar"
    if isinstance(shape, dict):
        return ", ".join(f"{key}: {_shape_text(part)}" for key, part in shape.items())
    return ", ".join(_shape_text(part) for part in shape if part is not None)


def _shape_of(value: Any) -> Any:
    """Return the shapes of all tensors in a structure, or `None` for anything else."""
    if isinstance(value, Tensor):
        return value.shape
    if isinstance(value, dict):
        return {key: _shape_of(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        shapes = [_shape_of(item) for item in value]
        return shapes[0] if len(shapes) == 1 else shapes
    return None


def is_whole(module: nn.Module) -> bool:
    """Tell whether a module is one layer, whatever it is made of inside."""
    if next(module.children(), None) is None or is_parametrized(module):
        return True
    # Its output projection is a module, but it is never called.
    return isinstance(module, nn.MultiheadAttention)


def walk_layers(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield names and modules of a model's layers, in order.

    A layer is a module without children, or one that has parameters of its own. Parametrized
    modules (weight or spectral normalisation) are one layer.
    """
    whole = is_whole(model)
    if whole or next(model.parameters(recurse=False), None) is not None:
        yield prefix, model
    if not whole:
        for name, child in model.named_children():
            yield from walk_layers(child, f"{prefix}.{name}" if prefix else name)


class _Recording:
    """Fills in shapes and multiply-adds of layers while the model runs."""

    def __init__(self, model: nn.Module, counter: Any) -> None:
        self.counter = counter
        self.rows: list[LayerSummary] = []
        self._by_module: dict[nn.Module, LayerSummary] = {}
        self._leaves: set[nn.Module] = set()
        self._seen: set[nn.Parameter] = set()
        self._before: list[int] = []
        self.uncounted = 0
        for name, module in walk_layers(model):
            if module not in self._by_module:
                self._add(name, module)

    def _add(self, name: str, module: nn.Module) -> None:
        whole = is_whole(module)
        new = [p for p in module.parameters(recurse=whole) if p not in self._seen]
        self._seen.update(new)
        kind = type(module).__name__.removeprefix("Parametrized")
        trained = sum(p.numel() for p in new if p.requires_grad)
        row = LayerSummary(name, kind, sum(p.numel() for p in new), trained)
        self.rows.append(row)
        self._by_module[module] = row
        if whole:
            self._leaves.add(module)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Have the hooks in place within the block."""
        with ExitStack() as stack:
            for module in self._by_module:
                before = module.register_forward_pre_hook(self._start)
                after = module.register_forward_hook(self._finish)
                stack.callback(before.remove)
                stack.callback(after.remove)
            yield

    def _start(self, module: nn.Module, inp: Any) -> None:
        if module in self._leaves:
            self._before.append(self.counter.get_total_flops())

    def _finish(self, module: nn.Module, inp: Any, out: Any) -> None:
        row = self._by_module[module]
        row.calls += 1
        row.output_shape = _shape_of(out) if row.output_shape is None else row.output_shape
        if module not in self._leaves:
            return
        counted = (self.counter.get_total_flops() - self._before.pop()) // 2
        if counted == 0 and hasattr(module, "weight_hh_l0"):
            counted = _recurrent_multiply_adds(module, inp[0])
            self.uncounted += counted
        row.multiply_adds += counted


def _recurrent_multiply_adds(module: nn.Module, x: Any) -> int:
    """Count what PyTorch's counter does not see: recurrent layers run in one fused kernel."""
    data = getattr(x, "data", x) if not isinstance(x, Tensor) else x
    steps = data.numel() // data.shape[-1]
    weights = (p for name, p in module.named_parameters() if name.startswith("weight"))
    return steps * sum(weight.numel() for weight in weights)


def summarize_model(
    model: nn.Module, *inputs: Any, call: Callable[[], Any] | None = None
) -> ModelSummary:
    """Run a model on inputs and return the table of its layers.

    The model runs in evaluation mode, without gradients; it and the random number generators are
    left as they were.

    Args:
        model: The model.
        *inputs: What it is called with.
        call: Calls it instead, with the inputs given only for their shapes.

    Example:
        >>> table = summarize_model(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.zeros(2, 3))
        >>> [(layer.kind, layer.params, layer.multiply_adds) for layer in table.layers]
        [('Linear', 16, 24), ('ReLU', 0, 0)]
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    recording = _Recording(model, counter)
    with evaluating(model), _without_fast_paths(), recording.hooked(), counter:
        call() if call is not None else model(*inputs)
    parameters = list(model.parameters())
    return ModelSummary(
        model=type(model).__name__,
        input_shape=_shape_of(inputs),
        batch_size=batch_size_of(inputs) or 1,
        layers=recording.rows,
        total_params=sum(p.numel() for p in parameters),
        total_trainable=sum(p.numel() for p in parameters if p.requires_grad),
        total_multiply_adds=counter.get_total_flops() // 2 + recording.uncounted,
    )


@contextmanager
def _without_fast_paths() -> Iterator[None]:
    """Keep transformers from their fused inference kernels, which hide layers and operations."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _first_inputs(learn: Learner) -> tuple[Any, ...]:
    """Return the inputs of one training batch as the model gets them."""
    dl = learn.dls.train
    with learn.looking(dl):
        batch = dl.one_batch() if hasattr(dl, "one_batch") else next(iter(dl))
        n_inp = getattr(dl, "n_inp", None)
        n_inp = getattr(learn.dls, "n_inp", None) if n_inp is None else n_inp
        xb, _ = split_batch(batch, n_inp)
        return ready(xb, learn.device)


def module_summary(learn: Learner, *xb: Any) -> ModelSummary:
    """Return the table of a learner's model, run on the inputs `xb` of a batch."""
    model = learn.model
    return summarize_model(model, *xb, call=lambda: call_model(model, xb))


def layer_info(learn: Learner, *xb: Any) -> list[tuple[str, int, bool, Any, bool]]:
    """List layers as (class, parameters, trained, output shape, shape as the layer before)."""
    info, before = [], None
    for layer in module_summary(learn, *xb).layers:
        same = layer.output_shape == before
        info.append((layer.kind, layer.params, layer.trainable > 0, layer.output_shape, same))
        before = layer.output_shape
    return info


@patch
def summary(self: Learner) -> ModelSummary:
    """Return a table of the model's layers for a batch of the training data, changing nothing."""
    device = next((p.device for p in self.model.parameters()), None)
    xb = _first_inputs(self)
    xb = xb if device is None else ready(xb, device)
    table = module_summary(self, *xb)
    optimizer = getattr(self.opt_func, "__name__", None) or repr(self.opt_func)
    table.notes = [f"Optimizer: {optimizer}", f"Loss function: {_loss_name(self.loss_func)}"]
    groups = getattr(self.opt, "frozen_idx", None) if self.opt is not None else None
    if groups is not None:
        table.notes.append(
            f"Model frozen up to parameter group #{groups}" if groups else "Model unfrozen"
        )
    table.notes.append("Callbacks: " + ", ".join(map(repr, self.cbs)))
    return table


def _loss_name(loss: Any) -> str:
    return getattr(loss, "__name__", None) or repr(loss)
