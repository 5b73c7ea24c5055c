"""Colour: formulas in float64, torchvision, merging into one pass."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from support.augmenting import smooth_images
from torte.data.numeric import Normalize
from torte.vision.augment import (
    Augment,
    Brightness,
    Contrast,
    Grayscale,
    Hue,
    RandomResizedCropGPU,
    Saturation,
    aug_transforms,
)
from torte.vision.augment.colour import ChannelAffine, ColourMatrix, LogitColour

BOTH_PATHS = pytest.mark.parametrize("kernels", [False, True], ids=["plain", "kernel"])
GREY = np.array([0.2989, 0.587, 0.114])


def lit(images, gain=1.0, shift=0.0, saturation=1.0):
    """The definition, in float64."""
    values = np.clip(images.double().numpy(), 1e-6, 1 - 1e-6)
    logits = np.log(values / (1 - values))
    grey = np.tensordot(GREY, logits, (0, 1))[:, None]
    logits = saturation * logits + (1 - saturation) * grey
    return torch.from_numpy(1 / (1 + np.exp(-(gain * logits + shift))))


def assert_shows(found, expected):
    torch.testing.assert_close(found.double(), expected.double(), atol=3e-6, rtol=0)


@BOTH_PATHS
@pytest.mark.parametrize("amount", [0.1, 0.4, 0.5, 0.7])
def test_brightness_adds_the_logit_of_its_amount(amount, kernels):
    images = torch.rand(3, 3, 12, 40)
    found = Augment(Brightness(p=1, draw=amount), kernels=kernels)(images)
    assert_shows(found, lit(images, shift=np.log(amount / (1 - amount))))


@BOTH_PATHS
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.8])
def test_contrast_multiplies_logits(factor, kernels):
    images = torch.rand(3, 3, 12, 40)
    found = Augment(Contrast(p=1, draw=factor), kernels=kernels)(images)
    assert_shows(found, lit(images, gain=factor))


@BOTH_PATHS
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.5])
def test_saturation_blends_logits_with_grey(factor, kernels):
    images = torch.rand(3, 3, 12, 40)
    found = Augment(Saturation(p=1, draw=factor), kernels=kernels)(images)
    assert_shows(found, lit(images, saturation=factor))


@BOTH_PATHS
def test_lights_in_a_row_are_one_pass(kernels):
    images = torch.rand(3, 3, 12, 40)
    steps = [
        Contrast(p=1, draw=1.3),
        Brightness(p=1, draw=0.6),
        Saturation(p=1, draw=0.7),
        Contrast(p=1, draw=0.9),
        Saturation(p=1, draw=1.2),
    ]
    engine = Augment(*steps, kernels=kernels)
    assert len(engine.plan(images).segments[0].pixels) == 1
    one_by_one = images
    for step in steps:
        one_by_one = Augment(step, kernels=kernels)(one_by_one)
    torch.testing.assert_close(engine(images), one_by_one, atol=2e-5, rtol=0)


@BOTH_PATHS
@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.2, 0.5])
def test_hue_agrees_with_torchvision(turn, kernels):
    images = torch.rand(3, 3, 12, 40)
    found = Augment(Hue(p=1, draw=turn), kernels=kernels)(images)
    torch.testing.assert_close(found, tv.adjust_hue(images, turn), atol=2e-5, rtol=0)


@BOTH_PATHS
def test_hue_of_grey_pixels_changes_nothing(kernels):
    images = torch.rand(2, 1, 5, 6).expand(2, 3, 5, 6)
    found = Augment(Hue(p=1, draw=0.3), kernels=kernels)(images)
    torch.testing.assert_close(found, images)


@BOTH_PATHS
def test_grayscale_agrees_with_torchvision(kernels):
    images = torch.rand(3, 3, 12, 40)
    found = Augment(Grayscale(p=1), kernels=kernels)(images)
    expected = tv.rgb_to_grayscale(images, num_output_channels=3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@BOTH_PATHS
@pytest.mark.parametrize("transform", [Brightness, Contrast, Saturation, Hue, Grayscale])
def test_inactive_colours_change_no_bit(transform, kernels):
    images = torch.randn(4, 3, 9, 11)
    assert torch.equal(Augment(transform(p=0.0), kernels=kernels)(images), images)


@BOTH_PATHS
def test_colours_of_images_with_one_channel(kernels):
    images = torch.rand(3, 1, 12, 40)
    steps = [Contrast(p=1, draw=1.3), Saturation(p=1, draw=0.2), Hue(p=1, draw=0.3), Grayscale(p=1)]
    found = Augment(*steps, kernels=kernels)(images)
    repeated = Augment(steps[0], kernels=kernels)(images.expand(3, 3, 12, 40))[:, :1]
    torch.testing.assert_close(found, repeated, atol=1e-5, rtol=0)


@BOTH_PATHS
def test_normalize_is_folded_in(kernels):
    images = smooth_images().float()
    normalize = Normalize.from_stats([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
    engine = Augment(*aug_transforms(), normalize, kernels=kernels)
    apart = Augment(*aug_transforms(), kernels=kernels)(images, seed=3)
    expected = (apart - normalize.mean) / normalize.std
    torch.testing.assert_close(engine(images, seed=3), expected, atol=1e-5, rtol=0)


def test_amounts_are_drawn_as_documented():
    images = torch.zeros(4000, 3, 1, 1) + 0.5
    bright = Augment(Brightness(0.4, p=1))(images, seed=1)[:, 0, 0, 0]
    assert 0.299 < bright.min() < 0.31
    assert 0.69 < bright.max() < 0.701
    contrast = Contrast(0.5, p=1)
    gains = Augment(contrast).plan(images, seed=1).segments[0].pixels[0].gain
    assert gains.log().abs().max() <= np.log(2) + 1e-6
    assert abs(gains.log().mean()) < 0.03
    some = Augment(Brightness(0.4, p=0.3))(images, seed=1)[:, 0, 0, 0]
    assert 0.25 < (some != 0.5).float().mean() < 0.35


def test_merging_follows_the_algebra():
    images = torch.rand(2, 3, 5, 6, dtype=torch.float64)

    def numbers(*shape):
        return torch.rand(*shape, dtype=torch.float64) + 0.5

    pairs = [
        (ChannelAffine(numbers(1, 3), numbers(1, 3)), ChannelAffine(numbers(2, 3), numbers(1, 1))),
        (
            ColourMatrix(numbers(2, 3, 3), numbers(2, 3)),
            ColourMatrix(numbers(2, 3, 3), numbers(2, 3)),
        ),
        (LogitColour(numbers(2), numbers(2), numbers(2)), LogitColour(numbers(2), numbers(2))),
        (LogitColour(numbers(2), numbers(2)), LogitColour(numbers(2), numbers(2), numbers(2))),
    ]
    for first, second in pairs:
        merged = first.merged(second)
        assert merged is not None
        torch.testing.assert_close(merged(images), second(first(images)), atol=3e-5, rtol=0)
    assert pairs[0][0].merged(pairs[1][0]) is None


def test_half_active_matrices_stay_half_active():
    images = torch.rand(64, 3, 4, 4)
    engine = Augment(Grayscale(p=0.5), Grayscale(p=0.5))
    found = engine(images, seed=0)
    same = torch.tensor([torch.equal(a, b) for a, b in zip(found, images, strict=True)])
    assert 8 <= same.sum() <= 24


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Brightness(max_lighting=1.0), r"max_lighting=1.0: it must be in \[0, 1\)"),
        (lambda: Hue(max_hue=0.6), "a half turn"),
        (lambda: Contrast(p=1.5), "p=1.5 is no probability"),
        (lambda: RandomResizedCropGPU(8, min_scale=0.0), "min_scale=0.0"),
        (lambda: RandomResizedCropGPU(8, ratio=(2, 1)), r"ratio=\(2, 1\)"),
        (lambda: RandomResizedCropGPU((8, 8, 8)), "one positive int"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
