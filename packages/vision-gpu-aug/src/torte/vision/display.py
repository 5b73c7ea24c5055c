"""`show_batch` and `show_results` for what belongs to images: masks, points, boxes, numbers.

Importing this module registers them. Images by themselves, with categories, or in pairs, are shown
by `torte.data.display` already.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from torte.data.display import get_grid, show_batch, show_results
from torte.data.tensors import (
    LabeledBBox,
    TensorBBox,
    TensorImageBase,
    TensorMask,
    TensorPoint,
    TensorRegression,
    plain,
)

__all__ = ["mask_colours", "show_labelled_boxes", "show_legend", "with_labelled_boxes"]

_GRID = ("nrows", "ncols", "figsize", "imsize")
_BOTH = "Target/Prediction"


def _count(samples: Sequence[Any], max_n: int) -> int:
    return min(len(samples), max_n)


def _axes(n: int, kwargs: dict[str, Any], double: bool = False, title: str | None = None) -> Any:
    """Axes for `n` samples, two each if `double`; the grid's arguments leave `kwargs`."""
    options = {name: kwargs.pop(name) for name in _GRID if name in kwargs}
    title = kwargs.pop("title", title)
    if double and "ncols" not in options and "nrows" not in options:
        options["ncols"] = 1 if n < 4 else 2
    return get_grid(n, double=double, title=title, **options)


def mask_colours(n: int) -> Any:
    """A matplotlib colour map with one colour for each of `n` class numbers."""
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap

    name, steps = ("tab10", 10) if n <= 10 else ("tab20", 20)
    if n > steps:
        return mpl.colormaps["gist_ncar"].resampled(n)
    return ListedColormap([mpl.colormaps[name](i) for i in range(n)])


def show_legend(axes: Sequence[Any], codes: Sequence[str], present: Sequence[int]) -> None:
    """Writes which colour stands for which class, below the figure.

    Args:
        axes: Axes of the figure.
        codes: The names of all class numbers.
        present: The class numbers to explain.
    """
    from matplotlib.patches import Patch

    if not axes or not present:
        return
    colours = mask_colours(len(codes))
    handles = [Patch(color=colours(number), label=str(codes[number])) for number in present]
    figure = axes[0].figure
    width, height = figure.get_size_inches()
    longest = max(len(str(codes[number])) for number in present)
    ncols = max(1, min(len(handles), int(width / (0.5 + 0.09 * longest))))
    engine = figure.get_layout_engine()
    if engine is not None and not engine.adjust_compatible:
        # A constrained layout finds the room by itself.
        figure.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False)
        return
    room = 0.15 + 0.24 * math.ceil(len(handles) / ncols)
    figure.subplots_adjust(bottom=max(figure.subplotpars.bottom, (room + 0.1) / height))
    figure.legend(handles=handles, loc="lower center", ncols=ncols, frameon=False)


def _show_mask(image: Any, mask: Any, ctx: Any, kwargs: dict[str, Any]) -> Any:
    """Draws an image with a mask over it."""
    ctx = image.show(ctx=ctx, **kwargs)
    codes = getattr(mask, "codes", None)
    if codes is None:
        return mask.show(ctx=ctx, **kwargs)
    limits = {"cmap": mask_colours(len(codes)), "vmin": -0.5, "vmax": len(codes) - 0.5}
    return mask.show(ctx=ctx, **{**limits, **kwargs})


def _explain(ctxs: Sequence[Any], masks: Sequence[Any]) -> None:
    """The legend of the codes that occur in `masks`, if they have codes."""
    codes = next((m.codes for m in masks if getattr(m, "codes", None)), None)
    if codes is None:
        return
    numbers = {int(n) for m in masks for n in np.unique(plain(m).cpu().numpy())}
    show_legend(ctxs, codes, sorted(n for n in numbers if 0 <= n < len(codes)))


