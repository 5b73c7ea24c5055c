"""The file that ships: model, transforms and decodes in one safetensors file.

Its metadata is JSON: the model as the name and arguments of a registered builder, or as a program
(see `torte.learner.programs`), the transform pipelines by the registry with their vocabularies, the
loss with its activation and decodes. Nothing in it is code, and loading calls nothing that is not
registered.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from torte.data.state import describe_loaders, rebuild_loaders
from torte.dispatch import (
    UndescribableError,
    UnknownNameError,
    describe,
    rebuild,
    registered_name,
    undescribable,
)
from torte.learner.builders import (
    ModelRecipeError,
    build_model,
    has_recipe,
    model_builder,
    model_recipe,
)
from torte.learner.example_batch import example_arguments
from torte.learner.learner import Learner
from torte.learner.packing import FileFormatError, read_file, write_file
from torte.learner.persistence import model_state, restore_model, unwrapped, whole_state
from torte.learner.programs.operators import UnknownOperatorError
from torte.learner.programs.program import Program, program_description
from torte.learner.programs.tracing import TraceError, trace
from torte.learner.state import rng_restored

__all__ = ["ExportError", "export_learner", "load_learner", "model_builder"]

EXPORT = "learner"

_FILLS = frozenset(
    {
        *(nn.init.normal_, torch.Tensor.normal_, torch.Tensor.log_normal_),
        *(torch.Tensor.exponential_, torch.Tensor.cauchy_, torch.Tensor.geometric_),
    }
)


class ExportError(ValueError):
    """A Learner has a part that cannot be described in a file; the message names it."""


def export_learner(learn: Learner, fname: "str | Path" = "export.safetensors") -> Path:
    """Write a Learner, without its data and optimizer, for `load_learner`.

    A model that a registered builder made is written as the builder's name and arguments. Any other
    is written as a program: it predicts as the model does in evaluation mode, on inputs of the size
    of a batch of the learner's loaders, and cannot be trained.
    Metrics and callbacks are not part of the file.

    Args:
        learn: The Learner.
        fname: The file, in `learn.path`.

    Returns:
        The path.

    Raises:
        ExportError: If the model, a transform or the loss cannot be described; the message says
            which and what to do. Nothing is written then.
    """
    model = unwrapped(learn.model)
    recipe, weights = _described_model(learn, model)
    _warn_of_callbacks(learn)
    try:
        with learn.looking():
            loaders = describe_loaders(learn.dls)
    except UndescribableError as error:
        raise ExportError(f"the data's transforms cannot be exported: {error}") from error
    content = {
        "model": recipe,
        "weights": whole_state(weights, keep=learn.world.is_first),
        "dtype": str(_dtype(model)).removeprefix("torch."),
        "loaders": loaders,
        "loss": _described_loss(learn.loss_func),
        "class": _described_class(learn),
    }
    path = Path(learn.path) / fname
    learn.world.first_does(lambda: write_file(path, EXPORT, content))
    return path


def _described_model(learn: Learner, model: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model by its builder or else as a program, with its tensors."""
    if isinstance(model, Program):
        return {"program": program_description(model)}, model_state(model)
    if has_recipe(model):
        try:
            recipe = model_recipe(model)
            _check_recipe(model, recipe)
        except ModelRecipeError as error:
            raise ExportError(f"the model cannot be exported: {error}") from error
        return recipe, model_state(model)
    try:
        program = trace(model, *example_arguments(learn))
    except TraceError as error:
        raise ExportError(
            f"the model cannot be exported: {type(model).__name__} was not made by a registered "
            f"builder, and as a program neither: {error}. Decorate its class, or the function that "
            "makes it, with @model_builder, and make the model anew"
        ) from error
    return {"program": program_description(program)}, model_state(program)


def _check_recipe(model: nn.Module, recipe: dict[str, Any]) -> None:
    """A model that was changed after it was built is not what its recipe makes."""
    own = {name: tuple(value.shape) for name, value in _tensors(model)}
    made = {name: tuple(value.shape) for name, value in _tensors(_sketch(recipe))}
    if own != made:
        name = next(iter(sorted(set(own.items()) ^ set(made.items()))))[0]
        raise ModelRecipeError(
            f"builder {recipe['name']!r} makes another structure than the model has (at {name!r}): "
            "it was changed after it was built; make the change in the builder"
        )


def _tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [(k, v) for k, v in model_state(model).items() if isinstance(v, torch.Tensor)]


class _Unfilled(TorchFunctionMode):
    """Draws no numbers for tensors without memory: PyTorch imports its compiler to do so."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return the tensor as it is where the call would fill it."""
        kwargs = kwargs or {}
        if func in _FILLS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


