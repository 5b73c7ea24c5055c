"""Batches of texts: padding, and loading texts of about the same length together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torte.data.tfmd_loader import TfmdDL
from torte.dispatch import ItemTransform, Transform, serializable
from torte.text.numbered import text_lengths

__all__ = [
    "PadChunk",
    "PadInput",
    "Pad_Chunk",
    "Pad_Input",
    "SortedDL",
    "pad_chunk",
    "pad_input",
    "pad_input_chunk",
]


def _fields(samples: Sequence[Any], pad_fields: int | Sequence[int]) -> list[int]:
    return [pad_fields] if isinstance(pad_fields, int) else list(pad_fields)


def _with_field(sample: tuple[Any, ...], field: int, value: Tensor) -> tuple[Any, ...]:
    return (*sample[:field], value, *sample[field + 1 :])


def pad_input(
    samples: Sequence[tuple[Any, ...]],
    pad_idx: int = 1,
    pad_fields: int | Sequence[int] = 0,
    pad_first: bool = False,
    backwards: bool = False,
) -> list[tuple[Any, ...]]:
    """Pad fields of samples to the length of the longest.

    Args:
        samples: Tuples with vectors of token numbers in the fields.
        pad_idx: Number of the padding token.
        pad_fields: Which fields.
        pad_first: Whether padding goes before the text.
        backwards: Whether to turn texts round; padding stays on its side.
    """
    padded = [tuple(sample) for sample in samples]
    for field in _fields(samples, pad_fields):
        longest = max((len(sample[field]) for sample in padded), default=0)
        for place, sample in enumerate(padded):
            text = sample[field]
            room = text.new_full((longest - len(text),), pad_idx)
            text = text.flip(0) if backwards else text
            text = torch.cat([room, text] if pad_first else [text, room])
            padded[place] = _with_field(sample, field, text)
    return padded


def pad_chunk(
    text: Tensor,
    pad_idx: int = 1,
    pad_first: bool = True,
    seq_len: int = 72,
    pad_len: int = 10,
) -> Tensor:
    """Pad a text to `pad_len`: whole chunks of `seq_len` on one side and the rest on the other.

    An encoder that reads chunk by chunk then meets chunks of nothing but padding, which it can
    pass over, and the text itself begins at the beginning of a chunk.
    """
    chunks = (pad_len - len(text)) // seq_len * seq_len
    start = chunks if pad_first else 0
    padded = text.new_full((pad_len,), pad_idx)
    padded[start : start + len(text)] = text
    return padded


@serializable("torte.text.PadInput")
class PadInput(ItemTransform):
    """`pad_input` as a transform of lists of samples.

    Args:
        pad_idx: Number of the padding token.
        pad_fields: Which fields.
        pad_first: Whether padding goes before the text.
        backwards: Whether to turn texts round.
    """

    def __init__(
        self,
        pad_idx: int = 1,
        pad_fields: int | Sequence[int] = 0,
        pad_first: bool = False,
        backwards: bool = False,
    ) -> None:
        super().__init__()
        self.pad_idx, self.pad_fields = pad_idx, pad_fields
        self.pad_first, self.backwards = pad_first, backwards

    def encodes(self, samples: list) -> None:
        """Pad."""
        return pad_input(  # pyright: ignore[reportReturnType]
            samples, self.pad_idx, self.pad_fields, self.pad_first, self.backwards
        )


@serializable("torte.text.PadChunk")
class PadChunk(Transform):
    """Pads the first field of samples in chunks (see `pad_chunk`) to the length of the longest.

    Args:
        pad_idx: Number of the padding token.
        pad_first: Whether whole chunks of padding go before the text.
        seq_len: Steps in a chunk.
    """

    def __init__(self, pad_idx: int = 1, pad_first: bool = True, seq_len: int = 72) -> None:
        super().__init__()
        self.pad_idx, self.pad_first, self.seq_len = pad_idx, pad_first, seq_len

    def encodes(self, samples: list) -> None:
        """Pad."""
        longest = max((len(sample[0]) for sample in samples), default=0)
        return [  # pyright: ignore[reportReturnType]
            _with_field(
                tuple(sample),
                0,
                pad_chunk(sample[0], self.pad_idx, self.pad_first, self.seq_len, longest),
            )
            for sample in samples
        ]


# fastai's names of these two.
Pad_Input = PadInput
Pad_Chunk = PadChunk


def pad_input_chunk(
    samples: Sequence[tuple[Any, ...]],
    pad_idx: int = 1,
    pad_first: bool = True,
    seq_len: int = 72,
) -> list[tuple[Any, ...]]:
    """Pad the first field of samples in chunks; see `PadChunk`."""
    return PadChunk(pad_idx, pad_first, seq_len)(list(samples))


def _length(sample: Any) -> int:
    """The length of a sample's first field."""
    return len(sample[0] if isinstance(sample, tuple) else sample)


@serializable("torte.text.SortedDL")
class SortedDL(TfmdDL):
    """A loader that puts texts of about the same length into one batch.

    Without shuffling texts come longest first. With it they come in a random order that is sorted
    within large parts only, the batches in a random order again but the one with the longest text,
    which comes first: a batch that does not fit in memory then fails at once.

    Args:
        dataset: The texts.
        sort_func: The length of a sample; by default that of its first field.
        res: The lengths of all samples, if they are known.
        seq_len: Accepted for compatibility: padding knows its own; see `PadChunk`.
        **kwargs: For `TfmdDL`.
    """

    def __init__(
        self,
        dataset: Any,
        sort_func: Callable[[Any], int] | None = None,
        res: Sequence[int] | None = None,
        seq_len: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.sort_func = sort_func
        lengths: Any = res
        if lengths is None and sort_func is None:
            lengths = text_lengths(dataset)
        if lengths is None:
            measure = sort_func or _length
            lengths = [measure(dataset[n]) for n in range(len(dataset))]
        self.lengths = np.asarray(lengths, dtype=np.int64)
        super().__init__(dataset, **kwargs)

    def get_idxs(self) -> Any:
        """The samples of a pass in order."""
        if self.shuffle:
            return super().get_idxs()
        return np.argsort(-self.lengths[: self.n], kind="stable")

    def shuffle_fn(self, idxs: Any) -> Any:
        """A random order in which neighbours have about the same length."""
        shuffled = np.asarray(super().shuffle_fn(idxs))
        size = self.bs or 1
        part = size * 50
        parts = [shuffled[start : start + part] for start in range(0, len(shuffled), part)]
        ordered = np.concatenate([p[np.argsort(-self.lengths[p], kind="stable")] for p in parts])
        batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        # The last, smaller batch stays last: the loader may be told to drop it.
        last = [batches.pop()] if len(batches) > 1 and len(batches[-1]) < size else []
        longest = int(np.argmax([self.lengths[batch[0]] for batch in batches])) if batches else 0
        first = [batches.pop(longest)] if batches else []
        self.rng.shuffle(batches)
        return np.concatenate([*first, *batches, *last]) if first else shuffled

    def new(self, dataset: Any = None, cls: type | None = None, **kwargs: Any) -> Any:
        """Make a loader like this one of other texts, whose lengths are looked up anew."""
        if dataset is not None and dataset is not self.dataset:
            kwargs.setdefault("res", None)
        return super().new(dataset, cls, **kwargs)
