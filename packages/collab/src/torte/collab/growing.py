"""Rows for new users or items in a trained model and in the state of its optimizer."""

from typing import Any

import torch
from torch import Tensor, nn

from torte.collab.features import FeatureDotBias, SideFeatures
from torte.collab.models import EmbeddingDotBias
from torte.learner.builders import amend_recipe
from torte.optim.lookahead import LookaheadWrapper

__all__ = ["Growth"]


def _with_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Return a table with rows before its last one, which stays the one for what is unknown."""
    rows = rows.to(table)
    return torch.cat([table[:-1], rows, table[-1:]])


def _zeros(rows: Tensor, like: Tensor) -> Tensor:
    return like.new_zeros(len(rows), *like.shape[1:])


class Growth:
    """New rows for the users or the items of a model: worked out first, then put in place.

    Making one may fail and changes nothing; `commit` changes everything and does not fail.

    Args:
        model: The model.
        opt: Its optimizer, or None. What it knows about the other rows stays; stats of the new
            ones begin at zero.
        is_item: Whether the rows are items.
        factors: (new rows, n_factors).
        biases: (new rows,).
        features: For a model with side columns: codes and numbers of the new rows.
    """

    def __init__(
        self,
        model: EmbeddingDotBias,
        opt: Any,
        is_item: bool,
        factors: Tensor,
        biases: Tensor,
        features: tuple[Tensor, Tensor],
    ) -> None:
        self.model, self.opt, self.is_item = model, opt, is_item
        tables = (model.i_weight, model.i_bias) if is_item else (model.u_weight, model.u_bias)
        new = zip(tables, (factors, biases[:, None]), strict=True)
        self.parameters = [(table, self._parameter(table, rows), rows) for table, rows in new]
        self.side: SideFeatures | None = None
        if isinstance(model, FeatureDotBias):
            self.side = model.item_side if is_item else model.user_side
            known = (self.side.known_codes, self.side.known_numbers)
            pairs = zip(known, features, strict=True)
            self.known = [_with_rows(old, rows) for old, rows in pairs]
        self.state = [] if opt is None else [*self._states()]

    def _parameter(self, table: nn.Embedding, rows: Tensor) -> nn.Parameter:
        old = table.weight
        return nn.Parameter(_with_rows(old.detach(), rows), requires_grad=old.requires_grad)

    def _states(self) -> Any:
        """Yield the optimizer's state of each table, with rows for the new ones."""
        for table, _, rows in self.parameters:
            kept = self.opt.state.get(table.weight, {})
            grown = {
                name: _with_rows(value, rows if name == "slow_weights" else _zeros(rows, value))
                if isinstance(value, Tensor) and value.dim() and len(value) == len(table.weight)
                else value
                for name, value in kept.items()
            }
            yield table.weight, rows, grown

    def commit(self) -> None:
        """Put the new rows in place."""
        if self.opt is not None:
            self._commit_state()
        for table, parameter, _ in self.parameters:
            table.weight = parameter
            table.num_embeddings = len(parameter)
        if self.side is not None:
            self.side.known_codes, self.side.known_numbers = self.known
        size = len(self.parameters[0][1])
        amend_recipe(self.model, **{"n_items" if self.is_item else "n_users": size})

    def _commit_state(self) -> None:
        for old, rows, grown in self.state:
            if grown:
                self.opt.state[old] = grown
            if isinstance(self.opt, LookaheadWrapper) and old in self.opt.slow_weights:
                slow = self.opt.slow_weights[old]
                self.opt.slow_weights[old] = _with_rows(slow, rows)
        same = {p: p for group in self.opt.param_groups for p in group["params"]}
        new = {table.weight: parameter for table, parameter, _ in self.parameters}
        self.opt.replace_parameters(same | new)
