"""Small conversions over any structure: tensors from values, precision, NumPy, batch size."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torte.data._structure import leaves, map_leaves

__all__ = [
    "apply",
    "find_bs",
    "find_device",
    "show_titled_image",
    "tensor",
    "to_detach",
    "to_float",
    "to_half",
    "to_np",
]


def tensor(x: Any, *rest: Any, **kwargs: Any) -> Tensor:
    """Make a tensor of a number, sequence, array, picture or frame column, or of several numbers.

    Memory is shared where it can be, as by `torch.as_tensor`; what may not be written is copied.
    Without a `dtype`, numbers of double precision take torch's default, as models have it.

    Args:
        x: What to convert.
        *rest: Further elements: `tensor(1, 2, 3)` is `tensor([1, 2, 3])`.
        **kwargs: `dtype`, `device`.

    Raises:
        TypeError: It holds something that is no number.
    """
    value: Any = (x, *rest) if rest else x
    if isinstance(value, Tensor):
        return value.to(**kwargs) if kwargs else value
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    elif hasattr(value, "__array_interface__") and not isinstance(value, np.ndarray):
        value = np.asarray(value)  # an image of PIL
    if isinstance(value, tuple | list) and value and isinstance(value[0], Tensor):
        return torch.stack([part.to(**kwargs) if kwargs else part for part in value])
    try:
        if isinstance(value, tuple | list) and value and isinstance(value[0], np.ndarray):
            value = np.stack(value)
        if isinstance(value, np.ndarray) and not value.flags.writeable:
            value = value.copy()  # a column of a frame, say
        made = torch.as_tensor(value, **kwargs)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"no tensor can be made of {type(value).__name__}: {error}") from error
    is_double = made.dtype == torch.float64 and "dtype" not in kwargs
    return made.to(torch.get_default_dtype()) if is_double else made


def apply(func: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    """Call `func(leaf, *args, **kwargs)` on every leaf of a structure and keep the structure."""
    return map_leaves(lambda leaf: func(leaf, *args, **kwargs), x)


def _of_tensors(func: Callable[[Tensor], Any], b: Any) -> Any:
    return map_leaves(lambda leaf: func(leaf) if isinstance(leaf, Tensor) else leaf, b)


def to_detach(b: Any, cpu: bool = True) -> Any:
    """A structure with its tensors detached and, if asked for, on the CPU."""
    return _of_tensors(lambda value: value.detach().cpu() if cpu else value.detach(), b)


def to_half(b: Any) -> Any:
    """A structure with its floating point tensors as float16."""
    return _of_tensors(lambda value: value.half() if value.is_floating_point() else value, b)


def to_float(b: Any) -> Any:
    """A structure with its floating point tensors as float32."""
    return _of_tensors(lambda value: value.float() if value.is_floating_point() else value, b)


def to_np(x: Any) -> Any:
    """A structure with its tensors as NumPy arrays, copied from the device if need be."""

    def convert(value: Tensor) -> np.ndarray:
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()

    return _of_tensors(convert, x)


def _first_tensor(b: Any) -> Tensor:
    for leaf in leaves(b):
        if isinstance(leaf, Tensor):
            return leaf
    raise TypeError(f"there is no tensor in this {type(b).__name__}")


def find_bs(b: Any) -> int:
    """The number of samples of a batch: the length of the first tensor in it.

    Raises:
        TypeError: There is no tensor in it.
    """
    found = _first_tensor(b)
    return len(found) if found.ndim else 1


def find_device(b: Any) -> torch.device:
    """The device of the first tensor in a structure.

    Raises:
        TypeError: There is no tensor in it.
    """
    return _first_tensor(b).device


def show_titled_image(o: tuple[Any, Any], **kwargs: Any) -> Any:
    """Draw an (image, title) pair; see `show_image`."""
    from torte.data.showing import show_image

    return show_image(o[0], title=str(o[1]), **kwargs)
