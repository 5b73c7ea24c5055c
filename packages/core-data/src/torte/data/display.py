"""`show_batch` and `show_results`: how samples are shown, by the types of input and target.

Both are dispatch tables: `show_batch.register` (or `@typedispatch` with the same name) adds a
function for other types. Where nothing else is said, each element of a sample shows itself: on
axes for images and what lies on them, in a row of a table for words and numbers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from torte.data.showing import get_grid, show_image, show_images, show_title, subplots
from torte.data.tensors import (
    TensorCategory,
    TensorImage,
    TensorImageBase,
    TensorMultiCategory,
    TensorRegression,
    TitledTensorScalar,
)
from torte.data.titles import MultiCategory, ShowTitle
from torte.dispatch.dispatcher import typedispatch

__all__ = [
    "display_df",
    "get_empty_df",
    "get_grid",
    "show_batch",
    "show_image",
    "show_images",
    "show_results",
    "show_title",
    "subplots",
]

_FEW = 16
_TITLED = (
    ShowTitle,
    MultiCategory,
    TensorCategory,
    TensorRegression,
    TitledTensorScalar,
    str,
    int,
    float,
    np.generic,
)


def display_df(df: Any) -> None:
    """Show a DataFrame: as a table in a notebook, else printed."""
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import HTML, display
    except ImportError:
        print(df.to_string())  # noqa: T201 - showing is printing here
        return
    if get_ipython() is None:
        print(df.to_string())  # noqa: T201
    else:
        display(HTML(df.to_html()))


def get_empty_df(n: int) -> list[Any]:
    """`n` empty rows, to be filled by `show(ctx=row)`."""
    import pandas as pd

    return [pd.Series(index=range(0), dtype=object, name=row) for row in range(n)]


def _count(samples: Sequence[Any], max_n: int) -> int:
    return min(len(samples), max_n)


def _is_tabular(sample: Any) -> bool:
    """Whether every element of a sample is a word or a number."""
    return isinstance(sample, (tuple, list)) and all(
        isinstance(each, _TITLED) or type(each) is Tensor for each in sample
    )


def _text(element: Any) -> str:
    """A short text of something that has no `show`: of a small tensor its numbers."""
    if not isinstance(element, Tensor):
        return str(element)
    if element.numel() > _FEW:
        return f"{type(element).__name__} {tuple(element.shape)}"
    return str(element.tolist())


def _show_element(element: Any, ctx: Any, kwargs: dict[str, Any]) -> Any:
    """What an element's `show` gives; what has none is written as a title."""
    if hasattr(element, "show"):
        return element.show(ctx=ctx, **kwargs)
    return show_title(_text(element), ctx=ctx, **kwargs)


def _show_samples(samples: Sequence[Any], ctxs: list[Any], kwargs: dict[str, Any]) -> list[Any]:
    """Let every element of every sample show itself on the sample's context."""
    shown = []
    for sample, start in zip(samples, ctxs, strict=False):
        ctx = start
        for element in sample if isinstance(sample, (tuple, list)) else (sample,):
            ctx = _show_element(element, ctx, kwargs)
        shown.append(ctx)
    return shown


def _show_table(rows: list[Any]) -> None:
    import pandas as pd

    display_df(pd.DataFrame(rows))


@typedispatch
def show_batch(
    x: Any, y: Any, samples: Any, ctxs: Any = None, max_n: int = 9, **kwargs: Any
) -> list[Any]:
    """Show decoded samples; dispatches on the types of `x` and `y`.

    Args:
        x: The input of the batch that the samples come from.
        y: Its target.
        samples: The decoded samples: tuples of things with a `show`.
        ctxs: What to draw on, one for each sample.
        max_n: How many samples at most.
        kwargs: For each element's `show`, and for the grid where one is made.

    Returns:
        The contexts: axes, or rows of the table shown.
    """
    if samples is None:  # the whole batch can show itself
        return [x.show(ctx=None if ctxs is None else ctxs[0], max_n=max_n, **kwargs)]
    n = _count(samples, max_n)
    if ctxs is not None:
        return _show_samples(samples[:n], list(ctxs), kwargs)
    if n and _is_tabular(samples[0]):
        rows = _show_samples(samples[:n], get_empty_df(n), kwargs)
        _show_table(rows)
        return rows
    return _show_samples(samples[:n], [None] * n, kwargs)


_GRID = ("nrows", "ncols", "figsize", "title", "imsize")


