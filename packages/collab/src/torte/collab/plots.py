"""Pictures of what a model of ratings has learned: items by their factors, and by their biases."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from torte.collab.models import EmbeddingDotBias
from torte.learner.plots import axes_for

__all__ = ["plot_biases", "plot_factors"]


def plot_factors(
    learn: Any, items: Sequence[Any] | None = None, n: int = 40, ax: Any = None
) -> Any:
    """Draw items where the first two principal components of their factors put them.

    Items that the same users like stand together; the axes have no unit and no fixed direction.

    Args:
        learn: A learner made by `collab_learner` whose model is a dot product of factors.
        items: Which items, by name; by default the `n` that were rated most often.
        n: How many.
        ax: matplotlib axes to draw on; new ones by default.

    Returns:
        The axes.

    Raises:
        TypeError: The model has no factors.
        KeyError: An item has no name that the model knows.
        ValueError: There are fewer than three items.
    """
    names = _most_rated(learn)[:n] if items is None else list(items)
    if len(names) < 3:
        raise ValueError(f"a plane is laid through three items or more, got {len(names)}")
    factors = _model(learn).weight(names, is_item=True).float().cpu()
    centred = factors - factors.mean(0)
    # The right singular vectors are the principal axes (Jolliffe, "Principal Component Analysis").
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    places = (centred @ axes.T).numpy()
    ax = axes_for(ax, figsize=(9, 9), layout="constrained")
    ax.scatter(*places.T, s=8)
    for name, place in zip(names, places, strict=True):
        ax.annotate(str(name), place, xytext=(3, 3), textcoords="offset points", fontsize=8)
    ax.margins(x=0.12)  # room for names beside the outermost
    ax.set(xlabel="first component of the factors", ylabel="second component")
    return ax


def plot_biases(learn: Any, k: int = 10, ax: Any = None) -> Any:
    """Draw the items that are rated highest and lowest whoever rates them, by their biases.

    Args:
        learn: A learner made by `collab_learner` whose model is a dot product of factors.
        k: How many at either end.
        ax: matplotlib axes to draw on; new ones by default.

    Returns:
        The axes, the highest bias on top.

    Raises:
        TypeError: The model has no biases.
        ValueError: `k` is less than 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    names = _most_rated(learn)
    biases = _model(learn).bias(names, is_item=True).float().cpu().reshape(-1).numpy()
    order = np.argsort(biases, kind="stable")
    chosen = order if len(order) <= 2 * k else np.concatenate([order[:k], order[-k:]])
    ax = axes_for(ax, figsize=(7, 0.28 * len(chosen) + 1), layout="constrained")
    colours = np.where(biases[chosen] < 0, "#c8553d", "#3d7ac8")
    ax.barh([str(names[place]) for place in chosen], biases[chosen], color=colours)
    ax.set(xlabel="bias: how much higher than usual it is rated")
    return ax


def _model(learn: Any) -> EmbeddingDotBias:
    model = learn.model
    if not isinstance(model, EmbeddingDotBias):
        raise TypeError(
            f"{type(model).__name__} has no factors and biases of items: "
            "use collab_learner(use_nn=False)"
        )
    return model


def _most_rated(learn: Any) -> list[Any]:
    """Names of all items, those with the most training rows first."""
    dl = learn.dls.train
    names = dl.dataset.classes[dl.dataset.item_name].values
    counts = torch.bincount(dl.tensors[0][:, 1], minlength=len(names) + 2)[1:-1]
    return [names[place] for place in counts.argsort(descending=True, stable=True).tolist()]
