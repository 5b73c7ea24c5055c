"""Every import in a layer, lazy ones included, is declared by it or by one that it stands on."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib import metadata

import pytest
from support.layers import PACKAGES, PORTIONS, project

# Distributions that are imported under another name.
IMPORT_NAMES = {"mlflow_skinny": "mlflow", "pillow": "PIL", "scikit_learn": "sklearn"}

# What is used only where it is there by itself: in a notebook, beside a CUDA build of torch.
ENVIRONMENT = {"IPython", "triton"}


def imported(folder: str) -> Iterator[tuple[str, str]]:
    for path in sorted((PACKAGES / folder / "src").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, f"{path.name}:{node.lineno}"
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module, f"{path.name}:{node.lineno}"


def declared(folder: str) -> set[str]:
    """Return the import names that a distribution's metadata admits, extras included."""
    names = set()
    for requirement in metadata.requires(project(folder)["project"]["name"]) or []:
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower()
        if name.startswith("torte-"):
            names |= declared(name.removeprefix("torte-"))
        module = name.replace("-", "_")
        names.add(IMPORT_NAMES.get(module, module))
    return names


@pytest.mark.parametrize("folder", PORTIONS)
def test_a_layer_imports_only_what_it_declares(folder: str) -> None:
    allowed = declared(folder) | set(sys.stdlib_module_names) | ENVIRONMENT | {"torte"}
    undeclared = {
        f"{name} ({place})" for name, place in imported(folder) if name.split(".")[0] not in allowed
    }
    assert not undeclared, f"{folder} imports what it does not declare: {sorted(undeclared)}"
