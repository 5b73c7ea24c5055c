"""Where a model goes wrong: top losses, confusion of classes, a report.

Predictions of a whole data set are never held in memory: losses are, one number a sample, and
counts of (target, prediction) pairs; what is shown is predicted again.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from torte.data import (
    DataLoader,
    TensorCategory,
    TensorImage,
    TensorImageBase,
    TensorMultiCategory,
    TfmdDL,
    display_df,
    get_grid,
    show_results,
)
from torte.dispatch import typedispatch
from torte.learner.callback import Callback
from torte.learner.learner import Learner

__all__ = [
    "ClassificationInterpretation",
    "Interpretation",
    "SegmentationInterpretation",
    "plot_top_losses",
]


class Interpretation:
    """The losses of a learner's model on each sample of a loader, and a look at any of them.

    Args:
        learn: The learner.
        dl: The loader.
        losses: One loss a sample, in the order of the loader.
        act: Applied to predictions; the loss function's `activation` by default.
    """

    def __init__(
        self, learn: Learner, dl: Any, losses: Tensor, act: Callable[[Any], Any] | None = None
    ) -> None:
        self.learn = learn
        self.dl = dl
        self.losses = losses
        self.act = act

    @classmethod
    def from_learner(
        cls,
        learn: Learner,
        ds_idx: int = 1,
        dl: Any = None,
        act: Callable[[Any], Any] | None = None,
    ) -> Self:
        """Compute the losses over a loader; the learner is left as it was.

        Args:
            learn: The learner.
            ds_idx: Which of the learner's loaders; the training data are taken in their order.
            dl: Or this loader.
            act: Applied to predictions.
        """
        if dl is None:
            dl = learn.loader(ds_idx)
            if dl is None:
                raise ValueError(f"there is no loader number {ds_idx} with batches to look at")
            if isinstance(dl, DataLoader):
                dl = dl.new(shuffle=False, drop_last=False)
        fetched = learn.get_preds(
            dl=dl, with_loss=True, with_preds=False, with_targs=False, act=act, reorder=False
        )
        return cls(learn, dl, fetched[-1], act)

    def __getitem__(self, idxs: int | Sequence[int] | Tensor) -> tuple[Any, ...]:
        """Return `(inputs, predictions, targets, decoded predictions, losses)` of some samples."""
        places = torch.as_tensor(idxs).reshape(-1).tolist()
        loader = self._loader_of(places)
        inputs, preds, targets, decoded = self.learn.get_preds(
            dl=loader, with_input=True, with_decoded=True, act=self.act, reorder=False
        )
        return inputs, preds, targets, decoded, self.losses[places]

    def _loader_of(self, places: list[int]) -> Any:
        """Return a loader of these samples alone, in this order."""
        if isinstance(self.dl, DataLoader):
            size = min(len(places), self.dl.bs or 1)
            return self.dl.new(get_idxs=lambda: places, n=None, bs=size, drop_last=False)
        with self.learn.looking(self.dl):
            rows = _pick_rows(self.dl, places)
        columns = zip(*rows, strict=True)
        return [tuple(torch.stack(column) for column in columns)]

    def top_losses(
        self, k: int | None = None, largest: bool = True, items: bool = False
    ) -> tuple[Any, ...]:
        """Return the largest (or smallest) losses and their samples' numbers, sorted.

        Args:
            k: How many; all by default.
            largest: Whether the largest.
            items: Return the samples' source items too.

        Returns:
            `(losses, numbers)` or `(losses, numbers, items)`.
        """
        count = len(self.losses) if k is None else min(k, len(self.losses))
        losses, idxs = self.losses.topk(count, largest=largest)
        if not items:
            return losses, idxs
        source = getattr(self.dl, "items", None)
        source = self.dl.dataset if source is None else source
        return losses, idxs, [source[i] for i in idxs.tolist()]

    def plot_top_losses(
        self, k: int | Sequence[int] | range, largest: bool = True, **kwargs: Any
    ) -> Any:
        """Draw the samples with the top losses, with prediction, target, loss and probability.

        Args:
            k: How many, or which places of the ranking.
            largest: Whether the largest losses.
            **kwargs: For `plot_top_losses`, which dispatches on the types of input and target.
        """
        if isinstance(k, int):
            _, idxs = self.top_losses(k, largest)
        else:
            idxs = self.top_losses(None, largest)[1][list(k)]
        inputs, preds, targets, decoded, losses = self[idxs]
        parts = self._shown_parts(inputs, preds, targets, decoded, len(idxs), kwargs)
        return plot_top_losses(*parts, preds, losses, **kwargs)

    def show_results(self, idxs: Sequence[int] | Tensor, **kwargs: Any) -> Any:
        """Show samples with targets and predictions, as `learn.show_results` does.

        Args:
            idxs: Numbers of the samples.
            **kwargs: For the display function.
        """
        inputs, preds, targets, decoded, _ = self[idxs]
        count = len(torch.as_tensor(idxs).reshape(-1))
        parts = self._shown_parts(inputs, preds, targets, decoded, count, kwargs)
        return show_results(*parts, max_n=count, **kwargs)

    def show_at(self, idx: int, **kwargs: Any) -> Any:
        """Show one sample with its target and prediction."""
        return self.show_results([idx], **kwargs)

    def _shown_parts(
        self,
        inputs: Any,
        preds: Any,
        targets: Any,
        decoded: Any,
        count: int,
        options: dict[str, Any],
    ) -> tuple[Any, Any, Any, Any]:
        """Return input, target, decoded samples and decoded predictions, for display."""
        batch = (*_as_tuple(inputs), *_as_tuple(targets))
        if isinstance(self.dl, TfmdDL):
            return self.learn._parts_to_show(self.dl, batch, preds, decoded, count, options)
        samples = [tuple(part[i] for part in batch) for i in range(count)]
        outs = [tuple(part[i] for part in _as_tuple(decoded)) for i in range(count)]
        return inputs, targets, samples, outs


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _pick_rows(batches: Any, places: list[int]) -> list[tuple[Tensor, ...]]:
    """Return samples of an iterable of batches of tensors by their numbers."""
    wanted, found, start = set(places), {}, 0
    for batch in batches:
        parts = _as_tuple(batch)
        size = len(parts[0])
        for place in wanted.intersection(range(start, start + size)):
            found[place] = tuple(part[place - start] for part in parts)
        start += size
    missing = sorted(wanted - found.keys())
    if missing:
        raise IndexError(f"the loader has {start} samples, none numbered {missing}")
    return [found[place] for place in places]


class _PairCounts(Callback):
    """Counts pairs of target and decoded prediction over a pass, on the device."""

    order = 200

    def __init__(self, act: Callable[[Any], Any] | None) -> None:
        super().__init__()
        self.act = act
        self.counts: Tensor | None = None

    def after_batch(self) -> None:
        """Count the batch."""
        learn: Any = self.learn
        act = self.act or getattr(learn.loss_func, "activation", lambda x: x)
        decodes = getattr(learn.loss_func, "decodes", lambda x: x)
        decoded, target = decodes(act(learn.pred)), learn.y
        if decoded.is_floating_point() or target.is_floating_point():
            raise TypeError(
                "a confusion matrix needs class numbers as targets and a loss function whose "
                "`decodes` returns such, like CrossEntropyLossFlat"
            )
        if decoded.numel() != target.numel():
            raise ValueError(
                f"decoded predictions of shape {tuple(decoded.shape)} do not fit targets of shape "
                f"{tuple(target.shape)}: which axis has the classes?"
            )
        axis = getattr(learn.loss_func, "axis", -1)
        self._add(decoded.reshape(-1), target.reshape(-1), learn.pred.shape[axis])

    def _add(self, decoded: Tensor, target: Tensor, classes: int) -> None:
        if self.counts is None:
            self.counts = torch.zeros(classes**2, dtype=torch.long, device=decoded.device)
        # Labels that are no class (255 for "ignore", say) do not count.
        known = (target >= 0) & (target < classes)
        pairs = target.clamp(0, classes - 1).long() * classes + decoded.long()
        self.counts.scatter_add_(0, pairs, known.long())


class _Confusion(Interpretation):
    """What classification and segmentation share: which classes are taken for which."""

    def __init__(
        self, learn: Learner, dl: Any, losses: Tensor, act: Callable[[Any], Any] | None = None
    ) -> None:
        super().__init__(learn, dl, losses, act)
        self._matrix: np.ndarray | None = None
        self._vocab = _vocabulary(dl)

    @property
    def vocab(self) -> list[Any]:
        """Names of the classes; their numbers where the data name none."""
        return self._vocab or list(range(len(self.confusion_matrix())))

    def confusion_matrix(self) -> np.ndarray:
        """Return how often each class (row) was predicted as each (column)."""
        if self._matrix is None:
            counting = _PairCounts(self.act)
            self.learn.get_preds(
                dl=self.dl, with_preds=False, with_targs=False, cbs=counting, reorder=False
            )
            assert counting.counts is not None
            classes = round(len(counting.counts) ** 0.5)
            self._matrix = counting.counts.reshape(classes, classes).cpu().numpy()
        return self._matrix.copy()

    def most_confused(self, min_val: int = 1) -> list[tuple[Any, Any, int]]:
        """List pairs of classes taken for one another, the commonest first.

        Args:
            min_val: Leave out what happened less often.

        Returns:
            `(actual, predicted, how often)` for each pair.
        """
        matrix, vocab = self.confusion_matrix(), self.vocab
        np.fill_diagonal(matrix, 0)
        rows, columns = np.nonzero(matrix >= max(min_val, 1))
        pairs = [
            (vocab[r], vocab[c], int(matrix[r, c])) for r, c in zip(rows, columns, strict=True)
        ]
        return sorted(pairs, key=lambda pair: pair[2], reverse=True)

    def plot_confusion_matrix(
        self,
        normalize: bool = False,
        title: str = "Confusion matrix",
        cmap: str = "Blues",
        norm_dec: int = 2,
        plot_txt: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Draw the confusion matrix.

        Args:
            normalize: Show shares of each row instead of counts.
            title: Title of the drawing.
            cmap: Colour map.
            norm_dec: Decimals of shares.
            plot_txt: Write the numbers into the cells.
            **kwargs: For the figure (`figsize`, `dpi`).

        Returns:
            The axes.
        """
        import matplotlib.pyplot as plt

        matrix = self.confusion_matrix()
        shown: np.ndarray = matrix
        if normalize:
            shown = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        figure = plt.figure(**{"layout": "tight", **kwargs})
        ax = figure.add_subplot()
        ax.imshow(shown, interpolation="nearest", cmap=cmap)
        ax.set_title(title)
        names = [str(name) for name in self.vocab]
        ax.set_xticks(range(len(names)), names, rotation=90)
        ax.set_yticks(range(len(names)), names, rotation=0)
        if plot_txt:
            _write_cells(ax, shown, norm_dec if normalize else None)
        ax.set_ylabel("Actual")
        ax.set_xlabel("Predicted")
        return ax


