"""Collaborative filtering: ratings in, recommendations out."""

from torte.collab.builders import (
    create_collab_model,
    create_dot_bias,
    create_embedding_nn,
    create_feature_dot_bias,
)
from torte.collab.features import FeatureDotBias, SideFeatures
from torte.collab.learner import CollabLearner, collab_learner
from torte.collab.loaders import CollabDataLoaders
from torte.collab.models import EmbeddingDotBias, EmbeddingNN
from torte.collab.recommending import Recommending
from torte.collab.splitters import LeaveLastOut, TemporalSplitter
from torte.collab.table import TabularCollab
from torte.collab.topk import SeenItems, top_items

__all__ = [
    "CollabDataLoaders",
    "CollabLearner",
    "EmbeddingDotBias",
    "EmbeddingNN",
    "FeatureDotBias",
    "LeaveLastOut",
    "Recommending",
    "SeenItems",
    "SideFeatures",
    "TabularCollab",
    "TemporalSplitter",
    "collab_learner",
    "create_collab_model",
    "create_dot_bias",
    "create_embedding_nn",
    "create_feature_dot_bias",
    "top_items",
]
