"""Side columns in models of dot products: a user, an item or an event as the sum of its features.

The representation of LightFM: the vector of a user is the sum of the embeddings of what is known
about them, their identity among it, and so is that of an item; a number counts by its value times
a vector of its own, as in factorization machines. Only features of different sides meet, so that
the best items of a user stay a matter of one matrix product.

Kula, "Metadata Embeddings for User and Item Cold-start Recommendations", CBRecSys 2015,
https://arxiv.org/abs/1507.08439; Rendle, "Factorization Machines", ICDM 2010.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torte.collab.known_columns import KnownColumns
from torte.collab.models import EmbeddingDotBias, neutral_last
from torte.dispatch import serializable
from torte.learner.layers import trunc_normal_

__all__ = ["FeatureDotBias", "SideFeatures"]


class SideFeatures(KnownColumns):
    """The sum of the embeddings of some features, with a bias of each.

    Shape:
        `codes`: integers of (…, categorical columns); `numbers`: floats of (…, continuous columns);
        out: vectors of (…, n_factors) and biases of (…,).

    Args:
        n_factors: Size of the vectors.
        n_codes: Number of codes of each categorical column; the last code's vector starts at zero.
        n_numbers: How many continuous columns.
        n_ids: For features of users or items: how many codes these have. What training showed of
            each is remembered (`remember`), so that all of them can be scored.
    """

    def __init__(
        self, n_factors: int, n_codes: Sequence[int], n_numbers: int = 0, n_ids: int = 0
    ) -> None:
        super().__init__(n_codes, n_numbers, n_ids)
        self.vectors = nn.ModuleList(neutral_last(size, n_factors) for size in n_codes)
        self.biases = nn.ModuleList(neutral_last(size, 1) for size in n_codes)
        vectors = trunc_normal_(torch.empty(n_numbers, n_factors), std=0.01)
        self.number_vectors = nn.Parameter(vectors)
        self.number_biases = nn.Parameter(torch.zeros(n_numbers))

    def forward(self, codes: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Add up the vectors and the biases of rows of features."""
        vectors = numbers @ self.number_vectors
        biases = numbers @ self.number_biases
        pairs = zip(self.vectors, self.biases, strict=True)
        for place, (vector, bias) in enumerate(pairs):
            vectors = vectors + vector(codes[..., place])
            biases = biases + bias(codes[..., place]).squeeze(-1)
        return vectors, biases

    def of_ids(self) -> tuple[Tensor, Tensor]:
        """Return vectors and biases of the features of every user or item."""
        return self(self.known_codes, self.known_numbers)

    def of_these(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors of (…, n_factors) and biases of (…,) of the features of some."""
        return self(self.known_codes[ids], self.known_numbers[ids])


@serializable("torte.collab.FeatureDotBias")
class FeatureDotBias(EmbeddingDotBias):
    r"""A dot product with biases in which side columns of user, item and event take part.

    .. math::
        \hat r = \Big\langle p_u + \sum_{a \in A_u \cup E} x_a e_a,\; q_i + \sum_{b \in B_i} x_b e_b
        \Big\rangle + b_u + b_i + \sum_{c \in A_u \cup B_i \cup E} x_c b_c

    with the features :math:`A_u` of the user, :math:`B_i` of the item and :math:`E` of the event
    (the time of day, the device, …, known when one asks, so on the user's side); :math:`x` is 1 for
    a category and the standardised value of a number (Kula 2015, Rendle 2010). A user or item that
    training did not show is known by its features alone.

    Shape:
        Codes of (…, 2 + categorical columns): user, item, then the columns of user, item and event;
        numbers of (…, continuous columns) in the same order; ratings of (…,) out.

    Args:
        n_factors: Number of factors.
        n_users: Number of codes of users.
        n_items: Number of codes of items.
        user_cats: Number of codes of each categorical column of users.
        item_cats: The same of items.
        event_cats: The same of events.
        n_conts: How many continuous columns users, items and events have.
        y_range: Lower and upper end of a sigmoid on the ratings.
        sparse: Whether the gradients of users and items are sparse; see `EmbeddingDotBias`.
    """

    def __init__(
        self,
        n_factors: int,
        n_users: int,
        n_items: int,
        user_cats: Sequence[int] = (),
        item_cats: Sequence[int] = (),
        event_cats: Sequence[int] = (),
        n_conts: Sequence[int] = (0, 0, 0),
        y_range: tuple[float, float] | None = None,
        sparse: bool = False,
    ) -> None:
        super().__init__(n_factors, n_users, n_items, y_range, sparse)
        self.user_side = SideFeatures(n_factors, user_cats, n_conts[0], n_users)
        self.item_side = SideFeatures(n_factors, item_cats, n_conts[1], n_items)
        self.event_side = SideFeatures(n_factors, event_cats, n_conts[2])
        self.n_cats = [len(user_cats), len(item_cats), len(event_cats)]
        self.n_conts = list(n_conts)

    def _sides(self, codes: Tensor, numbers: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """Return codes and numbers of user, item and event."""
        if numbers is None:
            numbers = codes.new_zeros(*codes.shape[:-1], 0, dtype=self.u_weight.weight.dtype)
        parts = codes[..., 2:].split(self.n_cats, dim=-1)
        return list(zip(parts, numbers.split(self.n_conts, dim=-1), strict=True))

    def parts(
        self, x: Tensor, x_cont: Tensor | None = None, candidates: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the vectors of user (with event) and item, with features, and the biases.

        Candidates have the features that are remembered of them.
        """
        own_user, own_item, bias = super().parts(x, candidates=candidates)
        of_user, of_item, of_event = self._sides(x, x_cont)
        user, user_bias = self.user_side(*of_user)
        event, event_bias = self.event_side(*of_event)
        query_bias = user_bias + event_bias
        if candidates is None:
            item, item_bias = self.item_side(*of_item)
        else:
            item, item_bias = self.item_side.of_these(candidates)
            query_bias = query_bias.unsqueeze(-1)
        return own_user + user + event, own_item + item, bias + item_bias + query_bias

    def remember_sides(self, codes: Tensor, numbers: Tensor | None) -> None:
        """Keep the features of the users and items in these rows, to score all pairs later."""
        user, item, _ = self._sides(codes, numbers)
        self.user_side.remember(codes[:, 0], *user)
        self.item_side.remember(codes[:, 1], *item)

    def user_table(self) -> tuple[Tensor, Tensor]:
        """Return factors and biases of all users with their features."""
        vectors, biases = self.user_side.of_ids()
        factors, own = super().user_table()
        return factors + vectors, own + biases

    def item_table(self) -> tuple[Tensor, Tensor]:
        """Return factors and biases of all items with their features."""
        vectors, biases = self.item_side.of_ids()
        factors, own = super().item_table()
        return factors + vectors, own + biases