def _write_cells(ax: Any, shown: np.ndarray, decimals: int | None) -> None:
    threshold = shown.max() / 2
    for (row, column), value in np.ndenumerate(shown):
        text = str(value) if decimals is None else f"{value:.{decimals}f}"
        colour = "white" if value > threshold else "black"
        ax.text(column, row, text, ha="center", va="center", color=colour)


def _vocabulary(dl: Any) -> list[Any] | None:
    """Return the names of the classes of a loader's target."""
    vocab = getattr(dl, "vocab", None)
    if vocab is None:
        return None
    names = list(vocab)
    if (names and isinstance(names[-1], (list, tuple))) or _is_vocabulary(names[-1:]):
        # Several blocks have one each; the target's is the last.
        names = list(names[-1])
    return names


def _is_vocabulary(last: list[Any]) -> bool:
    return bool(last) and not isinstance(last[0], str) and hasattr(last[0], "o2i")


class ClassificationInterpretation(_Confusion):
    """`Interpretation` of a model that gives each sample one class."""

    def print_classification_report(self) -> None:
        """Print scikit-learn's report: precision, recall, F1 and support by class."""
        from sklearn.metrics import classification_report

        matrix = self.confusion_matrix()
        rows, columns = np.indices(matrix.shape)
        counts = matrix.reshape(-1)
        settings: Any = {"zero_division": 0}
        report = classification_report(
            np.repeat(rows.reshape(-1), counts),
            np.repeat(columns.reshape(-1), counts),
            labels=list(range(len(matrix))),
            target_names=[str(name) for name in self.vocab],
            **settings,
        )
        print(report)  # noqa: T201


