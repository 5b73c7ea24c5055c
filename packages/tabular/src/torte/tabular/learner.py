"""`tabular_learner`: a learner with a model that fits the table."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from torte.data.categories import get_c
from torte.data.tensors import TensorMultiCategory, plain
from torte.dispatch import delegates, serializable
from torte.learner import Learner, ParamScheduler, model_builder
from torte.learner.defaults import loss_from_data
from torte.learner.losses.flattened import CrossEntropyLossFlat
from torte.optim import Adam
from torte.tabular.embeddings import category_embeddings, embed_categories
from torte.tabular.loader import TabularDataLoaders
from torte.tabular.model import TabularModel, get_emb_sz
from torte.tabular.one_row import in_library_of, row_items
from torte.tabular.realmlp import RealMLP, realmlp_groups
from torte.tabular.recipes import BestEpoch, DropoutSchedule, Recipe
from torte.tabular.tabm import EnsembleLoss, TabM

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TabularLearner", "create_tabular_model", "tabular_learner"]


@serializable("torte.tabular.TabularLearner")
class TabularLearner(Learner):
    """A learner over tables."""

    def predict(self, row: Any) -> tuple[Any, Any, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Predict the target of one row; the same to the bit as `get_preds` of `test_dl([row])`.

        Where no callback listens to validation there is neither loader nor pass, and for values by
        column no frame: the cost is that of the procs and the model.

        Args:
            row: Values by column (a dictionary, a pandas Series) or a frame of one row. Columns
                may be in any order, of other types than in training, and more than are needed.

        Returns:
            The decoded row with the predicted target as a table of one row (`row.show()`,
            `row.items`), the decoded prediction as a tensor, and the probabilities (or the
            numbers).

        Raises:
            KeyError: A column that the model needs is not there.
            TypeError: `row` is no row.
            ValueError: `row` is a frame of several rows (`test_dl` and `get_preds` are for them) or
                of none, or a value is no number where one is needed.
        """
        found = self._predicted_directly(row, None)
        inputs, preds, decoded = self._predicted_by_pass(row, None) if found is None else found
        parts = inputs if isinstance(inputs, tuple) else (inputs,)
        shown = self._test_loader().decoded([*parts, decoded], 1)
        return in_library_of(row, shown), decoded[0], preds[0]

    def _one_item_loader(self, item: Any, rm_type_tfms: int | None) -> Any:
        return self.dls.test_dl(row_items(item))

    def fit_recipe(
        self,
        n_epoch: int | None = None,
        lr: float | None = None,
        cbs: Any = None,
        resume: "bool | str | Path" = False,
    ) -> None:
        """Train as the authors of the model do: schedules of rates, weight decay and dropout.

        Where there are validation rows, the weights of the epoch with the least loss on them stay.
        A model without a recipe of its own trains with `fit_one_cycle`, five epochs by default.

        Args:
            n_epoch: How many epochs; by default as many as the recipe has. Schedules stretch.
            lr: Learning rate; by default the recipe's.
            cbs: Callbacks for this fit alone.
            resume: Go on from a checkpoint; see `fit`.
        """
        recipe: Recipe | None = getattr(self.model, "recipe", None)
        if recipe is None:
            self.fit_one_cycle(5 if n_epoch is None else n_epoch, lr, cbs=cbs, resume=resume)
            return
        own = [ParamScheduler(recipe.schedules(lr)), DropoutSchedule(recipe.dropout_shape)]
        if recipe.keep_best and len(self.dls.loaders) > 1 and len(self.dls.valid):
            own.append(BestEpoch())
        with self.added_cbs(own):
            self.fit(recipe.n_epoch if n_epoch is None else n_epoch, cbs=cbs, resume=resume)

    def embeddings(self) -> "dict[str, pd.DataFrame]":
        """Return the embedding of every value by column; see `category_embeddings`."""
        return category_embeddings(self)

    def embed(self, df: Any) -> Any:
        """Return rows with embeddings in place of categories, see `embed_categories`."""
        return embed_categories(self, df)


@model_builder
def create_tabular_model(
    emb_szs: Sequence[tuple[int, int]],
    n_cont: int,
    out_sz: int,
    layers: Sequence[int],
    **kwargs: Any,
) -> TabularModel:
    """Make a `TabularModel` from values that JSON can hold, so that it can be exported."""
    return TabularModel(emb_szs, n_cont, out_sz, layers, **kwargs)


