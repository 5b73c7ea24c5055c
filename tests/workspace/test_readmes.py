"""Each distribution's README stands on its own: its code runs, it points at nothing beside it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.layers import PACKAGES, PORTIONS, project

FOLDERS = [*PORTIONS, "torte"]
# Their own tests run these, in this process.
TESTED_APART = {"core-dispatch", "optim-generic", "core-data", "learner-callbacks"}


def readme(folder: str) -> str:
    return (PACKAGES / folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_readme_says_how_it_is_installed(folder: str) -> None:
    assert f"\npip install {project(folder)['project']['name']}\n" in readme(folder)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_package_index_can_show_it(folder: str) -> None:
    """An index shows the text alone: a path relative to the repository leads nowhere there."""
    targets = re.findall(
        r"\]\(([^)]*)\)", re.sub(r"```.*?```", "", readme(folder), flags=re.DOTALL)
    )
    assert [target for target in targets if not target.startswith("https://")] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("folder", [name for name in FOLDERS if name not in TESTED_APART])
def test_its_code_runs(folder: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", readme(folder), re.DOTALL)
    (tmp_path / "example.py").write_text("\n".join(blocks), encoding="utf-8")
    environment = {**os.environ, "MPLBACKEND": "Agg", "TORTE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "example.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
