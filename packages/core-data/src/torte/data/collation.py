"""Making a batch of items: `collate` stacks what can be stacked, whatever the items' structure.

Tensors keep their semantic type and the first item's metadata. Images that lie in memory as
(H, W, C), as decoded files do, become a channels-last batch: stacking their (C, H, W) views
element by element would be eight times slower.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import get_worker_info

from torte.data._structure import is_record, map_leaves, rebuild_mapping, rebuild_sequence
from torte.data.errors import CollationError

__all__ = ["collate", "convert", "fa_collate", "fa_convert"]

_no_dispatch = torch._C.DisableTorchFunctionSubclass


def collate(items: Sequence[Any]) -> Any:
    """Make one batch of a list of items of the same structure.

    Tensors and arrays are stacked along a new first dimension; numbers become a tensor; strings,
    bytes and `None` become a list; tuples, named tuples, lists, mappings and dataclasses are
    collated field by field into one of the same kind.

    Raises:
        CollationError: If the items differ in shape or structure, or cannot go into a tensor.
    """
    first = items[0]
    if isinstance(first, Tensor):
        return _stack(items)
    if isinstance(first, (str, bytes)) or first is None:
        return list(items)
    if isinstance(first, (int, float, complex, np.number, np.bool_)):
        return _numbers(items)
    if isinstance(first, np.ndarray):
        return _arrays(items)
    if isinstance(first, Mapping):
        return _mappings(items)
    if isinstance(first, (tuple, list)):
        return _sequences(items)
    if is_record(first):
        return _records(items)
    raise CollationError(_misfit(first))


def _misfit(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, Image.Image):
        return (
            f"a {kind} cannot be put into a batch: convert it to a tensor first (item_tfms or"
            " after_item with ToTensor())"
        )
    return (
        f"a {kind} cannot be put into a batch: expected tensors, arrays, numbers, strings, or"
        " tuples, lists, mappings and dataclasses of those; convert it in after_item or pass"
        f" create_batch (the value: {value!r:.100})"
    )


def _is_image_view(tensor: Tensor) -> bool:
    """Whether a (C, H, W) tensor is a view of (H, W, C) memory."""
    if tensor.ndim != 3 or tensor.shape[0] == 1:
        return False
    channels, _, width = tensor.shape
    return tensor.stride() == (1, channels * width, channels)


def _stack(items: Sequence[Tensor]) -> Tensor:
    first = items[0]
    try:
        with _no_dispatch():
            if _is_image_view(first):
                views = [item.permute(1, 2, 0) for item in items]
                stacked = _stack_into(views).permute(0, 3, 1, 2)
            else:
                stacked = _stack_into(items)
    except (RuntimeError, TypeError, IndexError, AttributeError) as error:
        raise _unequal(items) from error
    kind = type(first)
    if kind is Tensor:
        return stacked
    result = stacked.as_subclass(kind)
    result.__dict__.update(first.__dict__)  # type: ignore[attr-defined]
    return result


def _stack_into(items: Sequence[Tensor]) -> Tensor:
    """`torch.stack`; in a worker process straight into memory shared with the main process."""
    first = items[0]
    if get_worker_info() is None or first.is_sparse or first.is_quantized:
        return torch.stack(list(items))
    if first.requires_grad or first.device.type != "cpu":
        return torch.stack(list(items))
    count = len(items)
    storage = first.untyped_storage()._new_shared(
        count * first.numel() * first.element_size(), device="cpu"
    )
    out = torch.empty(0, dtype=first.dtype)
    out.set_(storage, 0, (count, *first.shape))  # type: ignore[call-overload]
    return torch.stack(list(items), out=out)


def _unequal(items: Sequence[Any]) -> CollationError:
    """Says which items differ from the first, and how."""

    def form(value: Any) -> str:
        if isinstance(value, (Tensor, np.ndarray)):
            return f"{type(value).__name__} of shape {tuple(value.shape)} and {value.dtype}"
        return f"{type(value).__name__} ({value!r:.60})"

    forms = [form(item) for item in items]
    others = [place for place, each in enumerate(forms) if each != forms[0]]
    if not others:
        return CollationError(f"items cannot be stacked into a batch: {forms[0]}")
    shown = ", ".join(f"{place} is a {forms[place]}" for place in others[:3])
    more = f", and {len(others) - 3} more differ" if len(others) > 3 else ""
    return CollationError(
        f"the items of a batch must be alike: number 0 is a {forms[0]}, number {shown}{more};"
        " resize or pad them first (item_tfms, before_batch), or pass create_batch"
    )


def _numbers(items: Sequence[Any]) -> Tensor:
    try:
        if isinstance(items[0], np.generic):
            return torch.from_numpy(np.array(items))
        kind = torch.float64 if isinstance(items[0], float) else None
        return torch.tensor(items, dtype=kind)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _unequal(items) from error


def _arrays(items: Sequence[np.ndarray]) -> Any:
    first = items[0]
    if first.dtype.kind in "OSUMm":
        if first.dtype.kind == "O":
            raise CollationError(
                "an array of Python objects cannot be put into a batch: convert it in after_item"
            )
        return list(items)
    try:
        return torch.from_numpy(np.stack(items))
    except (TypeError, ValueError) as error:
        raise _unequal(items) from error


def _mappings(items: Sequence[Mapping[Any, Any]]) -> Any:
    first = items[0]
    batch = {}
    for key in first:
        try:
            column = [item[key] for item in items]
        except (KeyError, TypeError) as error:
            odd = next(n for n, item in enumerate(items) if key not in item)
            raise CollationError(
                f"item number {odd} of a batch lacks the key {key!r} that the first has"
            ) from error
        batch[key] = _field(column, key)
    return rebuild_mapping(first, batch)


def _sequences(items: Sequence[Sequence[Any]]) -> Any:
    first = items[0]
    try:
        columns = list(zip(*items, strict=True))
    except (TypeError, ValueError) as error:
        lengths = [len(item) if hasattr(item, "__len__") else None for item in items]
        odd = next(n for n, length in enumerate(lengths) if length != lengths[0])
        raise CollationError(
            f"the items of a batch must be alike: number 0 is a {type(first).__name__} of"
            f" {lengths[0]}, number {odd} a {type(items[odd]).__name__} of {lengths[odd]}"
        ) from error
    values = [_field(column, place) for place, column in enumerate(columns)]
    return rebuild_sequence(first, values)


def _records(items: Sequence[Any]) -> Any:
    first = items[0]
    values = {}
    for field in dataclasses.fields(first):
        values[field.name] = _field([getattr(item, field.name) for item in items], field.name)
    result = object.__new__(type(first))
    for name, value in values.items():
        object.__setattr__(result, name, value)
    return result


def _field(column: Sequence[Any], name: Any) -> Any:
    """`collate` one field; says which field if that fails."""
    try:
        return collate(column)
    except CollationError as error:
        error.add_note(f"in element {name!r} of the items")
        raise


def _convert_leaf(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OSUMm":
        return torch.from_numpy(value)
    return value


def convert(item: Any) -> Any:
    """A ready-made batch with its arrays turned into tensors (memory shared)."""
    return map_leaves(_convert_leaf, item)


fa_collate = collate
fa_convert = convert
