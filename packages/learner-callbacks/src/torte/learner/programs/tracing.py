"""Turning a model of arbitrary code into a `Program`, by `torch.export`."""

import contextlib
import io
import math
import warnings
from collections.abc import Mapping
from inspect import signature
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from torte.learner.hooks import evaluating
from torte.learner.programs.operators import (
    UnknownOperatorError,
    name_of_operator,
    operator_named,
)
from torte.learner.programs.program import Program
from torte.learner.state import model_restored

__all__ = ["TraceError", "dtype_and_shape", "exported_program", "trace"]

_CHECKED_BATCHES = (1, 3)


class TraceError(ValueError):
    """A model cannot be written as a program; the message says why and what to do."""


class _OverTensors(nn.Module):
    """A model called on a flat tuple of tensors, giving a flat tuple of tensors."""

    def __init__(self, model: nn.Module, arguments: Any) -> None:
        super().__init__()
        self.model, self.arguments = model, arguments
        # In an object of its own, as attributes are put back after every run.
        self.seen = SimpleNamespace(returns=None)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        args, kwargs = _with_leaves(self.arguments, tensors)
        results: list[Tensor] = []
        self.seen.returns = _without_leaves(self.model(*args, **kwargs), results)
        return tuple(results)


def _without_leaves(value: Any, leaves: list[Tensor]) -> Any:
    """The structure of a value in its JSON form; its tensors go to `leaves`."""
    if isinstance(value, Tensor):
        leaves.append(value)
        return {"$value": len(leaves) - 1}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _without_leaves(item, leaves) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_without_leaves(item, leaves) for item in value]
        return items if isinstance(value, list) else {"$tuple": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TraceError(
        f"a {type(value).__name__} among the model's arguments or results is no tensor"
    )


def _with_leaves(value: Any, leaves: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$value"}:
            return leaves[value["$value"]]
        if value.keys() == {"$tuple"}:
            return tuple(_with_leaves(item, leaves) for item in value["$tuple"])
        return {key: _with_leaves(item, leaves) for key, item in value.items()}
    return [_with_leaves(item, leaves) for item in value] if isinstance(value, list) else value


def _renumbered(value: Any, results: list[Any]) -> Any:
    """The structure of results with each leaf as what the graph returns at its place."""
    if isinstance(value, dict):
        if value.keys() == {"$value"}:
            return results[value["$value"]]
        return {key: _renumbered(item, results) for key, item in value.items()}
    return [_renumbered(item, results) for item in value] if isinstance(value, list) else value


def exported_program(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None
) -> "torch.export.ExportedProgram":
    """Return PyTorch's program of a model in evaluation mode, of any batch size.

    Args:
        model: The model.
        args: Example arguments: tensors, or tuples, lists and dicts of them, whose first dimension
            is the batch; two rows or more.
        kwargs: Example keyword arguments.

    Raises:
        TraceError: If `torch.export` cannot follow the model's code.
    """
    keywords = dict(kwargs or {})
    shapes: Any = _dynamic_batch(args)
    if isinstance(model, _OverTensors):
        shapes = (shapes,)
    if keywords:
        names = signature(model.forward).parameters
        shapes = {**dict(zip(names, shapes, strict=False)), **_dynamic_batch(keywords)}
    with evaluating(model), model_restored(model), warnings.catch_warnings():
        # Recurrent layers of PyTorch gather their weights anew, which does no harm here.
        warnings.filterwarnings("ignore", "The tensor attributes? .* assigned during export")
        try:
            # It prints the unfinished graph of a model that it cannot follow.
            with contextlib.redirect_stderr(io.StringIO()):
                exported = torch.export.export(
                    model, args, keywords, dynamic_shapes=shapes, strict=False
                )
            return exported.run_decompositions({})
        except Exception as error:
            raise TraceError(_reason(model, error)) from error


def _dynamic_batch(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {0: torch.export.Dim.DYNAMIC} if value.ndim else None
    if isinstance(value, Mapping):
        return {key: _dynamic_batch(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_dynamic_batch(item) for item in value)
    return None


_CALL = "The following call raised this error:"


def _reason(model: nn.Module, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = (lines or ["no reason given"])[0]
    if _CALL in lines:  # torch.export names the line of the model's own code, far below
        place, code, *_ = [*lines[lines.index(_CALL) + 1 :], "", ""]
        said += f", raised by {place}" + ("" if code.startswith("The error") else f": {code}")
    name = type(model.model if isinstance(model, _OverTensors) else model).__name__
    return (
        f"torch.export cannot follow {name} ({type(error).__name__}: {said[:400]}); code that "
        "depends on the values of tensors, or on the size of the batch, has no program"
    )


def trace(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None
) -> Program:
    """Return a model as a `Program`, which predicts as it does in evaluation mode.

    Args:
        model: The model.
        args: Example arguments: tensors, or tuples, lists and dicts of them, whose first dimension
            is the batch; two rows or more.
        kwargs: Example keyword arguments.

    Raises:
        TraceError: If the model cannot be written so: its code depends on the values of tensors,
            it changes its own buffers when it predicts, uses an operation that programs may not,
            or the program does not give the model's results for batches of other sizes.
    """
    leaves: list[Tensor] = []
    takes = _without_leaves([list(args), dict(kwargs or {})], leaves)
    if not leaves or any(not leaf.ndim for leaf in leaves):
        raise TraceError("the model must take tensors with a batch dimension")
    flat = _OverTensors(model, takes)
    exported = exported_program(flat, tuple(leaves))
    description, tensors = _described(exported, flat, leaves, takes)
    try:
        program = Program(description, tensors)
    except ValueError as error:
        raise TraceError(f"the program of {type(model).__name__} does not hold: {error}") from error
    _check(flat, program, leaves)
    return program


def _described(
    exported: Any, flat: _OverTensors, leaves: list[Tensor], takes: Any
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    about = exported.graph_signature
    _check_pure(about)
    names = {
        **about.inputs_to_parameters,
        **about.inputs_to_buffers,
        **about.inputs_to_lifted_tensor_constants,
    }
    holds = {**dict(exported.named_parameters()), **dict(exported.named_buffers())}
    used = [
        n for n in exported.graph.nodes if n.op == "placeholder" and n.name in names and n.users
    ]
    users = [n for n in exported.graph.nodes if n.name in about.user_inputs]
    numbers = {node: number for number, node in enumerate([*users, *used])}
    tensors = {}
    for node in used:
        name = names[node.name]
        tensor = holds[name] if name in holds else exported.constants[name]
        tensors[name.removeprefix("model.")] = tensor.detach()
    steps = _steps(exported.graph, numbers)
    output = next(node for node in exported.graph.nodes if node.op == "output")
    results = [_encoded(result, numbers) for result in output.args[0]]
    parameters = {name.removeprefix("model.") for name in about.inputs_to_parameters.values()}
    return {
        "inputs": [dtype_and_shape(leaf) for leaf in leaves],
        "tensors": list(tensors),
        "parameters": [name for name in tensors if name in parameters],
        "steps": steps,
        "takes": takes,
        "returns": _renumbered(flat.seen.returns, results),
    }, tensors


def dtype_and_shape(tensor: Tensor) -> dict[str, Any]:
    """The dtype and the shape of an input as JSON values, null for the batch."""
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": [None, *tensor.shape[1:]]}


def _check_pure(about: Any) -> None:
    for changed in (*about.buffers_to_mutate.values(), *about.user_inputs_to_mutate.values()):
        raise TraceError(
            f"the model changes {changed.removeprefix('model.')!r} when it predicts; a program "
            "keeps no state from batch to batch"
        )


def _steps(graph: Any, numbers: dict[Any, int]) -> list[Any]:
    steps = []
    for node in graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        name = name_of_operator(node.target)
        if not node.users:
            continue  # assertions about sizes and dtypes: the program checks its inputs itself
        try:
            if node.op != "call_function":
                raise UnknownOperatorError(f"{node.op} {node.target}")
            name = _PORTABLE.get(name, name)
            operator_named(name)
        except UnknownOperatorError as error:
            raise TraceError(
                f"the model uses {name}, which no program may{_place(node)}"
            ) from error
        steps.append([name, _encoded(list(node.args), numbers), _encoded(node.kwargs, numbers)])
        numbers[node] = len(numbers)
    return steps


_PORTABLE: dict[str, str] = dict.fromkeys(
    ("aten.view.default", "aten._unsafe_view.default"), "aten.reshape.default"
)
"""Views that hold for the strides of the device that was traced on, by what holds anywhere."""


def _place(node: Any) -> str:
    """The user's line that an operation comes from, if it is known."""
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines()]
    where = [line for line in lines if line.startswith("File")]
    return f" ({where[-1]})" if where else ""


def _encoded(value: Any, numbers: dict[Any, int]) -> Any:
    """Arguments of a step in their JSON form."""
    if isinstance(value, torch.fx.Node):
        return {"$value": numbers[value]}
    if isinstance(value, list | tuple):
        return [_encoded(item, numbers) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _encoded(item, numbers) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    for kind, name in _SPELLED.items():
        if isinstance(value, kind):
            return {name: None if kind is torch.device else str(value).removeprefix("torch.")}
    raise TraceError(f"an argument of kind {type(value).__name__} has no place in a program")


_SPELLED: dict[type, str] = {
    torch.dtype: "$dtype",
    torch.device: "$device",
    torch.memory_format: "$memory_format",
    torch.layout: "$layout",
}


def _check(flat: _OverTensors, program: Program, leaves: list[Tensor]) -> None:
    """Compare with the model on batches of other sizes than the traced one."""
    for rows in _CHECKED_BATCHES:
        batch = [torch.cat([leaf] * rows)[:rows] for leaf in leaves]
        args, kwargs = _with_leaves(flat.arguments, batch)
        results: list[Tensor] = []
        with evaluating(flat), model_restored(flat):
            wanted = flat(*batch)
            try:
                _without_leaves(program(*args, **kwargs), results)
            except Exception as error:
                raise TraceError(
                    f"the program of the model fails on a batch of {rows}: {error}"
                ) from error
        for want, have in zip(wanted, results, strict=True):
            if not _close(want, have):
                raise TraceError(
                    f"the program of the model gives other results for a batch of {rows}: does the "
                    "model look at the size of the batch, or draw random numbers?"
                )


def _close(want: Tensor, have: Tensor) -> bool:
    if want.shape != have.shape or want.dtype != have.dtype:
        return False
    loose = 1e-5 if want.dtype in (torch.float32, torch.float64) else 2e-2
    return torch.allclose(want, have, rtol=loose, atol=loose, equal_nan=True)
