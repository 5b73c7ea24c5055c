"""Blur, noise, compression, tones, erasing and policies, against torchvision and PIL."""

import io

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from PIL import Image
from support.augmenting import smooth_images
from torte.data.numeric import Normalize
from torte.vision.augment import (
    JPEG,
    Augment,
    Equalize,
    Flip,
    GaussianBlur,
    GaussianNoise,
    Posterize,
    RandAugment,
    RandomErasing,
    Rotate,
    Solarize,
    TrivialAugment,
)
from torte.vision.augment.filters import adjust_sharpness
from torte.vision.augment.tones import (
    autocontrast,
    blend_brightness,
    blend_colour,
    blend_contrast,
    equalize,
)


def whole_images(n=3, height=40, width=56):
    return (smooth_images(n, height, width) * 255).round().to(torch.uint8)


def test_blur_agrees_with_torchvision():
    images = torch.rand(2, 3, 20, 30)
    for sigma in (0.5, 1.7):
        found = GaussianBlur(p=1, draw=sigma, kernel_size=7)(images)
        expected = tv.gaussian_blur(images, [7, 7], [sigma, sigma])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_blur_has_a_sigma_of_its_own_for_each_sample():
    images = torch.rand(3, 3, 20, 30)
    found = GaussianBlur(p=1, draw=[0.5, 1.0, 2.0], kernel_size=9)(images)
    for sample, sigma in enumerate((0.5, 1.0, 2.0)):
        expected = tv.gaussian_blur(images[sample], [9, 9], [sigma, sigma])
        torch.testing.assert_close(found[sample], expected, atol=1e-5, rtol=0)


def test_blur_of_images_smaller_than_its_kernel():
    assert GaussianBlur(5.0, p=1)(torch.rand(1, 3, 4, 6)).shape == (1, 3, 4, 6)


def test_noise_has_the_wanted_spread_and_comes_from_the_keys():
    images = torch.full((4, 3, 64, 64), 0.5)
    noise = GaussianNoise(p=1, draw=0.1)
    first = noise(images, keys=torch.arange(4))
    difference = first - images
    assert abs(difference.std() - 0.1) < 0.002
    assert abs(difference.mean()) < 0.002
    third = noise(images[:1], keys=torch.tensor([2]))
    assert torch.equal(first[2:3], third)
    assert not torch.equal(first[1], first[2])
    flat = difference.flatten(1)
    assert np.corrcoef(flat.numpy())[0, 1:].__abs__().max() < 0.05


@pytest.mark.parametrize("quality", [10, 40, 75, 95])
def test_jpeg_agrees_with_pil(quality):
    images = whole_images()
    found = JPEG(p=1, draw=float(quality))(images) * 255
    for sample in range(3):
        picture = Image.fromarray(images[sample].permute(1, 2, 0).numpy())
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality, subsampling="4:2:0")
        exact = np.asarray(Image.open(stream)).astype(float)
        difference = abs(found[sample].permute(1, 2, 0).numpy() - exact)
        assert difference.mean() < 1.0
        assert difference.max() < 20


def test_jpeg_of_grey_images_agrees_with_pil():
    images = whole_images()[:, :1]
    found = JPEG(p=1, draw=30.0)(images) * 255
    stream = io.BytesIO()
    Image.fromarray(images[0, 0].numpy()).save(stream, "JPEG", quality=30)
    exact = np.asarray(Image.open(stream)).astype(float)
    assert abs(found[0, 0].numpy() - exact).max() <= 1.01


def test_tones_agree_with_torchvision():
    images = whole_images()
    as_float = images / 255

    def agrees(found, expected):
        torch.testing.assert_close(found * 255, expected.float(), atol=1.01, rtol=0)

    agrees(Posterize(p=1, draw=3.0)(images), tv.posterize(images, 3))
    agrees(Solarize(p=1, draw=128 / 255)(images), tv.solarize(images, 128))
    agrees(Equalize(p=1)(images), tv.equalize(images))
    agrees(autocontrast(as_float), tv.autocontrast(images))
    factor = torch.full((3,), 1.6)
    agrees(blend_brightness(as_float, factor), tv.adjust_brightness(images, 1.6))
    agrees(blend_colour(as_float, factor), tv.adjust_saturation(images, 1.6))
    agrees(blend_contrast(as_float, factor), tv.adjust_contrast(images, 1.6))
    agrees(adjust_sharpness(as_float, factor), tv.adjust_sharpness(images, 1.6))


