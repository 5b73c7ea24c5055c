"""Read torte's docstrings as they are written: names in single backticks, examples indented.

In the source, a name stands in single backticks and a block of code or a drawing is indented, which
reads well in an editor. reStructuredText wants double backticks and `::` in front of such a block.
"""

import re
from typing import Any

from sphinx.application import Sphinx

LITERAL = re.compile(r"(?<!`)`([^`]+)`(?!`)(?=(\w?))")


def with_literals(text: str) -> str:
    """Return a text with its single backticks doubled."""
    # A backslash and a space let a letter follow: "``Tensor``\\ s".
    return LITERAL.sub(lambda m: f"``{' '.join(m[1].split())}``" + ("\\ " if m[2] else ""), text)


def convert(app: object, what: str, *rest: Any) -> None:
    """Rewrite the lines of a docstring in place; the arguments are those of autodoc's event."""
    lines: list[str] = rest[-1]
    converted = with_literals("\n".join(lines)).split("\n")
    lines[:] = _with_blocks(converted) if what == "module" else converted


def _with_blocks(lines: list[str]) -> list[str]:
    """Put `::` in front of indented blocks that have none."""
    result: list[str] = []
    paragraph = ""  # the last line that was not indented
    for number, line in enumerate(lines):
        indented = line.startswith("    ")
        starts = indented and number > 0 and not lines[number - 1].strip()
        if starts and not _in_block(result) and not paragraph.endswith("::"):
            result += ["::", ""]
            paragraph = "::"
        elif line.strip() and not indented:
            paragraph = line.rstrip()
        result.append(line)
    return result


def _in_block(result: list[str]) -> bool:
    """Say whether the last line that is not empty is part of an indented block."""
    return next((line.startswith("    ") for line in reversed(result) if line.strip()), False)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx, before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", convert, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
