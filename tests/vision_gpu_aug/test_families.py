"""Two steps of training with a small member of many families of torchvision and timm."""

import pytest
import torch
from torte.data import DataLoader, DataLoaders
from torte.data.tensors import TensorCategory, TensorImage, TensorMask, plain
from torte.learner.losses import CrossEntropyLossFlat
from torte.vision.learner import unet_learner, vision_learner
from torte.vision.models.body_and_head import BodyCutError

FAMILIES = [
    "torchvision/squeezenet1_1",
    "torchvision/mobilenet_v3_small",
    "torchvision/mnasnet0_5",
    "torchvision/regnet_x_400mf",
    "torchvision/shufflenet_v2_x0_5",
    "timm/mobilenetv3_small_050",
    "timm/convnext_atto",
    "timm/regnety_002",
]
WITHOUT_SCALES = ["timm/vit_tiny_patch16_224"]
SCALES = ["torchvision/squeezenet1_1", "torchvision/mobilenet_v3_small", "timm/convnext_atto"]


def loaders(n_in: int, size: int, masks: bool) -> DataLoaders:
    generator = torch.Generator().manual_seed(0)
    target = TensorMask if masks else TensorCategory
    samples = [
        (
            TensorImage(torch.rand(n_in, size, size, generator=generator)),
            target(torch.randint(3, (size, size) if masks else (), generator=generator)),
        )
        for _ in range(2)
    ]
    return DataLoaders(*(DataLoader(samples, bs=2, num_workers=0) for _ in range(2)))


def untouched_by_training(learn) -> list[str]:
    """Names of the parameters that two steps of training leave as they were."""
    before = {name: plain(p).detach().clone() for name, p in learn.model.named_parameters()}
    with learn.no_bar(), learn.no_logging():
        # The first step leaves alone what lies before a scale that begins with zero.
        learn.fit(2, 1e-2)
    assert torch.isfinite(torch.as_tensor(learn.recorder.losses[-1]))
    return [n for n, p in learn.model.named_parameters() if torch.equal(before[n], plain(p))]


@pytest.mark.parametrize("name", FAMILIES)
def test_classifiers_train_all_their_parts(name):
    torch.manual_seed(0)
    n_in = 1 + FAMILIES.index(name) % 4
    learn = vision_learner(
        loaders(n_in, 64, False), name, n_out=3, n_in=n_in, pretrained=False, normalize=False,
        loss_func=CrossEntropyLossFlat(),
    )  # fmt: skip
    still = untouched_by_training(learn)
    parameters = list(learn.model.parameters())
    assert sum(map(len, learn.opt.param_lists)) == len(parameters)
    assert len(learn.opt.param_lists) == 3
    assert len(still) < 0.1 * len(parameters), still


@pytest.mark.parametrize("name", SCALES)
def test_unets_train_on_every_kind_of_body(name):
    torch.manual_seed(0)
    learn = unet_learner(
        loaders(4, 64, True), name, n_out=3, n_in=4, pretrained=False, normalize=False,
        loss_func=CrossEntropyLossFlat(axis=1),
    )  # fmt: skip
    untouched_by_training(learn)
    assert learn.model(torch.rand(1, 4, 50, 70)).shape == (1, 3, 50, 70)


@pytest.mark.parametrize("name", WITHOUT_SCALES)
def test_bodies_of_one_scale_say_what_to_take_for_a_unet(name):
    with pytest.raises(
        BodyCutError, match=rf"{name}: \w+ keeps one resolution.*take a convolutional"
    ):
        unet_learner(loaders(3, 224, True), name, n_out=3, pretrained=False, normalize=False)
