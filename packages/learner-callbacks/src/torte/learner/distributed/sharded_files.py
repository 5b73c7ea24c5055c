"""State that no process holds whole, in a folder that every process writes its part of.

`torch.distributed.checkpoint` writes and reads the tensors, in safetensors files; what is no tensor
is JSON beside them. So nothing in the folder needs unpickling, and any number of processes can read
what any other number wrote: each finds its own part of every tensor by the offsets in the files.
"""

import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

from torte.learner.files import written
from torte.learner.packing import FORMAT, FileFormatError, pack, unpack
from torte.learner.world import World
from torte.optim.shards import is_sharded

__all__ = ["is_sharded_folder", "read_sharded", "write_sharded"]

CONTENT = "content.json"
"""What is no tensor; it is written last, and a folder without it is no whole one."""


def is_sharded_folder(path: Path) -> bool:
    """Whether a path is what `write_sharded` wrote."""
    return (path / CONTENT).is_file()


def write_sharded(folder: Path, kind: str, content: Any, world: World) -> Path:
    """Write nested tensors and JSON to a folder, every process its part; all of it or nothing.

    Args:
        folder: Where to; what was there is replaced once everything is written.
        kind: What it is; `read_sharded` is told what it should be.
        content: The content, alike in all processes but for the shards of sharded tensors.
        world: The processes, all of which must call this.

    Raises:
        StateTypeError: If something cannot be saved. Nothing is written then.
    """
    tensors: dict[str, Tensor] = {}
    packed = pack(content, tensors, "")
    tensors = {name.lstrip("."): tensor for name, tensor in tensors.items()}
    shapes = {name: [list(t.shape), str(t.dtype)] for name, t in tensors.items()}
    beside = folder.with_name(f".{folder.name}.part")
    world.first_does(lambda: _make_anew(beside))
    _save(tensors, beside, world)
    document = {"torte": FORMAT, "kind": kind, "content": packed, "tensors": shapes}
    world.first_does(lambda: _complete(beside, folder, document))
    return folder


def _make_anew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _save(tensors: dict[str, Tensor], folder: Path, world: World) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    contiguous = {
        name: t if is_sharded(t) else t.as_subclass(Tensor).contiguous()
        for name, t in tensors.items()
    }
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    with _quiet():
        dcp.save(contiguous, storage_writer=writer, no_dist=world.size == 1)


def _complete(beside: Path, folder: Path, document: dict[str, Any]) -> None:
    with written(beside / CONTENT) as path:
        path.write_text(json.dumps(document))
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings about what is meant: one process alone, plain tensors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch\.distributed")
        yield


def read_sharded(
    folder: Path, kind: str, like: Callable[[str], Tensor | None], world: World
) -> Any:
    """Return what `write_sharded` was given.

    Args:
        folder: The folder.
        kind: What it should be.
        like: For the name of a tensor (its place in the content, joined by dots) one whose shards
            it is to be laid out as, if it is of that shape; or None for a whole one.
        world: The processes, all of which must call this.

    Raises:
        FileNotFoundError: If there is no such folder.
        FileFormatError: If it is of another kind, or damaged.
    """
    document = _document(folder, kind)
    found = {
        name: _room_for(like(name), shape, dtype)
        for name, (shape, dtype) in document["tensors"].items()
    }
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    try:
        with _quiet():
            reader = HuggingFaceStorageReader(str(folder))
            dcp.load(found, storage_reader=reader, no_dist=world.size == 1)
    except (Exception, CheckpointException) as error:  # the latter is no Exception
        raise FileFormatError(
            f"the tensors in {str(folder)!r} are damaged or incomplete: {error}"
        ) from error
    return unpack(document["content"], {f".{name}": tensor for name, tensor in found.items()})


def _document(folder: Path, kind: str) -> dict[str, Any]:
    if not is_sharded_folder(folder):
        raise FileNotFoundError(f"there is no whole folder of sharded files at {str(folder)!r}")
    try:
        document = json.loads((folder / CONTENT).read_text())
        version, found = document["torte"], document["kind"]
        tensors = document["tensors"]
        if not all(re.fullmatch(r"torch\.\w+", dtype) for _, dtype in tensors.values()):
            raise ValueError("a kind of number is unknown")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(f"the description in {str(folder)!r} is damaged") from error
    if not isinstance(version, int) or version > FORMAT:
        raise FileFormatError(
            f"{str(folder)!r} has format {version!r}; this torte reads formats up to {FORMAT}"
        )
    if found != kind:
        raise FileFormatError(f"{str(folder)!r} holds a {found!r}, not a {kind!r}")
    return document


def _room_for(like: Tensor | None, shape: list[int], dtype: str) -> Tensor:
    kind = getattr(torch, dtype.removeprefix("torch."), None)
    if not isinstance(kind, torch.dtype):
        raise FileFormatError(f"there is no kind of number called {dtype}")
    if like is not None and is_sharded(like) and list(like.shape) == shape:
        return torch.empty_like(like, dtype=kind, requires_grad=False)
    return torch.empty(shape, dtype=kind)
