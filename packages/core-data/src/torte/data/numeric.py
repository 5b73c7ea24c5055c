"""Numbers: regression targets, tensors from images, float images, normalization."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torte.data.images import PILBase
from torte.data.tensors import TensorImage, TensorMask, TensorRegression, plain
from torte.dispatch import DisplayedTransform, serializable

__all__ = [
    "IntToFloatTensor",
    "Normalize",
    "RegressionSetup",
    "ToTensor",
    "broadcast_vec",
]


@serializable
class RegressionSetup(DisplayedTransform):
    """Numbers to predict, as float32 `TensorRegression`.

    Args:
        c: How many numbers there are an item; learned from the first item by default.
    """

    order = 1

    def __init__(self, c: int | None = None) -> None:
        super().__init__()
        self.c = c

    def setups(self, items: Any) -> None:
        """Count the numbers of the first item."""
        if self.c is None and items is not None and len(items):
            self.c = torch.as_tensor(_numbers(items[0])).numel()

    def encodes(self, o: Any) -> TensorRegression:
        """A number or numbers as float32, of the same shape."""
        return TensorRegression(torch.as_tensor(_numbers(o)).float())


def _numbers(o: Any) -> Any:
    """`o` in a form that torch reads."""
    if isinstance(o, Tensor):
        return plain(o)
    if hasattr(o, "__array__"):
        return np.array(o)  # a copy: torch warns of arrays that must not be written to
    return list(o) if hasattr(o, "__len__") else o


@serializable
class ToTensor(DisplayedTransform):
    """Images to tensors of their kind: `PILImage` to `TensorImage` (uint8), and so on."""

    order = 5

    def encodes(self, o: PILBase) -> Tensor:
        """The image's pixels, uint8 of shape (C, H, W), or (H, W) for a mask."""
        return o.to_tensor()


@serializable
class IntToFloatTensor(DisplayedTransform):
    """Whole-number images to float32, masks to int64.

    Args:
        div: Images are divided by this; decoding multiplies.
        div_mask: Masks are divided by this (a mask stored as 0 and 255 has `div_mask=255`).
    """

    order = 10

    def __init__(self, div: float = 255.0, div_mask: int = 1) -> None:
        super().__init__()
        self.div, self.div_mask = div, div_mask

    def encodes(self, o: TensorImage | TensorMask) -> Tensor:
        """Images that are floats already are left as they are."""
        if isinstance(o, TensorMask):
            numbers = o.long()
            return numbers if self.div_mask == 1 else numbers // self.div_mask
        return o if o.is_floating_point() else o.float().div_(self.div)

    def fuse(self, following: Any) -> Any:
        """One step for this and a following transform that can take the conversion in."""
        absorb = getattr(following, "absorb", None)
        return None if absorb is None else absorb(self)

    def decodes(self, o: TensorImage) -> Tensor:
        """Back to whole numbers from 0 to `div`: uint8 where they fit, else int64."""
        if not self.div:
            return o
        kind = torch.uint8 if self.div <= 255 else torch.int64
        return o.float().clamp(0.0, 1.0).mul_(self.div).round_().to(kind)


def broadcast_vec(
    dim: int, ndim: int, *t: Sequence[float] | Tensor, cuda: bool = True
) -> list[Tensor]:
    """Vectors as float32 tensors that broadcast over dimension `dim` of `ndim`.

    Args:
        dim: Where the vectors' values belong (1 for the channels of a batch of images).
        ndim: How many dimensions the tensor has with which they will be combined.
        t: The vectors.
        cuda: Whether to put them on the GPU if there is one.
    """
    shape = [1] * ndim
    shape[dim] = -1
    device = "cuda" if cuda and torch.cuda.is_available() else "cpu"
    return [torch.as_tensor(v, dtype=torch.float32, device=device).view(shape) for v in t]


def _as_tensor(values: Any) -> Tensor | None:
    return None if values is None else torch.as_tensor(plain(values), dtype=torch.float32)


