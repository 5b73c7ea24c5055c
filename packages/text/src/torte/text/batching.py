"""Batches of texts: padding, and loading texts of about the same length together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torte.data.tfmd_loader import TfmdDL
from torte.dispatch import ItemTransform, Transform, retain_type, serializable
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


def _lengths(texts: Sequence[Tensor]) -> tuple[list[int], int]:
    """Return the length of each text, and that of the longest.

    Raises:
        TypeError: One is no tensor.
    """
    try:
        lengths = [text.shape[0] for text in texts]
    except AttributeError as error:
        wrong = next(text for text in texts if not hasattr(text, "shape"))
        raise TypeError(
            f"a text of the batch is {wrong!r:.60}, no tensor of token numbers: give its block a "
            "tokenizer, as TextBlock(Tokenizer())"
        ) from error
    return lengths, max(lengths, default=0)


def _in_rows(
    texts: Sequence[Tensor], lengths: Sequence[int], starts: Sequence[int], pad_idx: int
) -> list[Tensor]:
    """Return texts as rows of one matrix with padding around them, filled in one go.

    Args:
        texts: Vectors of token numbers.
        lengths: Theirs.
        starts: Where in its row each begins.
        pad_idx: Number of the padding token.
    """
    if not texts:
        return []
    with torch._C.DisableTorchFunctionSubclass():
        joined = torch.cat(list(texts))
        begins = torch.tensor(starts, device=joined.device)[:, None]
        ends = begins + torch.tensor(lengths, device=joined.device)[:, None]
        columns = torch.arange(max(lengths), device=joined.device)
        rows = joined.new_full((len(texts), len(columns)), pad_idx)
        rows.masked_scatter_((columns >= begins) & (columns < ends), joined)
        padded = rows.unbind()
    return [retain_type(row, text) for row, text in zip(padded, texts, strict=True)]


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
    for field in [pad_fields] if isinstance(pad_fields, int) else pad_fields:
        texts = [sample[field] for sample in padded]
        texts = [text.flip(0) for text in texts] if backwards else texts
        lengths, longest = _lengths(texts)
        starts = [longest - length if pad_first else 0 for length in lengths]
        rows = _in_rows(texts, lengths, starts, pad_idx)
        padded = [
            (*sample[:field], row, *sample[field + 1 :])
            for sample, row in zip(padded, rows, strict=True)
        ]
    return padded


def _first_step(length: int, pad_len: int, pad_first: bool, seq_len: int) -> int:
    """Return where a text begins: behind as many whole chunks of padding as there is room for."""
    return (pad_len - length) // seq_len * seq_len if pad_first else 0


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
    start = _first_step(len(text), pad_len, pad_first, seq_len)
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
        texts = [sample[0] for sample in samples]
        lengths, longest = _lengths(texts)
        starts = [_first_step(length, longest, self.pad_first, self.seq_len) for length in lengths]
        rows = _in_rows(texts, lengths, starts, self.pad_idx)
        return [  # pyright: ignore[reportReturnType]
            (row, *sample[1:]) for row, sample in zip(rows, samples, strict=True)
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
