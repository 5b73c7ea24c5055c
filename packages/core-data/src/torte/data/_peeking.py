"""Looking at the first items of something that can be read only once, without losing them."""

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["Replayable"]


class Replayable:
    """An iterator that gives again what was taken from it within `looking`."""

    def __init__(self, source: Iterator[Any]) -> None:
        self.source = source
        self.kept: list[Any] = []
        self.is_looking = False

    def __iter__(self) -> Iterator[Any]:
        if self.is_looking:
            return self._peek()
        return self

    def __next__(self) -> Any:
        return self.kept.pop(0) if self.kept else next(self.source)

    def _peek(self) -> Iterator[Any]:
        yield from list(self.kept)
        for item in self.source:
            self.kept.append(item)
            yield item

    @staticmethod
    @contextlib.contextmanager
    def looking(dataset: Any) -> Iterator[None]:
        """Within this context what is taken from `dataset`, if it is one of these, is kept."""
        if not isinstance(dataset, Replayable):
            yield
            return
        dataset.is_looking = True
        try:
            yield
        finally:
            dataset.is_looking = False
