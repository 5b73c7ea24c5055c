"""How strong tabular networks take their inputs: numbers scaled and embedded, categories encoded.

What these layers learn from the training rows (medians, quantiles) is in buffers, so it travels
with the model's weights.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "CategoryEncoder",
    "PeriodicNumbers",
    "PiecewiseLinearNumbers",
    "QuantileScale",
    "RobustSmoothClip",
]


class RobustSmoothClip(nn.Module):
    """Numbers around their median, scaled by their quartiles and clipped smoothly to (-3, 3).

    `x ← (x - median) / (q75 - q25)`, then `x / √(1 + (x/3)²)`. Where the quartiles are equal, half
    the range takes their place; a constant column gives zeros. Holzmüller, Grinsztajn and
    Steinwart, "Better by Default", NeurIPS 2024 (arXiv:2407.04491), section 3.

    Args:
        n_cont: Number of columns.
    """

    centre: Tensor
    factor: Tensor

    def __init__(self, n_cont: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_cont))
        self.register_buffer("factor", torch.ones(n_cont))

    def fit(self, x: Tensor) -> None:
        """Learn medians and scales from numbers of (rows, columns)."""
        if not x.numel():
            return
        values = x.double()
        spread = _quantiles(values, torch.tensor([0.25, 0.75], dtype=torch.float64))
        spread = spread[1] - spread[0]
        extent = (values.amax(0) - values.amin(0)) / 2
        scale = torch.where(spread > 0, spread, extent)
        self.centre.copy_(values.median(0).values)
        self.factor.copy_(torch.where(scale > 0, 1 / scale, torch.zeros_like(scale)))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and clip numbers of (rows, columns)."""
        x = (x - self.centre) * self.factor
        return x * torch.rsqrt(1 + (x / 3) ** 2)


class QuantileScale(nn.Module):
    """Numbers mapped to a normal distribution by their place among the training values.

    Between `n_quantiles` values that are learned the place is interpolated; equal values share the
    middle of their places, and numbers beyond the training values take the outermost ones.

    Args:
        n_cont: Number of columns.
        n_quantiles: How many quantiles are kept.
    """

    quantiles: Tensor

    def __init__(self, n_cont: int, n_quantiles: int = 1000) -> None:
        super().__init__()
        self.register_buffer("quantiles", torch.zeros(n_cont, n_quantiles))

    def fit(self, x: Tensor) -> None:
        """Learn the quantiles from numbers of (rows, columns)."""
        if not x.numel():
            return
        places = torch.linspace(0, 1, self.quantiles.shape[1], dtype=torch.float64)
        self.quantiles.copy_(_quantiles(x.double(), places).T)

    def forward(self, x: Tensor) -> Tensor:
        """Map numbers of (rows, columns)."""
        knots, values = self.quantiles, x.T.contiguous()
        last = knots.shape[1] - 1
        # A value that many rows share spans several knots: the mean of both searches is its middle.
        place = (_interpolated(knots, values, True) + _interpolated(knots, values, False)) / 2
        margin = 0.5 / (last + 1)
        share = (place / last).clamp(margin, 1 - margin)
        return (math.sqrt(2) * torch.erfinv(2 * share - 1)).T


def _quantiles(values: Tensor, places: Tensor) -> Tensor:
    """Return quantiles of each column; `torch.quantile` refuses more than 16 million numbers."""
    ordered = values.sort(0).values
    position = places * (len(values) - 1)
    low = position.floor().long()
    high = (low + 1).clamp_max(len(values) - 1)
    return torch.lerp(ordered[low], ordered[high], (position - low)[:, None])


def _bin_edges(values: Tensor, count: int) -> Tensor:
    """Return ascending edges at quantiles of a column, the largest repeated if values are few.

    A value that very many rows share counts as one bin's worth of rows alone, so that the other
    values get bins too (the paper's quantiles would coincide there).
    """
    distinct, rows = values.unique(return_counts=True)
    if len(distinct) <= count:
        return torch.cat([distinct, distinct[-1:].expand(count - len(distinct))])
    weight = rows.double()
    for _ in range(3):  # each time the rest is less, so that one bin's worth is less too
        weight = weight.clamp_max(float(weight.sum()) / count)
    reached = weight.cumsum(0) - weight
    wanted = torch.linspace(0, float(reached[-1]), count, dtype=reached.dtype)
    return distinct[torch.searchsorted(reached, wanted).clamp_max(len(distinct) - 1)]


def _interpolated(knots: Tensor, values: Tensor, right: bool) -> Tensor:
    """Return the place of values among knots, fractions between two of them."""
    upper = torch.searchsorted(knots, values, right=right).clamp(1, knots.shape[1] - 1)
    left, end = knots.gather(1, upper - 1), knots.gather(1, upper)
    width = end - left
    fraction = torch.where(width > 0, (values - left) / width, torch.full_like(width, float(right)))
    return upper - 1 + fraction.clamp(0, 1)


