"""What passes for a text: a string, and nothing else."""

from collections.abc import Iterable, Iterator

__all__ = ["checked_texts"]


def checked_texts(texts: Iterable[str]) -> Iterator[str]:
    """Pass texts on as they come.

    Raises:
        TypeError: An item is no string, as a NaN from an empty row; the message names its place.
    """
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"text number {place} is {text!r}, not a string: drop or fill such rows"
            )
        yield text
