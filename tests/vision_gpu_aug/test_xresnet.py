"""XResNet: structure against independent implementations, and every parameter's effect."""

import pytest
import timm
import torch
from torch import nn
from torte.learner.layers import ProdLayer, ResBlock, SimpleSelfAttention
from torte.vision.models import xresnet as module
from torte.vision.models.weights import WeightsUnavailableError
from torte.vision.models.xresnet import XResNet, xresnet18, xresnet34, xresnet50, xresnext50

MEMBERS = [name for name in module.__all__ if name.startswith("x")]


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def small(**kwargs) -> XResNet:
    arguments = {"block": ResBlock, "expansion": 1, "layers": [1, 1], "n_out": 5, **kwargs}
    return XResNet(**arguments)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (xresnet18, "resnet18d"),
        (xresnet34, "resnet34d"),
        (xresnet50, "resnet50d"),
        (xresnext50, "resnext50d_32x4d"),
    ],
)
def test_as_many_weights_as_timms_bag_of_tricks_networks(ours, theirs):
    ours, theirs = ours(), timm.create_model(theirs, pretrained=False)
    assert count(ours) == count(theirs)
    shapes = [sorted(tuple(p.shape) for p in m.parameters()) for m in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", [n for n in MEMBERS if "18" in n])
def test_small_members_map_images_to_outputs(name):
    model = getattr(module, name)(n_out=7, c_in=1)
    model.eval()
    assert model(torch.randn(2, 1, 64, 48)).shape == (2, 7)


@pytest.mark.parametrize("name", MEMBERS)
def test_members_have_the_blocks_that_their_names_say(name):
    with torch.device("meta"):
        model = getattr(module, name)()
    blocks = [m for m in model.modules() if isinstance(m, ResBlock)]
    per_block = 2 if len(blocks[0].convpath) - ("se" in name) == 2 else 3
    wanted = {"18": 8, "34": 16, "50": 16, "101": 33, "152": 50, "154": 50}
    size = next(s for s in ("154", "152", "101", "50", "34", "18") if s in name)
    extra = {"deep": 2, "deeper": 4}.get(name.rpartition("_")[2], 0)
    if name.endswith("deeper") and size == "18":
        wanted["18"], extra = 6, 4  # these three have fewer blocks in the middle stages
    assert len(blocks) == wanted[size] + extra
    assert per_block == (2 if size in ("18", "34") else 3)
    assert any(isinstance(m, ProdLayer) for m in model.modules()) == ("se" in name)


def test_pretrained_is_refused_by_name():
    with pytest.raises(WeightsUnavailableError, match="no published weights for xresnet50"):
        xresnet50(pretrained=True)


def test_grouped_and_depthwise_convolutions():
    grouped = small(groups=4)
    assert {c.groups for c in convolutions(grouped) if c.kernel_size == (3, 3)} == {1, 4}
    depthwise = small(expansion=4, dw=True)
    inner = [c for c in convolutions(depthwise) if c.groups > 1]
    assert [c.groups for c in inner] == [c.in_channels for c in inner] == [64, 128]


def test_widening_scales_every_stage():
    plain, wide = small(), small(widen=2)
    assert plain[-1].in_features == 128
    assert wide[-1].in_features == 256


@pytest.mark.parametrize("sym", [False, True])
def test_self_attention_sits_at_the_end_of_the_fourth_stage_from_the_last(sym):
    model = xresnet18(sa=True, sym=sym, n_out=3)
    attention = [(n, m) for n, m in model.named_modules() if isinstance(m, SimpleSelfAttention)]
    assert len(attention) == 1
    assert attention[0][1].sym is sym
    stages = [m for m in model if isinstance(m, nn.Sequential) and isinstance(m[0], ResBlock)]
    assert any(m is attention[0][1] for m in stages[0][-1].modules())


def test_activation_replaces_every_relu():
    model = small(act_cls=nn.Mish, reduction=8)
    assert not any(isinstance(m, nn.ReLU) for m in model.modules())
    assert sum(isinstance(m, nn.Mish) for m in model.modules()) == 3 + 2 * (2 + 1)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_any_number_of_dimensions(ndim):
    model = small(ndim=ndim, c_in=2)
    assert model(torch.randn(2, 2, *[16] * ndim)).shape == (2, 5)


@pytest.mark.parametrize(("ks", "stride", "side"), [(3, 2, 8), (5, 2, 8), (3, 1, 64), (3, 4, 1)])
def test_kernel_and_stride_set_the_size_of_the_last_maps(ks, stride, side):
    model = small(ks=ks, stride=stride)
    body = model[:-4].eval()
    assert body(torch.randn(1, 3, 64, 64)).shape[-1] == side


def test_stem_widths():
    model = small(stem_szs=(8, 16, 24, 32))
    assert [c.out_channels for c in convolutions(model[:4])] == [8, 16, 24, 32]
    assert [c.stride[0] for c in convolutions(model[:4])] == [2, 1, 1, 1]


def test_blocks_start_as_the_identity_and_every_weight_learns():
    model = small(reduction=8)
    first = next(m for m in model.modules() if isinstance(m, ResBlock))
    x = torch.rand(2, 64, 8, 8)
    # The last normalization has weight 0 and a bias of a thousandth.
    torch.testing.assert_close(first.eval()(x), x, atol=2e-3, rtol=0)
    for block in (m for m in model.modules() if isinstance(m, ResBlock)):
        nn.init.ones_(block.convpath[1][1].weight)
    model.train()(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_initialization_follows_he():
    weight = xresnet34()[-2 - 3].get_submodule("0.convpath.0.0").weight.detach()
    fan_in = weight[0].numel()
    assert float(weight.std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)


def test_dropout_before_the_last_layer():
    assert small(p=0.3)[-2].p == 0.3


def test_bad_arguments():
    with pytest.raises(ValueError, match="stem_szs must name"):
        small(stem_szs=())
    with pytest.raises(ValueError, match="layers must name"):
        small(layers=[])
    with pytest.raises(ValueError, match=r"ks must be odd.*got 4"):
        small(ks=4)
