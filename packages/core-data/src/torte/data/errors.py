"""The exceptions of this layer.

    DataError
    ├── ImageReadError (also an OSError)      a file is no image that can be read
    │   └── MissingImageError (also a FileNotFoundError)
    ├── ItemError                             making one item failed; its cause is `__cause__`
    ├── CollationError (also a TypeError)     items that do not fit together into a batch
    ├── WorkerError (also a RuntimeError)     a worker died or took too long
    ├── TravelError (also a TypeError)        something cannot be sent to worker processes
    └── LoaderError (also a ValueError)       arguments that contradict each other

`SkipItemException` is no error: an item's maker raises it to leave that item out.
"""

from typing import Any

__all__ = [
    "CollationError",
    "DataError",
    "ImageReadError",
    "ItemError",
    "LoaderError",
    "MissingImageError",
    "SkipItemException",
    "TravelError",
    "WorkerError",
]


class DataError(Exception):
    """Base of everything that this layer raises on purpose."""


class ImageReadError(DataError, OSError):
    """A file cannot be read as an image: names the file and what was expected."""


class MissingImageError(ImageReadError, FileNotFoundError):
    """There is no file of that name."""


class ItemError(DataError):
    """Making one item failed; the exception of the item's maker is the `__cause__`.

    Args:
        message: The account of it.
        index: The sample's index in the dataset (or its number in an iterable).
        item: A short text of the item.
    """

    def __init__(self, message: str, index: Any = None, item: str | None = None) -> None:
        super().__init__(message, index, item)
        self.index = index
        self.item = item

    def __str__(self) -> str:
        return str(self.args[0])


class CollationError(DataError, TypeError):
    """Items do not fit together into a batch: says which differ, and how."""


class WorkerError(DataError, RuntimeError):
    """A worker died, or a batch did not come within `timeout`."""


class TravelError(DataError, TypeError):
    """Something cannot be sent to worker processes: names the attribute."""


class LoaderError(DataError, ValueError):
    """A loader's arguments contradict each other or the dataset."""


class SkipItemException(Exception):  # noqa: N818 - the name that users know
    """Raised by an item's maker to leave this item out of its batch."""
