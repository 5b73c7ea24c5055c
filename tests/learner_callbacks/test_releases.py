"""Files of every release load in this version and predict what they did (see make_release.py)."""

import json
from pathlib import Path

import pytest
import torch
from support.releases import ROW, release_learner
from torte.learner import load_learner
from torte.learner.programs.program import Program

RELEASES = sorted((Path(__file__).parent / "releases").iterdir())


def test_there_are_releases():
    assert [folder for folder in RELEASES if (folder / "expected.json").is_file()] == RELEASES
    assert RELEASES


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_files_of_a_release_go_on_loading(folder, tmp_path):
    expected = json.loads((folder / "expected.json").read_text())
    for kind in ("registered", "program"):
        learn = load_learner(folder / f"{kind}.safetensors")
        assert isinstance(learn.model, Program) == (kind == "program")
        assert list(learn.dls.vocab) == expected["vocab"]
        name, number, probabilities = learn.predict(ROW)
        torch.testing.assert_close(probabilities, torch.tensor(expected[kind]))
        assert name == expected["vocab"][int(number)]
    fresh = release_learner(tmp_path)
    fresh.load(folder.resolve() / "weights.safetensors")
    total = sum(p.abs().sum().item() for p in fresh.model.parameters())
    assert total == pytest.approx(expected["weights"])
    assert fresh.opt.state
