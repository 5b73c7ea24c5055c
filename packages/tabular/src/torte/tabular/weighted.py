"""Rows that count more than others: a loader that hands on weights, and a loss that takes them."""

from typing import Any

import torch
from torch import Tensor

from torte.data.tensors import plain
from torte.tabular.loader import TabDataLoader
from torte.tabular.table import Tabular

__all__ = ["WEIGHT", "WeightedLoader", "WeightedLoss"]

WEIGHT = "#weight#"
"""The column of a table that holds the weights of its rows."""


class WeightedLoader(TabDataLoader):
    """Batches of (codes, numbers, targets, weights), the weights from the table's own column."""

    def _tensors_of(self, table: Tabular) -> tuple[list[Tensor], type[Tensor] | None]:
        tensors, kind = super()._tensors_of(table)
        weights = torch.tensor(table.frame[WEIGHT].to_numpy(), dtype=torch.float32)
        return [*tensors, weights], kind

    def do_batch(self, b: Any) -> tuple[Tensor, ...]:
        """Take the rows of these numbers out of the table, their weights last."""
        *inputs, target, weight = map(plain, super().do_batch(b))
        return (*inputs, target.as_subclass(self.target_type or Tensor), weight)


class WeightedLoss:
    """The mean over rows of a loss times the row's weight.

    Args:
        loss: A loss whose `reduction` can be set. An `EnsembleLoss` gives all networks of a row the
            row's weight.
    """

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def __call__(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of predictions whose first dimension is the rows."""
        before, self.loss.reduction = self.loss.reduction, "none"
        try:
            losses = self.loss(pred, target)
        finally:
            self.loss.reduction = before
        return (losses.reshape(len(weight), -1).mean(1) * weight).mean()
