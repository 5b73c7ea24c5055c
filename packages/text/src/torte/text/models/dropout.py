"""The dropouts of AWD-LSTM: on activations over time, on embeddings by word, on recurrent weights.

Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", 2017,
https://arxiv.org/abs/1708.02182.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

__all__ = [
    "EmbeddingDropout",
    "RNNDropout",
    "WeightDropout",
    "WeightDroppedLSTM",
    "dropout_mask",
]


def dropout_mask(x: Tensor, size: tuple[int, ...] | list[int], p: float) -> Tensor:
    """Return a dropout mask of this size, of the type and on the device of `x`.

    Entries are 0 with probability `p` and 1 / (1 - p) otherwise; for `p` = 1 all are 0.
    """
    keep = 1.0 - p
    mask = x.new_empty(size).bernoulli_(keep)
    return mask.div_(keep) if keep > 0 else mask


class RNNDropout(nn.Module):
    """Dropout whose mask is the same at every step of a sequence (variational dropout).

    Shape:
        (batch, steps, features) in and out; one mask of (batch, 1, features) a call.

    Args:
        p: Probability that a feature is dropped, for all steps of a sequence at once.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop features of `x`, in training only."""
        if not self.training or self.p == 0.0:
            return x
        return x * dropout_mask(x, (x.size(0), 1, *x.shape[2:]), self.p)

    def extra_repr(self) -> str:
        """Show the probability."""
        return f"p={self.p}"


class EmbeddingDropout(nn.Module):
    """An embedding from which whole words are dropped, each everywhere in the batch.

    Args:
        emb: The embedding; its weight stays the only parameter.
        embed_p: Probability that a word is dropped.
    """

    def __init__(self, emb: nn.Embedding, embed_p: float) -> None:
        super().__init__()
        self.emb = emb
        self.embed_p = embed_p

    def forward(self, words: Tensor, scale: float | None = None) -> Tensor:
        """Look up words: integers of any shape become vectors in one more dimension."""
        vectors = F.embedding(words, self.emb.weight, self.emb.padding_idx)
        if self.training and self.embed_p > 0.0:
            # Scaling what was looked up is scaling the rows of the matrix, without a copy of it.
            rows = dropout_mask(self.emb.weight, (self.emb.num_embeddings, 1), self.embed_p)
            vectors = vectors * F.embedding(words, rows)
        return vectors if scale is None else vectors * scale


class WeightDropout(nn.Module):
    """Any module, some of whose weights are dropped out anew at each call.

    The module keeps its parameters, by their names. For an LSTM `WeightDroppedLSTM` is faster.

    Args:
        module: The module.
        weight_p: Probability that an entry of these weights is dropped, in training.
        layer_names: The weights' names in the module.

    Raises:
        AttributeError: The module has no such parameter.
    """

    def __init__(
        self, module: nn.Module, weight_p: float, layer_names: str | Sequence[str] = "weight_hh_l0"
    ) -> None:
        super().__init__()
        self.module, self.weight_p = module, weight_p
        self.layer_names = [layer_names] if isinstance(layer_names, str) else list(layer_names)
        for name in self.layer_names:
            module.get_parameter(name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module with what it takes."""
        if not self.training or self.weight_p == 0.0:
            return self.module(*args, **kwargs)
        dropped = {
            name: F.dropout(self.module.get_parameter(name), self.weight_p)
            for name in self.layer_names
        }
        return functional_call(self.module, dropped, args, kwargs)

    def reset(self) -> None:
        """Let the module forget its state, if it keeps one."""
        reset = getattr(self.module, "reset", None)
        if reset is not None:
            reset()


class WeightDroppedLSTM(nn.Module):
    """A one-layer batch-first LSTM whose recurrent weights are dropped out anew at each call.

    Its parameters are those of `torch.nn.LSTM`, by the same names, and so are its results without
    dropout; it is no subclass, because PyTorch's compiler breaks the graph at those. On a GPU the
    weights of a call stand in one block of memory in the order that cuDNN wants, so that it need
    not gather them again (https://github.com/pytorch/pytorch/issues/24155); the parameters
    themselves stay as they are, for optimizers, checkpoints and tied weights.

    Args:
        input_size: Features a step.
        hidden_size: Features of the state.
        weight_p: Probability that a recurrent weight is dropped, in training.
        bidirectional: Whether a second LSTM reads the sequence backwards.
    """

    num_layers = 1

    def __init__(
        self, input_size: int, hidden_size: int, weight_p: float = 0.0, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight_p, self.bidirectional = weight_p, bidirectional
        gates = 4 * hidden_size
        shapes = {
            "weight_ih_l0": (gates, input_size),
            "weight_hh_l0": (gates, hidden_size),
            "bias_ih_l0": (gates,),
            "bias_hh_l0": (gates,),
        }
        for suffix in ("", "_reverse") if bidirectional else ("",):
            for name, shape in shapes.items():
                self.register_parameter(f"{name}{suffix}", nn.Parameter(torch.empty(shape)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights uniformly from ± 1 / √hidden_size, as PyTorch does."""
        bound = self.hidden_size**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def _weights(self) -> list[Tensor]:
        """Return the weights of a call, in training with dropout on the recurrent ones."""
        named = dict(self.named_parameters())
        if self.training and self.weight_p > 0.0:
            for name, weight in named.items():
                if name.startswith("weight_hh"):
                    named[name] = F.dropout(weight, self.weight_p)  # pyright: ignore[reportArgumentType]
        weights: list[Tensor] = list(named.values())
        # Elsewhere the block would be one more copy.
        return _in_one_block(weights) if weights[0].is_cuda else weights

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run the sequences of (batch, steps, features) from a state, zero where none is given."""
        if hx is None:
            directions = 2 if self.bidirectional else 1
            zeros = input.new_zeros(directions, input.size(0), self.hidden_size)
            hx = (zeros, zeros)
        output, state, cell = torch.lstm(
            input, hx, self._weights(), True, 1, 0.0, self.training, self.bidirectional, True
        )
        return output, (state, cell)

    def extra_repr(self) -> str:
        """Show the sizes and the probability."""
        both_ways = ", bidirectional=True" if self.bidirectional else ""
        return f"{self.input_size}, {self.hidden_size}, weight_p={self.weight_p}{both_ways}"


def _in_one_block(weights: list[Tensor]) -> list[Tensor]:
    """Return weights as views of one block of memory, in cuDNN's order."""
    # The matrices of all directions come first, then the biases of all directions.
    order = sorted(range(len(weights)), key=lambda position: weights[position].ndim == 1)
    block = torch.cat([weights[position].flatten() for position in order])
    pieces = block.split([weights[position].numel() for position in order])
    views = list(weights)
    for position, piece in zip(order, pieces, strict=True):
        views[position] = piece.view_as(weights[position])
    return views
