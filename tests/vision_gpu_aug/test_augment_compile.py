"""torch.compile takes every transform whole, and changes nothing."""

import pytest
import torch
from torte.data.numeric import Normalize
from torte.vision import augment
from torte.vision.augment import Augment, Augmentation, aug_transforms

ARGUMENTS = {"RandomResizedCropGPU": (12,), "RandomCropGPU": (12,)}


def all_transforms():
    """Every augmentation that the façade exports."""
    for name in augment.__all__:
        each = getattr(augment, name)
        if isinstance(each, type) and issubclass(each, Augmentation):
            if name in ("Augmentation", "SpatialAugmentation"):
                continue
            yield pytest.param(each(*ARGUMENTS.get(name, ()), p=0.7), id=name)


@pytest.fixture(autouse=True)
def forget_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("transform", list(all_transforms()))
def test_every_transform_is_one_graph(transform):
    images, keys = torch.rand(4, 3, 20, 16), torch.arange(4)
    engine = Augment(transform, kernels=False)
    compiled = torch.compile(lambda x, k: engine(x, keys=k), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images, keys), engine(images, keys=keys))
    whole = (images * 255).to(torch.uint8)
    torch.testing.assert_close(compiled(whole, keys), engine(whole, keys=keys))


def test_targets_compile_too():
    images, keys = torch.rand(4, 3, 20, 16), torch.arange(4)
    engine = Augment(*aug_transforms(size=12), kernels=False)
    masks = torch.randint(0, 3, (4, 20, 16))
    points, boxes = torch.rand(4, 3, 2) * 16, torch.tensor([[[1.0, 2, 8, 9]]]).expand(4, 1, 4)

    def run(x, k):
        return engine(x, masks=masks, points=points, boxes=boxes, keys=k)

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    for found, expected in zip(compiled(images, keys), run(images, keys), strict=True):
        torch.testing.assert_close(found, expected)


def test_an_engine_compiles_without_keys():
    compiled = torch.compile(Augment(*aug_transforms()), fullgraph=True, backend="aot_eager")
    images = torch.rand(4, 3, 20, 16)
    assert compiled(images).shape == images.shape


@pytest.mark.slow
def test_inductor_agrees():
    images, keys = torch.rand(4, 3, 20, 16), torch.arange(4)
    normalize = Normalize.from_stats([0.5] * 3, [0.2] * 3)
    engine = Augment(*aug_transforms(), normalize, kernels=False)
    compiled = torch.compile(lambda x, k: engine(x, keys=k), fullgraph=True)
    torch.testing.assert_close(compiled(images, keys), engine(images, keys=keys), atol=1e-3, rtol=0)
