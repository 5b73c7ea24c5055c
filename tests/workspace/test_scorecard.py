"""The scorecard's page: what it says of records, and that a part run anew leaves the others."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def scorecard(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("scorecard", FOLDER / "scorecard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def timings(**seconds):
    return {
        name: {"fastest": each, "median": 2 * each, "spread": each / 2}
        for name, each in seconds.items()
    }


def table(budget=None, absent=()):
    times = timings(torte=3e-5, peer=1.2e-4, bare=2e-5)
    fields = {"timings": times, "reference": "bare", "absent": list(absent), "budget": budget}
    return {"kind": "table", "title": "A loop", **fields}


def page(scorecard, tmp_path, **parts):
    for name, records in parts.items():
        scorecard.keep(name, records, tmp_path)
    scorecard.write_page(scorecard.kept(["one", "two", "never"], tmp_path), tmp_path)
    return (tmp_path / "README.md").read_text()


def test_times_and_ratios_to_the_reference(scorecard, tmp_path):
    text = page(scorecard, tmp_path, one=[table(absent=["rival"])])
    assert "| torte | 30 µs | 60 µs | 25% | 1.50 | 1.50 |" in text
    assert "| peer | 120 µs | 240 µs | 25% | 6.00 | 6.00 |" in text
    assert "| rival | absent | | | | |" in text


@pytest.mark.parametrize(
    ("allowed", "verdict"), [(4e-5, "kept"), (3e-5, "kept"), (2e-5, "**missed** by 50%")]
)
def test_a_budget_binds_torte_alone(scorecard, tmp_path, allowed, verdict):
    text = page(scorecard, tmp_path, one=[table(budget=allowed)])
    assert [line for line in text.splitlines() if line.startswith("- ")] == [
        f"- torte: {verdict} (allowed: {scorecard.seconds(allowed)})"
    ]


def test_a_part_run_anew_leaves_the_others_on_the_page(scorecard, tmp_path):
    page(scorecard, tmp_path, two=[{"kind": "note", "text": "an old word"}])
    first = page(scorecard, tmp_path, one=[{"kind": "failure", "lines": ["ValueError: no"]}])
    assert first.index("## one") < first.index("ValueError: no") < first.index("## two")
    assert "an old word" in first
    assert "never" not in first
    again = page(scorecard, tmp_path, one=[{"kind": "note", "text": "a new word"}])
    assert "a new word" in again
    assert "an old word" in again
    assert "ValueError" not in again


def test_what_grows_is_drawn(scorecard, tmp_path):
    curve = {"curves": {"torte": [[10, 1.0], [1, 0.5]]}, "size": "rows", "unit": "s"}
    text = page(scorecard, tmp_path, one=[{"kind": "curves", "title": "Rows", **curve}])
    assert "![Rows](one-0.png)" in text
    assert (tmp_path / "one-0.png").read_bytes().startswith(b"\x89PNG")


def test_every_script_of_the_parts_is_there(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("benchmarks_main", FOLDER / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scripts = {run.script for runs in module.PARTS.values() for run in runs}
    assert {name for name in scripts if not (FOLDER / f"{name}.py").exists()} == set()
    # Whatever is measured is on the page.
    assert {file.stem for file in FOLDER.glob("bench_*.py")} == scripts
