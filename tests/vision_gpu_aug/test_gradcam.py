"""Grad-CAM against a computation of its own, on bodies of several kinds."""

import pytest
import torch
from support.learners import everything
from support.pictures import draw_class_folders
from torch import nn
from torch.nn import functional as F
from torte.vision.all import (
    ImageDataLoaders,
    Learner,
    get_image_files,
    grad_cam,
    plot_grad_cam,
    vision_learner,
    xresnet18,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_class_folders(tmp_path_factory.mktemp("colours"))


@pytest.fixture
def dls(folder):
    return ImageDataLoaders.from_folder(folder, bs=4, seed=1, num_workers=0)


def linear_after_pooling():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 2),
    )


def test_for_a_linear_head_on_pooled_maps_it_is_the_class_activation_map(dls, folder):
    # Then the gradient's mean is the head's weight by the number of pixels (Zhou et al. 2016).
    model = linear_after_pooling()
    learn = Learner(dls, model)
    file = get_image_files(folder / "valid")[0]
    x = dls.test_dl([file]).one_batch()[0]
    maps = model.eval()[:4](torch.as_tensor(x))[0].detach()
    for number, name in enumerate(dls.vocab):
        cam = grad_cam(learn, file, name)
        wanted = F.relu(torch.einsum("k,khw->hw", model[-1].weight[number].detach(), maps))
        wanted = F.interpolate(wanted[None, None], (32, 32), mode="bilinear")[0, 0]
        torch.testing.assert_close(cam.heat, wanted / wanted.max().clamp_min(1e-30))
        assert (cam.number, cam.name) == (number, name)
        assert cam.probability == pytest.approx(float(learn.predict(file)[2][number]))
    assert grad_cam(learn, file).name == learn.predict(file)[0]


def test_an_earlier_layer_before_an_activation_in_place(dls, folder):
    model = linear_after_pooling()
    learn, file = Learner(dls, model), get_image_files(folder / "valid")[0]
    cam = grad_cam(learn, file, 1, layer=model[0])
    x = torch.as_tensor(dls.test_dl([file]).one_batch()[0])
    maps = model[0](x)
    score = model[4:](F.relu(model[2](F.relu(maps))))[0, 1]
    gradient = torch.autograd.grad(score, maps)[0]
    wanted = F.relu((gradient.mean((2, 3), keepdim=True) * maps.detach()).sum(1))
    wanted = F.interpolate(wanted[None], (32, 32), mode="bilinear")[0, 0]
    torch.testing.assert_close(cam.heat, wanted / wanted.max())


@pytest.mark.parametrize(
    "arch", [xresnet18, "torchvision/resnet18", "torchvision/mobilenet_v3_small"]
)
def test_any_body_and_nothing_is_changed(dls, folder, arch):
    torch.manual_seed(0)
    learn = vision_learner(dls, arch, pretrained=False)
    learn.freeze()
    learn.model.train()
    before = everything(learn)
    file = get_image_files(folder / "valid")[0]
    body = grad_cam(learn, file)
    assert body.heat.shape == (32, 32)
    assert 0 <= float(body.heat.min()) <= float(body.heat.max()) <= 1
    after = everything(learn)
    for what in ("weights", "required", "modes", "torch", "grads"):
        torch.testing.assert_close(after[what], before[what])
    assert not any(m._forward_hooks for m in learn.model.modules())
    assert all(p.grad is None for p in learn.model.parameters())


def test_pictures(dls, folder):
    import matplotlib.pyplot as plt

    learn = Learner(dls, linear_after_pooling())
    axes = plot_grad_cam(learn, get_image_files(folder / "valid")[:3], "red", ncols=3)
    assert [len(ax.images) for ax in axes] == [2, 2, 2]
    assert all(ax.get_title().startswith("red ") for ax in axes)
    plt.close("all")


def test_mistakes_are_named(dls, folder):
    learn, file = Learner(dls, linear_after_pooling()), get_image_files(folder / "valid")[0]
    with pytest.raises(ValueError, match="there is no class 'green': give one of"):
        grad_cam(learn, file, "green")
    with pytest.raises(ValueError, match="no part in the score"):
        grad_cam(learn, file, layer=nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match="Linear gives no maps"):
        grad_cam(learn, file, layer=learn.model[-1])
    flat = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))
    with pytest.raises(ValueError, match="wants a convolutional body"):
        grad_cam(flat, file)
