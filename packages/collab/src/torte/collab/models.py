"""Models of ratings: the dot product of factors with biases, and the neural variant.

Koren, Bell and Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer
42(8), 2009.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torte.collab.known_columns import KnownColumns
from torte.collab.naming import as_names
from torte.dispatch import serializable
from torte.learner.layers import Embedding, sigmoid_range
from torte.optim.shards import whole
from torte.tabular.model import TabularModel
from torte.tabular.vocabulary import ColumnVocabulary

__all__ = ["EmbeddingDotBias", "EmbeddingNN", "neutral_last"]


def neutral_last(n_codes: int, size: int, sparse: bool = False) -> Embedding:
    """Return an embedding whose last row, for what training does not show, starts at zero."""
    table = Embedding(n_codes, size)
    table.sparse = sparse
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
        sparse: Whether the gradients of users and items are sparse, for optimizers that are lazy in
            rows (`torte.optim.lazy`).
    """

    def __init__(
        self,
        n_factors: int,
        n_users: int,
        n_items: int,
        y_range: tuple[float, float] | None = None,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        self.y_range = None if y_range is None else (float(y_range[0]), float(y_range[1]))
        self.u_weight = neutral_last(n_users, n_factors, sparse)
        self.i_weight = neutral_last(n_items, n_factors, sparse)
        self.u_bias = neutral_last(n_users, 1, sparse)
        self.i_bias = neutral_last(n_items, 1, sparse)
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
        """Return factors of (users, n_factors) and biases of (users,) by code.

        Of tables that are cut over several processes (`ShardedTables`) all must ask together.
        """
        return whole(self.u_weight.weight), whole(self.u_bias.weight).squeeze(1)

    def item_table(self) -> tuple[Tensor, Tensor]:
        """Return factors of (items, n_factors) and biases of (items,) by code."""
        return whole(self.i_weight.weight), whole(self.i_bias.weight).squeeze(1)

    def _codes(self, names: Any, is_item: bool) -> Tensor:
        """Return the codes of users or items given by name.

        Raises:
            KeyError: A name is not in the vocabulary.
        """
        column = self.item if is_item else self.user
        if column not in self.classes:
            raise KeyError("this model knows no names: make it with EmbeddingDotBias.from_classes")
        vocabulary = self.classes[column]
        known: Any = {name: code for code, name in enumerate(vocabulary)}
        find = known.get
        if isinstance(vocabulary, ColumnVocabulary):  # by value: "3" and 3.0 find 3

            def find(name: Any) -> int | None:
                code = vocabulary.code(name)
                return known.get(name) if code == vocabulary.unknown else code

        asked = as_names(names)
        codes = [find(name) for name in asked]
        missing = [name for name, code in zip(asked, codes, strict=True) if code is None]
        if missing:
            kind = "items" if is_item else "users"
            raise KeyError(f"no {kind} of these names in training: {missing[:10]}")
        return torch.tensor(codes, dtype=torch.int64, device=self.u_weight.weight.device)

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
        Codes of (rows, categorical columns) and numbers of (rows, n_cont) in; ratings of (rows, 1)
        out. With candidates, items of (rows, n) to be scored for the same user in place of the
        row's own, scores of (rows, n).

    Args:
        emb_szs: (number of codes, size) of each categorical column: the user, the item, then the
            columns of user, item and event.
        layers: Sizes of the hidden layers.
        n_cont: Number of continuous columns.
        n_cats: How many categorical columns users, items and events have beside them; by default
            all are of the event.
        n_conts: How many continuous columns, likewise.
        sparse: Whether the gradients of users and items are sparse, for optimizers that are lazy in
            rows (`torte.optim.lazy`).
        **kwargs: Passed on to `TabularModel`.
    """

    def __init__(
        self,
        emb_szs: Sequence[tuple[int, int]],
        layers: Sequence[int],
        n_cont: int = 0,
        n_cats: Sequence[int] | None = None,
        n_conts: Sequence[int] | None = None,
        sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(emb_szs=emb_szs, n_cont=n_cont, out_sz=1, layers=layers, **kwargs)
        codes = [count for count, _ in emb_szs]
        self.n_cats = list(n_cats or (0, 0, len(codes) - 2))
        self.n_conts = list(n_conts or (0, 0, n_cont))
        self.unknown = [count - 1 for count in codes]
        ends = 2 + self.n_cats[0], 2 + self.n_cats[0] + self.n_cats[1]
        self.user_side = KnownColumns(codes[2 : ends[0]], self.n_conts[0], codes[0])
        self.item_side = KnownColumns(codes[ends[0] : ends[1]], self.n_conts[1], codes[1])
        tables: Any = self.embeds
        tables[0].sparse = tables[1].sparse = sparse

    def forward(
        self, x_cat: Tensor, x_cont: Tensor | None = None, candidates: Tensor | None = None
    ) -> Tensor:
        """Predict the ratings of rows, or score candidates for each of their users."""
        if candidates is None:
            return super().forward(x_cat, x_cont)
        numbers = self._zeros(len(x_cat)) if x_cont is None else x_cont
        rows = self._rows_of(x_cat, numbers, candidates)
        return super().forward(*rows).reshape(candidates.shape)

    def _zeros(self, n_rows: int) -> Tensor:
        return self.item_side.known_numbers.new_zeros(n_rows, self.n_cont)

    def _rows_of(self, x: Tensor, numbers: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Return a row of codes and of numbers for each pair of a user and a candidate.

        Candidates have the columns that are remembered of them.
        """
        items = candidates.reshape(-1)
        times = candidates.shape[1]
        user, _, event = x[:, 2:].repeat_interleave(times, 0).split(self.n_cats, dim=1)
        users = x[:, :1].repeat_interleave(times, 0)
        codes = [users, items[:, None], user, self.item_side.known_codes[items], event]
        parts = numbers.repeat_interleave(times, 0).split(self.n_conts, dim=1)
        known = [parts[0], self.item_side.known_numbers[items], parts[2]]
        return torch.cat(codes, dim=1), torch.cat(known, dim=1)

    def queries(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows of codes and of numbers for users, with what is remembered of them.

        Items and events are unknown ones in them.
        """
        unknown = torch.tensor(self.unknown, device=users.device).repeat(len(users), 1)
        unknown[:, 0] = users
        unknown[:, 2 : 2 + self.n_cats[0]] = self.user_side.known_codes[users]
        numbers = self._zeros(len(users))
        numbers[:, : self.n_conts[0]] = self.user_side.known_numbers[users]
        return unknown, numbers

    def remember_sides(self, codes: Tensor, numbers: Tensor) -> None:
        """Keep the columns of the users and items in these rows, to score all pairs later."""
        parts = codes[:, 2:].split(self.n_cats, dim=1)
        values = numbers.split(self.n_conts, dim=1)
        self.user_side.remember(codes[:, 0], parts[0], values[0])
        self.item_side.remember(codes[:, 1], parts[1], values[1])
