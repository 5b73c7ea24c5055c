"""Semantic NumPy arrays: the same meanings as the tensors of `torte.data.tensors`.

ArrayBase
└── ArrayImageBase      (H, W, C) or (H, W)
├── ArrayImage
│   └── ArrayImageBW
└── ArrayMask       class numbers by pixel
"""

from typing import Any, ClassVar, Self

import numpy as np

from torte.data.showing import show_image, show_title

__all__ = ["ArrayBase", "ArrayImage", "ArrayImageBW", "ArrayImageBase", "ArrayMask"]


class ArrayBase(np.ndarray):
    """An array with a meaning, given by its class and its metadata.

    Args:
        x: An array (shared, not copied) or nested lists of numbers.
        metadata: Kept as attributes of this array and of what is computed from it.
    """

    _show_args: ClassVar[dict[str, Any]] = {}

    def __new__(cls, x: Any, **metadata: Any) -> Self:
        """View `x` as this class and attach the metadata."""
        result = np.asarray(x).view(cls)
        result.__dict__.update(getattr(x, "__dict__", {}))
        result.__dict__.update(metadata)
        return result

    def __array_finalize__(self, source: Any) -> None:
        """Take the metadata over from what this array was made of."""
        self.__dict__.update(getattr(source, "__dict__", {}))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the metadata."""
        return _rebuild, (np.asarray(self), type(self), dict(self.__dict__))

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Show the values as a title on `ctx`."""
        return show_title(str(self.tolist()), ctx=ctx, **{**self._show_args, **kwargs})


def _rebuild(values: np.ndarray, cls: type[ArrayBase], metadata: dict[str, Any]) -> ArrayBase:
    return cls(values, **metadata)


class ArrayImageBase(ArrayBase):
    """Anything laid out like an image: (H, W, C) or (H, W)."""

    _show_args: ClassVar[dict[str, Any]] = {"cmap": "viridis"}

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Draw it on the axes `ctx`; see `show_image`."""
        return show_image(np.asarray(self), ctx=ctx, **{**self._show_args, **kwargs})


class ArrayImage(ArrayImageBase):
    """A colour image: (H, W, C)."""


class ArrayImageBW(ArrayImage):
    """A greyscale image: (H, W)."""

    _show_args: ClassVar[dict[str, Any]] = {"cmap": "Greys_r"}


class ArrayMask(ArrayImageBase):
    """Class numbers by pixel: integers of shape (H, W)."""

    _show_args: ClassVar[dict[str, Any]] = {
        "alpha": 0.5,
        "cmap": "tab20",
        "interpolation": "nearest",
    }
