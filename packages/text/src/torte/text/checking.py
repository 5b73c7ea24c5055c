"""What passes for a text: a string, and nothing else."""

from collections.abc import Iterable, Iterator

__all__ = ["checked_texts", "whole_text"]


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


def whole_text(text: str) -> str:
    """Put `\ufffd` for halves of surrogate pairs, which no file, table or tokenizer can hold."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
