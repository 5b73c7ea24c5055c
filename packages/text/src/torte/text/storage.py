"""Token numbers on disk: one memory-mapped array of integers and the places where texts begin.

    <folder>/tokens.bin     little-endian uint16 or uint32, all texts one after the other
    <folder>/offsets.bin    int64, texts + 1: where each text begins and the last one ends
    <folder>/meta.json      number type, counts, vocabulary, whatever the writer was told to keep

Texts are read by the operating system as they are needed, so a corpus may be larger than memory and
is shared by all processes that read it. A folder is written beside its place and renamed when it is
whole: a writer that is killed leaves nothing that a reader could take for a corpus.
"""

import json
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np

__all__ = ["TokenStore", "TokenWriter"]

TOKENS, OFFSETS, META = "tokens.bin", "offsets.bin", "meta.json"


class TokenWriter:
    """Writes texts of token numbers; use it in a `with` block, at whose end they are in place.

    Args:
        folder: Where they go; its parent is made if needed.
        vocab_size: Number of tokens, which decides how many bytes a number takes.
        meta: JSON that is kept beside them.

    Raises:
        FileExistsError: The folder is there already.
    """

    def __init__(
        self, folder: str | Path, vocab_size: int, meta: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = Path(folder)
        if self.folder.exists():
            raise FileExistsError(f"there are tokens at {self.folder} already")
        self.dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
        self.meta = dict(meta or {})
        self._total = 0
        self._offsets = [0]

    def __enter__(self) -> Self:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._beside = self.folder.with_name(f".{self.folder.name}-{secrets.token_hex(8)}")
        self._beside.mkdir()
        self._file = (self._beside / TOKENS).open("wb")
        return self

    def add(self, numbers: Sequence[int] | np.ndarray) -> None:
        """Append one text."""
        np.asarray(numbers, dtype=self.dtype).tofile(self._file)
        self._total += len(numbers)
        self._offsets.append(self._total)

    def add_all(self, texts: Iterable[Sequence[int] | np.ndarray]) -> None:
        """Append texts."""
        for numbers in texts:
            self.add(numbers)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        try:
            if error is None:
                self._finish()
        finally:
            shutil.rmtree(self._beside, ignore_errors=True)

    def _finish(self) -> None:
        """Write what describes the tokens, and put the folder in its place."""
        np.array(self._offsets, dtype="<i8").tofile(self._beside / OFFSETS)
        counts = {"texts": len(self._offsets) - 1, "tokens": self._total}
        described = {**self.meta, **counts, "dtype": self.dtype.str}
        (self._beside / META).write_text(json.dumps(described), encoding="utf-8")
        try:
            self._beside.rename(self.folder)
        except OSError:
            # Another process wrote the same corpus in the meantime: its folder serves as well.
            if not (self.folder / META).exists():
                raise


class TokenStore(Sequence[np.ndarray]):
    """Texts of token numbers, read from disk as they are needed.

    Args:
        folder: What a `TokenWriter` wrote.

    Raises:
        FileNotFoundError: There is nothing there.
        ValueError: The files do not belong together.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.meta: dict[str, Any] = json.loads((self.folder / META).read_text(encoding="utf-8"))
        self._open()

    def _open(self) -> None:
        """Map the files, and see that their sizes agree."""
        self.offsets = np.fromfile(self.folder / OFFSETS, dtype="<i8")
        texts, tokens = self.meta["texts"], self.meta["tokens"]
        kind = np.dtype(self.meta["dtype"])
        size = (self.folder / TOKENS).stat().st_size
        if len(self.offsets) != texts + 1 or size != tokens * kind.itemsize:
            raise ValueError(
                f"the tokens at {self.folder} are not whole (expected {texts} texts and {tokens} "
                "tokens): delete the folder and tokenize again"
            )
        # An empty file cannot be mapped.
        self.tokens: np.ndarray = (
            np.memmap(self.folder / TOKENS, dtype=kind, mode="r") if tokens else np.empty(0, kind)
        )

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        index %= len(self)
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        # Another process maps the files itself instead of being sent their content.
        return {"folder": self.folder, "meta": self.meta}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()
