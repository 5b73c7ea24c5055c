"""Tables: frames in, strong models out.

`TabularClassifier`, `TabularRegressor` and `CategoryEmbedder` are here too, but loaded at their
first use, since they need scikit-learn; a star import leaves them out.
"""

from typing import TYPE_CHECKING, Any

from torte.tabular.columns import cont_cat_split, df_shrink
from torte.tabular.dates import add_cyclic_datepart, add_datepart, add_elapsed_times, make_date
from torte.tabular.embeddings import category_embeddings, embed_categories
from torte.tabular.importance import feature_importance, plot_importance
from torte.tabular.inputs import (
    CategoryEncoder,
    PeriodicNumbers,
    PiecewiseLinearNumbers,
    QuantileScale,
    RobustSmoothClip,
)
from torte.tabular.lazy import encode_lazy, fit_lazy
from torte.tabular.learner import TabularLearner, create_tabular_model, tabular_learner
from torte.tabular.loader import TabDataLoader, TabularDataLoaders
from torte.tabular.model import TabularModel, emb_sz_rule, get_emb_sz, tabular_config
from torte.tabular.parquet import ParquetDataLoader, ParquetTable
from torte.tabular.procs import Categorify, FillMissing, FillStrategy, TabularProc
from torte.tabular.realmlp import NTPLinear, ParametricActivation, RealMLP
from torte.tabular.recipes import BestEpoch, DropoutSchedule, Recipe, coslog4, flat_cos
from torte.tabular.scales import Log1p, NumberProc, QuantileNormal
from torte.tabular.splitters import TemporalSplitter
from torte.tabular.summaries import NumberSummary, Summaries, fit_on_summaries
from torte.tabular.table import Tabular, TabularPandas
from torte.tabular.tabm import BatchEnsembleLinear, EnsembleLoss, TabM
from torte.tabular.timeseries import add_horizons, add_lags, add_windows
from torte.tabular.vocabulary import ColumnVocabulary

if TYPE_CHECKING:
    from torte.tabular.embedder import CategoryEmbedder as CategoryEmbedder
    from torte.tabular.estimators import TabularClassifier as TabularClassifier
    from torte.tabular.estimators import TabularRegressor as TabularRegressor

__all__ = [
    "BatchEnsembleLinear",
    "BestEpoch",
    "Categorify",
    "CategoryEncoder",
    "ColumnVocabulary",
    "DropoutSchedule",
    "EnsembleLoss",
    "FillMissing",
    "FillStrategy",
    "Log1p",
    "NTPLinear",
    "NumberProc",
    "NumberSummary",
    "ParametricActivation",
    "ParquetDataLoader",
    "ParquetTable",
    "PeriodicNumbers",
    "PiecewiseLinearNumbers",
    "QuantileNormal",
    "QuantileScale",
    "RealMLP",
    "Recipe",
    "RobustSmoothClip",
    "Summaries",
    "TabDataLoader",
    "TabM",
    "Tabular",
    "TabularDataLoaders",
    "TabularLearner",
    "TabularModel",
    "TabularPandas",
    "TabularProc",
    "TemporalSplitter",
    "add_cyclic_datepart",
    "add_datepart",
    "add_elapsed_times",
    "add_horizons",
    "add_lags",
    "add_windows",
    "category_embeddings",
    "cont_cat_split",
    "coslog4",
    "create_tabular_model",
    "df_shrink",
    "emb_sz_rule",
    "embed_categories",
    "encode_lazy",
    "feature_importance",
    "fit_lazy",
    "fit_on_summaries",
    "flat_cos",
    "get_emb_sz",
    "make_date",
    "plot_importance",
    "tabular_config",
    "tabular_learner",
]

__lazy__ = {
    "CategoryEmbedder": "torte.tabular.embedder",
    "TabularClassifier": "torte.tabular.estimators",
    "TabularRegressor": "torte.tabular.estimators",
}
"""The public names that are loaded at their first use, and the modules that have them."""


def __getattr__(name: str) -> Any:
    """Return a name that needs scikit-learn."""
    if name not in __lazy__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(__lazy__[name]), name)


def __dir__() -> list[str]:
    """List them too, for completion."""
    return sorted({*globals(), *__lazy__})
