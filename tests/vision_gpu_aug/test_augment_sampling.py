"""One interpolation: against a float64 reference, torchvision and PIL, same parameters."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from PIL import Image
from support.augmenting import reference_sample, smooth_images
from torte.vision.augment import (
    Augment,
    Dihedral,
    Flip,
    RandomCropGPU,
    RandomResizedCropGPU,
    Rotate,
    Shear,
    Translate,
    Warp,
    Zoom,
    aug_transforms,
)
from torte.vision.augment.declaration import Homography

BILINEAR = tv.InterpolationMode.BILINEAR
BOTH_PATHS = pytest.mark.parametrize("kernels", [False, True], ids=["plain", "kernel"])


@BOTH_PATHS
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("pad_mode", ["zeros", "border", "reflection"])
def test_engine_agrees_with_the_reference_sampler(pad_mode, align_corners, kernels):
    images = smooth_images(3, 20, 26)
    options = {"pad_mode": pad_mode, "align_corners": align_corners, "p": 1.0}
    engine = Augment(
        Warp(0.3, **options), Rotate(60, **options), Zoom(0.8, 1.3, **options), kernels=kernels
    )
    result = engine(images.float(), seed=4)
    part = engine.plan(images.float(), seed=4).segments[0].maps[0]
    assert isinstance(part, Homography)
    for sample in range(3):
        matrix = part.matrix[sample].numpy()
        for channel in range(3):
            expected = reference_sample(
                images[sample, channel].numpy(), matrix, (20, 26), pad_mode, align_corners
            )
            found = result[sample, channel].double().numpy()
            np.testing.assert_allclose(found, expected, atol=2e-5)


@BOTH_PATHS
@pytest.mark.parametrize("angle", [-70.0, 13.0, 90.0])
def test_rotate_agrees_with_torchvision(angle, kernels):
    images = smooth_images().float()
    rotate = Rotate(p=1, draw=angle, pad_mode="zeros", align_corners=False)
    found = Augment(rotate, kernels=kernels)(images)
    expected = tv.rotate(images, angle, BILINEAR)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@BOTH_PATHS
def test_shear_and_translate_agree_with_torchvision(kernels):
    images = smooth_images().float()
    shear = Shear(p=1, draw=20.0, draw_y=0.0, pad_mode="zeros", align_corners=False)
    shift = Translate(p=1, draw_x=0.125, draw_y=-0.25, pad_mode="zeros", align_corners=False)
    height, width = images.shape[-2:]
    found = Augment(shear, kernels=kernels)(images)
    expected = tv.affine(images, 0.0, [0, 0], 1.0, [20.0, 0.0], BILINEAR)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    found = Augment(shift, kernels=kernels)(images)
    expected = tv.affine(images, 0.0, [width // 8, -height // 4], 1.0, [0.0, 0.0], BILINEAR)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@BOTH_PATHS
def test_zoom_about_the_centre_agrees_with_torchvision(kernels):
    images = smooth_images().float()
    zoom = Zoom(p=1, draw=1.4, draw_x=0.5, draw_y=0.5, pad_mode="zeros")
    expected = tv.affine(images, 0.0, [0, 0], 1.4, [0.0, 0.0], BILINEAR)
    found = Augment(zoom, kernels=kernels)(images)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@BOTH_PATHS
def test_warp_agrees_with_torchvision_perspective(kernels):
    images = smooth_images().float()
    height, width = images.shape[-2:]
    x, y = 0.15, -0.1
    warp = Warp(p=1, draw_x=x, draw_y=y, pad_mode="zeros", align_corners=True)
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    shown = [(-1 - y, -1 - x), (1 + y, -1 + x), (1 - y, 1 - x), (-1 + y, 1 + x)]

    def indices(points):
        return [[(u + 1) / 2 * (width - 1), (v + 1) / 2 * (height - 1)] for u, v in points]

    # torchvision takes where source points go, and counts pixels by their corners: half a pixel.
    expected = tv.perspective(
        images,
        None,
        None,
        BILINEAR,
        coefficients=_coefficients(indices(corners), indices(shown)),
    )
    found = Augment(warp, kernels=kernels)(images)
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=2e-3, rtol=0)


def _coefficients(output, source):
    """The eight numbers that torchvision uses, in coordinates with pixel centres at +0.5."""
    rows, values = [], []
    for (x, y), (u, v) in zip(output, source, strict=True):
        x, y, u, v = x + 0.5, y + 0.5, u + 0.5, v + 0.5
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows), np.array(values)).tolist()


@BOTH_PATHS
def test_flips_and_dihedrals_move_pixels_exactly(kernels):
    images = torch.rand(2, 3, 24, 24)
    flip = Augment(Flip(p=1), kernels=kernels)(images)
    torch.testing.assert_close(flip, images.flip(3), atol=1e-5, rtol=0)
    picture = Image.fromarray((images[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    order = [None, "FLIP_LEFT_RIGHT", "FLIP_TOP_BOTTOM", "ROTATE_180"]
    order += ["TRANSPOSE", "ROTATE_90", "ROTATE_270", "TRANSVERSE"]
    source = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None]
    for number, name in enumerate(order):
        turned = picture if name is None else picture.transpose(Image.Transpose[name])
        expected = torch.from_numpy(np.asarray(turned).copy()).permute(2, 0, 1)[None] / 255
        found = Augment(Dihedral(p=1, draw=float(number)), kernels=kernels)(source)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@BOTH_PATHS
@pytest.mark.parametrize("transform", [Rotate, Zoom, Warp, Flip, Dihedral, Translate, Shear])
def test_what_is_not_active_comes_back_to_the_bit(transform, kernels):
    images = torch.randn(5, 3, 17, 23)
    assert torch.equal(Augment(transform(p=0.0), kernels=kernels)(images), images)


@BOTH_PATHS
def test_identity_and_moved_samples_in_one_batch(kernels):
    images = torch.rand(16, 3, 20, 20)
    engine = Augment(Rotate(30, p=0.5), kernels=kernels)
    result = engine(images, seed=1)
    same = [torch.equal(a, b) for a, b in zip(result, images, strict=True)]
    assert 3 <= sum(same) <= 13
    moves = engine.plan(images, seed=1).segments[0].maps[0].matrix != torch.eye(3)
    assert same == (~moves.flatten(1).any(1)).tolist()


@BOTH_PATHS
def test_random_crop_cuts_whole_pixels_to_the_bit(kernels):
    images = torch.rand(4, 3, 20, 30)
    engine = Augment(RandomCropGPU((8, 12)), kernels=kernels)
    result = engine(images, seed=2)
    for sample, matrix in enumerate(engine.plan(images, seed=2).segments[0].maps[0].matrix):
        left, top = int(matrix[0, 2] + 15 - 6), int(matrix[1, 2] + 10 - 4)
        expected = images[sample, :, top : top + 8, left : left + 12]
        torch.testing.assert_close(result[sample], expected, atol=1e-5, rtol=0)


def test_crops_fall_everywhere_and_stay_inside():
    images = torch.zeros(400, 1, 20, 30)
    plan = Augment(RandomCropGPU(19)).plan(images, seed=0)
    matrix = plan.segments[0].maps[0].matrix
    left = matrix[:, 0, 2] + 15 - 9.5
    assert set(left.tolist()) == {float(i) for i in range(12)}
    assert set((matrix[:, 1, 2] + 10 - 9.5).tolist()) == {0.0, 1.0}


@BOTH_PATHS
def test_resized_crop_agrees_with_torchvision_when_it_enlarges(kernels):
    images = smooth_images(4, 40, 50).float()
    crop = RandomResizedCropGPU((60, 70), min_scale=0.2)
    engine = Augment(crop, kernels=kernels)
    result = engine(images, seed=3)
    for sample, matrix in enumerate(engine.plan(images, seed=3).segments[0].maps[0].matrix):
        width, height = round(float(matrix[0, 0]) * 70), round(float(matrix[1, 1]) * 60)
        left = round(float(matrix[0, 2]) + 25 - width / 2)
        top = round(float(matrix[1, 2]) + 20 - height / 2)
        expected = tv.resized_crop(
            images[sample], top, left, height, width, [60, 70], BILINEAR, antialias=False
        )
        inner = (slice(None), slice(4, -4), slice(4, -4))  # torchvision repeats the crop's edge
        torch.testing.assert_close(result[sample][inner], expected[inner], atol=2e-3, rtol=0)


def test_resized_crop_shares_and_ratios_are_in_range():
    images = torch.zeros(300, 1, 100, 100)
    crop = RandomResizedCropGPU(50, min_scale=0.3, max_scale=0.7, ratio=(0.5, 2.0))
    matrix = Augment(crop).plan(images, seed=0).segments[0].maps[0].matrix
    width, height = matrix[:, 0, 0] * 50, matrix[:, 1, 1] * 50
    share, ratio = width * height / 1e4, width / height
    assert share.min() > 0.29
    assert share.max() < 0.71
    assert 0.49 < ratio.min() < 0.6
    assert 1.7 < ratio.max() < 2.05
    assert 0.45 < share.mean() < 0.55


@BOTH_PATHS
def test_shrinking_is_antialiased(kernels):
    y, x = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    board = ((x + y) % 2).float().expand(2, 3, 256, 256)  # the finest pattern there is
    small = Augment(*aug_transforms(size=64, p_affine=1.0), kernels=kernels)
    plain = small.plan(board, split_idx=1)
    assert plain.segments[0].density == 4
    result = small(board, split_idx=1)
    assert result.shape == (2, 3, 64, 64)
    torch.testing.assert_close(result, torch.full_like(result, 0.5), atol=0.02, rtol=0)


RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def pil_resized(images, size, mode, box=None):
    """Resized by PIL, one channel at a time, in its floating point mode."""
    planes = [
        Image.fromarray(plane.float().numpy()).resize(size[::-1], RESAMPLING[mode], box)
        for plane in images.flatten(0, 1)
    ]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes])).unflatten(
        0, images.shape[:2]
    )


@BOTH_PATHS
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(32, 40), (60, 80), (61, 83), (20, 100), (3, 2)])
def test_shrinking_along_the_axes_is_what_pil_and_torchvision_do(size, mode, kernels):
    images = torch.randint(0, 256, (2, 3, 62, 84), dtype=torch.uint8)
    resize = Augment(*aug_transforms(size=size, mode=mode, align_corners=False), kernels=kernels)
    found = resize(images, split_idx=1) * 255
    torch.testing.assert_close(found, pil_resized(images, size, mode), atol=0.01, rtol=0)
    way = tv.InterpolationMode(mode)
    expected = tv.resize(images.double(), list(size), way, antialias=True)
    torch.testing.assert_close(found.double(), expected, atol=0.01, rtol=0)
    if mode == "bilinear":  # PIL rounds and clips between the axes: an overshoot of cubics is lost
        picture = Image.fromarray(images[0].permute(1, 2, 0).numpy())
        whole = np.asarray(picture.resize(size[::-1], RESAMPLING[mode])).astype(float)
        assert abs(found[0].permute(1, 2, 0).numpy() - whole).max() <= 1


@BOTH_PATHS
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_crop_that_is_shrunk_is_what_pil_makes_of_the_box(mode, kernels):
    images = torch.rand(6, 3, 90, 120).contiguous(memory_format=torch.channels_last)
    crop = RandomResizedCropGPU((20, 24), min_scale=0.3, mode=mode)
    engine = Augment(crop, Flip(p=1, mode=mode), kernels=kernels)
    assert engine.plan(images, seed=3).samplings == 1
    result = engine(images, seed=3)
    for sample, matrix in enumerate(Augment(crop).plan(images, seed=3).segments[0].maps[0].matrix):
        width, height = float(matrix[0, 0]) * 24, float(matrix[1, 1]) * 20
        left, top = float(matrix[0, 2]) + 60 - width / 2, float(matrix[1, 2]) + 45 - height / 2
        box = tuple(float(round(v)) for v in (left, top, left + width, top + height))
        expected = pil_resized(images[sample][None], (20, 24), mode, box).flip(3)
        torch.testing.assert_close(result[sample][None], expected, atol=1e-4, rtol=0)


@BOTH_PATHS
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("pad_mode", ["zeros", "border", "reflection"])
def test_zooming_out_beyond_the_frame_is_filtered(pad_mode, mode, kernels):
    # Twice as much is shown, so half of the result is padding. What it is filled with is known:
    # the picture padded by hand and then shrunk, away from the seams and from where that one ends.
    # What lies beyond a border is as smooth along it as the picture's edge is across.
    images = smooth_images(2, 40, 48).float()
    zoom = Zoom(
        0.4,
        p=1,
        draw=0.5,
        draw_x=0.5,
        draw_y=0.5,
        mode=mode,
        pad_mode=pad_mode,
        align_corners=False,
    )
    found = Augment(zoom, kernels=kernels)(images)
    name = {"zeros": "constant", "border": "edge", "reflection": "symmetric"}[pad_mode]
    padded = tv.pad(images, [24, 20, 24, 20], padding_mode=name)
    expected = pil_resized(padded, (40, 48), mode)
    seams = torch.ones(40, 48, dtype=torch.bool)
    for seam in (0, 10, 30, 40):
        seams[max(seam - 2, 0) : seam + 2] = False
    for seam in (0, 12, 36, 48):
        seams[:, max(seam - 2, 0) : seam + 2] = False
    tolerance = 0.05 if pad_mode == "border" else 1e-5
    torch.testing.assert_close(found[..., seams], expected[..., seams], atol=tolerance, rtol=0)


@BOTH_PATHS
def test_shrinking_while_turning_is_near_the_turned_filter(kernels):
    # The reference: triangles along the axes of the output, twice as wide as a pixel of it, summed
    # over all source pixels in float64. White noise is the hardest image there is.
    images = torch.rand(1, 1, 64, 64)
    turn = Rotate(p=1, draw=30.0, size=32, align_corners=False)
    engine = Augment(turn, kernels=kernels)
    matrix = engine.plan(images).segments[0].maps[0].matrix[0, :2, :2].double().numpy()
    found = engine(images)[0, 0, 8:24, 8:24].double().numpy()
    y, x = np.mgrid[0:64, 0:64] - 31.5
    expected = np.zeros((16, 16))
    for row, column in np.ndindex(16, 16):
        centre = matrix @ [column + 8 - 15.5, row + 8 - 15.5]
        apart = np.linalg.solve(matrix, np.stack([x - centre[0], y - centre[1]]).reshape(2, -1))
        weights = np.clip(1 - abs(apart), 0, None).prod(0)
        expected[row, column] = weights @ images[0, 0].double().numpy().ravel() / weights.sum()
    error = np.sqrt(((found - expected) ** 2).mean())
    assert error < 0.05 < 0.29 < float(images.std()) + 0.02
    aliased = Augment(Rotate(p=1, draw=30.0, align_corners=False))(images)[0, 0, 16:48:2, 16:48:2]
    assert error * 3 < np.sqrt(((aliased.numpy() - expected) ** 2).mean())


def test_shrinking_is_differentiable():
    images = torch.rand(2, 1, 9, 8, dtype=torch.float64, requires_grad=True)
    for mode in ("bilinear", "bicubic"):
        crop = Augment(RandomResizedCropGPU(3, min_scale=0.8, mode=mode))
        assert torch.autograd.gradcheck(lambda x, crop=crop: crop(x, seed=1), images)


def test_shrinking_is_exact_under_autocast():
    images = torch.rand(2, 3, 40, 40)
    engine = Augment(RandomResizedCropGPU(16), kernels=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = engine(images, seed=1)
    torch.testing.assert_close(found, engine(images, seed=1), atol=1e-6, rtol=0)


def test_one_sampling_loses_less_than_three():
    images = smooth_images(2, 64, 64).float()
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    images = images * 0.6 + 0.2 * torch.cos(1.3 * x + 0.9 * y) ** 2
    options = {"p": 1.0, "pad_mode": "border"}
    steps = [
        Rotate(draw=25.0, **options),
        Zoom(draw=1.2, draw_x=0.5, draw_y=0.5, **options),
        Rotate(draw=-25.0, **options),
    ]
    exact = Zoom(draw=1.2, draw_x=0.5, draw_y=0.5, mode="bicubic", **options)(images)
    together = Augment(*steps)(images)
    one_by_one = images
    for step in steps:
        one_by_one = step(one_by_one)
    inner = (..., slice(16, -16), slice(16, -16))
    loss_together = (together - exact)[inner].square().mean()
    loss_apart = (one_by_one - exact)[inner].square().mean()
    assert Augment(*steps).plan(images).samplings == 1
    assert loss_together * 3 < loss_apart


def test_bicubic_and_nearest_modes():
    images = smooth_images().float()
    cubic = Rotate(p=1, draw=90.0, mode="bicubic")(images[..., :48])
    torch.testing.assert_close(cubic, images[..., :48].rot90(1, (2, 3)), atol=1e-4, rtol=0)
    nearest = Zoom(p=1, draw=1.7, mode="nearest")(images)
    assert set(nearest.flatten().tolist()) <= set(images.flatten().tolist())


def test_a_frame_of_one_pixel_is_sampled():
    images = torch.rand(2, 3, 1, 1)
    found = Augment(Rotate(p=1, draw=30.0), Zoom(p=1, draw=1.3))(images)
    torch.testing.assert_close(found, images)


def test_conventions_that_differ_still_share_one_sampling():
    images = torch.rand(2, 3, 16, 16)
    mixed = [Rotate(align_corners=False), RandomResizedCropGPU(12), Zoom(align_corners=True)]
    assert Augment(*mixed).plan(images).samplings == 1
    apart = [Rotate(pad_mode="zeros"), Zoom(pad_mode="border")]
    assert Augment(*apart).plan(images).samplings == 2
    assert Augment(Rotate(mode="bicubic"), Zoom()).plan(images).samplings == 2
