"""Token numbers on disk: one memory-mapped array of integers and the places where texts begin.

    <folder>/tokens.bin     little-endian uint16 or uint32, all texts one after the other
    <folder>/offsets.bin    int64, texts + 1: where each text begins and the last one ends
    <folder>/meta.json      number type, counts, vocabulary, whatever the writer was told to keep
    <folder>/<name>.npy     arrays that belong to them

Texts are read by the operating system as they are needed, so a corpus may be larger than memory and
is shared by all processes that read it. A folder is written beside its place and renamed when it is
whole: a writer that is killed leaves nothing that a reader could take for a corpus.
"""

import json
import secrets
import shutil
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np

__all__ = ["TokenStore", "TokenTexts", "TokenWriter"]

TOKENS, OFFSETS, META = "tokens.bin", "offsets.bin", "meta.json"


class TokenWriter:
    """Writes texts of token numbers; use it in a `with` block, at whose end they are in place.

    Args:
        folder: Where they go; its parent is made if needed.
        vocab_size: Number of tokens, which decides how many bytes a number takes; None if it is not
            known yet: numbers then take four bytes until the end, when `vocab_size` may be set.
        meta: JSON that is kept beside them.

    Raises:
        FileExistsError: The folder is there already.
    """

    def __init__(
        self, folder: str | Path, vocab_size: int | None, meta: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = Path(folder)
        if self.folder.exists():
            raise FileExistsError(f"there are tokens at {self.folder} already")
        self.vocab_size = vocab_size
        self.dtype = _narrowest(vocab_size)
        self.meta = dict(meta or {})
        self._total = 0
        self._offsets = array("q", [0])

    def __enter__(self) -> Self:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._beside = self.folder.with_name(f".{self.folder.name}-{secrets.token_hex(8)}")
        self._beside.mkdir()
        self._file = (self._beside / TOKENS).open("wb")
        return self

    def add(self, numbers: Sequence[int] | np.ndarray) -> None:
        """Append one text."""
        self.extend(np.asarray(numbers, dtype=self.dtype), np.array([len(numbers)]))

    def extend(self, numbers: np.ndarray, lengths: np.ndarray) -> None:
        """Append texts that come one after the other in one array."""
        # Through the file object: `tofile` of each chunk would flush and synchronize it.
        self._file.write(numbers.astype(self.dtype, copy=False).data)
        ends = self._total + np.cumsum(lengths, dtype=np.int64)
        self._offsets.frombytes(ends.tobytes())
        self._total += len(numbers)

    def attach(self, name: str, values: np.ndarray) -> None:
        """Keep an array beside the texts; see `TokenStore.attached`."""
        np.save(self._beside / f"{name}.npy", values, allow_pickle=False)

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
        self._narrow()
        np.frombuffer(self._offsets, np.int64).astype("<i8").tofile(self._beside / OFFSETS)
        counts = {"texts": len(self._offsets) - 1, "tokens": self._total}
        described = {**self.meta, **counts, "dtype": self.dtype.str}
        (self._beside / META).write_text(json.dumps(described), encoding="utf-8")
        try:
            self._beside.rename(self.folder)
        except OSError:
            # Another process wrote the same corpus in the meantime: its folder serves as well.
            if not (self.folder / META).exists():
                raise

    def _narrow(self) -> None:
        """Write the numbers again in fewer bytes, where it has turned out that these are enough."""
        narrow = _narrowest(self.vocab_size)
        if narrow == self.dtype or not self._total:
            return
        wide, path = self.dtype, self._beside / TOKENS
        self.dtype = narrow
        with path.open("rb") as source, (self._beside / "narrow").open("wb") as target:
            while len(part := np.fromfile(source, wide, 1 << 20)):
                target.write(part.astype(narrow).data)
        (self._beside / "narrow").replace(path)


def _narrowest(vocab_size: int | None) -> np.dtype[Any]:
    return np.dtype("<u4" if vocab_size is None or vocab_size > 1 << 16 else "<u2")


class TokenTexts(Sequence[np.ndarray]):
    """Texts of token numbers, one after the other in one array.

    Args:
        tokens: All numbers.
        offsets: Where each text begins and the last one ends: int64 of (texts + 1,).
    """

    def __init__(self, tokens: np.ndarray, offsets: np.ndarray) -> None:
        self.tokens, self.offsets = tokens, offsets

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


class TokenStore(TokenTexts):
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
        self.offsets = np.asarray(np.memmap(self.folder / OFFSETS, dtype="<i8", mode="r"))
        texts, tokens = self.meta["texts"], self.meta["tokens"]
        kind = np.dtype(self.meta["dtype"])
        size = (self.folder / TOKENS).stat().st_size
        if len(self.offsets) != texts + 1 or size != tokens * kind.itemsize:
            raise ValueError(
                f"the tokens at {self.folder} are not whole (expected {texts} texts and {tokens} "
                "tokens): delete the folder and tokenize again"
            )
        # An empty file cannot be mapped.
        self.tokens = (
            np.memmap(self.folder / TOKENS, dtype=kind, mode="r") if tokens else np.empty(0, kind)
        )

    def attached(self, name: str) -> np.ndarray:
        """Map an array that the writer attached."""
        return np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    def __getstate__(self) -> dict[str, Any]:
        # Another process maps the files itself instead of being sent their content.
        return {"folder": self.folder, "meta": self.meta}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()
