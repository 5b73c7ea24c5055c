"""Numbers: regression targets, float images, normalization."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torte.data.images import PILImage, PILImageBW, PILMask
from torte.data.numeric import (
    IntToFloatTensor,
    Normalize,
    RegressionSetup,
    ToTensor,
    broadcast_vec,
)
from torte.data.tensors import (
    TensorCategory,
    TensorImage,
    TensorImageBW,
    TensorMask,
    TensorRegression,
    plain,
)
from torte.data.tfmd_loader import TfmdDL
from torte.dispatch import describe, rebuild

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def through_json(transform):
    return rebuild(json.loads(json.dumps(describe(transform))))


def images(dtype=torch.uint8, n=4, size=5):
    pixels = torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(1))
    return TensorImage(pixels.to(dtype) if dtype == torch.uint8 else pixels.to(dtype) / 255)


@pytest.mark.parametrize(
    "target",
    [[1, 2.5], (1, 2.5), np.array([1, 2.5]), torch.tensor([1, 2.5]), pd.Series([1, 2.5])],
    ids=lambda target: type(target).__name__,
)
def test_regression_targets(target):
    setup = RegressionSetup()
    setup.setup([target])
    assert setup.c == 2
    encoded = setup(target) if not isinstance(target, tuple) else setup(list(target))
    assert type(encoded) is TensorRegression
    assert encoded.dtype == torch.float32
    assert encoded.tolist() == [1.0, 2.5]


def test_single_numbers_and_given_counts():
    setup = RegressionSetup()
    setup.setup([3, 4])
    assert setup.c == 1
    assert setup(3).shape == ()
    assert setup(np.float64(3.5)) == 3.5
    given = RegressionSetup(c=7)
    given.setup([1])
    assert given.c == 7
    assert through_json(setup).c == 1


def test_images_become_tensors_of_their_kind():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    colour, grey = PILImage.create(pixels), PILImageBW.create(pixels)
    mask = PILMask.create(pixels[..., 0])
    result = ToTensor()((colour, mask, grey, "label", 3))
    assert [type(part) for part in result] == [TensorImage, TensorMask, TensorImageBW, str, int]
    assert torch.equal(plain(result[0]), torch.from_numpy(pixels).permute(2, 0, 1))
    assert result[0].dtype == torch.uint8
    assert result[1].shape == (4, 4)
    foreign = Image.fromarray(pixels)
    assert ToTensor()(foreign) is foreign


def test_whole_numbers_become_floats_and_return():
    tfm = IntToFloatTensor()
    image = images()
    batch = (image, TensorMask(torch.tensor([[3]], dtype=torch.uint8)), TensorCategory(2))
    x, mask, label = tfm(batch)
    assert (type(x), x.dtype) == (TensorImage, torch.float32)
    assert torch.allclose(plain(x), plain(image).double().div(255).float())
    assert (type(mask), mask.dtype, mask.item()) == (TensorMask, torch.int64, 3)
    assert label is batch[2]
    back = tfm.decode(x)
    assert back.dtype == torch.uint8
    assert torch.equal(plain(back), plain(image))


def test_float_images_are_left_alone_and_masks_divided():
    image = images(torch.float32)
    assert IntToFloatTensor()(image) is image
    mask = TensorMask(torch.tensor([[0, 255]], dtype=torch.uint8))
    assert IntToFloatTensor(div_mask=255)(mask).tolist() == [[0, 1]]
    deep = TensorImage(torch.tensor([[[0, 65535]]], dtype=torch.int32))
    tfm = IntToFloatTensor(div=65535)
    assert tfm(deep).max() == 1
    assert tfm.decode(tfm(deep)).tolist() == [[[0, 65535]]]
    assert tfm.decode(TensorImage(torch.tensor([[[-1.0, 2.0]]]))).tolist() == [[[0, 65535]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_normalize_against_float64(dtype):
    x = images(dtype)
    tfm = Normalize.from_stats(MEAN, STD)
    result = tfm(x)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    expected = (plain(x).double() - mean) / std
    assert type(result) is TensorImage
    assert result.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    torch.testing.assert_close(plain(result).double(), expected, rtol=1e-5, atol=1e-4)
    back = tfm.decode(result)
    torch.testing.assert_close(plain(back).double(), plain(x).double(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_normalize_keeps_low_precision(dtype):
    assert Normalize.from_stats(MEAN, STD)(images(torch.float32).to(dtype)).dtype == dtype


def test_normalize_keeps_the_memory_layout_and_its_input():
    x = images(torch.float32).contiguous(memory_format=torch.channels_last)
    before = plain(x).clone()
    result = Normalize.from_stats(MEAN, STD)(x)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain(x), before)


def test_normalize_takes_single_images_and_leaves_the_rest():
    tfm = Normalize.from_stats(MEAN, STD)
    x = images(torch.float32)
    assert torch.equal(tfm(x[0]), tfm(x)[0])
    assert tfm.decode(tfm(x[0])).shape == (3, 5, 5)
    mask, label = TensorMask(torch.ones(4, 5, 5)), TensorCategory([1])
    assert tfm((x, mask, label))[1:] == (mask, label)


def test_replaced_statistics_are_used():
    tfm, x = Normalize.from_stats(MEAN, STD), images(torch.float32)
    tfm(x)
    tfm.mean, tfm.std = broadcast_vec(1, 4, [0.0] * 3, [2.0] * 3, cuda=False)
    assert torch.equal(tfm(x), x / 2)


def test_normalize_is_fitted_on_a_batch():
    data = [(image, 0) for image in images(torch.float32, n=32, size=9)]
    dl = TfmdDL(data, bs=32, after_batch=[Normalize()], num_workers=0)
    x = dl.one_batch()[0]
    assert plain(x).mean((0, 2, 3)).abs().max() < 1e-5
    assert (plain(x).std((0, 2, 3)) - 1).abs().max() < 1e-5
    raw = torch.stack([plain(image) for image, _ in data]).double()
    norm = dl.after_batch[0]
    torch.testing.assert_close(norm.mean.flatten().double(), raw.mean((0, 2, 3)))
    torch.testing.assert_close(norm.std.flatten().double(), raw.std((0, 2, 3)))


def test_normalize_over_other_axes():
    data = list(TensorImage(torch.rand(16, 1, 4, 4)))
    dl = TfmdDL(
        [(x,) for x in data], bs=16, after_batch=[Normalize(axes=(0, 1, 2, 3))], num_workers=0
    )
    assert dl.after_batch[0].mean.shape == (1, 1, 1, 1)


def test_normalize_says_what_is_wrong():
    with pytest.raises(ValueError, match="needs both mean and std, or neither"):
        Normalize(mean=[0.5])
    with pytest.raises(ValueError, match="3 means but 1 standard deviations"):
        Normalize.from_stats(MEAN, [1.0])
    with pytest.raises(ValueError, match="standard deviations must be above 0"):
        Normalize.from_stats([0.0], [0.0])
    with pytest.raises(ValueError, match="Normalize has no statistics"):
        Normalize()(images(torch.float32))


@pytest.mark.parametrize("copy", [through_json, lambda t: pickle.loads(pickle.dumps(t))])
def test_normalize_survives_json_and_pickle(copy):
    tfm = Normalize.from_stats(MEAN, STD)
    x = images(torch.float32)
    expected = tfm(x)
    again = copy(tfm)
    assert torch.equal(again(x), expected)
    assert again.axes == (0, 2, 3)
    assert again.order == 99


def test_broadcasting_vectors():
    mean, std = broadcast_vec(1, 4, MEAN, torch.tensor(STD), cuda=False)
    assert mean.shape == std.shape == (1, 3, 1, 1)
    assert broadcast_vec(-1, 2, [1, 2], cuda=False)[0].tolist() == [[1.0, 2.0]]
