"""Turning C source into a loaded function with the system's compiler.

A kernel compiles in a few tenths of a second and is kept in the user's cache folder, under the hash
of everything that it depends on. Set `TORTE_CACHE` to put the cache elsewhere.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["CompilationError", "cache_folder", "compiler", "load_kernel"]

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-std=gnu11", "-fPIC")


class CompilationError(RuntimeError):
    """There is no compiler, or it refused the source."""


@functools.cache
def compiler() -> str | None:
    """The C compiler: `$CC`, or the first of `cc`, `gcc` and `clang` on the path.

    There is none on Windows, whose compilers take other flags.
    """
    if os.name == "nt":
        return None
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def cache_folder() -> Path:
    """Where compiled kernels are kept, made on demand and readable by its owner alone."""
    root = os.environ.get("TORTE_CACHE") or os.environ.get("XDG_CACHE_HOME")
    folder = (Path(root) if root else Path.home() / ".cache") / "torte" / "kernels"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@functools.cache
def _machine() -> str:
    """What `-march=native` and the compiler's version mean here."""
    found = compiler()
    if found is None:
        raise CompilationError("no C compiler found: install gcc or clang, or set CC")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    flags = ""
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        lines = cpu_info.read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return "\n".join([found, version.stdout, platform.machine(), flags, *_FLAGS])


@functools.cache
def load_kernel(source: str) -> "ctypes._NamedFuncPointer":
    """Compile `source`, or find it in the cache, and return its function `run`.

    Raises:
        CompilationError: There is no compiler, or it refused the source.
    """
    key = hashlib.sha256((_machine() + source).encode()).hexdigest()[:32]
    try:
        library = cache_folder() / f"{key}.so"
    except OSError:  # a home that cannot be written to
        library = Path(tempfile.mkdtemp(prefix="torte-")) / f"{key}.so"
    if not library.exists():
        _compile(source, library)
    try:
        return ctypes.CDLL(str(library)).run
    except OSError as error:
        raise CompilationError(f"the compiled kernel {library} cannot be loaded") from error


def _compile(source: str, library: Path) -> None:
    found = compiler()
    if found is None:
        raise CompilationError("no C compiler found: install gcc or clang, or set CC")
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        code, program, built = (Path(scratch) / f"kernel.{ext}" for ext in ("c", "o", "so"))
        code.write_text(source)
        # Linking without -fopenmp leaves OpenMP's symbols to the runtime that torch has loaded:
        # two runtimes would have two pools of spinning threads.
        openmp = ["-fopenmp"] if _openmp_is_loaded() else []
        for step in (
            [*_FLAGS, *openmp, "-c", str(code), "-o", str(program)],
            ["-shared", str(program), "-o", str(built), "-lm"],
        ):
            done = subprocess.run([found, *step], capture_output=True, text=True, check=False)
            if done.returncode:
                raise CompilationError(f"{found} refused a kernel:\n{done.stderr[-2000:]}")
        built.replace(library)  # whole or not at all, also beside other processes


@functools.cache
def _openmp_is_loaded() -> bool:
    """Whether what GCC makes of OpenMP finds its entry points in this process.

    Clang calls other ones; its kernels run on one thread.
    """
    names = ("GOMP_parallel", "GOMP_barrier")
    return "clang" not in _machine() and all(hasattr(ctypes.CDLL(None), name) for name in names)
