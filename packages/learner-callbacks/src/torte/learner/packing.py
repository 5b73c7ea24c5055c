"""State as one safetensors file: tensors by name, everything else as JSON in the file's metadata.

Nothing read from such a file is executed: tensors are numbers, and JSON knows only dicts, lists,
strings, numbers, booleans and null. Tuples and dicts with other keys are spelled out in JSON.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torte.learner.files import written

__all__ = [
    "FileFormatError",
    "StateTypeError",
    "pack",
    "packed_numbers",
    "read_file",
    "unpack",
    "unpacked_numbers",
    "write_file",
]

FORMAT = 1
"""The version of the layout; readers know this one and all before it."""

_TENSOR, _TUPLE, _PAIRS = "__tensor__", "__tuple__", "__pairs__"
_MARKS = frozenset({_TENSOR, _TUPLE, _PAIRS})


class FileFormatError(ValueError):
    """A file is not what it should be: torn, altered, of another kind, or no safetensors."""


class StateTypeError(TypeError):
    """Some state is neither a tensor nor JSON-able; the message says where it is."""


def pack(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """Return the JSON form of `value`; its tensors are put into `tensors` under names from `name`.

    Raises:
        StateTypeError: If something in it is neither a tensor nor JSON-able.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach()
        return {_TENSOR: name}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        packed = [(key, pack(item, tensors, f"{name}.{key}")) for key, item in value.items()]
        if all(isinstance(key, str) for key, _ in packed) and not _MARKS & value.keys():
            return dict(packed)
        return {_PAIRS: [[pack(key, {}, name), item] for key, item in packed]}
    if isinstance(value, list | tuple):
        items = [pack(item, tensors, f"{name}.{at}") for at, item in enumerate(value)]
        return items if isinstance(value, list) else {_TUPLE: items}
    raise StateTypeError(
        f"{name} is a {type(value).__name__}; only tensors, numbers, strings, booleans, None and "
        "lists, tuples and dicts of them can be saved"
    )


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `pack` was given.

    Raises:
        FileFormatError: If `value` is not of its making.
    """
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    try:
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        if _TUPLE in value:
            return tuple(unpack(item, tensors) for item in value[_TUPLE])
        if _PAIRS in value:
            return {unpack(key, {}): unpack(item, tensors) for key, item in value[_PAIRS]}
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"the file's JSON is damaged at {str(value)[:80]!r}") from error
    return {key: unpack(item, tensors) for key, item in value.items()}


def packed_numbers(values: Sequence[Any]) -> Any:
    """A long list of floats as a float64 tensor, which takes less room than JSON; others as is."""
    if all(type(value) is float for value in values):
        return torch.tensor(values, dtype=torch.float64)
    return list(values)


def unpacked_numbers(value: Any) -> list[Any]:
    """Return what `packed_numbers` was given, as a list."""
    return value.tolist() if isinstance(value, Tensor) else list(value)


def write_file(path: Path, kind: str, content: Any) -> Path:
    """Write `content` (nested tensors and JSON) as a safetensors file, all of it or nothing.

    Args:
        path: The file; folders are made.
        kind: What the file is; `read_file` is told what it should be.
        content: The content.

    Raises:
        StateTypeError: If something cannot be saved. Nothing is written then.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    packed = pack(content, tensors, "")
    text = json.dumps({"torte": FORMAT, "kind": kind, "content": packed})
    path.parent.mkdir(parents=True, exist_ok=True)
    unshared = _unshared({name.lstrip("."): tensor for name, tensor in tensors.items()})
    with written(path) as beside:
        save_file(unshared, beside, metadata={"torte": text})
    return path


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors, none in the memory of another: safetensors asks for that."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        plain = tensor.as_subclass(Tensor).contiguous()
        address = plain.untyped_storage().data_ptr()
        whole = plain.untyped_storage().nbytes() == plain.numel() * plain.element_size()
        result[name] = plain.clone() if address in seen or not whole else plain
        seen.add(address)
    return result


def read_file(path: Path, kind: str, device: "torch.device | str" = "cpu") -> Any:
    """Return the content of a file that `write_file` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If it is not a file of that kind, or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    tensors, text = _opened(path, device)
    if text is None:
        raise FileFormatError(f"{str(path)!r} is a safetensors file, but torte did not write it")
    try:
        document = json.loads(text)
        version, found, content = document["torte"], document["kind"], document["content"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(f"the description in {str(path)!r} is damaged") from error
    if not isinstance(version, int) or version > FORMAT:
        raise FileFormatError(
            f"{str(path)!r} has format {version!r}; this torte reads formats up to {FORMAT}"
        )
    if found != kind:
        raise FileFormatError(f"{str(path)!r} holds a {found!r}, not a {kind!r}")
    try:
        return unpack(content, {f".{name}": tensor for name, tensor in tensors.items()})
    except RecursionError as error:
        raise FileFormatError(f"the description in {str(path)!r} is damaged") from error


def _opened(path: Path, device: "torch.device | str") -> tuple[dict[str, Tensor], str | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata.get("torte")  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise FileFormatError(
            f"{str(path)!r} is no whole safetensors file ({error}); torte reads no pickles"
        ) from error