class SegmentationInterpretation(_Confusion):
    """`Interpretation` of a model that gives each pixel one class; confusions count pixels."""


# -- drawing top losses --------------------------------------------------------------------------


@typedispatch
def plot_top_losses(
    x: Any, y: Any, samples: Any, outs: Any, raws: Any, losses: Any, **kwargs: Any
) -> Any:
    """Show samples with their predictions and losses; dispatches on the types of `x` and `y`.

    Args:
        x: The input of the batch.
        y: Its target.
        samples: The decoded samples.
        outs: The decoded predictions, one tuple a sample.
        raws: The predictions before decoding.
        losses: One a sample.
        **kwargs: For the grid, where one is made: `nrows`, `ncols`, `figsize`.

    Returns:
        What was drawn on, or the table.
    """
    import pandas as pd

    rows = [
        {
            "input": _text(sample[0]),
            "target": _text(sample[-1]),
            "prediction": _text(out[0]),
            "loss": float(loss),
        }
        for sample, out, loss in zip(samples, outs, losses, strict=True)
    ]
    table = pd.DataFrame(rows)
    display_df(table)
    return table


def _text(value: Any, limit: int = 80) -> str:
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else f"{type(value).__name__} {[*value.shape]}"
    text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


@plot_top_losses.register
def _(
    x: TensorImage,
    y: TensorCategory,
    samples: Any,
    outs: Any,
    raws: Any,
    losses: Any,
    nrows: int | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
    **kwargs: Any,
) -> Any:
    title = "Prediction/Actual/Loss/Probability"
    grid = get_grid(len(samples), nrows=nrows, ncols=ncols, figsize=figsize, title=title)
    for ax, sample, out, raw, loss in zip(grid, samples, outs, raws, losses, strict=False):
        sample[0].show(ctx=ax, **kwargs)
        ax.set_title(f"{out[0]}/{sample[1]} / {loss.item():.2f} / {raw.max().item():.2f}")
    return grid


