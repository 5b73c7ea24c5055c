"""The fused kernel for the CPU: `cpu.c`, compiled on this machine at its first use.

What Triton does for CUDA: a small source travels with the package and is compiled for the very
processor it runs on (0.7 s, once; the result is kept in `$TORTE_HOME/kernels`, or the user's cache
folder). Where there is no C compiler, or `TORTE_KERNELS=0` is set, the plain PyTorch path runs
instead; `why_not()` tells the reason.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from torte.vision.augment.kernels.stages import Geometry, Stage

__all__ = ["OUTPUTS", "run", "takes", "why_not"]

OUTPUTS = (torch.float32, torch.bfloat16)
"""What the kernel can write."""

_SWITCH = "TORTE_KERNELS"
_SOURCE = Path(__file__).with_name("cpu.c")
_FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-ffp-contract=fast",
    "-shared",
    "-fPIC",
    "-pthread",
)
_PADDINGS = {"zeros": 0, "border": 1, "reflection": 2}
_KINDS = {torch.uint8: 0, torch.float32: 1, torch.bfloat16: 2}

_log = logging.getLogger("torte.vision.augment")


class _Job(ctypes.Structure):
    """`Job` of `cpu.c`, field by field."""

    _fields_ = (
        ("source", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("n", "channels", "height", "width")),
        ("source_strides", ctypes.c_int64 * 4),
        ("source_kind", ctypes.c_int64),
        ("output", ctypes.c_void_p),
        ("out_height", ctypes.c_int64),
        ("out_width", ctypes.c_int64),
        ("output_strides", ctypes.c_int64 * 4),
        ("output_kind", ctypes.c_int64),
        ("matrices", ctypes.c_void_p),
        ("moves", ctypes.c_void_p),
        ("spread", ctypes.c_void_p),
        ("widths", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("padding", "align_corners", "density")),
        ("scale", ctypes.c_float),
        ("stages", ctypes.c_int32),
        ("codes", ctypes.c_void_p),
        ("params", ctypes.c_void_p),
        ("param_rows", ctypes.c_void_p),
        ("threads", ctypes.c_int64),
        ("next", ctypes.c_int64),
    )


def _processor() -> str:
    """What tells this processor from others: compiled code is not shared between kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kept = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return f"{platform.machine()} {sorted(kept)}"


def _compiler() -> str | None:
    named = os.environ.get("CC")
    return shutil.which(named) if named else shutil.which("cc") or shutil.which("gcc")


def _folder() -> Path:
    home = os.environ.get("TORTE_HOME")
    if home:
        return Path(home).expanduser() / "kernels"
    import platformdirs

    return Path(platformdirs.user_cache_dir("torte")) / "kernels"


def _compiled(compiler: str) -> Path:
    """The shared library, compiled unless it is there already.

    Raises:
        OSError: The folder cannot be written.
        subprocess.SubprocessError: The compiler fails.
    """
    text = _SOURCE.read_bytes()
    known = "\n".join([compiler, _processor(), *_FLAGS]).encode()
    library = _folder() / f"augment-{hashlib.sha256(text + known).hexdigest()[:24]}.so"
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / "augment.so"
        command = [compiler, *_FLAGS, "-o", str(made), str(_SOURCE), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        made.replace(library)  # at once, so that no other process ever sees half a file
    return library


@functools.cache
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and why there is none."""
    if sys.platform == "win32":
        return None, "the kernel needs POSIX threads"
    compiler = _compiler()
    if compiler is None:
        return None, "there is no C compiler (cc, gcc, or what CC names)"
    try:
        library = ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or error
        _log.info("the CPU kernel cannot be compiled, so plain PyTorch runs: %s", detail)
        return None, f"compiling failed: {detail}"
    library.torte_augment.argtypes = [ctypes.POINTER(_Job)]
    library.torte_augment.restype = ctypes.c_int
    return library, ""


def why_not() -> str:
    """Why the kernel cannot run here; empty if it can."""
    if os.environ.get(_SWITCH) == "0":
        return f"{_SWITCH}=0 is set"
    return _loaded()[1]


def takes(images: Tensor, output: tuple[int, int], density: int) -> bool:
    """Whether the kernel reads images of this dtype and shape; it reads any layout."""
    _, channels, height, width = images.shape
    if images.dtype not in (torch.uint8, torch.float32) or not 1 <= channels <= 4:
        return False
    largest = max(height * width, output[0] * output[1] * density)
    return min(height, width, *output) >= 2 and largest < 1 << 24


def run(
    images: Tensor,
    result: Tensor,
    geometry: Geometry,
    sampling: tuple[str, bool],
    density: int,
    scale: float,
    stages: list[Stage],
) -> None:
    """Fill `result` from `images`.

    Args:
        images: uint8 or float32 (n, channels, height, width), any layout that `takes` allows.
        result: float32 or bfloat16 (n, channels, output height, output width), dense.
        geometry: How it is sampled.
        sampling: Padding, and `align_corners`.
        density: Samples a side for each output pixel.
        scale: What uint8 values are multiplied by.
        stages: What follows, in order.

    Raises:
        MemoryError: There is no room for a row.
    """
    library, reason = _loaded()
    if library is None:
        raise RuntimeError(reason)
    matrices, moves, spread, widths = geometry
    codes = (ctypes.c_int32 * len(stages))(*(code for code, _ in stages))
    params = (ctypes.c_void_p * len(stages))(*(values.data_ptr() for _, values in stages))
    rows = (ctypes.c_int64 * len(stages))(
        *(0 if values.shape[0] == 1 else values.shape[1] for _, values in stages)
    )
    job = _Job(
        images.data_ptr(),
        *images.shape,
        (ctypes.c_int64 * 4)(*images.stride()),
        _KINDS[images.dtype],
        result.data_ptr(),
        *result.shape[2:],
        (ctypes.c_int64 * 4)(*result.stride()),
        _KINDS[result.dtype],
        matrices.data_ptr(),
        moves.data_ptr(),
        spread.data_ptr(),
        widths.data_ptr(),
        _PADDINGS[sampling[0]],
        int(sampling[1]),
        density,
        scale,
        len(stages),
        ctypes.addressof(codes),
        ctypes.addressof(params),
        ctypes.addressof(rows),
        torch.get_num_threads(),
        0,
    )
    if library.torte_augment(ctypes.byref(job)):
        raise MemoryError("the augmentation kernel found no memory to work in")
