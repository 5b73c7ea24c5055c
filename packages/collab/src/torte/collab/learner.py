"""`collab_learner`: a learner of ratings that recommends."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from torte.collab.builders import create_collab_model
from torte.collab.features import FeatureDotBias
from torte.collab.fold_in import FoldIn
from torte.collab.models import EmbeddingDotBias, EmbeddingNN
from torte.collab.table import TabularCollab
from torte.dispatch import delegates, serializable
from torte.learner import BaseLoss, Learner
from torte.optim import Adam, lazy
from torte.tabular.frames import numbers
from torte.tabular.learner import TabularLearner

__all__ = ["CollabLearner", "collab_learner"]


@serializable("torte.collab.CollabLearner")
class CollabLearner(FoldIn, TabularLearner):
    """A learner of ratings that recommends items to users and finds items like others.

    Args:
        dls: Loaders made by `CollabDataLoaders`.
        model: A model of ratings; one of dot products learns the names of users and items.
        **kwargs: For `Learner`.
    """

    def __init__(self, dls: Any, model: nn.Module, **kwargs: Any) -> None:
        super().__init__(dls, model, **kwargs)
        table = self._table()
        self.folded = torch.empty(0, 2, dtype=torch.int64)
        if isinstance(model, EmbeddingDotBias):
            model.classes = {name: table.classes[name] for name in table.cat_names[:2]}
            model.user, model.item = table.user_name, table.item_name
        if isinstance(model, FeatureDotBias | EmbeddingNN):
            model.remember_sides(*table.codes_and_numbers())


@delegates(Learner.__init__)
def collab_learner(
    dls: Any,
    n_factors: int = 50,
    use_nn: bool = False,
    emb_szs: Mapping[str, int] | None = None,
    layers: Sequence[int] | None = None,
    config: Mapping[str, Any] | None = None,
    y_range: tuple[float, float] | None = None,
    sparse: bool = False,
    **kwargs: Any,
) -> CollabLearner:
    """Make a learner of ratings.

    With loaders of pairs without ratings (`implicit=True`) it learns to rank: the loss is `BPRLoss`
    unless `loss_func=SampledSoftmaxLoss()` or another one is given.

    The model is an `EmbeddingDotBias`, with side columns a `FeatureDotBias`, with `use_nn` an
    `EmbeddingNN`.

    Args:
        dls: Loaders made by `CollabDataLoaders`.
        n_factors: Number of factors of users and items.
        use_nn: Whether to use linear blocks on the embeddings instead of their dot product.
        emb_szs: For `use_nn`: sizes of embeddings by column.
        layers: For `use_nn`: sizes of the hidden layers; by default [n_factors].
        config: For `use_nn`: more arguments for the model.
        y_range: Range of the ratings, best a little wider than they are: (0.5, 5.5) for 1 to 5.
        sparse: Whether only the users and items of a batch take a step, so that its cost does not
            depend on how many there are: gradients are sparse, and the optimizer is lazy
            (`torte.optim.lazy` says what decays when).
        **kwargs: For `Learner`.

    Raises:
        ValueError: A rating is outside of `y_range`, so that no prediction could reach it; the
            loaders have no ratings, and `y_range` or a loss of ratings was given; or an argument
            for `use_nn` was given without it.
        TypeError: The loaders are not those of `CollabDataLoaders`.
    """
    table = dls.train.dataset
    if not isinstance(table, TabularCollab):
        raise TypeError(
            f"collab_learner needs loaders of CollabDataLoaders, got some of {type(table).__name__}"
        )
    given = {"emb_szs": emb_szs, "layers": layers, "config": config}
    idle = [name for name, value in given.items() if value is not None]
    if idle and not use_nn:
        raise ValueError(f"{', '.join(idle)}: for use_nn=True, which was not given")
    if n_factors < 1:
        raise ValueError(f"n_factors must be at least 1, got {n_factors}")
    if table.implicit:
        _check_no_ratings(y_range, kwargs.get("loss_func"))
    elif y_range is not None:
        for dl in dls:
            _check_range(dl.dataset, y_range)
    model = create_collab_model(table, n_factors, use_nn, emb_szs, layers, config, y_range, sparse)
    if sparse:
        kwargs["opt_func"] = lazy(kwargs.get("opt_func", Adam))
    return CollabLearner(dls, model, **kwargs)


def _check_no_ratings(y_range: Any, loss_func: Any) -> None:
    """Refuse what has no meaning for pairs without ratings."""
    if y_range is not None:
        raise ValueError(f"y_range={y_range} bounds ratings, but these loaders have none")
    if isinstance(loss_func, BaseLoss | nn.modules.loss._Loss):
        raise ValueError(
            f"{type(loss_func).__name__} is a loss of ratings, but these loaders have pairs beside "
            "negatives: take BPRLoss() or SampledSoftmaxLoss()"
        )


def _check_range(table: TabularCollab, y_range: tuple[float, float]) -> None:
    """Find ratings that no prediction could reach.

    Raises:
        ValueError: There are some; the message gives the first.
    """
    if np.shape(y_range) != (2,) or not y_range[0] < y_range[1]:
        raise ValueError(f"y_range must be (lowest, highest), got {y_range!r}")
    low, high = y_range
    values = numbers(table.frame[table.y_names[0]])
    outside = (values < low) | (values > high)
    if outside.any():
        row = int(np.argmax(outside))
        first = table._with(table.frame[row : row + 1]).decode().frame
        user, item = (first[name].to_list()[0] for name in table.cat_names[:2])
        raise ValueError(
            f"{int(outside.sum())} ratings are outside of y_range {tuple(y_range)}, the first of "
            f"them {values[row]:g} of user {user!r} for item {item!r}: mend them, or make the "
            "range wider"
        )
