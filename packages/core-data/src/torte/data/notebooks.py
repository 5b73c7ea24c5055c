"""What is different in a Jupyter notebook: how to tell that it is one, and bars in its output."""

import html
import importlib
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["in_notebook", "notebook_line"]


def in_notebook() -> bool:
    """Whether output goes to a Jupyter notebook."""
    # Looked up, not imported: without IPython in memory there is no notebook.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ in ("ZMQInteractiveShell", "Shell")


def notebook_line() -> Callable[[str, int, int | None], None]:
    """A function of (text, done, in all or None) that keeps a line with a bar up to date.

    The line is output of the cell like any other: what is written to standard error is painted red.
    """
    # Not a statement, as torte does not depend on it: it is there when there is a notebook.
    ipython = importlib.import_module("IPython.display")
    handle: Any = None

    def show(text: str, done: int, total: int | None) -> None:
        nonlocal handle
        running = total is not None and done < total
        bar = f'<progress value="{done}" max="{total}"></progress> ' if running else ""
        page = ipython.HTML(f"<div>{bar}{html.escape(text)}</div>")
        if handle is None:
            handle = ipython.display(page, display_id=True)
        else:
            handle.update(page)

    return show
