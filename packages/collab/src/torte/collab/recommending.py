"""What a learner of ratings can be asked for: recommendations, and items like others."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torte.collab.models import EmbeddingDotBias, EmbeddingNN
from torte.collab.naming import as_names
from torte.collab.ranking import RankingScores
from torte.collab.table import TabularCollab
from torte.collab.topk import SeenItems, gathered, top_blocks, top_items, top_scored
from torte.learner.layers import sigmoid_range
from torte.optim.shards import whole

__all__ = ["Recommending"]

_USERS_AT_ONCE, _PAIRS_AT_ONCE = 64, 65536
"""How many users and pairs a neural model looks at together."""


class Recommending:
    """The part of `CollabLearner` that looks for the best items."""

    dls: Any
    model: nn.Module
    folded: Tensor
    """Codes of user and item of the ratings by which users and items were taken in: (rows, 2)."""

    def _dot_model(self) -> EmbeddingDotBias:
        """Return the model if it works by dot products.

        Raises:
            TypeError: It is another one, to which new users and items cannot be added.
        """
        model: nn.Module = self.model
        if not isinstance(model, EmbeddingDotBias):
            raise TypeError(
                f"taking in users and items needs the dot product of factors; "
                f"{type(model).__name__} has none: use collab_learner(use_nn=False)"
            )
        return model

    def _table(self) -> TabularCollab:
        return self.dls.train.dataset

    def _item_factors(self) -> tuple[Tensor, Tensor]:
        """Return factors and biases of the items; the biases keep the two that are none out.

        Those of a neural model are its embeddings, without a bias.

        Raises:
            TypeError: The model has neither.
        """
        model: Any = self.model
        if isinstance(model, EmbeddingDotBias):
            factors, bias = (part.detach() for part in model.item_table())
        elif isinstance(model, EmbeddingNN):
            tables: Any = model.embeds
            factors = whole(tables[1].weight.detach())
            bias = factors.new_zeros(len(factors))
        else:
            raise TypeError(
                f"recommending needs the model of collab_learner, got {type(model).__name__}"
            )
        bias = bias.clone()
        bias[[0, -1]] = -torch.inf  # the places of missing and unknown items
        return factors, bias

    def _best(
        self, users: Tensor, k: int, seen: SeenItems | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield codes, scores and the k best items of one block of users after the other.

        Scores of dot products lack the users' own biases and the sigmoid of `y_range`.

        Raises:
            ValueError: k is not between 1 and the number of items.
        """
        factors, bias = self._item_factors()
        _check_k(k, len(factors) - 2, "items")
        model: Any = self.model
        if isinstance(model, EmbeddingDotBias):
            return top_blocks(model.user_table()[0], factors, bias, k, users, seen)

        def score(block: Tensor, part: slice) -> Tensor:
            items = torch.arange(part.start, part.stop, device=block.device)
            pairs = items.expand(len(block), -1)
            return model(*model.queries(block), pairs) + bias[part]

        sizes = {"users_at_once": _USERS_AT_ONCE, "items_at_once": _PAIRS_AT_ONCE // _USERS_AT_ONCE}
        return self._without_training(
            top_scored(score, len(factors), k, users, seen, factors.device, **sizes)
        )

    def _without_training(self, blocks: Iterator[Any]) -> Iterator[Any]:
        """Go through blocks with the model as it is when it does not train."""
        training = self.model.training
        try:
            self.model.eval()
            yield from blocks
        finally:
            self.model.train(training)

    def seen_items(self) -> SeenItems:
        """Return what each user has rated in the training rows, and when they were taken in."""
        return self._items_of(torch.cat([self.dls.train.tensors[0][:, :2], self.folded]))

    def _items_of(self, codes: Tensor) -> SeenItems:
        table = self._table()
        n_users = len(table.classes[table.user_name])
        return SeenItems.from_pairs(codes[:, 0].numpy(), codes[:, 1].numpy(), n_users)

    @torch.no_grad()
    def recommend(
        self, users: Any = None, k: int = 10, exclude_seen: bool = True
    ) -> dict[str, np.ndarray]:
        """Return the k items with the highest predicted ratings for each user.

        Side columns of users and items are taken from the training rows; those of events are left
        out. A neural model (`use_nn`) looks at every pair, which takes far longer than the products
        of factors.

        Args:
            users: Names of users; by default all of them. An unknown one gets what the average
                user would.
            k: How many items for each.
            exclude_seen: Whether to leave out what a user has rated in the training rows.

        Returns:
            A column a name, a row a recommendation, best first: `user`, `item`, `rating` (without
            ratings `score`). A user who has seen nearly everything gets fewer than k.

        Raises:
            ValueError: k is not between 1 and the number of items.
            TypeError: The model is not one of `collab_learner`.
        """
        table = self._table()
        user_words = table.classes[table.user_name]
        item_words = table.classes[table.item_name]
        if users is None:
            names, codes = user_words.values, torch.arange(1, user_words.unknown)
        else:
            names = as_names(users)
            codes = torch.tensor([user_words.code(name) for name in names], dtype=torch.int64)
        seen = self.seen_items() if exclude_seen else None
        scores, items = gathered(self._best(codes, k, seen), len(codes), k)
        ratings = self._ratings(scores, codes)
        kept = (items >= 0).numpy()
        labels = np.array([None, *item_words.values, None], dtype=object)
        return {
            "user": np.repeat(_objects(names), k)[kept.ravel()],
            "item": labels[items.numpy()[kept]],
            "score" if table.implicit else "rating": ratings.numpy()[kept],
        }

    def _ratings(self, scores: Tensor, users: Tensor) -> Tensor:
        """Return the model's own predictions from scores of (users, items) that rank items."""
        model: Any = self.model
        if not isinstance(model, EmbeddingDotBias):
            return scores
        ratings = scores + model.user_table()[1].cpu()[users, None]
        return ratings if model.y_range is None else sigmoid_range(ratings, *model.y_range)

    @torch.no_grad()
    def evaluate_ranking(
        self,
        k: int = 10,
        ds_idx: int = 1,
        dl: Any = None,
        min_rating: float | None = None,
        exclude_seen: bool = True,
    ) -> dict[str, Any]:
        """Return metrics of the k best items of each user, in bounded memory.

        What a user has rated in the loader is relevant. Rows with a user or an item that training
        did not show cannot be ranked and are left out; their number is told as `n_unknown`.

        Args:
            k: Length of the lists.
            ds_idx: Which loader holds the relevant items: 1 is the validation set.
            dl: Another loader, from `dls.test_dl(frame, with_labels=True)`.
            min_rating: The lowest rating that counts as relevant; by default all do.
            exclude_seen: Whether to leave out what a user has rated in the training rows.

        Returns:
            `precision`, `recall`, `ndcg`, `map`, `mrr`, `hit_rate`, `coverage`, as `torte.collab.
            ranking` defines them, with `n_users` and `n_unknown`.

        Raises:
            ValueError: k is not between 1 and the number of items, `min_rating` was given for rows
                without ratings, or nothing is relevant.
            TypeError: The model is not one of `collab_learner`.
        """
        dl = self.dls[ds_idx] if dl is None else dl
        codes = dl.tensors[0][:, :2]
        if min_rating is not None:
            if dl.target_type is None:
                raise ValueError("min_rating needs ratings: use test_dl(rows, with_labels=True)")
            codes = codes[dl.tensors[-1].ravel() >= min_rating]
        table = self._table()
        last = torch.tensor([len(table.classes[name]) - 1 for name in table.cat_names[:2]])
        known = ((codes > 0) & (codes < last)).all(dim=1)
        codes = codes[known]
        scores = RankingScores(self._items_of(codes), int(last[1]) - 1)
        seen = self.seen_items() if exclude_seen else None
        for block, _, items in self._best(codes[:, 0].unique(), k, seen):
            scores.update(block, items)
        return {**scores.compute(), "n_unknown": int((~known).sum())}

    @torch.no_grad()
    def similar(self, items: Any, k: int = 10) -> dict[str, np.ndarray]:
        """Return the k items whose factors point most nearly the same way.

        Those of a neural model (`use_nn`) are its embeddings.

        Args:
            items: Names of items.
            k: How many for each, itself left out.

        Returns:
            `item`, `similar` and `cosine`, a row a pair, most similar first.

        Raises:
            KeyError: An item was not seen in training.
            ValueError: k is not between 1 and the number of other items.
        """
        table = self._table()
        words = table.classes[table.item_name]
        factors, bias = self._item_factors()
        names = as_names(items)
        codes = torch.tensor([words.code(name) for name in names], dtype=torch.int64)
        unknown = [name for name, code in zip(names, codes, strict=True) if code == words.unknown]
        if unknown:
            raise KeyError(f"items not seen in training: {unknown[:10]}")
        _check_k(k, len(words.values) - 1, "other items")
        factors = nn.functional.normalize(factors, dim=1)
        bias = bias.where(bias == -torch.inf, 0.0)
        places = np.arange(len(factors))
        itself = SeenItems.from_pairs(places, places, len(factors))
        cosines, found = top_items(factors, factors, bias, k, users=codes, seen=itself)
        labels = np.array([None, *words.values, None], dtype=object)
        return {
            "item": np.repeat(_objects(names), k),
            "similar": labels[found.numpy().ravel()],
            "cosine": cosines.numpy().ravel(),
        }


def _check_k(k: int, most: int, what: str) -> None:
    if isinstance(k, bool) or not hasattr(k, "__index__"):
        raise TypeError(f"k must be a whole number, got {k!r}")
    if not 1 <= k <= most:
        raise ValueError(f"k is {k}, but there are {most} {what}")


def _objects(names: list[Any]) -> np.ndarray:
    """Return names of any types as an array of as many."""
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array
