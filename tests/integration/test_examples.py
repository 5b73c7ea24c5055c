"""Every example runs as it stands, in an empty folder, and says nothing on its error stream."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.layers import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

# Their own tests run these, with other arguments.
TESTED_APART = {"quickstart.py", "mnist_two_steps.py", "ray_train.py"}

# What a first run says once on a machine, and no example can help.
ONCE = re.compile(r"building the font cache")


def source(example: Path) -> ast.Module:
    return ast.parse(example.read_text(encoding="utf-8"))


def command(example: Path) -> list[str]:
    """The arguments of the quick run; a module that others share has none to run."""
    return [sys.executable, "-W", "error", str(example), "--quick"]


def runs_alone(example: Path) -> bool:
    return '__name__ == "__main__"' in example.read_text(encoding="utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_tells_how_it_is_run(example: Path) -> None:
    text = ast.get_docstring(source(example)) or ""
    if runs_alone(example):
        assert f"examples/{example.name}" in text, "its docstring does not give the command"


@pytest.mark.slow
@pytest.mark.parametrize(
    "example",
    [path for path in EXAMPLES if runs_alone(path) and path.name not in TESTED_APART],
    ids=lambda path: path.stem,
)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TORTE_HOME": str(tmp_path / "home")}
    folder = tmp_path / "here"
    folder.mkdir()
    done = subprocess.run(
        command(example), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not ONCE.search(line)] == []
    assert done.stdout.strip(), "it tells nothing"
