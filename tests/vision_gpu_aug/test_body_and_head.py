"""Bodies against the models' own features, heads against their description."""

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor
from torte.learner.layers import AdaptiveConcatPool2d, SigmoidRange
from torte.vision.models.architectures import find_architecture
from torte.vision.models.body_and_head import (
    BodyCutError,
    ProtocolBody,
    body_stages,
    create_body,
    create_head,
    default_split,
    feature_shape,
    has_pool_type,
    probe_size,
)
from torte.vision.models.xresnet import xresnet18

TORCHVISION_NODES = {
    "resnet18": "layer4",
    "densenet121": "relu",
    "efficientnet_b0": "features",
    "mobilenet_v2": "features",
    "vgg11": "features",
    "squeezenet1_0": "features",
    "shufflenet_v2_x0_5": "conv5",
    "regnet_x_400mf": "trunk_output",
    "mnasnet0_5": "layers",
    "swin_t": "permute",
}


@pytest.mark.parametrize("name", TORCHVISION_NODES)
def test_torchvision_bodies_give_the_models_own_features(name):
    model = find_architecture(f"torchvision/{name}").build().eval()
    node = TORCHVISION_NODES[name]
    if name == "densenet121":
        features = nn.functional.relu(model.features(x := torch.randn(1, 3, 64, 64)))
    else:
        x = torch.randn(1, 3, 96, 96)
        features = create_feature_extractor(model, {node: "out"})(x)["out"]
    body = create_body(model).eval()
    torch.testing.assert_close(body(x), features)
    assert feature_shape(body) == (features.shape[1], *feature_shape(body)[1:])


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_small_100"])
def test_timm_bodies_are_forward_features(name):
    model = find_architecture(f"timm/{name}").build().eval()
    x = torch.randn(1, 3, 64, 64)
    features = model.forward_features(x)
    body = create_body(model).eval()
    assert isinstance(body, ProtocolBody)
    assert not body.pooled
    torch.testing.assert_close(body(x), features)


def test_tokens_are_pooled_by_the_model_itself():
    model = find_architecture("timm/vit_tiny_patch16_224").build().eval()
    x = torch.randn(1, 3, 224, 224)
    wanted = model.forward_head(model.forward_features(x), pre_logits=True)
    body = create_body(model).eval()
    assert body.pooled
    torch.testing.assert_close(body(x), wanted)
    assert feature_shape(body, probe_size(model)) == (192,)


def test_channels_last_maps_are_turned():
    model = find_architecture("timm/swin_tiny_patch4_window7_224").build().eval()
    x = torch.randn(1, 3, 224, 224)
    wanted = model.forward_features(x).permute(0, 3, 1, 2)
    torch.testing.assert_close(create_body(model).eval()(x), wanted)


def test_no_part_of_the_old_head_stays_in_a_body():
    body = create_body(find_architecture("timm/vgg11").build())
    body(torch.randn(2, 3, 64, 64)).sum().backward()
    assert [n for n, p in body.named_parameters() if p.grad is None] == []


def test_sequential_models_are_cut_before_the_last_pooling():
    body = create_body(xresnet18())
    assert feature_shape(body) == (512, 3, 3)
    tiny = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.AvgPool2d(1), nn.Linear(3, 4))
    assert len(create_body(tiny)) == 2


class InOrder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.act = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(self.pool(self.act(self.stem(x))).flatten(1))


class OutOfOrder(InOrder):
    def forward(self, x):
        return self.fc(self.pool(self.stem(x)).flatten(1))


def test_other_models_are_cut_only_if_their_children_run_in_order():
    assert feature_shape(create_body(InOrder()), (3, 32, 32)) == (8, 15, 15)
    with pytest.raises(BodyCutError, match=r"OutOfOrder cannot be cut.*cut= a function"):
        create_body(OutOfOrder())
    with pytest.raises(BodyCutError, match="neither forward_features nor a pooling layer"):
        create_body(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()))


def test_cut_by_number_and_by_function():
    model = InOrder()
    assert len(create_body(model, cut=1)) == 1
    assert len(create_body(InOrder(), cut=-1)) == 3
    assert create_body(model, cut=lambda m: m.stem) is model.stem


def test_a_body_must_give_maps_or_vectors():
    with pytest.raises(BodyCutError, match=r"but Flatten gave \(27648,\)"):
        feature_shape(nn.Flatten(0))


@pytest.mark.parametrize("name", ["timm/repvgg_a0", "timm/resnet18", "torchvision/vit_b_32"])
@pytest.mark.parametrize("n_in", [1, 4])
def test_any_number_of_input_channels(name, n_in):
    model = find_architecture(name).build()
    size = probe_size(model, n_in)
    body = create_body(model, n_in, pretrained=False)
    assert feature_shape(body, size)[0] > 100


