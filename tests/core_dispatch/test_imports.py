"""Importing torte.dispatch loads the standard library alone, and little of that."""

import json
import subprocess
import sys

import pytest
import torte.dispatch
import torte.dispatch.all

REPORT = """
import json, sys
before = set(sys.modules)
import torte.dispatch
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.fixture(scope="module")
def loaded():
    command = [sys.executable, "-S", "-c", REPORT]
    sources = torte.dispatch.__path__[0].removesuffix("/torte/dispatch")
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": sources}
    )
    return json.loads(result.stdout)


def test_no_third_party_is_loaded(loaded):
    roots = {name.partition(".")[0] for name in loaded} - {"torte"}
    assert roots <= set(sys.stdlib_module_names)


def test_what_is_slow_to_load_is_not_loaded(loaded):
    slow = {
        "asyncio",
        "dataclasses",
        "difflib",
        "logging",
        "pathlib",
        "random",
        "typing_extensions",
    }
    assert not slow & set(loaded)


def test_the_public_names_are_there_and_shadow_no_builtin():
    import builtins

    for module in (torte.dispatch, torte.dispatch.all):
        assert module.__all__ == sorted(set(module.__all__))
        assert all(hasattr(module, name) for name in module.__all__)
        assert not set(module.__all__) & set(dir(builtins))