@plot_top_losses.register
def _(
    x: TensorImage,
    y: TensorMultiCategory,
    samples: Any,
    outs: Any,
    raws: Any,
    losses: Any,
    nrows: int | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
    **kwargs: Any,
) -> Any:
    title = "Prediction/Actual/Loss"
    grid = get_grid(len(samples), nrows=nrows, ncols=ncols, figsize=figsize, title=title)
    for ax, sample, out, loss in zip(grid, samples, outs, losses, strict=False):
        sample[0].show(ctx=ax, **kwargs)
        names = [";".join(map(str, labels)) for labels in (out[0], sample[1])]
        ax.set_title("\n".join([*names, f"{loss.item():.2f}"]))
    return grid


@plot_top_losses.register
def _(
    x: TensorImageBase,
    y: Any,
    samples: Any,
    outs: Any,
    raws: Any,
    losses: Any,
    **kwargs: Any,
) -> Any:
    """What `show_results` draws of masks, points, boxes, images and numbers, with the losses."""
    axes = show_results(x, y, samples, outs, max_n=len(samples), **kwargs)
    each = max(len(axes) // max(len(samples), 1), 1)
    for ax, loss in zip(axes[::each], losses, strict=False):
        above = [ax.get_title(), f"loss {loss.item():.3g}"]
        ax.set_title("\n".join(filter(None, above)))
    return axes