class PeriodicNumbers(nn.Module):
    """An embedding of each number: itself beside a linear map of cosines of it (PBLD).

    `x ↦ (x, W₂ cos(2π w₁ x + b₁) + b₂)`, each column with parameters of its own. Holzmüller et
    al. 2024, after the periodic embeddings of Gorishniy, Rubachev and Babenko, NeurIPS 2022.

    Args:
        n_cont: Number of columns.
        size: Length of an embedding.
        n_frequencies: Number of cosines.
        frequency_scale: Standard deviation of the frequencies at the start.
    """

    def __init__(
        self, n_cont: int, size: int = 4, n_frequencies: int = 16, frequency_scale: float = 0.1
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_frequencies)
        self.n_out = n_cont * size
        self.frequency = nn.Parameter(torch.randn(n_cont, n_frequencies) * frequency_scale)
        self.phase = nn.Parameter(torch.empty(n_cont, n_frequencies).uniform_(-math.pi, math.pi))
        weight = torch.empty(n_cont, n_frequencies, size - 1).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.shift = nn.Parameter(torch.empty(n_cont, size - 1).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Embed numbers of (rows, columns) as (rows, columns * size)."""
        waves = torch.cos(2 * math.pi * x[..., None] * self.frequency + self.phase)
        mixed = torch.einsum("rcf,cfs->rcs", waves, self.weight) + self.shift
        return torch.cat([x[..., None], mixed], dim=-1).flatten(1)


class PiecewiseLinearNumbers(nn.Module):
    """An embedding of each number that is linear between quantiles of the training values.

    A number becomes how much of each bin it has passed, from 0 to 1, and a linear map of that, each
    column with its own. Gorishniy, Rubachev and Babenko, "On Embeddings for Numerical Features in
    Tabular Deep Learning", NeurIPS 2022 (arXiv:2203.05556).

    Args:
        n_cont: Number of columns.
        size: Length of an embedding.
        n_bins: Number of bins; those that a column of few values does not need stay zero.
    """

    edges: Tensor

    def __init__(self, n_cont: int, size: int = 16, n_bins: int = 48) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_bins)
        self.n_out = n_cont * size
        self.register_buffer("edges", torch.linspace(-3, 3, n_bins + 1).repeat(n_cont, 1))
        self.linear = nn.Parameter(torch.empty(n_cont, size).uniform_(-1, 1))
        self.shift = nn.Parameter(torch.empty(n_cont, size).uniform_(-1, 1))
        self.weight = nn.Parameter(torch.empty(n_cont, n_bins, size).uniform_(-bound, bound))

    def fit(self, x: Tensor) -> None:
        """Learn the bins from numbers of (rows, columns)."""
        if not x.numel():
            return
        count = self.edges.shape[1]
        for column, edges in zip(x.double().unbind(1), self.edges, strict=True):
            edges.copy_(_bin_edges(column, count))

    def forward(self, x: Tensor) -> Tensor:
        """Embed numbers of (rows, columns) as (rows, columns * size)."""
        start, width = self.edges[:, :-1], self.edges.diff(dim=1)
        passed = (x[..., None] - start) / torch.where(width > 0, width, 1.0)
        passed = passed.clamp(0, 1) * (width > 0)
        mixed = torch.einsum("rcb,cbs->rcs", passed, self.weight)
        linear = x[..., None] * self.linear + self.shift
        return F.relu(mixed + linear).flatten(1)


class CategoryEncoder(nn.Module):
    """Categories as numbers: two values as ±1, a few one-hot, many as embeddings.

    Missing and unknown values (the first and the last code) are zeros among ±1 and one-hot columns;
    among embeddings an unknown value is the zero vector and a missing one is learned.

    Args:
        n_codes: Number of codes of each column, those of missing and unknown included.
        most_one_hot: Columns of more values than this are embedded.
        size: Length of an embedding.
    """

    def __init__(self, n_codes: Sequence[int], most_one_hot: int = 8, size: int = 8) -> None:
        super().__init__()
        self.n_codes = list(n_codes)
        self.tables = nn.ModuleDict()
        self.n_out = 0
        for place, count in enumerate(self.n_codes):
            values = count - 2
            if values > most_one_hot:
                table = nn.Embedding(count, size)
                nn.init.zeros_(table.weight.data[-1])
                self.tables[str(place)] = table
                self.n_out += size
            else:
                self.register_buffer(f"codes_{place}", _fixed(count))
                self.n_out += 1 if values == 2 else values

    def forward(self, codes: Tensor) -> Tensor:
        """Encode codes of (rows, columns) as (rows, n_out)."""
        parts = [F.embedding(codes[:, place], table) for place, table in enumerate(self.vectors())]
        return torch.cat(parts, dim=1)

    def vectors(self) -> list[Tensor]:
        """Return the numbers for each code of each column: (codes, numbers)."""
        return [
            getattr(self.tables[str(place)], "weight")  # noqa: B009
            if str(place) in self.tables
            else getattr(self, f"codes_{place}")
            for place in range(len(self.n_codes))
        ]


def _fixed(n_codes: int) -> Tensor:
    """Return the row of numbers for each code of a column of few values."""
    if n_codes == 4:
        return torch.tensor([[0.0], [-1.0], [1.0], [0.0]])
    return F.pad(torch.eye(max(n_codes - 2, 0)), (0, 0, 1, 1))
