"""What every test stands on: known seeds, an own data folder, global state left as it was."""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
# Workers of pytest-xdist share the cores: more threads each would only make them wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def known_seeds() -> None:
    """Seed every global generator that is loaded, so that no test depends on those before it."""
    random.seed(20)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(20)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(20)


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> Path:
    """Point torte's data folder at a temporary one that the tests of a session share."""
    folder = tmp_path_factory.getbasetemp() / "torte-home"
    monkeypatch.setenv("TORTE_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def global_state_is_left_as_found() -> Iterator[None]:
    """Fail a test that changes torch's defaults, the number of threads or the working folder."""
    before = _global_state()
    yield
    after = _global_state()
    changed = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    assert not changed, f"the test left global state changed: {changed}"


def _global_state() -> dict[str, object]:
    import torch

    return {
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "folder": Path.cwd(),
    }


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    """Close what a test drew: open figures pile up and end in a warning."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
