"""`tabular_learner`: a learner with a model that fits the table."""

from collections.abc import Mapping, Sequence
from typing import Any

from torte.data.categories import get_c
from torte.dispatch import delegates, serializable
from torte.learner import Learner, model_builder
from torte.tabular.loader import TabularDataLoaders
from torte.tabular.model import TabularModel, get_emb_sz

__all__ = ["TabularLearner", "create_tabular_model", "tabular_learner"]


@serializable("torte.tabular.TabularLearner")
class TabularLearner(Learner):
    """A learner over tables."""

    def predict(self, row: Any, **kwargs: Any) -> tuple[Any, Any, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Predict the target of one row.

        Args:
            row: A pandas row, a dictionary or a frame of one row.
            **kwargs: Not used.

        Returns:
            The decoded row with the predicted target as a table of one row (`row.show()`,
            `row.items`), the decoded prediction as a tensor, and the probabilities (or the
            numbers).
        """
        items = row if hasattr(row, "columns") else [row]
        dl = self.dls.test_dl(items)
        inputs, preds, _, decoded = self.get_preds(dl=dl, with_input=True, with_decoded=True)
        parts = inputs if isinstance(inputs, tuple) else (inputs,)
        return dl.decoded([*parts, decoded], 1), decoded[0], preds[0]


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
    **kwargs: Any,
) -> TabularLearner:
    """Make a learner with a `TabularModel` for a table.

    Args:
        dls: Loaders of the table.
        layers: Sizes of the hidden layers; by default [200, 100].
        emb_szs: Sizes of embeddings by column, where they shall differ from the rule's.
        config: More arguments for the model, as `tabular_config` returns.
        n_out: Number of outputs; by default what the targets ask for.
        y_range: Range of the outputs; by default what `config` says.
        **kwargs: For `Learner`.
    """
    table = dls.train.dataset
    settings = dict(config or {})
    if y_range is not None:
        settings["y_range"] = y_range
    model = create_tabular_model(
        get_emb_sz(table, emb_szs),
        len(table.cont_names),
        get_c(dls) if n_out is None else n_out,
        list(layers or (200, 100)),
        **settings,
    )
    return TabularLearner(dls, model, **kwargs)