@delegates(Learner.__init__)
def tabular_learner(
    dls: TabularDataLoaders,
    layers: Sequence[int] | None = None,
    emb_szs: Mapping[str, int] | None = None,
    config: Mapping[str, Any] | None = None,
    n_out: int | None = None,
    y_range: tuple[float, float] | None = None,
    arch: str = "mlp",
    **kwargs: Any,
) -> TabularLearner:
    """Make a learner with a model for a table.

    `arch` chooses among a `TabularModel` ("mlp"), `RealMLP` ("realmlp") and `TabM` ("tabm"). The
    last two bring the optimizer, rates and losses of their papers, and preparing steps of their
    own that are fitted on the training rows here; train them with `fit_recipe`.

    Args:
        dls: Loaders of the table.
        layers: Sizes of the hidden layers; by default [200, 100], or what the paper says.
        emb_szs: Sizes of embeddings by column, where they shall differ from the rule's ("mlp").
        config: More arguments for the model, as `tabular_config` returns.
        n_out: Number of outputs; by default what the targets ask for.
        y_range: Range of the outputs ("mlp"); by default what `config` says.
        arch: Which model.
        **kwargs: For `Learner`; they go before what `arch` brings.

    Raises:
        ValueError: There is no such `arch`, it does not take an argument, or there are several
            targets of categories and no `loss_func` for them.
    """
    table = dls.train.dataset
    if len(table.target.encoders) > 1 and kwargs.get("loss_func") is None:
        raise ValueError(
            f"targets {list(table.y_names)} are categories of their own: give loss_func and n_out "
            "for them, or make them columns of true and false (any number of labels at once)"
        )
    settings = dict(config or {})
    n_out = get_c(dls) if n_out is None else n_out
    if arch == "mlp":
        if y_range is not None:
            settings["y_range"] = y_range
        sizes, n_cont = get_emb_sz(table, emb_szs), len(table.cont_names)
        model = create_tabular_model(sizes, n_cont, n_out, list(layers or (200, 100)), **settings)
        return TabularLearner(dls, model, **kwargs)
    for name, value in (("emb_szs", emb_szs), ("y_range", y_range)):
        if value is not None:
            raise ValueError(f"arch {arch!r} takes no {name}: only 'mlp' does")
    if layers is not None:
        settings["layers"] = list(layers)
    loss = kwargs.pop("loss_func", None) or loss_from_data(dls)
    return _strong_learner(dls, arch, loss, n_out, settings, kwargs)


def _strong_learner(
    dls: TabularDataLoaders,
    arch: str,
    loss: Any,
    n_out: int,
    settings: dict[str, Any],
    kwargs: dict[str, Any],
) -> TabularLearner:
    """Make a learner with a model that brings its own way of training."""
    table = dls.train.dataset
    codes = [len(table.classes[name]) for name in table.cat_names]
    sizes = (codes, len(table.cont_names), n_out)
    classes = isinstance(loss, CrossEntropyLossFlat)
    several = dls.train.target_type is TensorMultiCategory
    if arch == "realmlp":
        model = RealMLP(*sizes, regression=not (classes or several), **settings)
        kwargs.setdefault("splitter", realmlp_groups)
        smoothing = model.recipe.label_smoothing
        loss = CrossEntropyLossFlat(label_smoothing=smoothing) if classes else loss
    elif arch == "tabm":
        average = "softmax" if classes else "sigmoid" if several else "none"
        model = TabM(*sizes, **{"average": average, **settings})
        loss = EnsembleLoss(loss)
    else:
        raise ValueError(f"arch {arch!r}: there are 'mlp', 'realmlp' and 'tabm'")
    recipe: Recipe = model.recipe
    model.fit_inputs(*_sample(dls.train))
    kwargs.setdefault("opt_func", functools.partial(Adam, **recipe.optimizer))
    kwargs.setdefault("lr", recipe.rates())
    kwargs.setdefault("wd", recipe.wd)
    return TabularLearner(dls, model, loss_func=loss, **kwargs)


def _sample(dl: Any, most: int = 100_000) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return codes, numbers and targets of the training rows, evenly spread ones of very many."""
    step = max(1, -(-len(dl.tensors[0]) // most))
    parts = [plain(part[::step]) for part in dl.tensors]
    numbers = parts[1] if dl.n_inp == 2 else None
    target = parts[-1] if dl.target_type is not None else None
    return parts[0], numbers, target
