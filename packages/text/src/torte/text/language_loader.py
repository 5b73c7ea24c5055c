"""Batches for language models: rows of one long text, each read on from batch to batch."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from torte.data._plan import shuffled
from torte.data.tfmd_loader import TfmdDL
from torte.dispatch import L, serializable
from torte.text.numbered import numbered_texts
from torte.text.vocabulary import TensorText

__all__ = ["LMDataLoader", "LMTensorText"]


@serializable("torte.text.LMTensorText")
class LMTensorText(TensorText):
    """Token numbers that a language model shall predict: int64 of (batch, steps)."""


@serializable("torte.text.LMDataLoader")
class LMDataLoader(TfmdDL):
    """Batches of (tokens, tokens one step later) out of all texts read as one.

    That text is cut into `bs` rows; each batch goes on in every row where the one before it
    ended, so that a recurrent model can keep its state. When shuffling, the texts are joined in a
    new order each pass.

    Args:
        dataset: Texts as token numbers, alone or in tuples of one: a pipeline's (a corpus on disk
            is read from there), a `TokenStore`, or any collection.
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
        self.texts = numbered_texts(dataset)
        total = int(self.texts.lengths.sum())
        self.row_length = max(total - 1, 0) // bs
        if len(self.texts) and not self.row_length:
            raise ValueError(f"{total} tokens are too few for bs={bs} rows: use a smaller bs")
        self.samples = bs * -(-self.row_length // seq_len)
        kwargs.update(drop_last=False, n_inp=1)
        super().__init__(dataset, bs=bs, num_workers=num_workers, **kwargs)

    def _length_of_dataset(self) -> int:
        """Samples are the places of rows, as many in every batch, not texts."""
        return self.samples

    def get_idxs(self) -> Any:
        """Put the texts of a pass in order; its samples are just the places of its rows."""
        self._order = np.arange(len(self.texts))
        if self.shuffle:
            self._order = shuffled(self._order, self.rng.getrandbits(62))
        self._ends = np.cumsum(self.texts.lengths[self._order])
        return np.arange(self.n or 0, dtype=np.int64)

    def create_items(self, samps: Any) -> Any:
        """Leave the samples as they are: a batch is one slice."""
        return samps

    def do_batch(self, b: Any) -> tuple[Tensor, Tensor]:
        """Take the next steps of these rows: of all, or of those that are this process's."""
        rows, length = self.bs or 1, self.row_length
        number, top = divmod(b[0], rows)
        first = number * self.seq_len
        # The targets are one step later, so the last one is the first of the next batch.
        steps = np.arange(first, min(first + self.seq_len, length) + 1)
        stream = torch.from_numpy(
            self._tokens(np.arange(top, top + len(b))[:, None] * length + steps)
        )
        inputs, targets = stream[:, :-1].contiguous(), stream[:, 1:].contiguous()
        return inputs.as_subclass(TensorText), targets.as_subclass(LMTensorText)

    def _tokens(self, places: np.ndarray) -> np.ndarray:
        """Gather the tokens at places of the joined texts, which are never joined in memory."""
        at = np.searchsorted(self._ends, places, side="right")
        texts = self._order[at]
        return self.texts.at(texts, places - (self._ends[at] - self.texts.lengths[texts]))

    def _decode_samples(self, b: Any, max_n: int, full: bool = True) -> L[Any]:
        """Undo the transforms of inputs and targets alike: the dataset has texts alone."""
        whole = super()._decode_samples
        parts = [whole((part,), max_n, full) for part in b]
        return L([tuple(text[0] for text in texts) for texts in zip(*parts, strict=True)])
