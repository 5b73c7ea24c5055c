"""Drawing one thing at a time: an image on axes, a title, a grid of axes.

Matplotlib and pandas are imported when something is drawn, not before.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["get_grid", "show_image", "show_images", "show_title", "subplots"]


def _pixels(im: Any) -> np.ndarray:
    """`im` as an array that matplotlib draws: (H, W) or (H, W, 3 or 4)."""
    from_tensor = isinstance(im, Tensor)
    if from_tensor:
        im = im.detach().as_subclass(Tensor)
        im = im.float() if im.dtype in (torch.bfloat16, torch.float16) else im
        im = im.cpu().numpy()
    pixels = np.asarray(im)
    if pixels.ndim == 3:
        pixels = _channels_last(pixels, first=from_tensor)
    if pixels.ndim not in (2, 3):
        raise ValueError(
            f"an image has shape (H, W), (C, H, W) or (H, W, C), this one has {pixels.shape};"
            " of a batch, show one element"
        )
    if pixels.ndim == 3 and pixels.dtype.kind == "f":
        pixels = pixels.clip(0, 1)  # augmentation overshoots; matplotlib would warn
    return pixels


def _channels_last(pixels: np.ndarray, first: bool) -> np.ndarray:
    """`pixels` with the channels last, and without that axis if there is one channel only.

    Args:
        pixels: Of shape (C, H, W) or (H, W, C).
        first: Which of the two it is if both are possible.
    """
    places = (0, -1) if first else (-1, 0)
    place = next((place for place in places if pixels.shape[place] in (1, 3, 4)), None)
    if place is None:
        raise ValueError(f"an image has 1, 3 or 4 channels, this has shape {pixels.shape}")
    if pixels.shape[place] == 1:
        return pixels.squeeze(place)
    return np.moveaxis(pixels, place, -1)


def _figsize_of(pixels: np.ndarray, figsize: tuple[float, float] | None) -> tuple[float, float]:
    if figsize is not None:
        return figsize
    height, width = pixels.shape[:2]
    longest = 3.0 / max(height, width, 1)
    return (max(width * longest, 0.5), max(height * longest, 0.5))


def show_image(
    im: Any,
    ax: Any = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    ctx: Any = None,
    **kwargs: Any,
) -> Any:
    """Draw an image, without ticks.

    Args:
        im: A tensor or array of shape (C, H, W), (H, W, C) or (H, W), or a PIL image. Floats are
            clipped to [0, 1].
        ax: The matplotlib axes to draw on; new ones if `None`. `ctx` is another name for it.
        figsize: Size in inches of new axes.
        title: Written above the image.
        ctx: As `ax`.
        kwargs: For `Axes.imshow`.

    Returns:
        The axes.
    """
    pixels = _pixels(im)
    ax = ctx if ax is None else ax
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=_figsize_of(pixels, figsize))
    ax.imshow(pixels, **kwargs)
    if title is not None:
        ax.set_title(title)
    ax.axis("off")
    return ax


def show_title(
    o: Any,
    ax: Any = None,
    ctx: Any = None,
    label: str | None = None,
    color: str = "black",
    **kwargs: Any,
) -> Any:
    """Write `o` as the title of axes, as an entry of a Series, or print it where there is neither.

    Args:
        o: What to write.
        ax: Matplotlib axes, or a pandas Series (a row of the table that is being made).
        ctx: As `ax`.
        label: The name of the entry in a Series; a number is added where it is taken.
        color: The colour of a title.
        kwargs: For `Axes.set_title`.

    Returns:
        `ax`, or for a Series a longer one.
    """
    ax = ctx if ax is None else ax
    if ax is None:
        print(str(o))  # noqa: T201 - showing is printing where there is nothing to draw on
        return None
    if hasattr(ax, "set_title"):
        shown = ax.title.get_text()
        ax.set_title(f"{shown}\n{o}" if shown else str(o), color=color, **kwargs)
        return ax
    import pandas as pd

    name = label = "text" if label is None else label
    number = 0
    while name in ax:
        number += 1
        name = f"{label}_{number}"
    return (
        pd.concat([ax, pd.Series({name: o}, dtype=object)])
        if len(ax)
        else pd.Series({name: o}, dtype=object)
    )


def subplots(
    nrows: int = 1,
    ncols: int = 1,
    figsize: tuple[float, float] | None = None,
    imsize: float = 3,
    suptitle: str | None = None,
    **kwargs: Any,
) -> tuple[Any, Any]:
    """A figure and an array of its axes (of a single one too), `imsize` inches for each.

    Args:
        nrows: Number of rows.
        ncols: Number of columns.
        figsize: Size of the whole in inches, instead of `imsize`.
        imsize: Side of one of the axes in inches.
        suptitle: Written above the whole.
        kwargs: For `matplotlib.pyplot.subplots`.
    """
    import matplotlib.pyplot as plt

    if figsize is None:
        extra = 0.0 if suptitle is None else 0.6
        figsize = (ncols * imsize, nrows * imsize + extra)
    # Constrained: titles of any number of lines find room between the images.
    kwargs.setdefault("layout", "constrained")
    figure, axes = plt.subplots(nrows, ncols, figsize=figsize, **kwargs)
    if suptitle is not None:
        figure.suptitle(suptitle)
    return figure, axes if isinstance(axes, np.ndarray) else np.array([axes])


def get_grid(
    n: int,
    nrows: int | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
    double: bool = False,
    title: str | None = None,
    return_fig: bool = False,
    flatten: bool = True,
    **kwargs: Any,
) -> Any:
    """A grid of `n` axes, rows by columns.

    Args:
        n: How many axes are needed; the rest of the last row stays blank.
        nrows: Number of rows, by default as square as can be.
        ncols: Number of columns, by default as square as can be.
        figsize: Size of the whole in inches.
        double: Two columns for each of the `n`, so `2 * n` axes.
        title: Written above the whole.
        return_fig: Return the figure too, first.
        flatten: Return a list of axes; otherwise the array of rows and columns.
        kwargs: For `subplots`; its `suptitle` is another name of `title`.
    """
    title = kwargs.pop("suptitle", None) if title is None else title
    if nrows is None and ncols is None:
        nrows = max(int(math.sqrt(n)), 1)
    if ncols is None:
        assert nrows is not None
        ncols = max(math.ceil(n / nrows), 1)
    elif nrows is None:
        nrows = max(math.ceil(n / ncols), 1)
    if double:
        ncols, n = ncols * 2, n * 2
    figure, axes = subplots(nrows, ncols, figsize=figsize, suptitle=title, squeeze=False, **kwargs)
    flat = list(axes.flat)
    for blank in flat[n:]:
        blank.set_axis_off()
    found = flat[:n] if flatten else axes
    return (figure, found) if return_fig else found


def show_images(
    ims: Any, nrows: int | None = 1, ncols: int | None = None, titles: Any = None, **kwargs: Any
) -> list[Any]:
    """Draw images side by side, with `titles` above them; returns the axes."""
    ims = list(ims)
    titles = [None] * len(ims) if titles is None else list(titles)
    axes = get_grid(len(ims), nrows, ncols, **kwargs)
    for im, name, ax in zip(ims, titles, axes, strict=True):
        draw = getattr(im, "show", None) if isinstance(im, Tensor) else None
        if draw is None:
            show_image(im, ax=ax, title=name)
        else:
            draw(ctx=ax, title=name)
    return axes
