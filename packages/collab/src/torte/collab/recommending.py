"""What a learner of dot products can be asked for: recommendations, and items like others."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torte.collab.models import EmbeddingDotBias
from torte.collab.ranking import RankingScores
from torte.collab.table import TabularCollab
from torte.collab.topk import SeenItems, top_blocks, top_items
from torte.learner.layers import sigmoid_range

__all__ = ["Recommending"]


class Recommending:
    """The part of `CollabLearner` that looks for the best items."""

    dls: Any
    model: nn.Module
    folded: Tensor
    """Codes of user and item of the ratings by which users and items were taken in: (rows, 2)."""

    def _dot_model(self) -> EmbeddingDotBias:
        """Return the model if it works by dot products.

        Raises:
            TypeError: It is a neural one, which has to look at every pair.
        """
        model: nn.Module = self.model
        if not isinstance(model, EmbeddingDotBias):
            raise TypeError(
                f"recommending needs the dot product of factors; {type(model).__name__} has none: "
                "use collab_learner(use_nn=False)"
            )
        return model

    def _table(self) -> TabularCollab:
        return self.dls.train.dataset

    def _catalogue(self) -> tuple[Tensor, Tensor]:
        """Return factors and biases of the items; the biases keep the two that are none out."""
        factors, bias = (part.detach() for part in self._dot_model().item_table())
        bias = bias.clone()
        bias[[0, -1]] = -torch.inf  # the places of missing and unknown items
        return factors, bias

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
        out.

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
            TypeError: The model is a neural one.
        """
        model, table = self._dot_model(), self._table()
        user_words = table.classes[table.user_name]
        item_words = table.classes[table.item_name]
        names = list(user_words.values if users is None else _names(users))
        codes = torch.tensor([user_words.code(name) for name in names], dtype=torch.int64)
        n_items = len(item_words.values)
        if not 1 <= k <= n_items:
            raise ValueError(f"k is {k}, but there are {n_items} items")
        factors, own = model.user_table()
        seen = self.seen_items() if exclude_seen else None
        scores, items = top_items(factors, *self._catalogue(), k, users=codes, seen=seen)
        ratings = scores + own.cpu()[codes, None]
        if model.y_range is not None:
            ratings = sigmoid_range(ratings, *model.y_range)
        kept = (items >= 0).numpy()
        labels = np.array([None, *item_words.values, None], dtype=object)
        return {
            "user": np.repeat(_objects(names), k)[kept.ravel()],
            "item": labels[items.numpy()[kept]],
            "score" if table.implicit else "rating": ratings.numpy()[kept],
        }

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
            TypeError: The model is a neural one.
        """
        dl = self.dls[ds_idx] if dl is None else dl
        codes = dl.tensors[0][:, :2]
        if min_rating is not None:
            if dl.target_type is None:
                raise ValueError("min_rating needs ratings: use test_dl(rows, with_labels=True)")
            codes = codes[dl.tensors[-1].ravel() >= min_rating]
        factors, _ = self._dot_model().user_table()
        catalogue, bias = self._catalogue()
        last = torch.tensor([len(factors) - 1, len(catalogue) - 1])
        known = ((codes > 0) & (codes < last)).all(dim=1)
        codes = codes[known]
        n_items = len(catalogue) - 2
        if not 1 <= k <= n_items:
            raise ValueError(f"k is {k}, but there are {n_items} items")
        scores = RankingScores(self._items_of(codes), n_items)
        seen = self.seen_items() if exclude_seen else None
        users = codes[:, 0].unique()
        for block, _, items in top_blocks(factors, catalogue, bias, k, users, seen):
            scores.update(block, items)
        return {**scores.compute(), "n_unknown": int((~known).sum())}

    @torch.no_grad()
    def similar(self, items: Any, k: int = 10) -> dict[str, np.ndarray]:
        """Return the k items whose factors point most nearly the same way.

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
        factors, bias = self._catalogue()
        names = _names(items)
        codes = torch.tensor([words.code(name) for name in names])
        unknown = [name for name, code in zip(names, codes, strict=True) if code == words.unknown]
        if unknown:
            raise KeyError(f"items not seen in training: {unknown[:10]}")
        if not 1 <= k < len(words.values):
            raise ValueError(f"k is {k}, but there are {len(words.values) - 1} other items")
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


def _names(given: Any) -> list[Any]:
    """Return one name or several as a list."""
    return [given] if isinstance(given, str) or not hasattr(given, "__iter__") else list(given)


def _objects(names: list[Any]) -> np.ndarray:
    """Return names of any types as an array of as many."""
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array
