"""Write a release's files of each application, which every later version must go on loading.

    uv run tests/integration/make_release.py

They go to `releases/<version>` beside this script: an exported learner of each application, and
`expected.json` with what they predict. A release's files are written once and never changed.
"""

import json
import sys
import tempfile
import tomllib
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent)]

from support.application_releases import APPLICATIONS, numbers_of  # noqa: E402


def main() -> None:
    """Writes the files of the version that `pyproject.toml` states."""
    root = HERE.parents[1]
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    folder = (HERE / "releases" / version).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, (make, item) in APPLICATIONS.items():
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as work:
            learn = make(Path(work))
            with learn.no_bar(), learn.no_logging():
                learn.fit(1, 1e-2)
            learn.export(folder / f"{name}.safetensors")
            expected[name] = numbers_of(learn.predict(item))
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
