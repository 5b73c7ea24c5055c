"""Rows of a table with what a model made of them."""

from typing import TYPE_CHECKING, Any

from torte.data.display import display_df, show_results
from torte.learner.interpretation import plot_top_losses
from torte.tabular.frames import as_pandas
from torte.tabular.table import Tabular

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["results_frame"]


def results_frame(given: Tabular, predicted: Tabular) -> "pd.DataFrame":
    """Return decoded rows with predictions beside their targets, in columns `<target>_pred`."""
    frame, found = as_pandas(given.frame), as_pandas(predicted.frame)
    return frame.assign(**{f"{name}_pred": found[name] for name in given.y_names})


@show_results.register
def _(x: Tabular, y: Any, samples: Any, outs: Any, **kwargs: Any) -> Any:
    display_df(results_frame(x, outs))


@plot_top_losses.register
def _(
    x: Tabular, y: Any, samples: Any, outs: Any, raws: Any, losses: Any, **kwargs: Any
) -> "pd.DataFrame":
    frame = results_frame(x, outs).assign(loss=losses.tolist())
    if len(x.target.encoders) == 1:
        frame["probability"] = raws.max(1).values.tolist()
    display_df(frame)
    return frame