def _grid(n: int, kwargs: dict[str, Any], double: bool = False) -> list[Any]:
    """Axes for `n` samples, with the arguments of a grid taken out of `kwargs`."""
    options = {name: kwargs.pop(name) for name in _GRID if name in kwargs}
    if double:
        options.setdefault("ncols", 2 if n < 4 else 4)
        options["ncols"] = max(options["ncols"] // 2, 1)
    return get_grid(n, double=double, **options)


@show_batch.register
def _(
    x: TensorImageBase, y: Any, samples: Any, ctxs: Any = None, max_n: int = 9, **kwargs: Any
) -> list[Any]:
    """Images in a grid, with what belongs to each drawn on it or written above."""
    n = _count(samples, max_n)
    ctxs = _grid(n, kwargs) if ctxs is None else list(ctxs)
    return _show_samples(samples[:n], ctxs, kwargs)


@show_batch.register
def _(
    x: TensorImageBase,
    y: TensorImage,
    samples: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """Pairs of images side by side."""
    n = _count(samples, max_n)
    ctxs = _grid(n, kwargs, double=True) if ctxs is None else list(ctxs)
    for place in range(min(n, len(ctxs) // 2)):
        for side in (0, 1):
            ctxs[2 * place + side] = _show_element(
                samples[place][side], ctxs[2 * place + side], kwargs
            )
    return ctxs


@typedispatch
def show_results(
    x: Any, y: Any, samples: Any, outs: Any, ctxs: Any = None, max_n: int = 9, **kwargs: Any
) -> list[Any]:
    """Show decoded samples with what a model made of them; dispatches on `x` and `y`.

    Args:
        x: The input of the batch that the samples come from.
        y: Its target.
        samples: The decoded samples: tuples of things with a `show`.
        outs: The decoded predictions, a tuple for each sample.
        ctxs: What to draw on, one for each sample.
        max_n: How many samples at most.
        kwargs: For each element's `show`, and for the grid where one is made.

    Returns:
        The contexts: axes, or rows of the table shown.
    """
    if samples is None:
        return [x.show(ctx=None if ctxs is None else ctxs[0], max_n=max_n, **kwargs)]
    n = _count(samples, max_n)
    if ctxs is None and n and _is_tabular(samples[0]):
        rows = _show_samples(samples[:n], get_empty_df(n), kwargs)
        rows = _show_samples(outs[:n], rows, {**kwargs, "label": "prediction"})
        _show_table(rows)
        return rows
    starts = [None] * n if ctxs is None else list(ctxs)
    return _show_samples(outs[:n], _show_samples(samples[:n], starts, kwargs), kwargs)


@show_results.register
def _(
    x: TensorImageBase,
    y: Any,
    samples: Any,
    outs: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """Images in a grid, target and prediction drawn on each or written above."""
    n = _count(samples, max_n)
    ctxs = _grid(n, kwargs) if ctxs is None else list(ctxs)
    shown = _show_samples(samples[:n], ctxs, kwargs)
    return _show_samples(outs[:n], shown, kwargs)


@show_results.register
def _(
    x: TensorImageBase,
    y: TensorCategory,
    samples: Any,
    outs: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """Images with target and prediction above: green where they agree, else red."""
    n = _count(samples, max_n)
    ctxs = _grid(n, kwargs) if ctxs is None else list(ctxs)
    shown = _show_samples(samples[:n], ctxs, kwargs)
    for place in range(min(n, len(shown))):
        truth, guess = samples[place][-1], outs[place][0]
        colour = "green" if _agrees(truth, guess, y) else "red"
        shown[place] = _show_element(guess, shown[place], {**kwargs, "color": colour})
    return shown


def _agrees(truth: Any, guess: Any, y: Any) -> bool:
    if isinstance(y, TensorMultiCategory) and isinstance(truth, list):
        return set(map(str, truth)) == set(map(str, guess))
    return str(truth) == str(guess)


@show_results.register
def _(
    x: TensorImageBase,
    y: TensorImageBase,
    samples: Any,
    outs: Any,
    ctxs: Any = None,
    max_n: int = 9,
    **kwargs: Any,
) -> list[Any]:
    """Target and prediction side by side: over the image (masks), or by themselves (images)."""
    n = _count(samples, max_n)
    kwargs.setdefault("title", "Target/Prediction")
    if ctxs is None:
        ctxs = _grid(n, kwargs, double=True)
    kwargs.pop("title", None)
    ctxs = list(ctxs)
    over = not isinstance(y, TensorImage)
    for place in range(min(n, len(ctxs) // 2)):
        for side, element in enumerate((samples[place][-1], outs[place][0])):
            ctx = ctxs[2 * place + side]
            if over:
                ctx = _show_element(samples[place][0], ctx, kwargs)
            ctxs[2 * place + side] = _show_element(element, ctx, kwargs)
    return ctxs
