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
        self._written = 0

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
        self._file = path.open("a" if self.append else "w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._written = 0
        if not self._file.tell():
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

    def after_fit(self) -> None:
        """Close the file."""
        self.clean_up()

    def clean_up(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = self._writer = None
