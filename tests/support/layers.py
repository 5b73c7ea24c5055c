"""The layers of torte as the workspace tests see them."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "packages"

PORTIONS = {
    "core-dispatch": "dispatch",
    "optim-generic": "optim",
    "core-data": "data",
    "learner-callbacks": "learner",
    "vision-gpu-aug": "vision",
    "text": "text",
    "tabular": "tabular",
    "collab": "collab",
}


def project(folder: str) -> dict:
    """Return the parsed pyproject.toml of one member, or of the root for an empty name."""
    path = PACKAGES / folder if folder else ROOT
    return tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))


def version() -> str:
    """Return the one version, as the root pyproject.toml states it."""
    return project("")["project"]["version"]
