"""The Triton kernel: its arithmetic in Triton's interpreter, and that it compiles for a GPU."""

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton")

INTERPRETED = """
import torch
from torte.data.numeric import Normalize
from torte.vision.augment import (
    Augment, Contrast, Flip, Grayscale, Hue, RandomResizedCropGPU, Rotate, Saturation, Zoom,
    aug_transforms,
)
from torte.vision.augment.kernels import cuda, dispatching

dispatching._BACKENDS = {"cpu": cuda}  # the interpreter works on the CPU's memory
calls = []
run = cuda.run
cuda.run = lambda *args: (calls.append(1), run(*args))
lists = [
    aug_transforms(),
    aug_transforms(pad_mode="zeros", max_zoom=3.0, min_zoom=0.5),
    aug_transforms(pad_mode="border", align_corners=False),
    aug_transforms(size=9, align_corners=False),
    [RandomResizedCropGPU(5), Flip()],
    [Zoom(0.3, 0.8, p=0.8, pad_mode="zeros")],
    [Hue(p=0.7), Saturation(p=1), Grayscale(p=0.5), Contrast()],
    [Rotate(p=0.5, max_deg=90)],
]
for shape in [(2, 3, 17, 20), (2, 1, 12, 9), (1, 4, 8, 8)]:
    images = torch.rand(shape)
    normalize = Normalize.from_stats([0.5] * shape[1], [0.25] * shape[1])
    for transforms in lists:
        for source in (images, (images * 255).byte().contiguous(memory_format=torch.channels_last)):
            for dtype in (torch.float32, torch.float16 if shape[1] == 3 else torch.bfloat16):
                options = {"dtype": dtype, "channels_last": dtype != torch.float32}
                found = Augment(*transforms, normalize, **options)(source, seed=5)
                plain = Augment(*transforms, normalize, **options, kernels=False)(source, seed=5)
                tolerance = 2e-4 if dtype == torch.float32 else 3e-2
                torch.testing.assert_close(found, plain, atol=tolerance, rtol=0)
moved = torch.randn(4, 3, 8, 8)
assert torch.equal(Augment(Rotate(p=0.0))(moved), moved)
assert len(calls) == 3 * len(lists) * 2 * 2 + 1, len(calls)
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from torte.vision.augment.kernels.triton_source import augment_kernel as kernel

whole = "height width out_height out_width source_n source_c source_y source_x".split()
whole += "result_n result_c result_y result_x param_row".split()
for source, result, density, stages in [("u8", "bf16", 1, (1, 0)), ("fp32", "fp16", 2, (3, 2))]:
    types = {"source": "*" + source, "result": "*" + result, "matrices": "*fp32", "moves": "*i8"}
    types |= dict.fromkeys(whole, "i32") | {"scale": "fp32"}
    types |= dict.fromkeys(["spread", "widths", "params"], "*fp32")
    fixed = {"CHANNELS": 3, "PADDING": 2, "CORNERS": True, "DENSITY": density}
    fixed |= {"STAGES": stages, "BLOCK": 256}
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    constants = {(kernel.arg_names.index(name),): value for name, value in fixed.items()}
    made = triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=constants),
        target=GPUTarget("cuda", 80, 32),
        options={"enable_fp_fusion": True},
    )
    assert len(made.asm["cubin"]) > 1000
"""


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_arithmetic_in_the_interpreter():
    run(INTERPRETED, TRITON_INTERPRET="1")


@pytest.mark.slow
def test_it_compiles_for_a_gpu_that_is_not_here(tmp_path):
    run(COMPILED, TRITON_CACHE_DIR=str(tmp_path))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    from torte.vision.augment import Augment, aug_transforms

    images = (torch.rand(8, 3, 64, 48) * 255).to(torch.uint8)
    expected = Augment(*aug_transforms(), kernels=False)(images, seed=1)
    for kernels in (False, True):
        found = Augment(*aug_transforms(), kernels=kernels)(images.cuda(), seed=1)
        torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=0)
