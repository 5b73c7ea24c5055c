"""Model builders: functions and classes that can make a model again from a few JSON values."""

import functools
import importlib
import inspect
import json
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from torch import nn

from torte.dispatch import UnknownNameError

__all__ = [
    "ModelRecipeError",
    "amend_recipe",
    "build_model",
    "has_recipe",
    "keep_recipe",
    "model_builder",
    "model_recipe",
]

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}
_RECIPE = "_model_recipe"
_LAYERS = ("learner", "vision", "text", "tabular", "collab")


class ModelRecipeError(ValueError):
    """A model cannot be described by a builder and its arguments."""


def model_builder(builder: Callable[..., nn.Module] | str) -> Any:
    """Register a function (or an nn.Module class) that builds a model's structure.

    Models that it makes remember its name and its arguments, so that `Learner.export` can write
    them and `load_learner` can build the model again, without any code in the file. Arguments that
    are not JSON-able do not hinder building; exporting the model then says which they are.

    Args:
        builder: The function or class; or a name to register the decorated one under, instead of
            its module and qualified name.

    Example:
        >>> @model_builder("docs.two_layers")
        ... def two_layers(n_in: int, n_out: int, hidden: int = 8):
        ...     return nn.Sequential(nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, n_out))
        >>> model_recipe(two_layers(2, 1))
        {'name': 'docs.two_layers', 'config': {'n_in': 2, 'n_out': 1, 'hidden': 8}}
    """
    if isinstance(builder, str):
        return functools.partial(_register, builder)
    return _register(f"{builder.__module__}.{builder.__qualname__}", builder)


def _register(name: str, builder: Any) -> Any:
    if isinstance(builder, type):
        return _register_class(name, builder)
    signature = inspect.signature(builder)

    @functools.wraps(builder)
    def build(*args: Any, **kwargs: Any) -> nn.Module:
        model = builder(*args, **kwargs)
        object.__setattr__(model, _RECIPE, (name, _arguments(signature, args, kwargs)))
        return model

    _BUILDERS[name] = build
    return build


def _register_class(name: str, cls: type[nn.Module]) -> type[nn.Module]:
    original = cls.__init__
    signature = inspect.signature(cls)

    @functools.wraps(original)
    def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, *args, **kwargs)
        # Subclasses have another structure: they are no models of this builder.
        if type(self) is cls:
            object.__setattr__(self, _RECIPE, (name, _arguments(signature, args, kwargs)))

    cls.__init__ = __init__
    _BUILDERS[name] = cls
    return cls


def _arguments(signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(value)
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            arguments[f"*{name}"] = list(value)
        else:
            arguments[name] = value
    return arguments


def keep_recipe(model: nn.Module, builder: str, **arguments: Any) -> None:
    """Note that a model is as a builder would make it, for models that came about in another way.

    Args:
        model: The model, such as one of another library's, loaded by it.
        builder: Name of a registered builder.
        **arguments: What the builder would be given.
    """
    object.__setattr__(model, _RECIPE, (builder, arguments))


def has_recipe(model: nn.Module) -> bool:
    """Whether a registered builder made a model."""
    return getattr(model, _RECIPE, None) is not None


def model_recipe(model: nn.Module) -> dict[str, Any]:
    """Return the name of the builder that made a model, with the arguments.

    Raises:
        ModelRecipeError: If no builder made it, or an argument is not JSON-able.
    """
    recipe = getattr(model, _RECIPE, None)
    if recipe is None:
        raise ModelRecipeError(
            f"{type(model).__name__} was not made by a registered builder: decorate its class, or "
            "the function that makes it, with @model_builder, and make the model anew"
        )
    name, arguments = recipe
    for argument, value in arguments.items():
        if not _survives_json(value):
            raise ModelRecipeError(
                f"argument {argument}={value!r} of model builder {name!r} is not JSON-able: "
                "give numbers, strings, booleans, None, or lists and dicts of them"
            )
    return {"name": name, "config": json.loads(json.dumps(arguments))}


def amend_recipe(model: nn.Module, **arguments: Any) -> None:
    """Note with which other arguments the builder would make a model as it has become.

    Args:
        model: A model that has changed its structure; one that no builder made is left alone.
        **arguments: The arguments that have changed.
    """
    recipe = getattr(model, _RECIPE, None)
    if recipe is not None:
        name, known = recipe
        object.__setattr__(model, _RECIPE, (name, {**known, **arguments}))


def _survives_json(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_survives_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(
            map(_survives_json, value.values())
        )
    return value is None or isinstance(value, bool | int | float | str)


def build_model(recipe: Any) -> nn.Module:
    """Build a model from what `model_recipe` returned; only registered builders are called.

    Raises:
        UnknownNameError: If no builder of that name is registered.
        ModelRecipeError: If the recipe is damaged or the builder does not take these arguments.
    """
    if not isinstance(recipe, dict) or not isinstance(recipe.get("config"), dict):
        raise ModelRecipeError(f"this is no model recipe: {str(recipe)[:80]!r}")
    name, config = recipe.get("name"), recipe["config"]
    builder = _builder(name)
    keywords = {key: value for key, value in config.items() if not key.startswith("*")}
    rest = [value for key, value in config.items() if key.startswith("*")]
    try:
        if rest:
            signature = inspect.signature(builder)
            positional = [
                keywords.pop(key)
                for key, parameter in signature.parameters.items()
                if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and key in keywords
            ]
            return builder(*positional, *rest[0], **keywords)
        return builder(**keywords)
    except Exception as error:
        raise ModelRecipeError(f"model builder {name!r} failed with {config!r}: {error}") from error


def _builder(name: Any) -> Callable[..., nn.Module]:
    if isinstance(name, str) and name not in _BUILDERS:
        _import_own_layer(name)
    if not isinstance(name, str) or name not in _BUILDERS:
        near = get_close_matches(str(name), _BUILDERS, 1)
        hint = f" (there is {near[0]!r})" if near else ""
        raise UnknownNameError(
            f"no model builder is registered as {name!r}{hint}: import the module that defines it "
            "before loading; only registered builders are ever called"
        )
    return _BUILDERS[name]


def _import_own_layer(name: str) -> None:
    """Import the layer of torte that a builder of its own lives in; nothing else is imported."""
    for layer in _LAYERS:
        if name.startswith(f"torte.{layer}."):
            try:
                importlib.import_module(f"torte.{layer}.all")
            except ModuleNotFoundError:
                return
