"""The README's code and the examples of this layer, run as they stand."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "packages" / "learner-callbacks" / "README.md"


def test_the_readme_runs():
    import torte.learner

    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {}
    exec(compile(blocks[0], str(README), "exec"), names)
    learn = names["learn"]
    assert learn.recorder.values[-1][-1] < 0.5
    for block in blocks[1:]:
        exec(compile(block, str(README), "exec"), names)
    learn.fit(50, 1e-2, cbs=names["StopAt"](0.3))
    assert learn.epoch < 49
    assert torte.learner.model_recipe(names["classifier"](3))["config"]["classes"] == 3


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_mnist_example_learns():
    learn = load(ROOT / "examples" / "mnist_two_steps.py").main(["--epochs", "2", "--seed", "3"])
    accuracies = [row[-1] for row in learn.recorder.values]
    assert accuracies[-1] > 0.7
    assert isinstance(learn.model.conv1, nn.Conv2d)
    images, _ = next(iter(learn.dls.valid))
    assert images.shape[1:] == (1, 28, 28)


@pytest.mark.parametrize("name", ["train", "test"])
def test_both_functions_of_the_original_are_gone(name):
    assert not hasattr(load(ROOT / "examples" / "mnist_two_steps.py"), name)


def test_star_import_has_the_layer():
    names: dict[str, object] = {}
    exec("from torte.learner.all import *", names)
    assert {"Learner", "DataLoaders", "Adam", "typedispatch", "accuracy"} <= names.keys()
    assert torch is not None
