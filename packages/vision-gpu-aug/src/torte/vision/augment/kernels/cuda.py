"""The fused kernel for CUDA, in Triton: reads the batch once, writes the result once.

Each program makes a block of output pixels of one sample, all channels together, so coordinates and
weights are computed once a pixel, and nothing but the result is written. The arithmetic is that of
`cpu.c` and of the plain path, which is the reference.

Triton is imported at the first use; `TORTE_KERNELS=0` turns the kernel off.
"""

import functools
import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

from torte.vision.augment.kernels.stages import Geometry, Stage

__all__ = ["OUTPUTS", "run", "takes", "why_not"]

OUTPUTS = (torch.float32, torch.bfloat16, torch.float16)
"""What the kernel can write."""

_SWITCH = "TORTE_KERNELS"
_BLOCK = 256
_PADDINGS = {"zeros": 0, "border": 1, "reflection": 2}
_MOST_SUBSAMPLES = 4  # beyond, unrolled loops take long to compile and plain PyTorch does as well


def why_not() -> str:
    """Why the kernel cannot run here; empty if it can."""
    if os.environ.get(_SWITCH) == "0":
        return f"{_SWITCH}=0 is set"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    return ""


def takes(images: Tensor, output: tuple[int, int], density: int) -> bool:
    """Whether the kernel reads images of this dtype and shape."""
    channels, height, width = images.shape[1:]
    readable = images.dtype in (torch.uint8, torch.float32, torch.float16, torch.bfloat16)
    small = max(images.numel(), images.shape[0] * channels * output[0] * output[1]) < 1 << 31
    return (
        readable
        and channels <= 4
        and min(height, width) >= 2
        and small
        and (density <= _MOST_SUBSAMPLES)
    )


@functools.cache
def _kernel() -> Any:
    """The kernel, defined once Triton is wanted."""
    from torte.vision.augment.kernels.triton_source import augment_kernel

    return augment_kernel


def run(
    images: Tensor,
    result: Tensor,
    geometry: Geometry,
    sampling: tuple[str, bool],
    density: int,
    scale: float,
    stages: list[Stage],
) -> None:
    """Fill `result` from `images`; the arguments are those of `cpu.run`."""
    n, channels, height, width = images.shape
    matrices, moves, spread, widths = geometry
    out_height, out_width = result.shape[2:]
    rows = [values.expand(n, -1) for _, values in stages]
    params = torch.cat(rows, dim=1).contiguous() if rows else matrices
    grid = (n, -(-out_height * out_width // _BLOCK))
    _kernel()[grid](
        images,
        result,
        matrices,
        moves,
        spread,
        widths,
        params,
        height,
        width,
        out_height,
        out_width,
        *images.stride(),
        *result.stride(),
        params.shape[1],
        scale if images.dtype == torch.uint8 else 1.0,
        CHANNELS=channels,
        PADDING=_PADDINGS[sampling[0]],
        CORNERS=sampling[1],
        DENSITY=density,
        STAGES=tuple(code for code, _ in stages),
        BLOCK=_BLOCK,
        enable_fp_fusion=True,
    )
