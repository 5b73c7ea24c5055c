"""The dynamic U-Net: any body, any size, every weight in use."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torte.learner.layers import SelfAttention
from torte.vision.models.architectures import find_architecture
from torte.vision.models.body_and_head import BodyCutError, create_body
from torte.vision.models.unet import DynamicUnet, FeatureEncoder, ResizeToOrig, UnetBlock
from torte.vision.models.xresnet import xresnet18


def body_of(name: str, n_in: int = 3) -> nn.Module:
    return create_body(find_architecture(name).build(), n_in, pretrained=False)


CHANNELS = {
    "torte/xresnet18": [64, 64, 128, 256, 512],
    "torchvision/resnet18": [64, 64, 128, 256, 512],
    "torchvision/mobilenet_v3_small": [16, 16, 24, 48, 576],
    "torchvision/vgg11": [64, 128, 256, 512, 512, 512],
    "torchvision/swin_t": [96, 192, 384, 768],
    "timm/tf_efficientnet_lite0": [16, 24, 40, 112, 320],
    "timm/convnext_atto": [40, 80, 160, 320],
}


@pytest.mark.parametrize("name", CHANNELS)
def test_encoder_gives_one_map_for_each_resolution(name):
    encoder = FeatureEncoder(body_of(name), (3, 96, 96)).eval()
    assert encoder.channels == CHANNELS[name]
    maps = encoder(torch.randn(1, 3, 64, 96))
    assert [m.shape[1] for m in maps] == encoder.channels
    heights = [m.shape[2] for m in maps]
    assert all(fine == 2 * coarse for fine, coarse in pairwise(heights))
    assert encoder.full_size == (heights[0] == 64)


def test_encoder_maps_are_what_timm_itself_gives():
    model = find_architecture("timm/resnet18").build().eval()
    images = torch.randn(1, 3, 64, 64)
    wanted = model.forward_intermediates(images, intermediates_only=True)
    maps = FeatureEncoder(create_body(model), (3, 96, 96)).eval()(images)
    for ours, theirs in zip(maps, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [(64, 64), (65, 33), (100, 75), (37, 96)])
@pytest.mark.parametrize("name", ["torte/xresnet18", "timm/tf_efficientnet_lite0"])
def test_any_input_size_keeps_its_size(name, size):
    model = DynamicUnet(body_of(name), 4, (64, 64)).eval()
    assert model(torch.randn(2, 3, *size)).shape == (2, 4, *size)


@pytest.mark.parametrize("name", ["torte/xresnet18", "torchvision/vgg11", "timm/convnext_atto"])
def test_every_weight_takes_part(name):
    model = DynamicUnet(body_of(name), 2, (64, 64), self_attention=True, blur=True)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_options():
    body = xresnet18(c_in=1)[:-4]
    model = DynamicUnet(
        body, 1, (64, 64), n_in=1, y_range=(-2, 3), self_attention=True, last_cross=False,
        act_cls=nn.Mish,
    )  # fmt: skip
    out = model.eval()(torch.randn(2, 1, 32, 32) * 50)
    assert out.min() >= -2
    assert out.max() <= 3
    assert sum(isinstance(m, SelfAttention) for m in model.modules()) == 1
    assert not any(isinstance(m, nn.ReLU) for m in model.blocks.modules())
    assert model.cross is None


def test_bottleneck_narrows_the_last_block():
    widths = []
    for bottle in (False, True):
        model = DynamicUnet(xresnet18()[:-4], 1, (64, 64), bottle=bottle)
        widths.append(model.cross.convpath[0][0].out_channels)
    assert widths[1] == widths[0] // 2


def test_block_joins_maps_whose_sizes_differ_by_a_pixel():
    block = UnetBlock(8, 4)
    assert block(torch.randn(2, 8, 5, 5), torch.randn(2, 4, 9, 11)).shape == (2, 8, 9, 11)
    assert UnetBlock(8, 4, final_div=False).out_channels == 4


def test_resize_to_the_original():
    x = torch.arange(4.0).view(1, 1, 2, 2)
    resized = ResizeToOrig()(x, torch.zeros(1, 3, 4, 4))
    assert resized[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_building_leaves_modes_and_statistics_alone():
    body = body_of("torchvision/resnet18").train()
    before = {k: v.clone() for k, v in body.state_dict().items()}
    DynamicUnet(body, 2, (64, 64))
    assert all(m.training for m in body.modules())
    assert all(torch.equal(v, before[k]) for k, v in body.state_dict().items())
    assert all(p.grad is None for p in body.parameters())


def test_learns_to_outline_a_square():
    torch.manual_seed(1)
    masks = torch.zeros(8, 48, 48, dtype=torch.long)
    for i, mask in enumerate(masks):
        mask[4 + 2 * i : 20 + 2 * i, 10:30] = 1
    images = masks[:, None].float().expand(-1, 3, -1, -1) + 0.3 * torch.randn(8, 3, 48, 48)
    model = DynamicUnet(xresnet18()[:-4], 2, (48, 48))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(12):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), masks).backward()
        optimizer.step()
    assert (model(images).argmax(1) == masks).float().mean() > 0.95


def test_bodies_that_a_unet_cannot_use():
    with pytest.raises(
        BodyCutError, match=r"VisionTransformer keeps one resolution.*cut= a function"
    ):
        DynamicUnet(body_of("timm/vit_tiny_patch16_224"), 2, (224, 224))
    with pytest.raises(
        BodyCutError, match=r"children of an nn\.Sequential.*Conv2d has neither; give cut="
    ):
        DynamicUnet(nn.Conv2d(3, 8, 3), 2)
