"""`CSVLogger`: the table of epochs as a file."""

import csv
from pathlib import Path
from typing import Any, TextIO

from torte.learner.callback import Callback
from torte.learner.recorder import Recorder

__all__ = ["CSVLogger"]


class CSVLogger(Callback):
    """Write each epoch's row of the recorder to a CSV file, while showing it as before.

    Numbers are written with all their digits, so that reading the file gives them back exactly.

    Args:
        fname: Name of the file, in `learn.path`.
        append: Whether to add to a file that is there; the headings are then written only if it is
            empty.
    """

    order = 60
    run_after = Recorder
    fit_only = True
    rank0_only = True

    def __init__(self, fname: "str | Path" = "history.csv", append: bool = False) -> None:
        super().__init__()
        self.fname, self.append = Path(fname), append
        self._file: TextIO | None = None
        self._writer: Any = None
        self._written = self._start = 0

    @property
    def file_path(self) -> Path:
        """Where the file is."""
        return Path(self.learn.path) / self.fname

    def read_log(self) -> Any:
        """Return the file as a pandas DataFrame."""
        import pandas as pd

        return pd.read_csv(self.file_path)

    def before_fit(self) -> None:
        """Open the file and write the headings."""
        path = self.file_path
        path.parent.mkdir(parents=True, exist_ok=True)
        # A fit that is resumed goes on in its file, at the place that the checkpoint knows.
        keeps = self.append or self.learn.resuming
        self._file = path.open("a" if keeps else "w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._written, self._start = 0, self._file.tell()
        if not self._start:
            self._writer.writerow(self.learn.recorder.metric_names)
        self._file.flush()

    def after_epoch(self) -> None:
        """Write the epoch's row."""
        rows = self.learn.recorder.values
        if self._file is None or len(rows) <= self._written:
            return
        self._written = len(rows)
        # The writer gives floats all their digits, and None an empty cell.
        self._writer.writerow(self.learn.recorder.log)
        self._file.flush()

    def state(self) -> dict[str, Any]:
        """Return what this fit has written, and where in the file that begins."""
        text = ""
        if self.file_path.is_file():
            with self.file_path.open(newline="", encoding="utf-8") as file:
                file.seek(self._start)
                text = file.read()
        return {"written": self._written, "start": self._start, "text": text}

    def load_state(self, state: dict[str, Any]) -> None:
        """Let the file be as it was then: rows of epochs that are done again are taken out."""
        self._written = state["written"]
        if self._file is None:
            return
        self._start = min(state["start"], self._file.tell())
        self._file.truncate(self._start)
        self._file.write(state["text"])
        self._file.flush()

    def after_fit(self) -> None:
        """Close the file."""
        self.clean_up()

    def clean_up(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = self._writer = None
