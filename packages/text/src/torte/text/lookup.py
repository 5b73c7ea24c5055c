"""Texts found by their content, in an array that may lie on disk."""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from torte.text.checking import checked_texts

__all__ = ["TextDigests", "TextIndex", "digest"]


def digest(text: str) -> bytes:
    """Return 16 bytes that stand for a text, whatever it holds."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class TextDigests:
    """The digests of texts that pass by.

    Attributes:
        characters: How many the texts have together.
    """

    def __init__(self) -> None:
        self._all = bytearray()
        self.characters = 0

    def watch(self, texts: Iterable[str]) -> Iterator[str]:
        """Pass texts on."""
        for text in checked_texts(texts):
            self._all += digest(text)
            self.characters += len(text)
            yield text

    def of_all(self, configuration: str) -> str:
        """Return a name for these texts in this order and a configuration."""
        whole = hashlib.blake2b(configuration.encode("utf-8", "surrogatepass"), digest_size=16)
        whole.update(b"\0")
        whole.update(self._all)
        return whole.hexdigest()

    def index(self) -> "TextIndex":
        """Return where each text is."""
        keys = np.frombuffer(bytes(self._all), "<u8").reshape(-1, 2)
        order = np.argsort(keys[:, 0], kind="stable")
        return TextIndex(np.stack([keys[order, 0], keys[order, 1], order.astype("<u8")]))


class TextIndex:
    """Finds the place of a text.

    Args:
        table: uint64 of (3, texts): both halves of each digest and the text's place, in the order
            of the first halves.
    """

    def __init__(self, table: np.ndarray) -> None:
        self.table = table

    def find(self, text: str) -> int | None:
        """Return the place of a text, the first one of equals; None where it is not there."""
        key = digest(text)
        first, second = (int.from_bytes(half, "little") for half in (key[:8], key[8:]))
        firsts, seconds, places = self.table
        for at in range(int(np.searchsorted(firsts, np.uint64(first))), len(firsts)):
            if int(firsts[at]) != first:
                return None
            if int(seconds[at]) == second:
                return int(places[at])
        return None
