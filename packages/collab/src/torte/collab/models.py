"""Models of ratings: the dot product of factors with biases, and the neural variant.

Koren, Bell and Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer
42(8), 2009.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torte.dispatch import serializable
from torte.learner.layers import Embedding, sigmoid_range
from torte.tabular.model import TabularModel

__all__ = ["EmbeddingDotBias", "EmbeddingNN", "neutral_last"]


def neutral_last(n_codes: int, size: int) -> Embedding:
    """Return an embedding whose last row, for what training does not show, starts at zero."""
    table = Embedding(n_codes, size)
    nn.init.zeros_(table.weight.data[-1])
    return table


@serializable("torte.collab.EmbeddingDotBias")
class EmbeddingDotBias(nn.Module):
    """A rating as the dot product of a user's and an item's factors, plus a bias of each.

    Shape:
        Codes of (…, 2), user and item, in; ratings of (…,) out. With candidates, items of (…, n) to
        be scored for the same user in place of the row's own, scores of (…, n). Code 0 stands for a
        missing id and the last code for one that training did not show: its factors and bias start
        at zero and are never trained, so that an unknown user is the average one.

    Args:
        n_factors: Number of factors.
        n_users: Number of codes of users.
        n_items: Number of codes of items.
        y_range: Lower and upper end of a sigmoid on the ratings.
    """

    def __init__(
        self,
        n_factors: int,
        n_users: int,
        n_items: int,
        y_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.y_range = None if y_range is None else (float(y_range[0]), float(y_range[1]))
        self.u_weight = neutral_last(n_users, n_factors)
        self.i_weight = neutral_last(n_items, n_factors)
        self.u_bias = neutral_last(n_users, 1)
        self.i_bias = neutral_last(n_items, 1)
        self.classes: Mapping[str, Sequence[Any]] = {}
        self.user, self.item = "", ""

    @classmethod
    def from_classes(
        cls,
        n_factors: int,
        classes: Mapping[str, Sequence[Any]],
        user: str | None = None,
        item: str | None = None,
        y_range: tuple[float, float] | None = None,
    ) -> "EmbeddingDotBias":
        """Make a model for vocabularies of users and items, which it then knows by name.

        Args:
            n_factors: Number of factors.
            classes: The vocabulary of each column.
            user: Which column holds users; by default the first.
            item: Which column holds items; by default the second.
            y_range: Range of the ratings.
        """
        names = list(classes)
        user, item = user or names[0], item or names[1]
        model = cls(n_factors, len(classes[user]), len(classes[item]), y_range=y_range)
        model.classes, model.user, model.item = classes, user, item
        return model

    def parts(
        self, x: Tensor, x_cont: Tensor | None = None, candidates: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what ratings are made of: the users' and the items' vectors, and the biases.

        With candidates the items' vectors are (…, n, n_factors) and the biases (…, n).
        """
        users, items = x[..., 0], x[..., 1]
        user_bias = self.u_bias(users)
        if candidates is None:
            bias = (user_bias + self.i_bias(items)).squeeze(-1)
            return self.u_weight(users), self.i_weight(items), bias
        bias = user_bias + self.i_bias(candidates).squeeze(-1)
        return self.u_weight(users), self.i_weight(candidates), bias

    def forward(
        self, x: Tensor, x_cont: Tensor | None = None, candidates: Tensor | None = None
    ) -> Tensor:
        """Predict the ratings of pairs of codes, or score candidates for each of the users."""
        user, item, bias = self.parts(x, x_cont, candidates)
        if candidates is None:
            rating = (user * item).sum(dim=-1) + bias
        else:
            rating = (item @ user.unsqueeze(-1)).squeeze(-1) + bias
        return rating if self.y_range is None else sigmoid_range(rating, *self.y_range)

    def user_table(self) -> tuple[Tensor, Tensor]:
        """Return factors of (users, n_factors) and biases of (users,) by code."""
        return self.u_weight.weight, self.u_bias.weight.squeeze(1)

    def item_table(self) -> tuple[Tensor, Tensor]:
        """Return factors of (items, n_factors) and biases of (items,) by code."""
        return self.i_weight.weight, self.i_bias.weight.squeeze(1)

    def _codes(self, names: Any, is_item: bool) -> Tensor:
        """Return the codes of users or items given by name.

        Raises:
            KeyError: A name is not in the vocabulary.
        """
        column = self.item if is_item else self.user
        if column not in self.classes:
            raise KeyError("this model knows no names: make it with EmbeddingDotBias.from_classes")
        vocabulary = self.classes[column]
        known = {name: code for code, name in enumerate(vocabulary)}
        asked = [names] if isinstance(names, str) or not hasattr(names, "__iter__") else list(names)
        missing = [name for name in asked if name not in known]
        if missing:
            kind = "items" if is_item else "users"
            raise KeyError(f"no {kind} of these names in training: {missing[:10]}")
        return torch.tensor([known[name] for name in asked], device=self.u_weight.weight.device)

    def bias(self, arr: Any, is_item: bool = True) -> Tensor:
        """Return the biases of items (or users) given by name, on the CPU: (names,)."""
        table = self.i_bias if is_item else self.u_bias
        return table(self._codes(arr, is_item)).squeeze(1).detach().cpu()

    def weight(self, arr: Any, is_item: bool = True) -> Tensor:
        """Return the factors of items (or users) given by name, on the CPU: (names, n_factors)."""
        table = self.i_weight if is_item else self.u_weight
        return table(self._codes(arr, is_item)).detach().cpu()


@serializable("torte.collab.EmbeddingNN")
class EmbeddingNN(TabularModel):
    """A rating by linear blocks on the embeddings of user and item, and of side columns.

    Shape:
        Codes of (…, categorical columns) and numbers of (…, n_cont) in; ratings of (…, 1) out.

    Args:
        emb_szs: (number of codes, size) of each categorical column.
        layers: Sizes of the hidden layers.
        n_cont: Number of continuous columns.
        **kwargs: Passed on to `TabularModel`.
    """

    def __init__(
        self,
        emb_szs: Sequence[tuple[int, int]],
        layers: Sequence[int],
        n_cont: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(emb_szs=emb_szs, n_cont=n_cont, out_sz=1, layers=layers, **kwargs)