@show_batch.register
def _(
    x: TensorImageBase,
    y: TensorMask,
    samples: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """Images with their masks over them, and a legend of the codes."""
    n = _count(samples, max_n)
    ctxs = list(_axes(n, kwargs) if ctxs is None else ctxs)
    pairs = list(zip(samples[:n], ctxs, strict=False))
    shown = [_show_mask(sample[0], sample[1], ctx, kwargs) for sample, ctx in pairs]
    _explain(shown, [sample[1] for sample, _ in pairs])
    return shown


@show_results.register
def _(
    x: TensorImageBase,
    y: TensorMask,
    samples: Any,
    outs: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """The target mask and the predicted one side by side, each over the image, and a legend."""
    n = _count(samples, max_n)
    ctxs = list(_axes(n, kwargs, double=True, title=_BOTH) if ctxs is None else ctxs)
    masks = [mask for i in range(n) for mask in (samples[i][1], outs[i][0])]
    for place, mask in enumerate(masks[: len(ctxs)]):
        ctxs[place] = _show_mask(samples[place // 2][0], mask, ctxs[place], kwargs)
    _explain(ctxs, masks)
    return ctxs


@show_batch.register
def _(
    x: TensorImageBase,
    y: TensorPoint,
    samples: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """Images with their points (or boxes) on them."""
    n = _count(samples, max_n)
    ctxs = list(_axes(n, kwargs) if ctxs is None else ctxs)
    shown = []
    for sample, start in zip(samples[:n], ctxs, strict=False):
        ctx = sample[0].show(ctx=start, **kwargs)
        shown.append(_show_target(sample[1], sample[0], ctx, kwargs))
    return shown


@show_results.register
def _(
    x: TensorImageBase,
    y: TensorPoint,
    samples: Any,
    outs: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """The target points (or boxes) and the predicted ones side by side, each on the image."""
    n = _count(samples, max_n)
    ctxs = list(_axes(n, kwargs, double=True, title=_BOTH) if ctxs is None else ctxs)
    return _side_by_side(samples[:n], outs, ctxs, kwargs)


def _side_by_side(
    samples: Sequence[Any], outs: Sequence[Any], ctxs: list[Any], kwargs: dict[str, Any]
) -> list[Any]:
    for place, sample in enumerate(samples[: len(ctxs) // 2]):
        for side, target in enumerate((sample[1], outs[place][0])):
            ctx = sample[0].show(ctx=ctxs[2 * place + side], **kwargs)
            ctxs[2 * place + side] = _show_target(target, sample[0], ctx, kwargs)
    return ctxs


def _show_target(target: Any, image: Tensor, ctx: Any, kwargs: dict[str, Any]) -> Any:
    """Draws points or boxes on axes that show their image, points large enough to be seen."""
    points = isinstance(target, TensorPoint) and not isinstance(target, TensorBBox)
    ctx = target.show(ctx=ctx, **({"s": 60, "edgecolors": "white", **kwargs} if points else kwargs))
    return _framed(ctx, image)


def _framed(ctx: Any, image: Tensor) -> Any:
    """The axes limited to the image: points beyond its edges do not shrink it."""
    height, width = image.shape[-2:]
    ctx.set_xlim(-0.5, width - 0.5)
    ctx.set_ylim(height - 0.5, -0.5)
    return ctx


def with_labelled_boxes(sample: Sequence[Any]) -> tuple[Any, ...]:
    """A sample whose boxes are joined with the labels that follow them, padding left out."""
    parts: list[Any] = []
    for part in sample:
        if parts and isinstance(parts[-1], TensorBBox) and isinstance(part, list | tuple | Tensor):
            parts[-1] = _labelled(parts[-1], part)
        else:
            parts.append(part)
    return tuple(parts)


def _labelled(boxes: TensorBBox, labels: Any) -> LabeledBBox:
    kept = [i for i, box in enumerate(plain(boxes).tolist()) if box[2] > box[0] and box[3] > box[1]]
    return LabeledBBox(boxes[kept], [labels[i] for i in kept])


def show_labelled_boxes(image: Any, target: LabeledBBox, ctx: Any = None, **kwargs: Any) -> Any:
    """Draws an image and on it boxes with their labels, padding left out; returns the axes."""
    ctx = image.show(ctx=ctx, **kwargs)
    return _show_target(_labelled(*target), image, ctx, kwargs)


@show_batch.register
def _(
    x: TensorImageBase,
    y: tuple | list,
    samples: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """Images with several targets: boxes carry their labels, the rest is drawn or written."""
    joined = [with_labelled_boxes(sample) for sample in samples[: _count(samples, max_n)]]
    ctxs = list(_axes(len(joined), kwargs) if ctxs is None else ctxs)
    shown = []
    for sample, start in zip(joined, ctxs, strict=False):
        ctx = start
        for part in sample:
            ctx = part.show(ctx=ctx, **kwargs)
        shown.append(_framed(ctx, sample[0]))
    return shown


@show_results.register
def _(
    x: TensorImageBase,
    y: tuple | list,
    samples: Any,
    outs: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """Targets and predictions side by side, boxes with their labels."""
    n = _count(samples, max_n)
    ctxs = list(_axes(n, kwargs, double=True, title=_BOTH) if ctxs is None else ctxs)
    joined = [with_labelled_boxes(sample) for sample in samples[:n]]
    return _side_by_side(joined, [with_labelled_boxes(out) for out in outs[:n]], ctxs, kwargs)


@show_batch.register
def _(
    x: TensorImageBase,
    y: TensorRegression,
    samples: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """Images with the numbers to predict above them."""
    n = _count(samples, max_n)
    ctxs = list(_axes(n, kwargs) if ctxs is None else ctxs)
    pairs = zip(samples[:n], ctxs, strict=False)
    return [sample[0].show(ctx=ctx, title=_numbers(sample[1]), **kwargs) for sample, ctx in pairs]


@show_results.register
def _(
    x: TensorImageBase,
    y: TensorRegression,
    samples: Any,
    outs: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """Images with the target and below it the prediction above them."""
    n = _count(samples, max_n)
    ctxs = list(_axes(n, kwargs, title=_BOTH) if ctxs is None else ctxs)
    shown = []
    for sample, out, ctx in zip(samples[:n], outs[:n], ctxs, strict=False):
        title = f"{_numbers(sample[1])}\n{_numbers(out[0])}"
        shown.append(sample[0].show(ctx=ctx, title=title, **kwargs))
    return shown


def _numbers(values: Any) -> str:
    """Numbers for a title, with four significant digits."""
    flat = np.atleast_1d(np.asarray(plain(values).cpu() if isinstance(values, Tensor) else values))
    listed = [f"{float(value):.4g}" for value in flat.ravel()[:4]]
    return ", ".join(listed) + (", …" if flat.size > 4 else "")
