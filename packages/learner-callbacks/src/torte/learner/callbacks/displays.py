"""Where progress is shown: a terminal, a notebook, or lines in a log."""

import html
import importlib
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

__all__ = [
    "Display",
    "LineDisplay",
    "NotebookDisplay",
    "TerminalDisplay",
    "choose_display",
    "format_value",
    "in_notebook",
]

SECONDS_BETWEEN_UPDATES = 0.1


class Display(Protocol):
    """What the progress callback needs of a place to show things."""

    def header(self, names: Sequence[str]) -> None:
        """Name the columns of the table."""

    def row(self, values: Sequence[Any]) -> None:
        """Add a row to the table."""

    def due(self) -> bool:
        """Whether it is time to show progress again."""
        ...

    def progress(self, label: str, done: int, total: int | None, note: str) -> None:
        """Show how far a pass over data has come."""

    def stop(self) -> None:
        """Take down the bar, leaving the table; may be called more than once."""


def format_value(value: Any) -> str:
    """Return a cell's text: floats with six digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


class _Columns:
    """Rows of text in columns as wide as their headings need."""

    def __init__(self) -> None:
        self.widths: list[int] = []

    def header(self, names: Sequence[str]) -> str:
        self.widths = [5 if name == "epoch" else max(len(name), 10) for name in names]
        return self.line(names)

    def line(self, cells: Sequence[Any]) -> str:
        texts = [format_value(cell) for cell in cells]
        widths = [*self.widths, *([10] * (len(texts) - len(self.widths)))]
        return "  ".join(text.rjust(width) for text, width in zip(texts, widths, strict=False))


class LineDisplay:
    """One line an epoch on standard output, and no bar: for logs and pipes."""

    def __init__(self) -> None:
        self._columns = _Columns()

    def header(self, names: Sequence[str]) -> None:
        """Print the headings."""
        print(self._columns.header(names), flush=True)  # noqa: T201

    def row(self, values: Sequence[Any]) -> None:
        """Print a row."""
        print(self._columns.line(values), flush=True)  # noqa: T201

    def due(self) -> bool:
        """Never: a log has no bar."""
        return False

    def progress(self, label: str, done: int, total: int | None, note: str) -> None:
        """Show nothing."""

    def stop(self) -> None:
        """Nothing to take down."""


class _Clock:
    """When a display was last refreshed."""

    def __init__(self) -> None:
        self._next = 0.0

    def due(self) -> bool:
        """Whether the last refresh is long enough ago."""
        return time.monotonic() >= self._next

    def _refreshed(self) -> None:
        self._next = time.monotonic() + SECONDS_BETWEEN_UPDATES


class TerminalDisplay(_Clock):
    """Rows printed one below the other, with a live bar under them (drawn by rich)."""

    def __init__(self, console: Any = None) -> None:
        super().__init__()
        from rich.console import Console

        self._console = Console(highlight=False) if console is None else console
        self._columns = _Columns()
        self._live: Any = None

    def header(self, names: Sequence[str]) -> None:
        """Print the headings."""
        self._print(self._columns.header(names), "bold")

    def row(self, values: Sequence[Any]) -> None:
        """Print a row above the bar."""
        self._print(self._columns.line(values), "")

    def _print(self, line: str, style: str) -> None:
        from rich.text import Text

        self._console.print(Text(line, style=style), soft_wrap=True)

    def progress(self, label: str, done: int, total: int | None, note: str) -> None:
        """Draw the bar."""
        from rich.live import Live

        if self._live is None:
            # Refreshed from the training loop: no second thread competes for the interpreter.
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(self._bar(label, done, total, note), refresh=True)
        self._refreshed()

    def _bar(self, label: str, done: int, total: int | None, note: str) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(padding=(0, 1))
        count = f"{done}/{total}" if total else str(done)
        width = max(8, min(40, self._console.width - len(label) - len(count) - len(note) - 4))
        bar = ProgressBar(total=total, completed=done, width=width) if total else ""
        line.add_row(Text(label), bar, Text(count), Text(note))
        return line

    def stop(self) -> None:
        """Take down the bar."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class NotebookDisplay(_Clock):
    """An HTML table with a progress element under it, updated in place."""

    def __init__(self) -> None:
        super().__init__()
        self._names: Sequence[str] = ()
        self._rows: list[Sequence[Any]] = []
        self._handle: Any = None

    def header(self, names: Sequence[str]) -> None:
        """Begin a table."""
        self._names, self._rows = names, []
        self._show("")

    def row(self, values: Sequence[Any]) -> None:
        """Add a row."""
        self._rows.append(values)
        self._show("")

    def progress(self, label: str, done: int, total: int | None, note: str) -> None:
        """Show the bar."""
        bar = f'<progress value="{done}" max="{total}"></progress>' if total else ""
        count = f"{done}/{total}" if total else str(done)
        self._show(f"<div>{html.escape(label)} {bar} {count} {html.escape(note)}</div>")
        self._refreshed()

    def stop(self) -> None:
        """Take down the bar."""
        if self._handle is not None:
            self._show("")
            self._handle = None

    def _show(self, below: str) -> None:
        # Not a statement, as torte does not depend on it: it is there when there is a notebook.
        ipython = importlib.import_module("IPython.display")
        page = ipython.HTML(self.table_html() + below)
        if self._handle is None:
            self._handle = ipython.display(page, display_id=True)
        else:
            self._handle.update(page)

    def table_html(self) -> str:
        """Return the table as HTML; nothing before it has headings."""
        if not self._names:
            return ""
        head = "".join(f"<th>{html.escape(str(name))}</th>" for name in self._names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(format_value(v))}</td>" for v in row) + "</tr>"
            for row in self._rows
        )
        return f'<table class="torte"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def in_notebook() -> bool:
    """Whether output goes to a Jupyter notebook."""
    # Looked up, not imported: without IPython in memory there is no notebook.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ in ("ZMQInteractiveShell", "Shell")


def choose_display(kind: str = "auto") -> Display | None:
    """Return the display of a kind.

    Args:
        kind: `"terminal"`, `"notebook"`, `"lines"`, `"off"`, or `"auto"` to look where the output
            goes.

    Raises:
        ValueError: If there is no such kind.
    """
    if kind == "auto":
        kind = "notebook" if in_notebook() else "terminal" if sys.stdout.isatty() else "lines"
    if kind == "off":
        return None
    kinds = {"terminal": TerminalDisplay, "notebook": NotebookDisplay, "lines": LineDisplay}
    if kind not in kinds:
        raise ValueError(f"progress must be one of {['auto', *kinds, 'off']}, got {kind!r}")
    return kinds[kind]()
