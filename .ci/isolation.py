"""Prove that every distribution needs only what it declares.

Builds the wheel of each workspace member, then makes for each a fresh environment that holds this
wheel and what its metadata asks for, imports every module in it, and runs the first Python example
of its README there.

    uv run .ci/isolation.py [distribution ...]
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

IMPORT_ALL = """
import importlib, pkgutil, sys
import torte
portions = sorted({name for _, name, _ in pkgutil.iter_modules(torte.__path__)})
count = 0
for portion in sys.argv[1:]:
    package = importlib.import_module(f"torte.{portion}")
    for module in pkgutil.walk_packages(package.__path__, f"torte.{portion}."):
        importlib.import_module(module.name)
        count += 1
print(f"imported {count} modules of {sys.argv[1:]}; portions present: {portions}")
"""


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command and stop the whole check when it fails."""
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def members() -> list[Path]:
    """Return the folders of the distributions, lowest layers first."""
    lower = "core-dispatch optim-generic core-data learner-callbacks"
    upper = "vision-gpu-aug text tabular collab torte"
    folders = [ROOT / "packages" / name for name in f"{lower} {upper}".split()]
    found = {path.parent for path in (ROOT / "packages").glob("*/pyproject.toml")}
    if set(folders) != found:
        sys.exit(
            f"the order of layers in {__file__} does not match packages/: {found ^ set(folders)}"
        )
    return folders


def check(folder: Path, wheels: Path, workspace: Path) -> None:
    """Install one distribution alone and use it."""
    name = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["name"]
    environment = workspace / name
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    print(f"\n--- {name}", flush=True)
    run("uv", "venv", "--quiet", "--python", sys.executable, environment)
    wheel = next(wheels.glob(f"{name.replace('-', '_')}-*.whl"))
    install = ("uv", "pip", "install", "--quiet", "--python", python)
    run(*install, "--find-links", wheels, wheel)
    portions = [path.name for path in folder.glob("src/torte/*") if (path / "__init__.py").exists()]
    run(python, "-I", "-c", IMPORT_ALL, *portions)
    example = EXAMPLE.search((folder / "README.md").read_text(encoding="utf-8"))
    if example is None:
        sys.exit(f"{folder.name}/README.md has no Python example to run")
    script = workspace / f"{name}.py"
    script.write_text(example[1], encoding="utf-8")
    run(python, "-I", "-W", "error::DeprecationWarning:__main__", script, cwd=workspace)
    print(f"{name}: its README example ran", flush=True)


def main(chosen: list[str]) -> None:
    """Build all wheels and check the chosen distributions, or all of them."""
    with tempfile.TemporaryDirectory(prefix="torte-isolation-") as temporary:
        workspace = Path(temporary)
        wheels = workspace / "wheels"
        run(
            "uv",
            "build",
            "--quiet",
            "--all-packages",
            "--wheel",
            "--no-sources",
            "-o",
            wheels,
            cwd=ROOT,
        )
        for folder in members():
            if not chosen or folder.name in chosen or f"torte-{folder.name}" in chosen:
                check(folder, wheels, workspace)


if __name__ == "__main__":
    main(sys.argv[1:])
