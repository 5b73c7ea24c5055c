"""Prove that every distribution needs only what it declares.

Builds the wheel of each workspace member, then makes for each a fresh environment that holds this
wheel and what its metadata asks for, imports every module in it, and runs the first Python example
of its README there.

    uv run .ci/isolation.py [distribution ...]
    uv run .ci/isolation.py --lowest [distribution ...]   # with the oldest libraries they admit
    uv run .ci/isolation.py --wheels dist                 # the wheels that a release built
"""

import argparse
import email
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
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


def build(wheels: Path) -> None:
    """Build the wheel of every member, as a release does."""
    command = ("uv", "build", "--quiet", "--all-packages", "--wheel", "--no-sources")
    run(*command, "-o", wheels, cwd=ROOT)


def wheel_of(name: str, wheels: Path) -> Path:
    """Return the wheel of a distribution."""
    return next(wheels.glob(f"{name.replace('-', '_')}-*.whl"))


def requirements(name: str, wheels: Path) -> set[str]:
    """Return what a distribution and the layers below it ask of others, extras left out."""
    wheel = wheel_of(name, wheels)
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(path for path in archive.namelist() if path.endswith(".dist-info/METADATA"))
        asked = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
    found: set[str] = set()
    for requirement in asked:
        if "extra ==" in requirement:
            continue
        if requirement.startswith("torte-"):
            found |= requirements(requirement.split("==")[0], wheels)
        else:
            found.add(requirement)
    return found


def check(folder: Path, wheels: Path, workspace: Path, lowest: bool) -> None:
    """Install one distribution alone and use it."""
    name = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["name"]
    environment = workspace / name
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    print(f"\n--- {name}", flush=True)
    run("uv", "venv", "--quiet", "--python", sys.executable, environment)
    install = ("uv", "pip", "install", "--quiet", "--python", python, "--find-links", wheels)
    # The floors of the layers below count too: uv lowers only what is asked for directly.
    floors = ("--resolution", "lowest-direct", *requirements(name, wheels)) if lowest else ()
    run(*install, wheel_of(name, wheels), *floors)
    portions = [path.name for path in folder.glob("src/torte/*") if (path / "__init__.py").exists()]
    run(python, "-I", "-c", IMPORT_ALL, *portions)
    example = EXAMPLE.search((folder / "README.md").read_text(encoding="utf-8"))
    if example is None:
        sys.exit(f"{folder.name}/README.md has no Python example to run")
    script = workspace / f"{name}.py"
    script.write_text(example[1], encoding="utf-8")
    warnings = () if lowest else ("-W", "error::DeprecationWarning:__main__")
    run(python, "-I", *warnings, script, cwd=workspace)
    print(f"{name}: its README example ran", flush=True)


def main(chosen: list[str], lowest: bool, wheels: Path | None) -> None:
    """Check the chosen distributions, or all of them."""
    with tempfile.TemporaryDirectory(prefix="torte-isolation-") as temporary:
        workspace = Path(temporary)
        if wheels is None:
            wheels = workspace / "wheels"
            build(wheels)
        for folder in members():
            if not chosen or folder.name in chosen or f"torte-{folder.name}" in chosen:
                check(folder, wheels.resolve(), workspace, lowest)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Try each distribution alone.")
    parser.add_argument("distribution", nargs="*", help="those to try; none: all")
    parser.add_argument("--lowest", action="store_true", help="with the oldest libraries admitted")
    parser.add_argument(
        "--wheels", type=Path, help="a folder of wheels to try, instead of building"
    )
    arguments = parser.parse_args()
    main(arguments.distribution, arguments.lowest, arguments.wheels)
