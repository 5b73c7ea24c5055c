"""Drawing what the recorder and the learning-rate search saw."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["axes_for", "plot_losses", "plot_schedules", "plot_search"]


def axes_for(ax: Any, **kwargs: Any) -> Any:
    """Return the axes that were given, or new ones.

    Args:
        ax: matplotlib axes, or None.
        **kwargs: For `matplotlib.pyplot.subplots`, if new ones are made.
    """
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(**kwargs)[1]


def plot_losses(
    recorder: Any, skip_start: int, with_valid: bool, log: bool, show_epochs: bool, ax: Any
) -> Any:
    """Draw the smoothed training losses and the validation losses (see `Recorder.plot_loss`)."""
    ax = axes_for(ax)
    losses = recorder.losses
    ax.plot(range(skip_start, len(losses)), losses[skip_start:], label="train")
    column = list(recorder.metric_names).index("valid_loss") - 1
    points = [
        (at, row[column])
        for at, row in zip(recorder.iters, recorder.values, strict=True)
        if at >= skip_start and row[column] is not None
    ]
    if with_valid and points:
        ax.plot(*zip(*points, strict=True), label="valid", marker="o")
    if show_epochs:
        for at in recorder.iters:
            ax.axvline(at, color="0.8", linewidth=1, zorder=0)
    if log:
        ax.set_yscale("log")
    ax.set_xlabel("batches")
    ax.set_ylabel("loss")
    ax.legend()
    return ax


def plot_schedules(
    hps: Mapping[str, list[Any]],
    keys: Iterable[str] | None,
    figsize: tuple[float, float] | None,
) -> Any:
    """Draw hyper-parameters by batch, one panel each (see `Recorder.plot_sched`)."""
    import matplotlib.pyplot as plt

    names = list(hps) if keys is None else [keys] if isinstance(keys, str) else list(keys)
    if not names:
        raise ValueError("no hyper-parameters were scheduled in the last fit: nothing to draw")
    rows, columns = (len(names) + 1) // 2, min(2, len(names))
    figure, panels = plt.subplots(
        rows, columns, figsize=figsize or (6 * columns, 4 * rows), squeeze=False
    )
    for panel, name in zip(panels.flat, names, strict=False):
        panel.plot(hps[name])
        panel.set_xlabel("batches")
        panel.set_ylabel(name)
    for panel in list(panels.flat)[len(names) :]:
        panel.set_axis_off()
    figure.tight_layout()
    return figure


def plot_search(search: Any, skip_end: int, ax: Any) -> Any:
    """Draw a learning-rate search (see `LRSearch.plot`)."""
    ax = axes_for(ax)
    end = len(search.lrs) - skip_end if len(search.lrs) > skip_end else None
    ax.plot(search.lrs[:end], search.losses[:end])
    ax.set_xscale("log")
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss")
    for name, (_, point) in search.suggestions.items():
        ax.plot(*point, "o", label=name)
    if search.suggestions:
        ax.legend()
    return ax
