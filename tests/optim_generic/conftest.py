"""Compiled kernels of a test session go to a folder of its own."""

import pytest


@pytest.fixture(autouse=True)
def own_kernel_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    monkeypatch.setenv("TORTE_CACHE", str(tmp_path_factory.getbasetemp() / "torte-cache"))