def _sketch(recipe: dict[str, Any]) -> nn.Module:
    """Build a model for its shapes alone: without memory if the builder can be run that way."""
    with rng_restored():
        try:
            with torch.device("meta"), _Unfilled():
                return build_model(recipe)
        except ModelRecipeError:
            return build_model(recipe)


def _dtype(model: nn.Module) -> torch.dtype:
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    return torch.float32 if first is None else first.dtype


def _described_loss(loss_func: Any) -> Any:
    """The loss by the registry; None if it knows no activation or decodes: then none is needed."""
    if not hasattr(loss_func, "activation") and not hasattr(loss_func, "decodes"):
        return None
    culprits = undescribable(loss_func)
    if culprits:
        raise ExportError(
            f"the loss cannot be exported: {', '.join(map(str, culprits))}; register its class "
            "with @serializable"
        )
    return describe(loss_func)


def _described_class(learn: Learner) -> dict[str, Any]:
    """The nearest registered class of the learner: what a user's own adds is in no file."""
    return describe(next(kind for kind in type(learn).__mro__ if registered_name(kind)))


def _learner_class(description: Any) -> type[Learner]:
    kind = rebuild(description)
    if not (isinstance(kind, type) and issubclass(kind, Learner)):
        raise FileFormatError(f"{kind!r} is no kind of learner")
    return kind


def _warn_of_callbacks(learn: Learner) -> None:
    for callback in (*learn.ordered_cbs("before_batch"), *learn.ordered_cbs("after_pred")):
        if callback.run_valid and not type(callback).__module__.startswith("torte."):
            warnings.warn(
                f"callback {callback!r} takes part in predictions, but callbacks are not exported: "
                "add it again after load_learner",
                stacklevel=3,
            )


def load_learner(fname: "str | Path", cpu: bool = True) -> Learner:
    """Return a Learner for prediction from a file that `export` wrote.

    Nothing in the file is executed, and only registered builders, transforms and losses are called;
    those of the user's own must be imported before.

    Args:
        fname: The file.
        cpu: Whether to stay on the CPU; else the GPU is used if there is one.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If it is not such a file, or damaged.
        ModelRecipeError: If the model's builder does not take the arguments in it.
        UnknownNameError: If it names something that is not registered.
        UnknownOperatorError: If its program names an operation that programs may not use.
    """
    content = read_file(Path(fname), EXPORT)
    expected = {"model", "weights", "dtype", "loaders", "loss", "class"}
    if not isinstance(content, dict) or not expected <= content.keys():
        raise FileFormatError(f"{str(fname)!r} lacks parts of an exported learner")
    try:
        model, dls = _loaded_model(content), rebuild_loaders(content["loaders"])
        loss = None if content["loss"] is None else rebuild(content["loss"])
        made = _learner_class(content["class"])
        learn = made(dls, model, loss_func=loss, path=Path(fname).parent)
    except (FileFormatError, ModelRecipeError, UnknownNameError, UnknownOperatorError):
        raise
    except Exception as error:
        # Whatever a builder or transform makes of forged arguments, the fault is the file's.
        raise FileFormatError(f"{str(fname)!r} is damaged: {error}") from error
    learn.to("cpu" if cpu or not torch.cuda.is_available() else "cuda")
    learn.model.eval()
    return learn


def _loaded_model(content: dict[str, Any]) -> nn.Module:
    weights, recipe = content["weights"], content["model"]
    if isinstance(recipe, dict) and recipe.keys() == {"program"}:
        return _loaded_program(recipe["program"], weights)
    dtype = getattr(torch, str(content["dtype"]), None)
    if not isinstance(weights, dict) or not isinstance(dtype, torch.dtype):
        raise FileFormatError("the file's weights are damaged")
    # First without memory: a forged recipe of a giant model is found out by its shapes.
    restore_check = _sketch(recipe)
    own = {name: tuple(value.shape) for name, value in _tensors(restore_check)}
    given = {k: tuple(v.shape) for k, v in weights.items() if isinstance(v, torch.Tensor)}
    if own != given:
        raise FileFormatError(f"the weights do not fit the model {recipe.get('name')!r}")
    with rng_restored():
        model = build_model(recipe)
    if dtype.is_floating_point:
        model.to(dtype)
    restore_model(model, weights)
    return model


def _loaded_program(description: Any, weights: Any) -> Program:
    if not isinstance(weights, dict) or not all(
        isinstance(value, torch.Tensor) for value in weights.values()
    ):
        raise FileFormatError("the file's weights are damaged")
    return Program(description, weights)
