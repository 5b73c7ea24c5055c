"""What an architecture argument names, and how to build its structure without any weights.

An architecture is given as a function that makes a model (`torchvision.models.resnet18`,
`xresnet34`, a user's own) or as a name. Names may carry the family they belong to:

    timm/convnext_tiny          a model of timm
    torchvision/resnet18        a classification model of torchvision
    torte/xresnet34             one of `torte.vision.models.xresnet`
    user/my_package.my_net      a function registered with `@serializable`

A bare name is looked up in torte first, then in timm, then in torchvision. `full_name` always
carries the family, so that a model can be rebuilt from JSON.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

__all__ = ["Architecture", "ArchitectureLike", "UnknownArchitectureError", "find_architecture"]

ArchitectureLike = str | Callable[..., nn.Module]


class UnknownArchitectureError(ValueError):
    """Raised for an architecture name that no family knows."""


@dataclass(frozen=True)
class Architecture:
    """One architecture: its full name, and the function that builds its structure.

    Attributes:
        family: "timm", "torchvision", "torte" or "user".
        name: The name within the family; None for a function that has no registered name, whose
            models can be trained but not rebuilt from a file.
        function: What makes the model: called without weights for torte and users' functions.
    """

    family: str
    name: str | None
    function: Callable[..., nn.Module]

    @property
    def full_name(self) -> str | None:
        """The name with its family, as `find_architecture` accepts it, or None without a name."""
        return None if self.name is None else f"{self.family}/{self.name}"

    @property
    def title(self) -> str:
        """How messages call this architecture."""
        return self.full_name or getattr(self.function, "__qualname__", repr(self.function))

    def build(self, **kwargs: Any) -> nn.Module:
        """Makes the model with freshly initialized weights; `kwargs` go to its function.

        Raises:
            TypeError: If what the function returns is no module.
        """
        defaults: dict[str, Any] = {}
        if self.family == "timm":
            defaults = {"pretrained": False}
        elif self.family == "torchvision":
            defaults = {"weights": None}
            if self.name in ("googlenet", "inception_v3"):
                defaults |= {"init_weights": True}
        model = self.function(**(defaults | kwargs))
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"architecture {self.title} returned {type(model).__name__}, expected an nn.Module"
            )
        return model


def find_architecture(arch: ArchitectureLike) -> Architecture:
    """Finds what `arch` names.

    Args:
        arch: A name (see the module's head) or a function that returns a model.

    Raises:
        UnknownArchitectureError: If no family knows the name; the message offers close ones.
        TypeError: If `arch` is neither a name nor callable (a model instance, for one).
    """
    if isinstance(arch, str):
        return _by_name(arch)
    if isinstance(arch, nn.Module) or not callable(arch):
        raise TypeError(
            f"arch must be a name or a function that makes a model, got {type(arch).__name__}; "
            "for a model that exists already use Learner(dls, model, …)"
        )
    return _by_function(arch)


def _by_function(function: Callable[..., nn.Module]) -> Architecture:
    from torte.vision.models import torchvision_names

    module = getattr(function, "__module__", "") or ""
    name = getattr(function, "__name__", "")
    if name and getattr(torchvision_names, name, None) is function:
        module, function = "torchvision.models", _torchvision_function(name)
    if module.startswith("torchvision.models") and name in _torchvision_names():
        return Architecture("torchvision", name, function)
    if module.startswith("timm.models") and name in _timm_names():
        return Architecture("timm", name, _timm_function(name))
    if _torte_functions().get(name) is function:
        return Architecture("torte", name, function)
    return Architecture("user", _registered_name(function), function)


def _by_name(full_name: str) -> Architecture:
    family, slash, name = full_name.partition("/")
    if slash and family in _FAMILIES:
        found = _FAMILIES[family](name)
    else:
        searches = (_in_torte, _in_timm, _in_torchvision)
        found = next((a for a in (search(full_name) for search in searches) if a), None)
    if found is None:
        raise UnknownArchitectureError(_unknown_message(full_name))
    return found


def _in_torte(name: str) -> Architecture | None:
    function = _torte_functions().get(name)
    return function and Architecture("torte", name, function)


def _in_timm(name: str) -> Architecture | None:
    if not _has_timm():
        return None
    import timm

    return Architecture("timm", name, _timm_function(name)) if timm.is_model(name) else None


def _in_torchvision(name: str) -> Architecture | None:
    if name not in _torchvision_names():
        return None
    return Architecture("torchvision", name, _torchvision_function(name))


def _in_registry(name: str) -> Architecture | None:
    from torte.dispatch import UnknownNameError, rebuild

    try:
        function = rebuild({"name": name, "config": None})
    except UnknownNameError:
        return None
    return Architecture("user", name, function)


_FAMILIES: dict[str, Callable[[str], Architecture | None]] = {
    "timm": _in_timm,
    "torchvision": _in_torchvision,
    "torte": _in_torte,
    "user": _in_registry,
}


def _torte_functions() -> dict[str, Callable[..., nn.Module]]:
    from torte.vision.models import xresnet

    return {
        name: getattr(xresnet, name)
        for name in xresnet.__all__
        if name.startswith("x") and callable(getattr(xresnet, name))
    }


def _torchvision_names() -> list[str]:
    from torchvision import models

    return models.list_models(module=models)


def _torchvision_function(name: str) -> Callable[..., nn.Module]:
    from torchvision.models import get_model_builder

    return get_model_builder(name)


def _has_timm() -> bool:
    from importlib.util import find_spec

    return find_spec("timm") is not None


def _timm_names() -> list[str]:
    import timm

    return timm.list_models()


def _timm_function(name: str) -> Callable[..., nn.Module]:
    from functools import partial

    import timm

    return partial(timm.create_model, name)


def _registered_name(function: Callable[..., nn.Module]) -> str | None:
    from torte.dispatch import describe, undescribable

    return None if undescribable(function) else describe(function)["name"]


def _unknown_message(full_name: str) -> str:
    bare = full_name.rpartition("/")[2]
    known = [f"torte/{n}" for n in _torte_functions()]
    known += [f"torchvision/{n}" for n in _torchvision_names()]
    known += [f"timm/{n}" for n in _timm_names()] if _has_timm() else []
    by_bare: dict[str, str] = {}
    for name in known:
        by_bare.setdefault(name.partition("/")[2], name)
    close = [by_bare[n] for n in difflib.get_close_matches(bare, list(by_bare), n=3)]
    message = f"no architecture is called {full_name!r}"
    if close:
        message += f"; the closest names are {', '.join(repr(c) for c in close)}"
    if not _has_timm():
        message += "; timm is not installed: pip install 'torte-vision-gpu-aug[timm]'"
    return message
