"""The learners whose files of every release are kept, and must go on loading."""

from pathlib import Path

import torch
from torch import nn
from torte.data import Categorize, Datasets
from torte.dispatch import Transform, serializable
from torte.learner import Learner, model_builder

ROW = [0.5, -1.0, 2.0, 0.25]


@model_builder("tests.release_model")
def release_model(classes: int, hidden: int = 6) -> nn.Module:
    """A small model with batch norm."""
    return nn.Sequential(
        nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )


class _Written(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3))
        self.register_buffer("scale", torch.linspace(1, 2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).view(x.shape[0], 3) * self.scale


def release_program() -> nn.Module:
    """A model that no builder made."""
    return _Written()


@serializable("tests.ReleaseRow")
class ReleaseRow(Transform):
    """A row of numbers as a tensor."""

    def encodes(self, x: list):
        return torch.tensor(x)


def _label(row: list[float]) -> str:
    return ("low", "middle", "high")[int(row[0]) % 3]


def release_learner(folder: Path, model: nn.Module | None = None) -> Learner:
    """A classifier of rows of four numbers."""
    rows = [[float(n), n * 0.5 - 2, 1.0 - n, 0.1 * n] for n in range(9)]
    datasets = Datasets(
        rows, [[ReleaseRow()], [_label, Categorize()]], splits=[list(range(6)), [6, 7, 8]]
    )
    dls = datasets.dataloaders(bs=3, device="cpu")
    return Learner(dls, model or release_model(3), path=folder)
