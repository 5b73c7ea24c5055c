"""TabM: many networks in one, which share most weights and are averaged.

Gorishniy, Kotelnikov and Babenko, "TabM: Advancing Tabular Deep Learning with Parameter-Efficient
Ensembling", ICLR 2025 (arXiv:2410.24210); weights are shared as in BatchEnsemble (Wen, Tran and
Ba, ICLR 2020).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torte.dispatch import serializable
from torte.learner import model_builder
from torte.learner.losses.base import BaseLoss
from torte.tabular.inputs import CategoryEncoder, PiecewiseLinearNumbers, QuantileScale
from torte.tabular.recipes import Recipe

__all__ = ["BatchEnsembleLinear", "EnsembleLoss", "TabM"]

Average = Literal["softmax", "sigmoid", "none"]


class BatchEnsembleLinear(nn.Module):
    """`k` linear layers that share their weights: `s ⊙ (W (r ⊙ x)) + b`, with r, s, b for each.

    Shape:
        (rows, k, n_in) to (rows, k, n_out).

    Args:
        n_in: Number of inputs.
        n_out: Number of outputs.
        k: Number of networks.
        first: Whether the layer is the first: then r begins as random signs, which make the
            networks differ, otherwise as ones.
    """

    def __init__(self, n_in: int, n_out: int, k: int, first: bool = False) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(n_in, 1))
        self.weight = nn.Parameter(torch.empty(n_out, n_in).uniform_(-bound, bound))
        signs = torch.randint(2, (k, n_in)).float() * 2 - 1
        self.r = nn.Parameter(signs if first else torch.ones(k, n_in))
        self.s = nn.Parameter(torch.ones(k, n_out))
        self.bias = nn.Parameter(torch.empty(n_out).uniform_(-bound, bound).repeat(k, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs of all networks."""
        return F.linear(x * self.r, self.weight) * self.s + self.bias


@model_builder
class TabM(nn.Module):
    """TabM with piecewise-linear embeddings of numbers.

    In training it returns the outputs of every network, (rows, k, out_sz), so that each has a loss
    of its own; at inference the average of their predictions, (rows, out_sz), as scores whose
    softmax or sigmoid is that average.

    Args:
        n_codes: Number of codes of each categorical column.
        n_cont: Number of continuous columns.
        out_sz: Number of outputs.
        layers: Sizes of the hidden layers; by default three of 512.
        p: Dropout.
        k: Number of networks.
        average: What is averaged: probabilities by softmax or by sigmoid, or the outputs.
        n_bins: Bins of the embeddings of numbers; columns whose single values matter, such as
            amounts of money, gain from many.
        embedding: Length of the embeddings of numbers.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        n_codes: Sequence[int],
        n_cont: int,
        out_sz: int,
        layers: Sequence[int] = (512, 512, 512),
        p: float = 0.1,
        k: int = 32,
        average: Average = "softmax",
        n_bins: int = 128,
        embedding: int = 16,
    ) -> None:
        super().__init__()
        self.k, self.average = k, average
        self.categories = CategoryEncoder(n_codes, most_one_hot=1 << 10) if n_codes else None
        self.numbers = QuantileScale(n_cont) if n_cont else None
        self.pieces = PiecewiseLinearNumbers(n_cont, embedding, n_bins) if n_cont else None
        n_in = sum(part.n_out for part in (self.categories, self.pieces) if part is not None)
        blocks: list[nn.Module] = []
        for place, (size_in, size_out) in enumerate(pairwise([n_in, *layers])):
            linear = BatchEnsembleLinear(size_in, size_out, k, first=place == 0)
            blocks += [linear, nn.ReLU(), nn.Dropout(p)]
        self.layers = nn.Sequential(*blocks)
        width, bound = layers[-1], 1 / math.sqrt(layers[-1])
        self.head = nn.Parameter(torch.empty(k, width, out_sz).uniform_(-bound, bound))
        self.head_bias = nn.Parameter(torch.empty(k, out_sz).uniform_(-bound, bound))
        self.register_buffer("target_mean", torch.zeros(out_sz))
        self.register_buffer("target_std", torch.ones(out_sz))

    @property
    def recipe(self) -> Recipe:
        """How the paper trains its default: AdamW at a constant rate."""
        optimizer = {"mom": 0.9, "sqr_mom": 0.999, "eps": 1e-8}
        return Recipe(lr=2e-3, wd=3e-4, n_epoch=20, optimizer=optimizer)

    @torch.no_grad()
    def fit_inputs(self, x_cat: Tensor, x_cont: Tensor | None, target: Tensor | None) -> None:
        """Learn quantiles, bins and the targets' scale from training rows."""
        if self.numbers is not None and self.pieces is not None and x_cont is not None:
            self.numbers.fit(x_cont)
            self.pieces.fit(self.numbers(x_cont))
        if self.average == "none" and target is not None and len(target):
            values = target.reshape(len(target), -1).double()
            self.target_mean.copy_(values.mean(0))
            self.target_std.copy_(values.std(0, correction=0).clamp_min(1e-12))

    def forward(self, x_cat: Tensor, x_cont: Tensor | None = None) -> Tensor:
        """Compute the outputs of rows."""
        parts: list[Tensor] = []
        if self.categories is not None:
            parts.append(self.categories(x_cat))
        if self.numbers is not None and self.pieces is not None and x_cont is not None:
            parts.append(self.pieces(self.numbers(x_cont)))
        x = torch.cat(parts, dim=1)[:, None].expand(-1, self.k, -1)
        out = torch.einsum("rkw,kwo->rko", self.layers(x), self.head) + self.head_bias
        out = out * self.target_std + self.target_mean
        return out if self.training else self._averaged(out)

    def _averaged(self, out: Tensor) -> Tensor:
        """Return scores whose activation is the average of the networks' predictions."""
        if self.average == "none":
            return out.mean(1)
        if self.average == "softmax":
            return out.log_softmax(-1).logsumexp(1) - math.log(self.k)
        # log(mean p) - log(mean (1 - p)), both from logarithms, which do not run out of digits
        return F.logsigmoid(out).logsumexp(1) - F.logsigmoid(-out).logsumexp(1)


@serializable("torte.tabular.EnsembleLoss")
class EnsembleLoss:
    """A loss that gives every network of an ensemble its own: predictions of (rows, k, outputs).

    Predictions without the dimension of networks, as at inference, go to the loss as they are.

    Args:
        loss: The loss of one network.
    """

    def __init__(self, loss: BaseLoss) -> None:
        self.loss = loss

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss."""
        if pred.ndim == 3:
            target = target.repeat_interleave(pred.shape[1], dim=0)
            pred = pred.flatten(0, 1)
        return self.loss(pred, target)

    def activation(self, x: Tensor) -> Tensor:
        """Return what the loss makes of raw predictions."""
        return self.loss.activation(x)

    def decodes(self, x: Tensor) -> Tensor:
        """Return what predictions stand for."""
        return self.loss.decodes(x)

    @property
    def reduction(self) -> str:
        """How the losses of all elements become one."""
        return self.loss.reduction

    @reduction.setter
    def reduction(self, value: str) -> None:
        self.loss.reduction = value

    @property
    def y_int(self) -> bool:
        """Whether targets are class numbers."""
        return self.loss.y_int

    def config(self) -> dict[str, Any]:
        """Return the loss."""
        return {"loss": self.loss}
