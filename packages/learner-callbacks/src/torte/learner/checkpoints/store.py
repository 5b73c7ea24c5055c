"""A folder of checkpoints: written whole or not at all, checked before they are believed.

::

    checkpoints/
        checkpoint-00000012/
            state.safetensors     tensors, and everything else as JSON in the file's metadata
            manifest.json         what it is, and the size and SHA-256 of the state

A checkpoint is written to a hidden folder beside; its files are synced, the folder is renamed to
its name, and the folder above is synced. So whatever has such a name was once whole, and what
became of it since (a disk that lost a sector, a copy that was cut off) shows in the checksums: the
manifest has one of itself too. A damaged one is passed over with a warning that names it.
"""

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torte.learner.files import sync_folder, written
from torte.learner.packing import FORMAT, FileFormatError, read_file, write_file

__all__ = ["Checkpoint", "CheckpointError", "CheckpointStore", "DamagedCheckpointWarning"]

KIND = "checkpoint"
STATE, MANIFEST = "state.safetensors", "manifest.json"
_NAME = re.compile(r"checkpoint-(\d{8,})")
_PIECE = 1 << 22


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, none that is whole was found, or it does not fit."""


class DamagedCheckpointWarning(UserWarning):
    """A checkpoint is damaged and was passed over."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose manifest is whole.

    Attributes:
        path: Its folder.
        facts: What the manifest says of it: the run and the fit that it belongs to, epoch and step,
            whether that fit is over, the monitored value.
    """

    path: Path
    facts: Mapping[str, Any]

    @classmethod
    def at(cls, path: Path) -> "Checkpoint":
        """Read the manifest in a folder.

        Raises:
            FileFormatError: If it is missing, damaged or of a later version.
        """
        try:
            document = json.loads((path / MANIFEST).read_bytes())
            facts, checksum = document["manifest"], document["sha256"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise FileFormatError(f"{path / MANIFEST} cannot be read: {error}") from error
        if checksum != _checksum_of(facts):
            raise FileFormatError(f"{path / MANIFEST} is not as it was written")
        if facts["torte"] > FORMAT:
            raise FileFormatError(
                f"{path} has format {facts['torte']}; this torte reads formats up to {FORMAT}"
            )
        return cls(path, facts)

    def verify(self) -> None:
        """Compare the files with the manifest.

        Raises:
            FileFormatError: If one is missing or not as it was written.
        """
        for name, known in self.facts["files"].items():
            file = self.path / name
            try:
                size, checksum = file.stat().st_size, _checksum(file)
            except OSError as error:
                raise FileFormatError(f"{file} cannot be read: {error}") from error
            if size != known["bytes"]:
                raise FileFormatError(f"{file} has {size} bytes, not {known['bytes']}")
            if checksum != known["sha256"]:
                raise FileFormatError(f"{file} is not as it was written: its checksum differs")

    def read(self) -> dict[str, Any]:
        """Return the content."""
        return read_file(self.path / STATE, KIND)


class CheckpointStore:
    """The checkpoints in a folder, by running number.

    Args:
        folder: The folder; it need not exist.
    """

    def __init__(self, folder: "str | Path") -> None:
        self.folder = Path(folder)

    def paths(self) -> list[Path]:
        """The checkpoints' folders, newest first."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, key=_number, reverse=True)

    def checkpoints(self) -> list[Checkpoint]:
        """Those whose manifests are whole, newest first."""
        return list(self._readable(lambda path, error: None))

    def _readable(self, report: Callable[[Path, Exception], None]) -> Iterator[Checkpoint]:
        for path in self.paths():
            try:
                yield Checkpoint.at(path)
            except FileFormatError as error:
                report(path, error)

    # -- finding ---------------------------------------------------------------------------------

    def newest(self, run: str | None, fit: int) -> Checkpoint | None:
        """Return the newest whole checkpoint of a fit, None if that fit has none.

        Args:
            run: Which run; by default that of the newest checkpoint in the folder.
            fit: Which of the run's fits, counted from 0.

        Raises:
            CheckpointError: If there are checkpoints, but all that could be meant are damaged.
        """
        damaged: list[str] = []

        def pass_over(path: Path, error: Exception) -> None:
            damaged.append(str(path))
            warnings.warn(
                f"the checkpoint {path} is damaged and passed over: {error}",
                DamagedCheckpointWarning,
                stacklevel=2,
            )

        others = False
        for checkpoint in self._readable(pass_over):
            run = checkpoint.facts["run"] if run is None else run
            if checkpoint.facts["run"] != run:
                continue
            if checkpoint.facts["fit"] != fit:
                others = True
                continue
            try:
                checkpoint.verify()
            except FileFormatError as error:
                pass_over(checkpoint.path, error)
                continue
            return checkpoint
        if damaged and not others:
            raise CheckpointError(
                f"no checkpoint in {self.folder} is whole (damaged: {', '.join(damaged)}); move "
                "them away, or give resume=False, to start from the beginning"
            )
        return None

    # -- writing ---------------------------------------------------------------------------------

    def write(self, content: Any, facts: Mapping[str, Any]) -> Checkpoint:
        """Write a checkpoint; all of it or nothing.

        Args:
            content: Nested tensors and JSON.
            facts: What the manifest is to say of it, JSON.

        Raises:
            CheckpointError: If it could not be written. The earlier ones are as they were.
        """
        path = self._next_path()
        beside = path.with_name(f".{path.name}.part")
        try:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            write_file(beside / STATE, KIND, content)
            manifest = {"torte": FORMAT, **facts, "files": {STATE: _described(beside / STATE)}}
            with written(beside / MANIFEST) as file:
                document = {"manifest": manifest, "sha256": _checksum_of(manifest)}
                file.write_text(json.dumps(document, indent=1))
            beside.rename(path)
            sync_folder(self.folder)
        except Exception as error:
            shutil.rmtree(beside, ignore_errors=True)
            raise CheckpointError(
                f"the checkpoint {path} could not be written ({type(error).__name__}: {error}); "
                "earlier ones are as they were"
            ) from error
        return Checkpoint(path, manifest)

    def _next_path(self) -> Path:
        newest = self.paths()
        number = _number(newest[0]) + 1 if newest else 0
        return self.folder / f"checkpoint-{number:08d}"

    def remove(self, checkpoint: Checkpoint) -> None:
        """Remove a checkpoint; one that is half removed has no checkpoint's name any more."""
        gone = checkpoint.path.with_name(f".{checkpoint.path.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        checkpoint.path.rename(gone)
        shutil.rmtree(gone)

    def remove_leftovers(self) -> None:
        """Remove what a process left that was killed while it wrote or removed a checkpoint."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if re.fullmatch(r"\.checkpoint-\d+\.(part|gone)", path.name):
                    shutil.rmtree(path, ignore_errors=True)


def _number(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    assert found is not None
    return int(found[1])


def _described(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": _checksum(file)}


def _checksum(file: Path) -> str:
    checksum = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            checksum.update(piece)
    return checksum.hexdigest()


def _checksum_of(manifest: Any) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
