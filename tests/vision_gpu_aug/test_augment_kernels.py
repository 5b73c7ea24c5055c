"""The fused kernel is the plain path, only faster; where it cannot run, the plain path does."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.data.numeric import Normalize
from torte.vision.augment import (
    Augment,
    Contrast,
    Elastic,
    Flip,
    GaussianBlur,
    Grayscale,
    Hue,
    RandomErasing,
    RandomResizedCropGPU,
    Rotate,
    Saturation,
    aug_transforms,
)
from torte.vision.augment.kernels import cpu, dispatching

needs_kernel = pytest.mark.skipif(bool(cpu.why_not()), reason=cpu.why_not() or "it runs")


def both(images, *transforms, seed=0, **options):
    """Results of the kernel and of the plain path."""
    found = Augment(*transforms, **options)(images, seed=seed)
    expected = Augment(*transforms, kernels=False, **options)(images, seed=seed)
    layout = torch.channels_last if options.get("channels_last") else torch.contiguous_format
    assert found.is_contiguous(memory_format=layout)
    assert found.dtype == expected.dtype
    return found, expected


@needs_kernel
@given(
    n=st.integers(1, 5),
    channels=st.integers(1, 4),
    height=st.integers(2, 40),
    width=st.integers(2, 70),
    whole=st.booleans(),
    layout=st.sampled_from(["contiguous", "channels last", "sliced"]),
    channels_last=st.booleans(),
    pad_mode=st.sampled_from(["zeros", "border", "reflection"]),
    align_corners=st.booleans(),
    size=st.sampled_from([None, 7, (30, 45)]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=80, deadline=None)
def test_kernel_and_plain_path_agree(
    n, channels, height, width, whole, layout, channels_last, pad_mode, align_corners, size, seed
):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, channels, height + 2, width + 4, generator=generator)
    images = (images * 255).to(torch.uint8) if whole else images
    images = images[:, :, 1 : height + 1, 2 : width + 2]
    if layout != "sliced":
        wanted = torch.channels_last if layout == "channels last" else torch.contiguous_format
        images = images.contiguous(memory_format=wanted)
    # Turned and then warped, an image far from square may have the horizon inside its frame, where
    # coordinates have no bound and a rounding is worth whole pixels.
    is_nearly_square = max(height, width) <= 2 * min(height, width)
    transforms = aug_transforms(
        flip_vert=True,
        max_rotate=180,
        min_zoom=0.5,
        max_zoom=2.0,
        max_warp=0.2 if is_nearly_square else 0.0,
        pad_mode=pad_mode,
        align_corners=align_corners,
        size=size,
    )
    normalize = Normalize.from_stats([0.5] * channels, [0.25] * channels)
    found, expected = both(images, *transforms, normalize, seed=seed, channels_last=channels_last)
    # Where reflection folds, and at pixels' edges with zeros, a rounding may be worth a pixel's
    # difference times 1e-5 of its width; noise images have differences of 1 / 0.25.
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
    assert (found - expected).abs().mean() < 1e-4


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "transforms",
    [
        [Hue(p=1), Saturation(p=1), Contrast(p=1), Hue(p=0.5)],
        [Rotate(p=1), Grayscale(p=0.5), Saturation(p=1)],
        [Rotate(p=1), GaussianBlur(p=1), Contrast(p=1)],
        [GaussianBlur(p=1), Rotate(p=1), Contrast(p=1), RandomErasing(p=1)],
        [Rotate(p=1, mode="bicubic"), Contrast(p=1)],
        [Rotate(p=1), Elastic(p=1), Contrast(p=1)],
        [RandomResizedCropGPU(9), Flip()],
    ],
    ids=lambda transforms: "+".join(type(t).__name__ for t in transforms),
)
def test_what_the_kernel_does_not_know_runs_after_it(transforms, dtype):
    images = torch.rand(4, 3, 24, 30)
    found, expected = both(images, *transforms, dtype=dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@needs_kernel
def test_extreme_values_go_through():
    images = torch.tensor([0.0, 1.0, -3.0, 1e30, float("inf"), 1e-7]).expand(1, 3, 2, 6)
    found, expected = both(images.contiguous(), Contrast(p=1, draw=1.5))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@needs_kernel
@pytest.mark.parametrize(
    "images",
    [
        torch.rand(2, 3, 500, 600),  # too large to be brought near
        torch.rand(2, 3, 500, 600).contiguous(memory_format=torch.channels_last),
        torch.rand(1, 1, 24, 30).expand(3, 3, 24, 30),
        torch.rand(2, 3, 40, 60)[..., ::2],
        torch.rand(2, 3, 40, 30).transpose(2, 3),
    ],
    ids=["large", "large, channels last", "expanded", "every other column", "transposed"],
)
def test_any_layout_is_read_in_place(images):
    transforms = aug_transforms(max_rotate=30, p_affine=1.0)
    whole = (images * 255).to(torch.uint8)
    for source in (images, whole):
        found, expected = both(source, *transforms, seed=1)
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
        assert (found - expected).abs().mean() < 1e-4


@needs_kernel
def test_number_of_threads_changes_no_bit():
    images = torch.rand(7, 3, 33, 47)
    engine = Augment(*aug_transforms())
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = engine(images, seed=3)
        torch.set_num_threads(3)
        three = engine(images, seed=3)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, three)


@needs_kernel
def test_the_kernel_runs_in_forked_workers():
    images = torch.rand(2, 3, 20, 20)
    engine = Augment(*aug_transforms())
    expected = engine(images, seed=1)

    class Augmented(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return engine(images, seed=1)

    loader = torch.utils.data.DataLoader(Augmented(), num_workers=2, batch_size=None)
    for found in loader:
        torch.testing.assert_close(found, expected)


@needs_kernel
def test_images_the_kernel_does_not_read_take_the_plain_path(monkeypatch):
    def refuse(*args):
        raise AssertionError("the kernel was called")

    monkeypatch.setattr(dispatching.cpu, "run", refuse)
    for images in (
        torch.rand(1, 5, 8, 8),
        torch.rand(1, 3, 1, 8),
        torch.rand(1, 3, 8, 8, dtype=torch.float64),
        torch.rand(1, 3, 8, 8).requires_grad_(),
    ):
        assert Augment(Rotate(p=1))(images).shape == images.shape
    with pytest.raises(AssertionError, match="was called"):
        Augment(Rotate(p=1))(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"TORTE_KERNELS": "0"}, "TORTE_KERNELS=0 is set"),
        ({"CC": "no-such-compiler"}, "there is no C compiler"),
        ({"CC": "false"}, "compiling failed"),
    ],
)
def test_without_a_kernel_the_plain_path_runs(setting, reason, tmp_path):
    code = """
import torch
from torte.vision.augment import Augment, aug_transforms
from torte.vision.augment.kernels import cpu
print(cpu.why_not())
images = torch.rand(2, 3, 16, 16)
plain = Augment(*aug_transforms(), kernels=False)(images, seed=1)
assert torch.equal(Augment(*aug_transforms())(images, seed=1), plain)
"""
    import os

    environment = {**os.environ, "TORTE_HOME": str(tmp_path), **setting}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert reason in done.stdout


@needs_kernel
def test_the_compiled_kernel_is_kept_and_used_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TORTE_HOME", str(tmp_path))
    compiler = cpu._compiler()
    first = cpu._compiled(compiler)
    assert first.parent == tmp_path / "kernels"
    written = first.stat().st_mtime_ns
    assert cpu._compiled(compiler) == first
    assert first.stat().st_mtime_ns == written
    assert [path.name for path in first.parent.iterdir()] == [first.name]
