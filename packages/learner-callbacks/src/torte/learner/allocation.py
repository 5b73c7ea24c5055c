"""Main memory for large tensors, which costs a training on the CPU a fifth to a third of its time.

A tensor of many megabytes is new memory each time it is made: the system's allocator asks for it,
page by page, and gives it back when the tensor is gone, every batch anew. Two things help, both on
Linux alone:

* While a fit runs, freed memory is kept for the next batch (`freed_memory_kept`), as PyTorch does
  on GPUs. At its end the system gets it back.
* PyTorch asks for pages of 2 MiB instead of 4 KiB. It reads that wish from its environment variable
  `THP_MEM_ALLOC_ENABLE` once, before the first tensor is made, so it is set when this module is
  imported; who has set it, to 0 say, or has made tensors before, keeps what there is.
"""

import ctypes
import functools
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["freed_memory_kept"]

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# The parameters of mallopt(3), by the numbers that malloc.h gives them.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_MEBI = 1 << 20
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * _MEBI, _TRIM_THRESHOLD: 64 * _MEBI}
"""What glibc's thresholds, which adapt to what is freed, come to where tensors are large."""

_blocks: list[None] = []
"""As many as there are blocks under way: fits may be nested."""


class _MallocInfo(ctypes.Structure):
    """What mallinfo2(3) returns."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost",
    )]  # fmt: skip


@functools.cache
def _glibc() -> Any:
    """The C library, if it is glibc 2.33 or newer; else None."""
    if platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return None
    library.mallinfo2.restype = _MallocInfo
    return library


@contextmanager
def freed_memory_kept(wanted: bool = True) -> Iterator[None]:
    """Keep freed memory for what is allocated next within the block; give it back at its end.

    The process may hold more memory meanwhile than it needs at any one time.

    Args:
        wanted: Whether to do so at all.
    """
    library = _glibc() if wanted else None
    if library is None:
        yield
        return
    if not _blocks:
        library.mallopt(_MMAP_MAX, 0)  # large blocks then come from the heap, which is kept whole
        library.mallopt(_TRIM_THRESHOLD, ctypes.c_int(2**31 - 1))
    _blocks.append(None)
    try:
        yield
    finally:
        _blocks.pop()
        if not _blocks:
            for parameter, value in _USUAL.items():
                library.mallopt(parameter, value)
            if library.mallinfo2().fordblks > _USUAL[_TRIM_THRESHOLD]:
                library.malloc_trim(0)
