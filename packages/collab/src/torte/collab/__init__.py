"""Collaborative filtering: ratings in, recommendations out."""

from torte.collab.builders import (
    create_collab_model,
    create_dot_bias,
    create_embedding_nn,
    create_feature_dot_bias,
)
from torte.collab.features import FeatureDotBias, SideFeatures
from torte.collab.fold_in import FoldIn
from torte.collab.implicit import BPRLoss, SampledSoftmaxLoss
from torte.collab.interactions import InteractionDataLoader
from torte.collab.known_columns import KnownColumns
from torte.collab.learner import CollabLearner, collab_learner
from torte.collab.loaders import CollabDataLoaders
from torte.collab.models import EmbeddingDotBias, EmbeddingNN
from torte.collab.negatives import NegativeSampler, NegativeSampling
from torte.collab.plots import plot_biases, plot_factors
from torte.collab.ranking import (
    RankingScores,
    average_precision_at_k,
    hit_rate_at_k,
    hits_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank_at_k,
)
from torte.collab.ranking_metrics import RankingMetric, ranking_metrics
from torte.collab.recommending import Recommending
from torte.collab.splitters import LeaveLastOut, TemporalSplitter
from torte.collab.table import TabularCollab
from torte.collab.topk import SeenItems, top_blocks, top_items, top_scored

__all__ = [
    "BPRLoss",
    "CollabDataLoaders",
    "CollabLearner",
    "EmbeddingDotBias",
    "EmbeddingNN",
    "FeatureDotBias",
    "FoldIn",
    "InteractionDataLoader",
    "KnownColumns",
    "LeaveLastOut",
    "NegativeSampler",
    "NegativeSampling",
    "RankingMetric",
    "RankingScores",
    "Recommending",
    "SampledSoftmaxLoss",
    "SeenItems",
    "SideFeatures",
    "TabularCollab",
    "TemporalSplitter",
    "average_precision_at_k",
    "collab_learner",
    "create_collab_model",
    "create_dot_bias",
    "create_embedding_nn",
    "create_feature_dot_bias",
    "hit_rate_at_k",
    "hits_at_k",
    "ndcg_at_k",
    "plot_biases",
    "plot_factors",
    "precision_at_k",
    "ranking_metrics",
    "recall_at_k",
    "reciprocal_rank_at_k",
    "top_blocks",
    "top_items",
    "top_scored",
]