@serializable
class Normalize(DisplayedTransform):
    """Subtracts the mean from image batches and divides by the standard deviation.

    Args:
        mean: Means in a shape that broadcasts over a batch; if not given, `setup` with a loader
            measures them on one batch.
        std: Standard deviations, likewise.
        axes: Over which dimensions to measure; the others keep statistics of their own.
    """

    order = 99

    def __init__(self, mean: Any = None, std: Any = None, axes: Sequence[int] = (0, 2, 3)) -> None:
        super().__init__()
        if (mean is None) != (std is None):
            raise ValueError("Normalize needs both mean and std, or neither")
        self.mean, self.std, self.axes = _as_tensor(mean), _as_tensor(std), tuple(axes)
        self._placed: dict[Any, tuple[Tensor, Tensor, Any]] = {}

    @classmethod
    def from_stats(
        cls,
        mean: float | Sequence[float] | Tensor,
        std: float | Sequence[float] | Tensor,
        dim: int = 1,
        ndim: int = 4,
        cuda: bool = True,
    ) -> "Normalize":
        """From one mean and standard deviation for each place along dimension `dim`.

        Args:
            mean: One number a channel.
            std: One number a channel, none of them 0.
            dim: The channels' dimension.
            ndim: How many dimensions batches have.
            cuda: Accepted for compatibility: the statistics go where each batch is.

        Raises:
            ValueError: A standard deviation is 0, or mean and std differ in length.
        """
        means, stds = (torch.as_tensor(v, dtype=torch.float32).reshape(-1) for v in (mean, std))
        if means.shape != stds.shape:
            raise ValueError(f"{len(means)} means but {len(stds)} standard deviations")
        if not bool((stds > 0).all()):
            raise ValueError(f"standard deviations must be above 0, got {stds.tolist()}")
        return cls(*broadcast_vec(dim, ndim, means, stds, cuda=False))

    def setups(self, items: Any) -> None:
        """Measure mean and standard deviation on one batch of a loader, unless they are given."""
        if self.mean is None and hasattr(items, "one_batch"):
            batch = items.one_batch()
            x = plain(batch[0] if isinstance(batch, tuple | list) else batch).float()
            self.mean = x.mean(self.axes, keepdim=True)
            self.std = x.std(self.axes, keepdim=True) + 1e-7

    def _stats(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation in the device, precision and dimensions of `x`."""
        kind = x.dtype if x.is_floating_point() else torch.float32
        key = (x.device, kind, x.ndim)
        source = (self.mean, self.std)
        placed = self._placed.get(key)
        # The statistics may have been replaced since they were placed.
        if placed is None or placed[2][0] is not self.mean or placed[2][1] is not self.std:
            if self.mean is None or self.std is None:
                raise ValueError(
                    "Normalize has no statistics: use Normalize.from_stats or set it up on a loader"
                )
            stats = [s.to(x.device, kind) for s in (self.mean, self.std)]
            # Statistics of a batch, applied to a single item.
            drop = stats[0].ndim == x.ndim + 1 and stats[0].shape[0] == 1
            mean, std = (s.squeeze(0) for s in stats) if drop else stats
            placed = self._placed[key] = mean, std, source
        return placed[:2]

    def encodes(self, x: TensorImage) -> Tensor:
        """`(x - mean) / std`, in the precision of `x` (float32 for whole numbers)."""
        mean, std = self._stats(x)
        return (x - mean).div_(std)

    def decodes(self, x: TensorImage) -> Tensor:
        """`x * std + mean`, on the CPU if `x` is there."""
        mean, std = self._stats(x)
        return (x * std).add_(mean)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_placed": {}}

    def config(self) -> dict[str, Any]:
        """The axes; the statistics belong to the state."""
        return {"axes": list(self.axes)}

    def state(self) -> dict[str, Any]:
        """Mean and standard deviation as nested lists."""
        both = {"mean": self.mean, "std": self.std}
        return {name: None if s is None else s.tolist() for name, s in both.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take statistics as `state` gave them."""
        self.mean, self.std = _as_tensor(state["mean"]), _as_tensor(state["std"])
        self._placed = {}
