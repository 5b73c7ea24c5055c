"""`collab_learner`: a learner of ratings that recommends."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torte.collab.models import EmbeddingDotBias, EmbeddingNN
from torte.collab.topk import SeenItems, top_items
from torte.dispatch import delegates, serializable
from torte.learner import Learner, model_builder
from torte.learner.layers import sigmoid_range
from torte.tabular.learner import TabularLearner
from torte.tabular.model import get_emb_sz

__all__ = ["CollabLearner", "collab_learner", "create_dot_bias", "create_embedding_nn"]


@model_builder
def create_dot_bias(
    n_factors: int, n_users: int, n_items: int, y_range: Sequence[float] | None = None
) -> EmbeddingDotBias:
    """Make an `EmbeddingDotBias` from values that JSON can hold."""
    return EmbeddingDotBias(
        n_factors, n_users, n_items, None if y_range is None else (y_range[0], y_range[1])
    )


@model_builder
def create_embedding_nn(
    emb_szs: Sequence[Sequence[int]], layers: Sequence[int], **kwargs: Any
) -> EmbeddingNN:
    """Make an `EmbeddingNN` from values that JSON can hold."""
    return EmbeddingNN([(codes, size) for codes, size in emb_szs], layers, **kwargs)


@serializable("torte.collab.CollabLearner")
class CollabLearner(TabularLearner):
    """A learner of ratings that recommends items to users and finds items like others.

    Args:
        dls: Loaders made by `CollabDataLoaders`.
        model: A model of ratings; one of dot products learns the names of users and items.
        **kwargs: For `Learner`.
    """

    def __init__(self, dls: Any, model: nn.Module, **kwargs: Any) -> None:
        super().__init__(dls, model, **kwargs)
        if isinstance(model, EmbeddingDotBias):
            table = self._table()
            model.classes = {name: table.classes[name] for name in table.cat_names}
            model.user, model.item = table.user_name, table.item_name

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

    def _table(self) -> Any:
        return self.dls.train.dataset

    def seen_items(self) -> SeenItems:
        """Return what each user has rated in the training rows."""
        codes = self.dls.train.tensors[0].numpy()
        table = self._table()
        n_users = len(table.classes[table.user_name])
        return SeenItems.from_pairs(codes[:, 0], codes[:, 1], n_users)

    def recommend(
        self, users: Any = None, k: int = 10, exclude_seen: bool = True
    ) -> dict[str, np.ndarray]:
        """Return the k items with the highest predicted ratings for each user.

        Args:
            users: Names of users; by default all of them. An unknown one gets what the average
                user would.
            k: How many items for each.
            exclude_seen: Whether to leave out what a user has rated in the training rows.

        Returns:
            A column a name, a row a recommendation, best first: `user`, `item`, `rating`. A user
            who has seen nearly everything gets fewer than k.

        Raises:
            ValueError: k is not between 1 and the number of items.
            TypeError: The model is a neural one.
        """
        model, table = self._dot_model(), self._table()
        user_words = table.classes[table.user_name]
        item_words = table.classes[table.item_name]
        names = list(user_words.values if users is None else users)
        codes = torch.tensor([user_words.code(name) for name in names], dtype=torch.int64)
        n_items = len(item_words.values)
        if not 1 <= k <= n_items:
            raise ValueError(f"k is {k}, but there are {n_items} items")
        bias = model.i_bias.weight.detach().squeeze(1).clone()
        bias[[0, -1]] = -torch.inf  # the places of missing and unknown items
        scores, items = top_items(
            model.u_weight.weight.detach(),
            model.i_weight.weight.detach(),
            bias,
            k,
            users=codes,
            seen=self.seen_items() if exclude_seen else None,
        )
        ratings = self._as_ratings(scores, codes)
        kept = (items >= 0).numpy()
        labels = np.array([None, *item_words.values, None], dtype=object)
        return {
            "user": np.repeat(np.array(names, dtype=object), k)[kept.ravel()],
            "item": labels[items.numpy()[kept]],
            "rating": ratings.numpy()[kept],
        }

    def _as_ratings(self, scores: Tensor, users: Tensor) -> Tensor:
        """Return scores with the users' own biases, in the range of the ratings."""
        model = self._dot_model()
        scores = scores + model.u_bias.weight.detach().cpu()[users]
        return scores if model.y_range is None else sigmoid_range(scores, *model.y_range)

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
        model, table = self._dot_model(), self._table()
        words = table.classes[table.item_name]
        names = [items] if isinstance(items, str) or not hasattr(items, "__iter__") else list(items)
        codes = torch.tensor([words.code(name) for name in names])
        unknown = [name for name, code in zip(names, codes, strict=True) if code == words.unknown]
        if unknown:
            raise KeyError(f"items not seen in training: {unknown[:10]}")
        if not 1 <= k < len(words.values):
            raise ValueError(f"k is {k}, but there are {len(words.values) - 1} other items")
        factors = nn.functional.normalize(model.i_weight.weight.detach(), dim=1)
        bias = torch.zeros(len(factors), device=factors.device)
        bias[[0, -1]] = -torch.inf
        places = np.arange(len(factors))
        itself = SeenItems.from_pairs(places, places, len(factors))
        cosines, found = top_items(factors, factors, bias, k, users=codes, seen=itself)
        labels = np.array([None, *words.values, None], dtype=object)
        return {
            "item": np.repeat(np.array(names, dtype=object), k),
            "similar": labels[found.numpy().ravel()],
            "cosine": cosines.numpy().ravel(),
        }


@delegates(Learner.__init__)
def collab_learner(
    dls: Any,
    n_factors: int = 50,
    use_nn: bool = False,
    emb_szs: Mapping[str, int] | None = None,
    layers: Sequence[int] | None = None,
    config: Mapping[str, Any] | None = None,
    y_range: tuple[float, float] | None = None,
    **kwargs: Any,
) -> CollabLearner:
    """Make a learner of ratings.

    Args:
        dls: Loaders made by `CollabDataLoaders`.
        n_factors: Number of factors of users and items.
        use_nn: Whether to use linear blocks on the embeddings instead of their dot product.
        emb_szs: For `use_nn`: sizes of embeddings by column.
        layers: For `use_nn`: sizes of the hidden layers; by default [n_factors].
        config: For `use_nn`: more arguments for the model.
        y_range: Range of the ratings, best a little wider than they are: (0.5, 5.5) for 1 to 5.
        **kwargs: For `Learner`.
    """
    table = dls.train.dataset
    if use_nn:
        sizes = get_emb_sz(table, emb_szs)
        model: nn.Module = create_embedding_nn(
            [list(size) for size in sizes],
            list(layers or [n_factors]),
            **dict(config or {}) | ({} if y_range is None else {"y_range": y_range}),
        )
    else:
        users, items = table.classes[table.user_name], table.classes[table.item_name]
        model = create_dot_bias(n_factors, len(users), len(items), y_range=y_range)
    return CollabLearner(dls, model, **kwargs)
