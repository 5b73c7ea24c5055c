"""The package's README: its example runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "packages/core-data/README.md"


def test_the_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names = {"__name__": "readme"}
    exec(compile(example, str(README), "exec"), names)
    assert len(names["dls"].train_ds) == 1200