def test_has_pool_type():
    layers = [nn.AdaptiveAvgPool2d(5), nn.Linear(2, 3), nn.Conv2d(2, 3, 1), nn.MaxPool3d(5)]
    assert [has_pool_type(layer) for layer in layers] == [True, False, False, True]
    assert has_pool_type(nn.Sequential(*layers))


def kinds(head: nn.Module) -> list[str]:
    leaves = [m for m in head.modules() if not list(m.children())]
    return [type(m).__name__ for m in leaves]


POOL = ["AdaptiveMaxPool2d", "AdaptiveAvgPool2d", "Flatten"]
BLOCK = ["BatchNorm1d", "Dropout", "Linear"]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, [*POOL, *BLOCK, "ReLU", *BLOCK]),
        ({"concat_pool": False}, [*POOL[1:], *BLOCK, "ReLU", *BLOCK]),
        ({"pool": False}, [*BLOCK, "ReLU", *BLOCK]),
        ({"first_bn": False}, [*POOL, *BLOCK[1:], "ReLU", *BLOCK]),
        ({"bn_final": True}, [*POOL, *BLOCK, "ReLU", *BLOCK, "BatchNorm1d"]),
        ({"lin_ftrs": []}, [*POOL, *BLOCK]),
        ({"lin_ftrs": [8, 4]}, [*POOL, *BLOCK, "ReLU", *BLOCK, "ReLU", *BLOCK]),
        ({"y_range": (0, 1)}, [*POOL, *BLOCK, "ReLU", *BLOCK, "SigmoidRange"]),
        (
            {"lin_first": True},
            [*POOL, "Dropout", "Linear", "ReLU", "BatchNorm1d", "Dropout", "Linear"],
        ),
    ],
)
def test_head_is_built_as_described(arguments, wanted):
    head = create_head(6, 3, **arguments)
    assert kinds(head) == wanted
    x = torch.randn(4, 6, 5, 5) if arguments.get("pool", True) else torch.randn(4, 6)
    assert head(x).shape == (4, 3)


def test_head_dropouts():
    def dropouts(**arguments):
        head = create_head(6, 3, **arguments)
        return [m.p for m in head.modules() if isinstance(m, nn.Dropout)]

    assert dropouts() == [0.25, 0.5]
    assert dropouts(ps=0.4, lin_ftrs=[8, 8]) == [0.2, 0.2, 0.4]
    assert dropouts(ps=[0.1, 0.2]) == [0.1, 0.2]
    assert dropouts(ps=[0.4]) == [0.2, 0.4]
    with pytest.raises(ValueError, match=r"head has 2 linear layers, but ps=\[0.1, 0.2, 0.3\]"):
        create_head(6, 3, ps=[0.1, 0.2, 0.3])


def test_head_pools_maximum_and_average_side_by_side():
    head = create_head(6, 3)
    assert isinstance(head[0], AdaptiveConcatPool2d)
    assert next(m for m in head.modules() if isinstance(m, nn.Linear)).in_features == 12
    assert isinstance(create_head(6, 1, y_range=(1, 5))[-1], SigmoidRange)


@pytest.mark.parametrize(
    "name", ["timm/tf_efficientnet_lite0", "torchvision/resnet18", "timm/vit_tiny_patch16_224"]
)
def test_split_covers_every_parameter_once_in_order(name):
    model = find_architecture(name).build()
    size = probe_size(model)
    body = create_body(model)
    shape = feature_shape(body, size)
    net = nn.Sequential(body, create_head(shape[0], 2, pool=len(shape) == 3))
    groups = default_split(net)
    assert len(groups) == 3
    ids = [id(p) for group in groups for p in group]
    assert sorted(ids) == sorted(id(p) for p in net.parameters())
    assert {id(p) for p in groups[-1]} == {id(p) for p in net[1].parameters()}


def test_resnet_is_split_after_its_second_group_of_blocks():
    body = create_body(find_architecture("torchvision/resnet18").build())
    groups = default_split(nn.Sequential(body, nn.Linear(2, 2)))
    late = {id(p) for p in groups[1]}
    assert late == {id(p) for layer in body[6:] for p in layer.parameters()}


def test_stages_open_a_lone_container():
    inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    assert len(body_stages(nn.Sequential(inner))) == 2


def test_split_of_a_body_with_one_stage():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Linear(4, 2))
    assert [len(group) for group in default_split(net)] == [2, 2]
