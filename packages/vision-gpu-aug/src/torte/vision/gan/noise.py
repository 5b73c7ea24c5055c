"""Noise as the input of a `DataBlock`, and images made of it as its results."""

from collections.abc import Sequence
from typing import Any

import torch

from torte.data.display import get_grid, show_batch, show_results
from torte.data.seeding import current_random
from torte.data.tensors import TensorBase, TensorImage
from torte.dispatch import serializable

__all__ = ["InvisibleTensor", "generate_noise"]


@serializable
class InvisibleTensor(TensorBase):
    """A tensor that shows nothing."""

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Draw nothing; returns the axes as they are."""
        return ctx


@serializable
def generate_noise(fn: Any, size: int = 100) -> InvisibleTensor:
    """Normal noise of an item, whatever the item is: a `get_x` for `DataBlock`.

    Inside a loader the numbers depend on its seed, the epoch and the item's place alone.

    Args:
        fn: Not looked at.
        size: How many numbers.

    Returns:
        (size,), float32.
    """
    generator = torch.Generator().manual_seed(current_random().getrandbits(63))
    return InvisibleTensor(torch.randn(size, generator=generator))


def _shown(images: Sequence[Any], ctxs: Any, kwargs: dict[str, Any]) -> list[Any]:
    """Draw images on `ctxs`, or on a grid made for them."""
    if ctxs is None:
        names = ("nrows", "ncols", "figsize", "title", "imsize")
        options = {name: kwargs.pop(name) for name in names if name in kwargs}
        ctxs = get_grid(len(images), **options)
    return [image.show(ctx=ctx, **kwargs) for image, ctx in zip(images, ctxs, strict=False)]


@show_batch.register
def _(
    x: InvisibleTensor,
    y: TensorImage,
    samples: Any,
    ctxs: Any = None,
    max_n: int = 10,
    **kwargs: Any,
) -> list[Any]:
    """The real images; their noise is no sight."""
    return _shown([sample[1] for sample in samples[:max_n]], ctxs, kwargs)


@show_results.register
def _(
    x: InvisibleTensor,
    y: TensorImage,
    samples: Any,
    outs: Any,
    ctxs: Any = None,
    max_n: int = 10,
    **kwargs: Any,
) -> list[Any]:
    """The generated images; no real one belongs to them."""
    return _shown([out[0] for out in outs[:max_n]], ctxs, kwargs)
