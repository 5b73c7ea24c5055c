"""What cannot be sent to a worker process, found before it is tried and called by its name."""

import dataclasses
import functools
import io
import pickle
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from torte.data.errors import TravelError

__all__ = ["check_travel", "described_stuck", "find_stuck"]

_DEEPEST = 8
_WIDEST = 1000


class _Nowhere(io.RawIOBase):
    """A file that forgets what is written to it."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return len(data)


def _holds_objects(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.hasobject


class _Probe(pickle.Pickler):
    """Pickles to nowhere. Tensors and arrays are passed over: they travel, and may be large."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (torch.Tensor, np.ndarray)) and not _holds_objects(obj):
            return (int, ())
        return NotImplemented


def _reason(value: Any) -> Exception | None:
    """Why `value` cannot be pickled; `None` if it can."""
    try:
        _Probe(_Nowhere(), pickle.HIGHEST_PROTOCOL).dump(value)
    except Exception as error:  # noqa: BLE001 - pickling runs code of any class
        return error
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value, with how to write the way to each."""
    if isinstance(value, Mapping):
        for key, part in list(value.items())[:_WIDEST]:
            yield f"[{key!r}]", part
    elif isinstance(value, (list, tuple, set, frozenset)):
        for place, part in enumerate(list(value)[:_WIDEST]):
            yield f"[{place}]", part
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name, None)
    yield from _attributes(value)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (type, types.FunctionType, types.ModuleType)):
        return
    if isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, functools.partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    else:
        yield from ((f".{name}", part) for name, part in _state_of(value).items())


def _state_of(value: Any) -> dict[str, Any]:
    try:
        state = value.__getstate__()
    except Exception:  # noqa: BLE001 - only a way to look inside
        state = None
    if isinstance(state, tuple):
        state = {
            key: part for each in state if isinstance(each, dict) for key, part in each.items()
        }
    return state if isinstance(state, dict) else dict(getattr(value, "__dict__", {}))


def find_stuck(value: Any, way: str = "") -> list[tuple[str, Any, Exception]]:
    """The smallest parts of `value` that cannot be pickled: (way to it, part, reason)."""
    return _find(value, way, _DEEPEST, set())


def _find(value: Any, way: str, depth: int, seen: set[int]) -> list[tuple[str, Any, Exception]]:
    reason = _reason(value)
    if reason is None or id(value) in seen:
        return []
    seen.add(id(value))
    found = []
    if depth:
        for step, part in _parts(value):
            found += _find(part, way + step, depth - 1, seen)
    return found or [(way, value, reason)]


def _described(way: str, part: Any, reason: Exception) -> str:
    code = getattr(part, "__code__", None)
    if code is not None:
        kind = "lambda" if part.__name__ == "<lambda>" else f"local function {part.__qualname__!r}"
        if part.__name__ != "<lambda>" and "<locals>" not in part.__qualname__:
            kind = f"function {part.__qualname__!r}"
        return f"{way} is a {kind} from {code.co_filename}:{code.co_firstlineno}"
    text = " ".join(f"{type(reason).__name__}: {reason}".split())
    return f"{way} is a {type(part).__qualname__} ({text})"


def described_stuck(value: Any, way: str = "") -> str:
    """The first parts of `value` that cannot be pickled, in words; empty if all can."""
    stuck = find_stuck(value, way)[:5]
    return "; ".join(_described(found.lstrip("."), part, reason) for found, part, reason in stuck)


def check_travel(loader: Any, kind: str) -> None:
    """Check that a loader can be sent to worker processes that start afresh.

    Raises:
        TravelError: If it cannot; names each attribute that stops it, and what to do.
    """
    stuck = find_stuck(loader)
    if not stuck:
        return
    raise TravelError(
        f"worker processes of kind {kind!r} get a pickled copy of the loader, and this cannot be"
        f" pickled: {described_stuck(loader)}. Define functions and classes at the top level of a"
        " module, or use worker_kind='threads', worker_kind='fork' (on Linux) or num_workers=0"
    ) from stuck[0][2]
