"""What type checkers see: pyright reads the other files here and says just what they expect."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXPECTED = re.compile(r"# expect: (\w+)")


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, set[tuple[int, str]]]:
    pyright = Path(sys.executable).with_name("pyright")
    if not pyright.exists():
        pytest.skip("pyright is not installed beside this Python")
    folder = tmp_path_factory.mktemp("static")  # out of the project, so that its settings are ours
    for source in HERE.glob("*.py"):
        shutil.copy(source, folder)
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    command = [str(pyright), "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, set[tuple[int, str]]] = {}
    for each in json.loads(result.stdout)["generalDiagnostics"]:
        line = each["range"]["start"]["line"] + 1
        found.setdefault(Path(each["file"]).name, set()).add((line, each.get("rule", "syntax")))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(p.name for p in HERE.glob("*.py") if p.name[:4] != "test"))
def test_checkers_say_what_the_file_expects(name, reports):
    lines = (HERE / name).read_text().splitlines()
    expected = {
        (number, rule)
        for number, line in enumerate(lines, 1)
        if not line.startswith('"') and "`" not in line
        for rule in EXPECTED.findall(line)
    }
    assert reports.get(name, set()) == expected
