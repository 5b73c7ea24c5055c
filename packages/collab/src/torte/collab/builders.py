"""Builders of the models of ratings from values that JSON can hold, for export."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from torte.collab.features import FeatureDotBias
from torte.collab.models import EmbeddingDotBias, EmbeddingNN
from torte.collab.table import TabularCollab
from torte.learner import model_builder
from torte.tabular.model import get_emb_sz

__all__ = [
    "create_collab_model",
    "create_dot_bias",
    "create_embedding_nn",
    "create_feature_dot_bias",
]

Range = Sequence[float] | None


def _range(y_range: Range) -> tuple[float, float] | None:
    return None if y_range is None else (y_range[0], y_range[1])


@model_builder("torte.collab.learner.create_dot_bias")
def create_dot_bias(
    n_factors: int, n_users: int, n_items: int, y_range: Range = None, sparse: bool = False
) -> EmbeddingDotBias:
    """Make an `EmbeddingDotBias` from values that JSON can hold."""
    return EmbeddingDotBias(n_factors, n_users, n_items, _range(y_range), sparse)


@model_builder
def create_feature_dot_bias(
    n_factors: int, n_users: int, n_items: int, y_range: Range = None, **sides: Any
) -> FeatureDotBias:
    """Make a `FeatureDotBias` from values that JSON can hold."""
    return FeatureDotBias(n_factors, n_users, n_items, y_range=_range(y_range), **sides)


@model_builder("torte.collab.learner.create_embedding_nn")
def create_embedding_nn(
    emb_szs: Sequence[Sequence[int]], layers: Sequence[int], **kwargs: Any
) -> EmbeddingNN:
    """Make an `EmbeddingNN` from values that JSON can hold."""
    return EmbeddingNN([(codes, size) for codes, size in emb_szs], layers, **kwargs)


def create_collab_model(
    table: TabularCollab,
    n_factors: int = 50,
    use_nn: bool = False,
    emb_szs: Mapping[str, int] | None = None,
    layers: Sequence[int] | None = None,
    config: Mapping[str, Any] | None = None,
    y_range: tuple[float, float] | None = None,
    sparse: bool = False,
) -> nn.Module:
    """Make a model that fits a table of ratings; see `collab_learner` for the arguments."""
    cats, conts = table.by_side(table.cat_names[2:]), table.by_side(table.cont_names)
    n_conts = [len(part) for part in conts]
    if use_nn:
        settings = dict(config or {}) | ({} if y_range is None else {"y_range": y_range})
        settings |= {"n_cats": [len(part) for part in cats], "n_conts": n_conts, "sparse": sparse}
        if table.cont_names:
            settings["n_cont"] = len(table.cont_names)
        sizes = [list(size) for size in get_emb_sz(table, emb_szs)]
        return create_embedding_nn(sizes, list(layers or [n_factors]), **settings)
    n_users, n_items = len(table.classes[table.user_name]), len(table.classes[table.item_name])
    settings = {"y_range": y_range, "sparse": sparse}
    if not table.has_sides:
        return create_dot_bias(n_factors, n_users, n_items, **settings)
    n_codes = [[len(table.classes[name]) for name in part] for part in cats]
    sides = dict(zip(("user_cats", "item_cats", "event_cats"), n_codes, strict=True))
    return create_feature_dot_bias(
        n_factors, n_users, n_items, **sides, n_conts=n_conts, **settings
    )
