"""Every line of Python in the package's README runs."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "packages" / "core-dispatch" / "README.md"


def test_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    namespace = {"__name__": "readme"}
    exec(compile("\n".join(blocks), str(README), "exec"), namespace)
    assert namespace["pipe"].vocab == ["cat", "dog"]
