"""The public surface: documented names, star imports that shadow nothing, light imports."""

import builtins
import importlib
import inspect
import pkgutil
import subprocess
import sys
from functools import cache

import pytest
from support.layers import PORTIONS

LAYERS = sorted(PORTIONS.values())

# What a layer must not load when it is imported: libraries that cost time or may be absent.
HEAVY = {
    "dispatch": {"torch", "numpy"},
    "optim": {"pandas", "matplotlib", "PIL", "sklearn"},
    "data": {"pandas", "matplotlib", "pooch", "sklearn", "IPython"},
    "learner": {"pandas", "matplotlib", "pooch", "sklearn", "rich", "IPython", "torchmetrics"},
    "vision": {"pandas", "matplotlib", "pooch", "sklearn", "rich", "IPython", "timm"},
    "text": {"pandas", "matplotlib", "sklearn", "rich", "spacy", "sentencepiece", "transformers"},
    "tabular": {"pandas", "matplotlib", "sklearn", "rich", "polars"},
    "collab": {"pandas", "matplotlib", "sklearn", "rich"},
}


def modules(layer: str) -> list[str]:
    package = importlib.import_module(f"torte.{layer}")
    found = pkgutil.walk_packages(package.__path__, f"torte.{layer}.")
    return [f"torte.{layer}", *(module.name for module in found)]


@pytest.mark.parametrize("layer", LAYERS)
def test_every_module_states_its_names_and_purpose(layer: str) -> None:
    for name in modules(layer):
        module = importlib.import_module(name)
        assert module.__doc__, f"{name} has no docstring"
        if name.rsplit(".", 1)[1].startswith("_"):
            continue
        exported = getattr(module, "__all__", None)
        assert exported is not None, f"{name} has no __all__"
        assert len(set(exported)) == len(exported), f"{name}.__all__ repeats a name"
        missing = [public for public in exported if not hasattr(module, public)]
        assert not missing, f"{name}.__all__ lists what is not there: {missing}"


@pytest.mark.parametrize("layer", LAYERS)
def test_everything_public_is_documented(layer: str) -> None:
    package = importlib.import_module(f"torte.{layer}")
    bare = [
        name
        for name in package.__all__
        if (inspect.isclass(member := getattr(package, name)) or inspect.isroutine(member))
        and not inspect.getdoc(member)
    ]
    assert not bare, f"torte.{layer}: no docstring on {bare}"


@pytest.mark.parametrize("layer", LAYERS)
def test_star_import_brings_the_layer_and_shadows_no_builtin(layer: str) -> None:
    star = importlib.import_module(f"torte.{layer}.all")
    package = importlib.import_module(f"torte.{layer}")
    assert set(package.__all__) <= set(star.__all__)
    assert not set(star.__all__) & set(dir(builtins))
    assert not [name for name in star.__all__ if name.startswith("_")]


@cache
def modules_of_torch() -> set[str]:
    """What torch and torchvision load by themselves."""
    script = "import torch, torchvision, sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("layer", LAYERS)
def test_importing_a_layer_loads_nothing_heavy(layer: str) -> None:
    script = f"import sys, torte.{layer}.all; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    unavoidable = set() if layer in {"dispatch", "optim"} else modules_of_torch()
    assert not (HEAVY[layer] & loaded) - unavoidable


def test_the_augmentation_engine_comes_without_the_learner() -> None:
    script = "import sys, torte.vision.augment; print('torte.learner' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"
