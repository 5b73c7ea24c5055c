"""Permutation importance: how much worse a model gets once a column is shuffled.

Breiman, "Random Forests" (2001), section 10, for any model: a column whose values are dealt anew
to the rows keeps its distribution and loses what it says about the target.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torte.data.seeding import mix
from torte.learner import Learner
from torte.learner.plots import axes_for
from torte.tabular.loader import TabDataLoader

__all__ = ["feature_importance", "plot_importance"]

Metric = Callable[[Tensor, Tensor], Any]


def feature_importance(
    learn: Learner,
    df: Any = None,
    metric: Metric | None = None,
    n_repeats: int = 5,
    seed: int = 0,
    *,
    lower_is_better: bool = False,
) -> Any:
    """Measure how much worse the model predicts when one column at a time is shuffled.

    Columns that say the same stand in for each other: each of them may look unimportant. An
    indicator of missing values is shuffled together with its column.

    Args:
        learn: The learner; it is left as it is.
        df: Rows with their targets; by default the validation rows.
        metric: Function of predictions and targets where more is better, such as `accuracy`;
            by default the loss, of which less is better.
        n_repeats: How often each column is shuffled.
        seed: For the shuffles; a column's shuffles do not depend on the other columns.
        lower_is_better: Whether less of `metric` is better, as of an error.

    Returns:
        A pandas frame, the most important column first: `feature`, `importance` (mean by which the
        metric got worse, in its own unit), `std` (over the repeats, 0 for one) and `baseline` (the
        metric with nothing shuffled).

    Raises:
        ValueError: There are no rows, they have no targets, or `n_repeats` is less than 1.
        TypeError: The rows are streamed: give some of them as `df`.
    """
    import pandas as pd

    if n_repeats < 1:
        raise ValueError(f"n_repeats must be at least 1, got {n_repeats}")
    dl = _loader(learn, df)
    sign = 1.0 if metric is None or lower_is_better else -1.0
    with learn.no_bar(), learn.no_logging():
        baseline = _score(learn, dl, metric)
        rows: list[tuple[str, float, float, float]] = []
        for place, (name, columns) in enumerate(_features(dl)):
            worse = [
                sign * (_score(learn, shuffled, metric) - baseline)
                for shuffled in _shuffles(dl, columns, n_repeats, mix(seed, place))
            ]
            rows.append((name, float(np.mean(worse)), float(np.std(worse)), baseline))
    found = pd.DataFrame(rows, columns=["feature", "importance", "std", "baseline"])
    return found.sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def plot_importance(importance: Any, max_n: int = 20, ax: Any = None) -> Any:
    """Draw the most important columns as bars, with the deviation over the repeats.

    Args:
        importance: What `feature_importance` returned.
        max_n: How many columns.
        ax: Matplotlib axes to draw into; by default new ones.

    Returns:
        The axes.
    """
    top = importance.head(max_n).iloc[::-1]
    ax = axes_for(ax, figsize=(6, 0.3 * len(top) + 1), layout="constrained")
    ax.barh(top["feature"], top["importance"], xerr=top["std"], error_kw={"elinewidth": 1})
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel("worse by, when shuffled")
    return ax


def _loader(learn: Learner, df: Any) -> TabDataLoader:
    """Return a loader of the rows in their order, all of them."""
    valid = learn.dls.valid
    if df is not None:
        dl = learn.dls.test_dl(df, with_labels=True)
    elif isinstance(valid, TabDataLoader):
        dl = valid.new(valid.dataset, shuffle=False, drop_last=False)
    else:
        raise TypeError(f"{type(valid).__name__} cannot be shuffled by column: give rows as df")
    if dl.target_type is None:
        raise ValueError("the rows have no targets, so that no metric can be computed")
    if not len(dl.tensors[0]):
        raise ValueError("there are no rows: give some, with their targets, as df")
    return dl


def _features(dl: TabDataLoader) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield each column with its places (tensor, column), its indicator's among them."""
    table = dl.dataset
    added = {name for proc in table.procs.fs for name in getattr(proc, "added_names", ())}
    codes = {name: (0, place) for place, name in enumerate(table.cat_names)}
    numbers = {name: (1, place) for place, name in enumerate(table.cont_names)}
    for name, where in (codes | numbers).items():
        if name in added:
            continue
        indicator = f"{name}_na"
        yield name, [where, *([codes[indicator]] if indicator in added & codes.keys() else [])]


def _shuffles(
    dl: TabDataLoader, columns: list[tuple[int, int]], n_repeats: int, seed: int
) -> Iterator[TabDataLoader]:
    """Yield loaders of the rows with some columns shuffled, together."""
    for repeat in range(n_repeats):
        generator = torch.Generator().manual_seed(mix(seed, repeat))
        order = torch.randperm(len(dl.tensors[0]), generator=generator)
        shuffled = dl.new(dl.dataset)
        shuffled.tensors = [part.clone() for part in dl.tensors]
        for tensor, place in columns:
            shuffled.tensors[tensor][:, place] = dl.tensors[tensor][order, place]
        yield shuffled


def _score(learn: Learner, dl: TabDataLoader, metric: Metric | None) -> float:
    """Return the metric of the rows, or the mean loss."""
    if metric is None:
        *_, losses = learn.get_preds(dl=dl, with_loss=True)
        return losses.mean().item()
    preds, targets = learn.get_preds(dl=dl)
    return float(metric(preds, targets))
