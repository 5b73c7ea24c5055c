"""Collaborative filtering: ratings in, recommendations out."""

from torte.collab.learner import CollabLearner, collab_learner, create_dot_bias, create_embedding_nn
from torte.collab.loaders import CollabDataLoaders, TabularCollab
from torte.collab.models import EmbeddingDotBias, EmbeddingNN
from torte.collab.topk import SeenItems, top_items

__all__ = [
    "CollabDataLoaders",
    "CollabLearner",
    "EmbeddingDotBias",
    "EmbeddingNN",
    "SeenItems",
    "TabularCollab",
    "collab_learner",
    "create_dot_bias",
    "create_embedding_nn",
    "top_items",
]
