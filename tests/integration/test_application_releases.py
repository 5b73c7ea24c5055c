"""Exported learners of every release's applications load in this version and predict the same."""

import json
from pathlib import Path

import pytest
from support.application_releases import APPLICATIONS, numbers_of
from torte.learner import load_learner

RELEASES = sorted((Path(__file__).parent / "releases").iterdir())


def test_there_are_releases():
    assert [folder for folder in RELEASES if (folder / "expected.json").is_file()] == RELEASES
    assert RELEASES


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_learners_of_a_release_go_on_predicting(folder):
    expected = json.loads((folder / "expected.json").read_text())
    assert expected
    for name, numbers in expected.items():
        learn = load_learner(folder / f"{name}.safetensors")
        found = numbers_of(learn.predict(APPLICATIONS[name].item))
        assert found == pytest.approx(numbers, rel=1e-4, abs=1e-5), name