def test_posterize_and_equalize_are_exact_on_whole_numbers():
    images = whole_images()
    found = (Posterize(p=1, draw=2.0)(images) * 255).round().to(torch.uint8)
    assert torch.equal(found, tv.posterize(images, 2))
    assert torch.equal((equalize(images / 255) * 255).round().to(torch.uint8), tv.equalize(images))


def test_flat_images_survive_equalize_and_autocontrast():
    flat = torch.full((1, 3, 8, 8), 0.4)
    torch.testing.assert_close(equalize(flat), torch.full_like(flat, 102 / 255))
    assert torch.equal(autocontrast(flat), flat)


def test_erasing_covers_the_share_it_should():
    images = torch.zeros(300, 3, 40, 40)
    found = RandomErasing(p=1, sl=0.1, sh=0.2)(images, seed=0)
    erased = (found != 0).all(1).float().mean((1, 2))
    assert erased.min() > 0.085
    assert erased.max() < 0.215
    noise = found[(found != 0)]
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    half = RandomErasing(p=0.5, sl=0.1)(images, seed=0)
    assert 0.4 < (half != 0).flatten(1).any(1).float().mean() < 0.6


def test_erasing_is_the_same_on_every_path():
    from torte.vision.augment.erasing import erase

    images = torch.rand(3, 2, 12, 17)
    boxes = torch.tensor(
        [[[2, 3, 9, 8], [0, 0, 3, 3]], [[0, 0, 0, 5], [1, 1, 2, 2]], [[0] * 4] * 2]
    )
    keys = torch.tensor([5, 6, 7])
    whole = torch.compile(erase, backend="eager", fullgraph=True)(images, boxes, keys)
    assert torch.equal(erase(images, boxes, keys), whole)
    assert torch.equal(whole[2], images[2])


def test_erasing_comes_after_normalization():
    images = torch.full((8, 3, 30, 30), 0.5)
    engine = Augment(Normalize.from_stats([0.5] * 3, [0.1] * 3), RandomErasing(p=1, sl=0.2))
    noise = engine(images, seed=1)
    noise = noise[noise != 0]
    assert abs(noise.std() - 1) < 0.05


def test_geometry_after_an_effect_takes_a_second_sampling():
    images = torch.rand(2, 3, 16, 16)
    blurred_first = Augment(GaussianBlur(p=1, draw=1.0), Rotate(p=1, draw=20.0))
    assert blurred_first.plan(images).samplings == 1
    between = Augment(Flip(p=1), GaussianBlur(p=1, draw=1.0), Rotate(p=1, draw=20.0))
    assert between.plan(images).samplings == 2
    expected = Rotate(p=1, draw=20.0)(GaussianBlur(p=1, draw=1.0)(Flip(p=1)(images)))
    torch.testing.assert_close(between(images), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("policy", [TrivialAugment, RandAugment])
def test_policies_change_most_samples_and_keep_the_range(policy):
    images = smooth_images(32, 24, 24).float()
    found = policy()(images, seed=5)
    assert found.shape == images.shape
    assert found.min() >= -1e-6
    assert found.max() <= 1 + 1e-6
    changed = [not torch.equal(a, b) for a, b in zip(found, images, strict=True)]
    assert sum(changed) > 20
    assert torch.equal(policy(p=0.0)(images), images)
    assert policy().engine().plan(images).samplings == 1


def test_trivial_augment_uses_every_operation_alike():
    images = torch.zeros(7000, 1, 1, 1)
    plan = TrivialAugment().engine().plan(images, seed=1)
    operation = plan.segments[0].pixels[0].parameters[0]
    counts = torch.bincount(operation, minlength=14)
    assert counts.shape == (14,)
    assert counts.min() > 400
    assert counts.max() < 600


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianBlur(kernel_size=4), "must be odd"),
        (lambda: GaussianBlur(sigma=(2, 1)), r"sigma=\(2, 1\)"),
        (lambda: GaussianNoise(std=-1), "std=-1"),
        (lambda: JPEG(quality=0), "quality=0"),
        (lambda: JPEG(quality=(50, 200)), "at most 100"),
        (lambda: Posterize(bits=9), "bits=9"),
        (lambda: Solarize(threshold=2.0), "threshold=2.0"),
        (lambda: RandomErasing(sl=0.5, sh=0.1), "sl=0.5"),
        (lambda: RandomErasing(max_count=0), "max_count=0"),
        (lambda: RandAugment(magnitude=40), "magnitude=40"),
        (lambda: TrivialAugment(num_magnitude_bins=1), "must be at least 2"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
