"""What stands on an encoder of text: a decoder to words, or a classifier over whole documents."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from torte.learner.layers import LinBnDrop, SigmoidRange
from torte.text.models.dropout import RNNDropout
from torte.text.models.products import large_linear

__all__ = [
    "LinearDecoder",
    "PoolingLinearClassifier",
    "SentenceEncoder",
    "SequentialRNN",
    "masked_concat_pool",
]


class LinearDecoder(nn.Module):
    """A linear layer from the encoder's vectors to a score for each word.

    Args:
        n_out: Number of words.
        n_hid: Size of the encoder's vectors.
        output_p: Dropout on these vectors.
        tie_encoder: An embedding whose weights serve here too.
        bias: Whether words have a bias.
    """

    initrange = 0.1

    def __init__(
        self,
        n_out: int,
        n_hid: int,
        output_p: float = 0.1,
        tie_encoder: nn.Embedding | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.decoder = nn.Linear(n_hid, n_out, bias=bias)
        self.decoder.weight.data.uniform_(-self.initrange, self.initrange)
        if bias:
            self.decoder.bias.data.zero_()
        self.output_dp = RNNDropout(output_p)
        if tie_encoder is not None:
            self.decoder.weight = tie_encoder.weight

    def forward(self, encoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turn (batch, steps, n_hid) into scores of (batch, steps, n_out).

        Returns:
            The scores, and the encoder's vectors before and after dropout, for `RNNCallback`.
        """
        dropped = self.output_dp(encoded)
        scores = large_linear(dropped, self.decoder.weight, self.decoder.bias)
        return scores, encoded, dropped


class SequentialRNN(nn.Sequential):
    """A sequence of modules that passes `reset` on to those that keep a state."""

    def reset(self) -> None:
        """Let every module forget its state."""
        for child in self.children():
            reset = getattr(child, "reset", None)
            if reset is not None:
                reset()


class SentenceEncoder(nn.Module):
    """Reads whole documents through an encoder, a chunk of steps at a time.

    The state goes on from chunk to chunk. The last `max_len` steps keep their outputs and their
    gradients; those before are only read for the state, so that memory stays bounded.

    Args:
        bptt: Steps in a chunk.
        module: The encoder, with a `reset`.
        pad_idx: Number of the padding word.
        max_len: How many of the last steps to keep; None for all.
    """

    def __init__(
        self, bptt: int, module: nn.Module, pad_idx: int = 1, max_len: int | None = None
    ) -> None:
        super().__init__()
        self.bptt, self.module, self.pad_idx, self.max_len = bptt, module, pad_idx, max_len

    def reset(self) -> None:
        """Let the encoder forget its state."""
        reset = getattr(self.module, "reset", None)
        if reset is not None:
            reset()

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Encode documents of (batch, steps).

        Returns:
            The kept outputs of (batch, kept steps, size) and a mask of (batch, kept steps) that is
            True where a step is padding.
        """
        self.reset()
        steps = words.size(1)
        first_kept = 0 if self.max_len is None else max(0, steps - self.max_len)
        padding = words == self.pad_idx
        outputs, masks = [], []
        for start in range(0, steps, self.bptt):
            part = slice(start, start + self.bptt)
            if start > 0:
                self._begin_anew(padding[:, :start].all(dim=1))
            if part.stop <= first_kept:
                with torch.no_grad():
                    self.module(words[:, part])
                continue
            outputs.append(self.module(words[:, part]))
            masks.append(padding[:, part])
        return torch.cat(outputs, dim=1), torch.cat(masks, dim=1)

    def _begin_anew(self, rows: Tensor) -> None:
        """Let documents that nothing but padding came before begin with an empty state."""
        forget = getattr(self.module, "forget", None)
        if forget is not None:
            forget(rows)


def masked_concat_pool(output: Tensor, mask: Tensor, bptt: int) -> Tensor:
    """Pool a document's steps: the last one, their maximum and their mean, leaving out padding.

    Args:
        output: Encoded steps of (batch, steps, size).
        mask: True where a step is padding, (batch, steps).
        bptt: Steps in a chunk, to find out on which side the documents are padded.

    Returns:
        (batch, 3 * size): last, maximum, mean. A document of nothing but padding gives zeros.
    """
    lengths = (~mask).sum(dim=1)
    padded = mask.unsqueeze(-1)
    mean = output.masked_fill(padded, 0).sum(dim=1) / lengths.clamp(min=1).unsqueeze(-1)
    maximum = output.masked_fill(padded, -torch.inf).amax(dim=1)
    maximum = maximum.masked_fill((lengths == 0).unsqueeze(-1), 0)
    # The last real step, on whichever side the padding is.
    positions = torch.arange(output.size(1), device=output.device)
    last = (positions * ~mask).amax(dim=1)
    final = output[torch.arange(output.size(0), device=output.device), last]
    return torch.cat([final, maximum, mean], dim=1)


class PoolingLinearClassifier(nn.Module):
    """A classifier over the pooled steps of a document.

    Args:
        dims: Sizes from the pooled features to the number of classes.
        ps: Dropout before each linear layer.
        bptt: Steps in a chunk, for the pooling.
        y_range: Lower and upper end of a sigmoid on the outputs.

    Raises:
        ValueError: There is not one dropout for each linear layer.
    """

    def __init__(
        self,
        dims: Sequence[int],
        ps: Sequence[float],
        bptt: int,
        y_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        if len(ps) != len(dims) - 1:
            raise ValueError(f"{len(dims) - 1} linear layers need as many dropouts, got {list(ps)}")
        activations = [nn.ReLU(inplace=True)] * (len(dims) - 2) + [None]
        layers: list[nn.Module] = [
            LinBnDrop(n_in, n_out, p=p, act=activation)
            for (n_in, n_out), p, activation in zip(pairwise(dims), ps, activations, strict=True)
        ]
        if y_range is not None:
            layers.append(SigmoidRange(*y_range))
        self.layers = nn.Sequential(*layers)
        self.bptt = bptt

    def forward(self, encoded: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Score documents.

        Args:
            encoded: What `SentenceEncoder` returns: outputs and mask.

        Returns:
            The scores of (batch, classes), and the encoder's outputs twice, for `RNNCallback`.
        """
        output, mask = encoded
        scores = self.layers(masked_concat_pool(output, mask, self.bptt))
        return scores, output, output
