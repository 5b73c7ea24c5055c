"""Batches for language models: rows of one long text, each read on from batch to batch."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from torte.data._plan import shuffled
from torte.data.tfmd_loader import TfmdDL
from torte.dispatch import L, serializable
from torte.text.vocabulary import TensorText

__all__ = ["LMDataLoader", "LMTensorText"]


@serializable("torte.text.LMTensorText")
class LMTensorText(TensorText):
    """Token numbers that a language model shall predict: int64 of (batch, steps)."""


@serializable("torte.text.LMDataLoader")
class LMDataLoader(TfmdDL):
    """Batches of (tokens, tokens one step later) out of all texts joined to one.

    The joined text is cut into `bs` rows; each batch goes on in every row where the one before it
    ended, so that a recurrent model can keep its state. When shuffling, the texts are joined in a
    new order each pass.

    Args:
        dataset: Texts as token numbers, alone or in tuples of one.
        bs: Rows.
        seq_len: Steps in a batch; the last batch of a pass may be shorter.
        num_workers: Workers only cost time here; kept for the interface.
        **kwargs: For `TfmdDL`.

    Raises:
        ValueError: There are fewer tokens than rows.
    """

    def __init__(
        self, dataset: Any, bs: int = 64, seq_len: int = 72, num_workers: int = 0, **kwargs: Any
    ) -> None:
        self.seq_len = seq_len
        self.texts = [_numbers(dataset[place]) for place in range(len(dataset))]
        total = sum(map(len, self.texts))
        self.row_length = max(total - 1, 0) // bs
        if self.texts and not self.row_length:
            raise ValueError(f"{total} tokens are too few for bs={bs} rows: use a smaller bs")
        self._stream: Tensor = torch.empty(0, dtype=torch.int64)
        self.samples = bs * -(-self.row_length // seq_len)
        kwargs.update(drop_last=False, n_inp=1)
        super().__init__(dataset, bs=bs, num_workers=num_workers, **kwargs)

    def _length_of_dataset(self) -> int:
        """Samples are the places of rows, as many in every batch, not texts."""
        return self.samples

    def get_idxs(self) -> Any:
        """Join the texts of a pass; its samples are just the places of its rows."""
        order = np.arange(len(self.texts))
        if self.shuffle:
            order = shuffled(order, self.rng.getrandbits(62))
        joined = [self.texts[place] for place in order.tolist()]
        self._stream = torch.from_numpy(np.concatenate(joined).astype(np.int64))
        return np.arange(self.n or 0, dtype=np.int64)

    def create_items(self, samps: Any) -> Any:
        """Leave the samples as they are: a batch is one slice."""
        return samps

    def do_batch(self, b: Any) -> tuple[Tensor, Tensor]:
        """Take the next steps of these rows: of all, or of those that are this process's."""
        rows, length = self.bs or 1, self.row_length
        number, top = divmod(b[0], rows)
        first = number * self.seq_len
        part = slice(top, top + len(b)), slice(first, min(first + self.seq_len, length))
        inputs = self._stream[: rows * length].view(rows, length)[part]
        targets = self._stream[1 : rows * length + 1].view(rows, length)[part]
        return inputs.as_subclass(TensorText), targets.as_subclass(LMTensorText)

    def _decode_samples(self, b: Any, max_n: int, full: bool = True) -> L[Any]:
        """Undo the transforms of inputs and targets alike: the dataset has texts alone."""
        whole = super()._decode_samples
        parts = [whole((part,), max_n, full) for part in b]
        return L([tuple(text[0] for text in texts) for texts in zip(*parts, strict=True)])


def _numbers(item: Any) -> np.ndarray:
    """The token numbers of an item, as an array of 4 bytes a token."""
    text = item[0] if isinstance(item, tuple) else item
    return np.asarray(text, dtype=np.int32)
