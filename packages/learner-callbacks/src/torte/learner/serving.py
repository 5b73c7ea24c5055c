"""What other systems serve: PyTorch's own program and ONNX, with all that surrounds the model.

A model alone takes normalized tensors and gives raw scores. What comes before and after it is
written beside it as JSON, for whoever writes the service: the steps on an item and on a batch with
their settings, the vocabulary, the activation and how results are decoded.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torte.data._structure import leaves
from torte.dispatch import describe, noop, patch, registered_name, undescribable
from torte.learner.example_batch import example_arguments
from torte.learner.files import written
from torte.learner.hooks import evaluating
from torte.learner.learner import Learner
from torte.learner.persistence import unwrapped
from torte.learner.programs.tracing import TraceError, dtype_and_shape, exported_program
from torte.learner.state import model_restored

__all__ = ["serving_notes", "to_onnx", "to_program"]

_STAGES = ("after_item", "before_batch", "after_batch")


@patch
def to_program(self: Learner) -> "torch.export.ExportedProgram":
    """Return the model, in evaluation mode, as PyTorch's program for serving, of any batch size.

    It can be saved by `torch.export.save`, lowered by ExecuTorch or packed by AOTInductor. Those
    files unpickle parts of themselves: for files from others use `learn.export`.

    Raises:
        TraceError: If `torch.export` cannot follow the model's code.
    """
    args, kwargs = example_arguments(self)
    return exported_program(unwrapped(self.model), args, kwargs)


@patch
def to_onnx(  # noqa: D417
    self: Learner, path: "str | Path" = "model.onnx", tolerance: float = 1e-3
) -> Path:
    """Write the model in ONNX, of any batch size, with `serving_notes` in its metadata and beside.

    The notes are the metadata property `torte` of the file, and the file `<path>.json`. The
    model's own weights, modes and gradients stay as they are. If onnxruntime is installed, the file
    is run and compared with the model before it takes its place.

    Args:
        path: The file, in `learn.path`.
        tolerance: How far its results may be from the model's, relative to the largest.

    Returns:
        The path.

    Raises:
        ImportError: If onnx or onnxscript is missing: they come with
            `pip install "torte-learner-callbacks[onnx]"`.
        TraceError: If the model cannot be converted, or gives other results. No file is written.
    """
    args, kwargs = example_arguments(self)
    if kwargs:
        raise TraceError("models of keyword arguments are not written in ONNX; see to_program")
    model, target = unwrapped(self.model), Path(self.path) / path
    names = [f"input_{place}" for place in range(len(args))]
    converted = _converted(model, args, names)
    notes = serving_notes(self)
    text = json.dumps(notes, indent=1)
    target.parent.mkdir(parents=True, exist_ok=True)
    converted.model.metadata_props["torte"] = json.dumps(notes)
    with written(target) as beside:
        converted.save(beside)
        _compare(beside, model, dict(zip(names, args, strict=True)), tolerance)
    with written(target.with_name(f"{target.name}.json")) as beside:
        beside.write_text(text)
    return target


def _converted(model: nn.Module, args: tuple[Any, ...], names: list[str]) -> Any:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'writing ONNX needs more: pip install "torte-learner-callbacks[onnx]"'
        ) from error
    batch = tuple({0: torch.export.Dim("batch")} for _ in args)
    with evaluating(model), model_restored(model):
        try:
            return torch.onnx.export(
                model, args, dynamo=True, input_names=names, dynamic_shapes=batch, verbose=False
            )
        except Exception as error:
            name = type(model).__name__
            raise TraceError(f"{name} cannot be written in ONNX: {error}") from error


def _compare(file: Path, model: nn.Module, inputs: dict[str, Tensor], tolerance: float) -> None:
    """Run the file on one row and on three, where onnxruntime is at hand."""
    try:
        import onnxruntime
    except ImportError:
        return
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for rows in (1, 3):
        batch = {name: torch.cat([value] * rows)[:rows].cpu() for name, value in inputs.items()}
        with evaluating(model), model_restored(model):
            device = next(iter(inputs.values())).device
            wanted = leaves(model(*(value.to(device) for value in batch.values())))
        found = session.run(None, {name: value.numpy() for name, value in batch.items()})
        for want, have in zip(wanted, found, strict=True):
            far = (want.cpu().float() - torch.as_tensor(have).float()).abs().max()
            if far > tolerance * max(1.0, float(want.abs().max())):
                raise TraceError(
                    f"in ONNX, results for a batch of {rows} are {float(far):.2g} off the model's"
                )


def serving_notes(learn: Learner) -> dict[str, Any]:
    """Return, as JSON values, what a service must do before and after the model.

    - `inputs`: dtype and shape of each, null for the batch;
    - `types`: for each input the steps from what the data are made of (a path) to an item;
    - `after_item`, `before_batch`, `after_batch`: the steps on an item, on the list of items and on
      the batch. A step has a name and its settings as `description`, null if it has none;
    - `vocab`: of the targets, or null;
    - `loss`: what makes results of the model's scores, or null: its name, its `activation`
      ("softmax" over `axis`, "sigmoid", "identity") and how that `decodes` ("argmax" over `axis`,
      "above" the `threshold`, "identity"); null where it is something else.
    """
    args, kwargs = example_arguments(learn)
    dl = learn.loader(1) or learn.loader(0)
    stages = {name: getattr(dl, name, None) for name in _STAGES}
    return {
        "inputs": [dtype_and_shape(value) for value in (*args, *kwargs.values())],
        "types": [[_step(step) for step in tl.tfms] for tl in _lists_of(dl)],
        **{name: [_step(step) for step in pipe or ()] for name, pipe in stages.items()},
        "vocab": _listed(getattr(learn.dls, "vocab", None)),
        "loss": _loss(learn.loss_func),
    }


def _lists_of(dl: Any) -> Any:
    """The pipelines of the inputs' types: the targets' have no part in serving."""
    dataset = getattr(dl, "dataset", None)
    return list(getattr(dataset, "tls", ()))[: getattr(dataset, "n_inp", 1)]


def _step(step: Any) -> dict[str, Any]:
    name = registered_name(step) or registered_name(type(step)) or type(step).__qualname__
    settings = None if undescribable(step) else describe(step)
    return {"name": name, "description": settings}


def _listed(value: Any) -> Any:
    """Vocabularies as lists: those of several inputs or targets are lists of lists."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, Iterable) else str(value)


def _loss(loss: Any) -> dict[str, Any] | None:
    if not hasattr(loss, "activation"):
        return None
    scores = torch.tensor([[-1.0, 0.5, 2.0]])
    threshold = getattr(loss, "thresh", None)
    decoding = {**_DECODINGS, "above": lambda x: x > threshold}
    return {
        "name": type(loss).__name__,
        "axis": getattr(loss, "axis", None),
        "activation": _alike(loss.activation, _ACTIVATIONS, scores),
        "decodes": _alike(getattr(loss, "decodes", noop), decoding, scores.softmax(-1)),
        "threshold": threshold,
    }


def _alike(function: Any, known: Mapping[str, Any], sample: Tensor) -> str | None:
    """The name of the known function that gives what `function` gives."""
    for name, other in known.items():
        try:
            if torch.equal(function(sample), other(sample)):
                return name
        except Exception:  # noqa: BLE001 - a loss of several outputs takes no single one
            continue
    return None


_ACTIVATIONS = {
    "softmax": lambda x: x.softmax(-1),
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}
_DECODINGS = {"argmax": lambda x: x.argmax(-1), "identity": lambda x: x}
