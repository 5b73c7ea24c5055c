"""What other systems serve: PyTorch's program and ONNX, with the notes beside them."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.learners import assert_same, everything
from torch import nn
from torte.data import Categorize, Datasets, Normalize
from torte.learner import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    Learner,
    MSELossFlat,
    TraceError,
    serving_notes,
)

NAMES = ["cat", "dog", "owl"]


def row_learner(tmp_path, model=None):
    torch.manual_seed(0)
    rows = [torch.randn(4) for _ in range(8)]
    datasets = Datasets(
        range(8),
        [[rows.__getitem__], [lambda n: NAMES[n % 3], Categorize()]],
        splits=[list(range(5)), [5, 6, 7]],
    )
    dls = datasets.dataloaders(bs=2, device="cpu")
    model = model or nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    return Learner(dls, model, path=tmp_path)


def test_pytorchs_program_serves_any_batch(tmp_path):
    learn = row_learner(tmp_path)
    before = everything(learn)
    program = learn.to_program().module()
    assert_same(before, everything(learn))
    learn.model.eval()
    for rows in (2, 7):
        x = torch.randn(rows, 4)
        torch.testing.assert_close(program(x), learn.model(x))


def test_onnx_gives_the_models_results_and_says_what_surrounds_it(tmp_path):
    learn = row_learner(tmp_path)
    before = everything(learn)
    path = learn.to_onnx("rows.onnx")
    assert_same(before, everything(learn))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    learn.model.eval()
    for rows in (1, 2, 5):
        x = torch.randn(rows, 4)
        (found,) = session.run(None, {"input_0": x.numpy()})
        np.testing.assert_allclose(found, learn.model(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    notes = json.loads((tmp_path / "rows.onnx.json").read_text())
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(properties["torte"]) == notes
    assert notes["inputs"] == [{"dtype": "float32", "shape": [None, 4]}]
    assert notes["vocab"] == NAMES
    assert notes["loss"] == {
        "name": "CrossEntropyLossFlat",
        "axis": -1,
        "activation": "softmax",
        "decodes": "argmax",
        "threshold": None,
    }


def test_notes_tell_the_statistics_of_normalization(tmp_path):
    learn = row_learner(tmp_path)
    learn.dls.add_tfms([Normalize.from_stats(0.5, 0.25, dim=2)], "after_batch")
    (step,) = serving_notes(learn)["after_batch"]
    assert "Normalize" in step["name"]
    assert "0.25" in json.dumps(step["description"])


@pytest.mark.parametrize(
    ("loss", "activation", "decodes", "threshold"),
    [
        (CrossEntropyLossFlat(axis=1), "softmax", "argmax", None),
        (BCEWithLogitsLossFlat(thresh=0.3), "sigmoid", "above", 0.3),
        (MSELossFlat(), "identity", "identity", None),
    ],
)
def test_notes_tell_what_results_mean(tmp_path, loss, activation, decodes, threshold):
    learn = row_learner(tmp_path)
    learn.loss_func = loss
    notes = serving_notes(learn)["loss"]
    assert [notes[key] for key in ("activation", "decodes")] == [activation, decodes]
    assert notes["threshold"] == threshold
    learn.loss_func = nn.MSELoss()
    assert serving_notes(learn)["loss"] is None


def test_a_model_that_has_no_onnx_leaves_no_file(tmp_path):
    class Depends(nn.Module):
        def forward(self, x):
            return x[:, :3] if x.sum() > 0 else -x[:, :3]

    learn = row_learner(tmp_path, Depends())
    assert isinstance(learn.loss_func, CrossEntropyLossFlat)
    with pytest.raises(TraceError, match="Depends cannot be written in ONNX"):
        learn.to_onnx()
    with pytest.raises(TraceError, match="cannot follow Depends"):
        learn.to_program()
    assert not list(tmp_path.iterdir())
