"""RealMLP, an MLP with defaults that were tuned on many tables.

Holzmüller, Grinsztajn and Steinwart, "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on
Tabular Data", NeurIPS 2024 (arXiv:2407.04491): the variant RealMLP-TD.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from torte.learner import model_builder
from torte.tabular.inputs import CategoryEncoder, PeriodicNumbers, RobustSmoothClip
from torte.tabular.recipes import Recipe, coslog4, flat_cos, groups_by

__all__ = ["NTPLinear", "ParametricActivation", "RealMLP", "realmlp_groups"]


class NTPLinear(nn.Module):
    """A linear layer whose weights are standard normal and divided by √n_in in the computation.

    The neural tangent parametrization of Jacot, Gabriel and Hongler, NeurIPS 2018.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.factor = 1 / math.sqrt(max(n_in, 1))
        self.weight = nn.Parameter(torch.randn(n_out, n_in))
        self.bias = nn.Parameter(torch.randn(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Compute outputs of (rows, n_out)."""
        return torch.nn.functional.linear(x, self.weight * self.factor, self.bias)

    @torch.no_grad()
    def fit(self, x: Tensor, n_points: int = 5) -> None:
        """Begin from data: outputs of unit variance, and units that bend amid the rows.

        Each unit's hyperplane goes through a random point between five rows (Steinwart, "A Sober
        Look at Neural Network Initializations", 2019).
        """
        if len(x) < 2 or not x.shape[1]:
            return
        out = x @ self.weight.T * self.factor
        scale = out.std(0)
        scale = torch.where(scale > 1e-6, scale, torch.ones_like(scale))
        self.weight /= scale[:, None]
        rows = torch.randint(len(x), (n_points, len(scale)), device=x.device)
        shares = torch.empty(n_points, len(scale), device=x.device).exponential_()
        points = (out / scale).gather(0, rows)
        self.bias.copy_(-(points * shares / shares.sum(0)).sum(0))


class ParametricActivation(nn.Module):
    """`x + alpha (act(x) - x)` with an alpha for each unit, 1 at the start."""

    def __init__(self, act: nn.Module, size: int) -> None:
        super().__init__()
        self.act = act
        self.alpha = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation."""
        return torch.lerp(x, self.act(x), self.alpha)


@model_builder
class RealMLP(nn.Module):
    """RealMLP-TD: numbers scaled robustly and embedded, a learned scale for each input, an MLP.

    Shape:
        `x_cat`: codes of (rows, categorical columns); `x_cont`: floats of (rows, continuous
        columns), scaled or not; out: (rows, out_sz).

    Args:
        n_codes: Number of codes of each categorical column.
        n_cont: Number of continuous columns.
        out_sz: Number of outputs.
        layers: Sizes of the hidden layers; by default three of 256.
        p: Dropout.
        regression: Whether the outputs are numbers: Mish rather than SELU, and outputs in units of
            the targets' standard deviation, kept within the targets' range at inference.
    """

    target_mean: Tensor
    target_std: Tensor
    target_range: Tensor
    n_groups = 5

    def __init__(
        self,
        n_codes: Sequence[int],
        n_cont: int,
        out_sz: int,
        layers: Sequence[int] = (256, 256, 256),
        p: float = 0.15,
        regression: bool = False,
    ) -> None:
        super().__init__()
        self.regression = regression
        self.categories = CategoryEncoder(n_codes) if n_codes else None
        self.numbers = RobustSmoothClip(n_cont) if n_cont else None
        self.periodic = PeriodicNumbers(n_cont) if n_cont else None
        n_in = sum(part.n_out for part in (self.categories, self.periodic) if part is not None)
        self.scale = nn.Parameter(torch.ones(n_in))
        sizes = [n_in, *layers]
        blocks: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            act = nn.Mish() if regression else nn.SELU()
            blocks += [NTPLinear(size_in, size_out), ParametricActivation(act, size_out)]
            blocks.append(nn.Dropout(p))
        self.layers = nn.Sequential(*blocks, NTPLinear(sizes[-1], out_sz))
        self.register_buffer("target_mean", torch.zeros(out_sz))
        self.register_buffer("target_std", torch.ones(out_sz))
        ends = torch.tensor([[-math.inf], [math.inf]])
        self.register_buffer("target_range", ends.repeat(1, out_sz))

    @property
    def recipe(self) -> Recipe:
        """How the paper trains it."""
        return Recipe(
            lr=0.2 if self.regression else 0.04,
            wd=0.02,
            n_epoch=256,
            lr_shape=coslog4,
            wd_shape=flat_cos,
            dropout_shape=flat_cos,
            # weights and embeddings, biases, the scale, activations, periodic embeddings
            lr_factors=(1.0, 0.1, 6.0, 0.1, 0.1),
            wd_factors=(1.0, 0.0, 1.0, 1.0, 1.0),
            optimizer={"mom": 0.9, "sqr_mom": 0.95, "eps": 1e-8},
            label_smoothing=0.0 if self.regression else 0.1,
        )

    @torch.no_grad()
    def fit_inputs(self, x_cat: Tensor, x_cont: Tensor | None, target: Tensor | None) -> None:
        """Learn scales from training rows, and begin the layers from them."""
        if self.numbers is not None and x_cont is not None:
            self.numbers.fit(x_cont)
        if self.regression and target is not None and len(target):
            values = target.reshape(len(target), -1).double()
            self.target_mean.copy_(values.mean(0))
            self.target_std.copy_(values.std(0, correction=0).clamp_min(1e-12))
            low, high = values.amin(0), values.amax(0)
            self.target_range.copy_(torch.stack([low, high]))
        x = self._inputs(x_cat, x_cont)
        for layer in self.layers:
            if isinstance(layer, NTPLinear):
                layer.fit(x)
            x = x if isinstance(layer, nn.Dropout) else layer(x)

    def _inputs(self, x_cat: Tensor, x_cont: Tensor | None) -> Tensor:
        parts: list[Tensor] = []
        if self.categories is not None:
            parts.append(self.categories(x_cat))
        if self.numbers is not None and self.periodic is not None and x_cont is not None:
            parts.append(self.periodic(self.numbers(x_cont)))
        return torch.cat(parts, dim=1) * self.scale

    def forward(self, x_cat: Tensor, x_cont: Tensor | None = None) -> Tensor:
        """Compute the outputs of rows."""
        out = self.layers(self._inputs(x_cat, x_cont))
        if not self.regression:
            return out
        out = out * self.target_std + self.target_mean
        return (
            out if self.training else torch.clamp(out, self.target_range[0], self.target_range[1])
        )


def _group_of(name: str) -> int:
    """Return the parameter group of a parameter: see `RealMLP.recipe`."""
    if name.startswith("periodic."):
        return 4
    endings = {"bias": 1, "scale": 2, "alpha": 3}
    return endings.get(name.rsplit(".", 1)[-1], 0)


def realmlp_groups(model: nn.Module) -> list[list[Any]]:
    """Return the parameter groups of a `RealMLP`, each with a learning rate of its own."""
    return groups_by(model, _group_of, RealMLP.n_groups)
