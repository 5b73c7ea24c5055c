"""The frame: the top level, who owns which part of the namespace, what README and CI promise."""

import re
import subprocess
import sys
from importlib import metadata

import pytest
from support.layers import PACKAGES, PORTIONS, ROOT, project, version

STRIP = ROOT / ".ci/strip_lock.py"
TOP_LEVEL = {
    *("packages", "tests", "docs", "examples", "pyproject.toml", "uv.lock"),
    *("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"),
}


def tracked(*patterns: str) -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return listing.stdout.splitlines()


def test_the_top_level_holds_exactly_the_agreed_entries() -> None:
    top = {path.split("/")[0] for path in tracked()}
    assert {name for name in top if not name.startswith(".")} == TOP_LEVEL


def test_no_member_makes_the_namespace_a_regular_package() -> None:
    assert not list(PACKAGES.glob("*/src/torte/__init__.py"))
    assert not list(PACKAGES.glob("*/src/torte/*.py"))


def test_each_portion_has_one_owner_and_is_typed() -> None:
    owners = {
        path.parent.name: path.parents[3].name
        for path in PACKAGES.glob("*/src/torte/*/__init__.py")
    }
    assert owners == {portion: folder for folder, portion in PORTIONS.items()}
    for folder, portion in PORTIONS.items():
        assert (PACKAGES / folder / "src/torte" / portion / "py.typed").exists()


def test_every_member_ships_licence_and_readme() -> None:
    licence = (ROOT / "LICENSE").read_text()
    for folder in [*PORTIONS, "torte"]:
        assert (PACKAGES / folder / "LICENSE").read_text() == licence
        assert len((PACKAGES / folder / "README.md").read_text().splitlines()) > 10


def test_layers_are_versioned_and_pinned_together() -> None:
    for folder in [*PORTIONS, "torte"]:
        name = project(folder)["project"]["name"]
        assert metadata.version(name) == version(), f"{name} drifted: run `uv sync`"
        for requirement in metadata.requires(name) or []:
            if requirement.startswith("torte"):
                assert f"=={version()}" in requirement, f"{name} does not pin {requirement}"


def test_the_metapackage_asks_for_every_layer() -> None:
    required = {
        re.split(r"[=\[; ]", requirement)[0] for requirement in metadata.requires("torte") or []
    }
    assert {f"torte-{folder}" for folder in PORTIONS} == required


def test_no_third_party_is_capped() -> None:
    for folder in PORTIONS:
        name = project(folder)["project"]["name"]
        for requirement in metadata.requires(name) or []:
            if not requirement.startswith("torte"):
                specifier = requirement.split(";")[0]
                assert not re.search(r"<|==|~=", specifier), f"{name} caps {requirement}"


def test_the_floor_for_torch_admits_2_11() -> None:
    floors = {
        requirement
        for folder in PORTIONS
        for requirement in metadata.requires(project(folder)["project"]["name"]) or []
        if re.match(r"torch(vision)?\b", requirement)
    }
    assert floors == {"torch>=2.11", "torchvision>=0.26"}


def test_the_lock_in_the_commit_carries_no_address() -> None:
    tracked()
    lock = subprocess.run(
        ["git", "show", ":uv.lock"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    addresses = [line for line in lock.splitlines() if "://" in line]
    assert not addresses, "run `python .ci/strip_lock.py` and stage uv.lock again"
    assert "[package.metadata" not in lock
    assert 'name = "torch"' in lock


def test_stripping_a_lock_keeps_versions_hashes_and_file_names(tmp_path) -> None:
    lock = tmp_path / "uv.lock"
    host = "example.invalid"
    lock.write_text(
        '[[package]]\nname = "a"\nversion = "1.0"\n'
        f'source = {{ registry = "https://{host}/simple" }}\n'
        f'sdist = {{ url = "https://{host}/x/a-1.0.tar.gz", hash = "sha256:00", size = 3 }}\n\n'
        '[package.metadata]\nrequires-dist = [{ name = "b" }]\n\n[[package]]\nname = "b"\n'
    )
    subprocess.run([sys.executable, STRIP, lock], check=True)
    assert lock.read_text() == (
        '[[package]]\nname = "a"\nversion = "1.0"\nsource = { registry = "" }\n'
        'sdist = { filename = "a-1.0.tar.gz", hash = "sha256:00", size = 3 }\n\n'
        '[[package]]\nname = "b"\n'
    )


def test_stripping_refuses_an_address_it_does_not_know(tmp_path) -> None:
    lock = tmp_path / "uv.lock"
    lock.write_text('homepage = "https://example.invalid/"\n')
    done = subprocess.run(
        [sys.executable, STRIP, lock], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "example.invalid" in done.stdout


@pytest.mark.parametrize(
    "command", ["pip install uv && uv run examples/quickstart.py", "uv run pytest -n auto"]
)
def test_the_readme_gives_both_commands(command: str) -> None:
    assert command in (ROOT / "README.md").read_text()


def test_ci_and_contributing_run_the_same_commands() -> None:
    gate = re.findall(r"^step (uv run .*)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    assert len(gate) >= 6
    for command in gate:
        assert command in contributing, f"CONTRIBUTING.md does not tell `{command}`"
