"""Conversions over any structure, and the companions of a star import."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torte.data import (
    TensorImage,
    apply,
    find_bs,
    find_device,
    tensor,
    to_detach,
    to_float,
    to_half,
    to_np,
)
from torte.data.companions import Path


@pytest.mark.parametrize(
    "value",
    [
        (1, 2, 3),
        ([1, 2, 3],),
        (np.array([1, 2, 3]),),
        (pd.Series([1, 2, 3]),),
        (torch.tensor([1, 2, 3]),),
        ((torch.tensor(1), torch.tensor(2), torch.tensor(3)),),
        ([np.int64(1), np.int64(2), np.int64(3)],),
    ],
    ids=["elements", "list", "array", "series", "tensor", "tensors", "scalars"],
)
def test_tensors_of_values(value):
    made = tensor(*value)
    assert made.dtype == torch.int64
    assert made.tolist() == [1, 2, 3]
    assert tensor(*value, dtype=torch.float16).dtype == torch.float16


def test_tensors_of_arrays_and_single_numbers():
    assert tensor([np.zeros(2), np.ones(2)]).shape == (2, 2)
    assert tensor(2.5).item() == 2.5
    shared = np.zeros(3, np.float32)
    tensor(shared)[0] = 1
    assert shared[0] == 1


def test_double_precision_becomes_what_models_have():
    assert tensor(pd.Series([1.5])).dtype == torch.float32
    assert tensor(np.zeros(2)).dtype == torch.float32
    assert tensor(np.zeros(2), dtype=torch.float64).dtype == torch.float64
    assert tensor(torch.zeros(2, dtype=torch.float64)).dtype == torch.float64
    assert tensor(np.zeros(2, np.float16)).dtype == torch.float16


def test_no_tensor_of_words():
    with pytest.raises(TypeError, match="no tensor can be made of list"):
        tensor(["a", "b"])


def test_structures_keep_their_form_and_types():
    batch = (TensorImage(torch.ones(2, 3)), {"y": [torch.ones(2, dtype=torch.int64), "a"]})
    half = to_half(batch)
    assert type(half[0]) is TensorImage
    assert half[0].dtype == torch.float16
    assert half[1]["y"][0].dtype == torch.int64
    assert half[1]["y"][1] == "a"
    assert to_float(half)[0].dtype == torch.float32
    assert find_bs(batch) == 2
    assert find_device(batch) == torch.device("cpu")
    arrays = to_np((torch.ones(2, dtype=torch.bfloat16, requires_grad=True), 3))
    assert arrays[0].tolist() == [1, 1]
    assert arrays[1] == 3
    assert not to_detach([torch.ones(1, requires_grad=True)])[0].requires_grad
    assert apply(lambda o, n: o + n, {"a": (1, 2)}, 3) == {"a": (4, 5)}


def test_a_picture_is_an_array():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert tensor(Image.fromarray(pixels)).tolist() == pixels.tolist()


def test_what_a_folder_holds(tmp_path):

    for name in ("b.CSV", "a.png", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "d").mkdir()

    def names(**kwargs):
        return [path.name for path in Path(tmp_path).ls(**kwargs)]

    assert names() == ["a.png", "b.CSV", "c.txt", "d"]
    assert names(n_max=2) == ["a.png", "b.CSV"]
    assert names(file_exts=".csv") == ["b.CSV"]
    assert names(file_exts=[".png", ".txt"]) == ["a.png", "c.txt"]
    assert names(file_type="image") == ["a.png"]


def test_a_structure_without_tensors():
    with pytest.raises(TypeError, match="no tensor in this dict"):
        find_bs({"a": 1})


def test_star_imports_bring_companions_that_load_late():
    script = """
import sys
from torte.data.all import *
assert torch.nn is nn and F is nn.functional and Path.cwd().ls() and partial and os and re
assert "pandas" not in sys.modules and "matplotlib" not in sys.modules
assert isinstance(pd.Series([1]), sys.modules["pandas"].Series)
assert "matplotlib" not in sys.modules
assert callable(plt.subplots) and "matplotlib.pyplot" in sys.modules
assert "DataFrame" in dir(pd)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
