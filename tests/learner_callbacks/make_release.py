"""Write the files of a release, which every later version must go on loading.

    uv run tests/learner_callbacks/make_release.py

They go to `releases/<version>` beside this script: a learner by its builder, a learner as a
program, weights with the state of an optimizer, and `expected.json` with what they predict. A
release's files are written once and never changed.
"""

import json
import sys
import tomllib
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent)]

from support.releases import ROW, release_learner, release_program  # noqa: E402


def main() -> None:
    """Writes the files of the version that `pyproject.toml` states."""
    root = HERE.parents[1]
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    folder = HERE / "releases" / version
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    registered = release_learner(folder)
    with registered.no_bar(), registered.no_logging():
        registered.fit(1, 1e-2)
    registered.export("registered.safetensors")
    registered.save(folder.resolve() / "weights.safetensors")
    program = release_learner(folder, release_program())
    program.export("program.safetensors")
    expected = {
        "registered": registered.predict(ROW)[2].tolist(),
        "program": program.predict(ROW)[2].tolist(),
        "vocab": list(registered.dls.vocab),
        "weights": sum(p.abs().sum().item() for p in registered.model.parameters()),
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
