"""Layers against hand-written references, and all of them through torch.compile."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torte.learner import layers as L
from torte.learner.layers import Module


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class ReadsOrig(nn.Module):
    def forward(self, x):
        return x * x.orig


class Raises(nn.Module):
    def forward(self, x):
        raise RuntimeError("boom")


# --- SequentialEx and its layers -----------------------------------------------------------------


def test_a_block_adds_its_input_to_what_it_made():
    block = L.SequentialEx(nn.Linear(4, 4), nn.ReLU(), L.MergeLayer())
    x = torch.randn(2, 4)
    torch.testing.assert_close(block(x), block[1](block[0](x)) + x)


def test_dense_merge_concatenates_along_channels():
    block = L.SequentialEx(nn.Conv2d(3, 5, 1), L.MergeLayer(dense=True))
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(block(x), torch.cat([block[0](x), x], 1))


def test_a_merge_function_gets_the_input_then_the_value():
    block = L.SequentialEx(nn.Linear(4, 4), L.MergeLayer(torch.sub))
    x = torch.randn(2, 4)
    torch.testing.assert_close(block(x), x - block[0](x))


def test_every_layer_of_a_block_may_read_orig():
    block = L.SequentialEx(nn.Linear(4, 4), ReadsOrig(), nn.Linear(4, 4), ReadsOrig())
    x = torch.randn(2, 4)
    expected = block[2](block[0](x) * x) * x
    torch.testing.assert_close(block(x), expected)


def test_nested_blocks_each_see_their_own_input():
    inner = L.SequentialEx(nn.Linear(4, 4), ReadsOrig(), L.MergeLayer())
    block = L.SequentialEx(nn.Linear(4, 4), inner, ReadsOrig(), L.MergeLayer())
    x = torch.randn(2, 4)
    a = block[0](x)
    b = inner[0](a) * a + a
    torch.testing.assert_close(block(x), b * x + x)


def test_a_nested_block_at_the_start_leaves_the_outer_input_alone():
    class ReadsBoth(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = L.SequentialEx(L.Identity(), L.Identity())

        def forward(self, x):
            self.block(x)
            return x + x.orig

    x, y = torch.randn(3), torch.randn(3)
    block = L.SequentialEx(L.Lambda(lambda _: y), ReadsBoth())
    torch.testing.assert_close(block(x), x + y)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_exception_leaves_no_trace_on_the_tensors(place):
    kept = []
    layers = [L.Lambda(lambda x: kept.append(x) or x + 1), L.Lambda(lambda x: kept.append(x) or x)]
    layers.insert(place, Raises())
    block = L.SequentialEx(*layers)
    x = torch.randn(2, 4)
    with pytest.raises(RuntimeError, match="boom"):
        block(x)
    assert not any(hasattr(t, "orig") for t in [x, *kept])


def test_a_block_holds_nothing_after_a_call():
    block = L.SequentialEx(L.Lambda(torch.neg), ReadsOrig(), L.MergeLayer())
    x = torch.randn(2, 4)
    with torch.no_grad():
        y = block(x)
    alive = weakref.ref(x)
    del x
    gc.collect()
    assert alive() is None
    assert not hasattr(y, "orig")


def test_merge_layers_work_in_plain_calls_and_say_what_they_lack():
    x, y = torch.randn(2, 3), torch.randn(2, 3)
    torch.testing.assert_close(L.MergeLayer()(x, y), x + y)
    with pytest.raises(RuntimeError, match=r"MergeLayer has no original input.*SequentialEx"):
        L.MergeLayer()(x)
    with pytest.raises(RuntimeError, match="ProdLayer has no original input"):
        L.ProdLayer()(x)


def test_a_block_is_a_list_of_layers():
    a, b, c = nn.Linear(1, 1), nn.ReLU(), nn.Tanh()
    block = L.SequentialEx(a)
    block.append(c)
    block.insert(1, b)
    assert list(block) == [a, b, c]
    assert len(block) == 3
    assert list(block[1:]) == [b, c]
    assert isinstance(block[1:], L.SequentialEx)
    del block[0]
    block[0] = c
    block.extend([a])
    assert list(block) == [c, c, a]


def test_a_non_tensor_input_passes_through_a_block():
    block = L.SequentialEx(L.Lambda(lambda pair: pair[0] + pair[1]), nn.Identity())
    assert block((1, 2)) == 3


def test_sequential_takes_lists_apart_and_drops_none():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Linear(1, 1)
    assert list(L.sequential(a, None, [b, [c]])) == [a, b, c]
    with pytest.raises(TypeError, match="not 3"):
        L.sequential(3)


def test_cat_puts_outputs_side_by_side():
    layer = L.Cat([nn.Linear(3, 2), nn.Linear(3, 4)])
    x = torch.randn(5, 3)
    torch.testing.assert_close(layer(x), torch.cat([layer[0](x), layer[1](x)], 1))
    assert L.Cat([nn.Identity(), nn.Identity()], dim=0)(x).shape == (10, 3)


@pytest.mark.parametrize("low_mem", [False, True])
@pytest.mark.parametrize("tdim", [1, 2])
def test_time_distributed_applies_one_module_to_each_step(low_mem, tdim):
    inner = nn.Conv2d(3, 6, 3, padding=1)
    x = torch.randn(2, 5, 3, 8, 8) if tdim == 1 else torch.randn(2, 3, 5, 8, 8)
    out = L.TimeDistributed(inner, low_mem=low_mem, tdim=tdim)(x)
    expected = torch.stack([inner(step) for step in x.unbind(tdim)], dim=tdim)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("low_mem", [False, True])
def test_time_distributed_takes_several_inputs_and_gives_structures(low_mem):
    class Two(nn.Module):
        def forward(self, x, y, scale=1):
            return {"sum": (x + y) * scale, "pair": (x, y.sum(-1))}

    x, y = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    out = L.TimeDistributed(Two(), low_mem=low_mem)(x, y, scale=2)
    torch.testing.assert_close(out["sum"], (x + y) * 2)
    torch.testing.assert_close(out["pair"][0], x)
    torch.testing.assert_close(out["pair"][1], y.sum(-1))


# --- small layers --------------------------------------------------------------------------------


def test_small_layers_change_shapes():
    x = torch.randn(2, 3, 4)
    assert L.Flatten()(x).shape == (2, 12)
    assert L.Flatten(full=True)(x).shape == (24,)
    assert L.View(4, -1)(x).shape == (4, 6)
    assert L.ResizeBatch(4, 3)(x).shape == (2, 4, 3)
    assert L.Identity()(x) is x


def test_shape_layers_take_tensors_that_are_not_contiguous():
    x = torch.randn(2, 3, 4).transpose(1, 2)
    assert torch.equal(L.Flatten()(x), x.flatten(1))
    assert torch.equal(L.View(-1)(x), x.reshape(-1))
    assert torch.equal(L.ResizeBatch(12)(x), x.reshape(2, 12))


def test_lambda_layers_call_and_show_their_function():
    x = torch.randn(3)
    assert torch.equal(L.Lambda(torch.neg)(x), -x)
    assert torch.equal(L.PartialLambda(torch.add, other=2)(x), x + 2)
    assert "neg" in repr(L.Lambda(torch.neg))
    assert "other=2" in repr(L.PartialLambda(torch.add, other=2))


def test_sigmoid_range_stays_inside():
    x = torch.tensor([-100.0, 0.0, 100.0])
    torch.testing.assert_close(L.SigmoidRange(-1, 5)(x), torch.tensor([-1.0, 2.0, 5.0]))
    torch.testing.assert_close(L.sigmoid_range(x, 0, 2), torch.tensor([0.0, 1.0, 2.0]))


def test_safe_sigmoid_keeps_away_from_both_ends():
    x = torch.tensor([-1000.0, 1000.0])
    assert L.sigmoid(x).log().isfinite().all()
    assert (1 - L.sigmoid(x)).log().isfinite().all()
    y = x.clone()
    assert L.sigmoid_(y) is y


def test_module_makes_a_class_of_a_function():
    @L.module("factor", offset=1.0)
    def Scale(self, x):
        """Scale and shift."""
        return x * self.factor + self.offset

    layer = Scale(3.0)
    assert isinstance(layer, nn.Module)
    assert torch.equal(layer(torch.ones(2)), torch.full((2,), 4.0))
    assert repr(layer) == "Scale(factor=3.0, offset=1.0)"
    with pytest.raises(TypeError, match="factor"):
        Scale()


def test_activations_equal_their_formulae():
    x = torch.randn(50, dtype=torch.float64)
    torch.testing.assert_close(L.swish(x), x * torch.sigmoid(x))
    torch.testing.assert_close(L.Swish()(x), x * torch.sigmoid(x))
    torch.testing.assert_close(L.mish(x), x * torch.tanh(F.softplus(x)))
    torch.testing.assert_close(L.Mish()(x), x * torch.tanh(F.softplus(x)))
    torch.testing.assert_close(L.vleaky_relu(x.clone()), torch.where(x > 0, x, 0.3 * x))
    assert issubclass(L.Mish, nn.Mish)
    assert L.MishJit is L.Mish


# --- pooling, normalisation, linear --------------------------------------------------------------


def test_concat_pools_put_the_maximum_first():
    x = torch.randn(2, 3, 6, 6)
    out = L.AdaptiveConcatPool2d()(x)
    torch.testing.assert_close(out[:, :3, 0, 0], x.amax((2, 3)))
    torch.testing.assert_close(out[:, 3:, 0, 0], x.mean((2, 3)))
    assert L.AdaptiveConcatPool2d(2)(x).shape == (2, 6, 2, 2)
    assert L.AdaptiveConcatPool1d(2)(x[:, 0]).shape == (2, 12, 2)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (L.PoolType.Avg, nn.AdaptiveAvgPool2d),
        (L.PoolType.Max, nn.AdaptiveMaxPool2d),
        (L.PoolType.Cat, L.AdaptiveConcatPool2d),
    ],
)
def test_pool_types_name_pooling_classes(kind, expected):
    assert L.adaptive_pool(kind) is expected
    channels = 6 if kind == L.PoolType.Cat else 3
    assert L.PoolFlatten(kind)(torch.randn(2, 3, 5, 5)).shape == (2, channels)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_pools_exist_in_each_dimension(ndim):
    x = torch.randn(2, 3, *[6] * ndim)
    assert L.AvgPool(ndim=ndim)(x).shape == (2, 3, *[3] * ndim)
    assert L.MaxPool(3, stride=1, padding=1, ndim=ndim)(x).shape == x.shape
    assert L.AdaptiveAvgPool(2, ndim=ndim)(x).shape == (2, 3, *[2] * ndim)


def test_dimensions_other_than_1_2_3_are_refused():
    for make in (L.AvgPool, L.MaxPool, L.AdaptiveAvgPool):
        with pytest.raises(ValueError, match="ndim must be 1, 2 or 3, not 4"):
            make(2, ndim=4)
    for make in (L.BatchNorm, L.InstanceNorm):
        with pytest.raises(ValueError, match="ndim must be 1, 2 or 3, not 0"):
            make(2, ndim=0)
    with pytest.raises(ValueError, match="ndim must be 1, 2 or 3, not 5"):
        L.ConvLayer(1, 1, ndim=5)


@pytest.mark.parametrize(("zero", "weight"), [(False, 1.0), (True, 0.0)])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_normalisations_start_at_one_or_zero(zero, weight, ndim):
    kinds = L.NormType
    batch = L.BatchNorm(5, ndim, norm_type=kinds.BatchZero if zero else kinds.Batch)
    instance = L.InstanceNorm(5, ndim, norm_type=kinds.InstanceZero if zero else kinds.Instance)
    assert type(batch).__name__ == f"BatchNorm{ndim}d"
    assert type(instance).__name__ == f"InstanceNorm{ndim}d"
    for layer in (batch, instance):
        assert torch.equal(layer.weight, torch.full((5,), weight))
        torch.testing.assert_close(layer.bias, torch.full((5,), 1e-3))
    assert L.InstanceNorm(5, affine=False).weight is None


def test_flat_batch_norm_normalises_over_leading_dimensions():
    layer, reference = L.BatchNorm1dFlat(4), nn.BatchNorm1d(4)
    x = torch.randn(3, 5, 4)
    torch.testing.assert_close(layer(x), reference(x.reshape(-1, 4)).view(3, 5, 4))
    torch.testing.assert_close(layer.running_var, reference.running_var)
    assert layer(torch.randn(6, 4)).shape == (6, 4)


@pytest.mark.parametrize(
    ("kwargs", "kinds"),
    [
        ({}, ["BatchNorm1d", "Linear"]),
        ({"p": 0.1}, ["BatchNorm1d", "Dropout", "Linear"]),
        ({"bn": False}, ["Linear"]),
        ({"p": 0.1, "act": nn.ReLU()}, ["BatchNorm1d", "Dropout", "Linear", "ReLU"]),
        (
            {"p": 0.1, "act": nn.ReLU(), "lin_first": True},
            ["Linear", "ReLU", "BatchNorm1d", "Dropout"],
        ),
    ],
)
def test_lin_bn_drop_orders_its_layers(kwargs, kinds):
    layer = L.LinBnDrop(10, 20, **kwargs)
    assert [type(m).__name__ for m in layer] == kinds
    linear = next(m for m in layer if isinstance(m, nn.Linear))
    assert (linear.bias is None) == kwargs.get("bn", True)
    assert layer(torch.randn(4, 10)).shape == (4, 20)


def test_embeddings_start_truncated():
    layer = L.Embedding(1000, 40, std=0.02)
    assert layer.weight.abs().max() <= 0.04
    assert layer.weight.requires_grad
    # The standard deviation of a standard normal cut at 2 is 0.8796.
    assert layer.weight.std().item() == pytest.approx(0.02 * 0.8796, rel=0.02)


# --- initialisers --------------------------------------------------------------------------------


def test_init_default_sets_weight_and_bias():
    layer = L.init_default(nn.Linear(4, 4), lambda w: w.fill_(2.0))
    assert (layer.weight == 2).all()
    assert (layer.bias == 0).all()
    before = copy.deepcopy(layer.state_dict())
    assert L.init_default(layer, None) is layer
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    L.init_default(nn.ReLU())


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU, F.relu, nn.LeakyReLU()])
def test_init_linear_takes_hes_initialiser_before_a_rectifier(act):
    layer = nn.Linear(64, 64)
    L.init_linear(layer, act, bias_std=0)
    # Uniform with bound sqrt(6 / fan_in), three times as wide as PyTorch's own 1 / sqrt(fan_in).
    assert 0.9 * (6 / 64) ** 0.5 < layer.weight.abs().max() <= (6 / 64) ** 0.5
    assert (layer.bias == 0).all()


def test_init_linear_leaves_the_weight_without_a_rule():
    layer = nn.Linear(8, 8)
    weight = layer.weight.detach().clone()
    L.init_linear(layer, nn.Sigmoid(), bias_std=0.5)
    assert torch.equal(layer.weight, weight)
    assert layer.bias.std() > 0.1
    with pytest.raises(ValueError, match="'kaiming'"):
        L.init_linear(layer, init="kaiming")


def test_apply_init_passes_normalisation_and_frozen_layers_over():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model[2].requires_grad_(False)
    frozen = model[2].weight.clone()
    L.apply_init(model, lambda w: w.fill_(7.0))
    assert (model[0].weight == 7).all()
    assert (model[1].weight == 1).all()
    assert torch.equal(model[2].weight, frozen)


@pytest.mark.parametrize("norm_type", [None, "Weight", "Spectral", "Batch"])
def test_pixel_shuffle_starts_as_nearest_neighbour(norm_type):
    kind = None if norm_type is None else L.NormType(norm_type)
    layer = L.PixelShuffle_ICNR(3, 5, scale=2, norm_type=kind, act_cls=None).eval()
    with torch.no_grad():
        out = layer(torch.randn(2, 3, 4, 4))
    assert out.shape == (2, 5, 8, 8)
    blocks = out.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
    torch.testing.assert_close(blocks, blocks[..., :1].expand_as(blocks))


def test_pixel_shuffle_blur_keeps_the_size():
    assert L.PixelShuffle_ICNR(4, blur=True, scale=3)(torch.randn(1, 4, 5, 5)).shape == (
        1,
        4,
        15,
        15,
    )


def test_icnr_refuses_channels_that_do_not_divide():
    with pytest.raises(ValueError, match="6 output channels are no multiple of scale² = 4"):
        L.icnr_init(torch.randn(6, 3, 1, 1))


# --- convolution and residual blocks -------------------------------------------------------------


def kinds(module):
    return [type(m).__name__ for m in module]


def test_conv_layers_order_their_parts():
    assert kinds(L.ConvLayer(3, 8)) == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds(L.ConvLayer(3, 8, bn_1st=False)) == ["Conv2d", "ReLU", "BatchNorm2d"]
    assert kinds(L.ConvLayer(3, 8, norm_type=None, act_cls=None)) == ["Conv2d"]
    assert kinds(L.ConvLayer(3, 8, norm_type=L.NormType.Instance))[1] == "InstanceNorm2d"
    assert kinds(L.ConvLayer(3, 8, xtra=nn.MaxPool2d(2)))[-1] == "MaxPool2d"
    assert kinds(L.ConvLayer(3, 8, ndim=1, transpose=True))[0] == "ConvTranspose1d"


def test_conv_layers_have_a_bias_unless_a_layer_follows_that_has_one():
    assert L.ConvLayer(3, 8)[0].bias is None
    assert L.ConvLayer(3, 8, norm_type=L.NormType.InstanceZero)[0].bias is None
    assert L.ConvLayer(3, 8, norm_type=None)[0].bias is not None
    assert L.ConvLayer(3, 8, norm_type=L.NormType.Weight)[0].bias is not None
    assert L.ConvLayer(3, 8, bias=True)[0].bias is not None


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("ks", [1, 3, 5])
def test_conv_layers_keep_the_size_at_stride_one(ndim, ks):
    x = torch.randn(2, 4, *[6] * ndim)
    assert L.ConvLayer(4, 8, ks, ndim=ndim)(x).shape == (2, 8, *[6] * ndim)
    assert L.ConvLayer(4, 8, ks, ndim=ndim, stride=2)(x).shape == (2, 8, *[3] * ndim)
    grouped = L.ConvLayer(4, 8, ks, ndim=ndim, groups=2, padding_mode="circular")
    assert grouped(x).shape == (2, 8, *[6] * ndim)


def test_spectral_convolutions_have_norm_one():
    conv = L.ConvLayer(8, 8, ks=1, norm_type=L.NormType.Spectral)[0]
    for _ in range(20):
        weight = conv.weight
    assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)


def test_simple_cnn_follows_its_lists():
    model = L.SimpleCNN([3, 8, 16])
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 16)
    assert kinds(model[0]) == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds(model[1]) == ["Conv2d", "ReLU"]
    custom = L.SimpleCNN([3, 8, 16], kernel_szs=[1, 5], strides=[1, 2], bn=False)
    assert [m[0].kernel_size[0] for m in custom[:2]] == [1, 5]
    with pytest.raises(ValueError, match="3 filters make 2 layers"):
        L.SimpleCNN([3, 8, 16], strides=[1])


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("expansion", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_residual_blocks_have_two_paths(expansion, stride, ndim):
    block = L.ResBlock(expansion, 8, 16, stride=stride, ndim=ndim)
    x = torch.randn(2, 8 * expansion, *[9] * ndim)
    out = block(x)
    size = 9 if stride == 1 else 5
    assert out.shape == (2, 16 * expansion, *[size] * ndim)
    # The last normalisation starts at weight 0 and bias 0.001: the block starts as its short cut.
    torch.testing.assert_close(out, F.relu(block.idpath(x) + 1e-3))


def test_residual_blocks_place_the_pool_and_skip_what_is_not_needed():
    assert kinds(L.ResBlock(1, 8, 8).idpath) == []
    assert kinds(L.ResBlock(1, 8, 16, stride=2).idpath) == ["AvgPool2d", "ConvLayer"]
    after = L.ResBlock(1, 8, 16, stride=2, pool_first=False)
    assert kinds(after.idpath) == ["ConvLayer", "AvgPool2d"]


@pytest.mark.parametrize("norm_type", [None, *L.NormType])
def test_residual_blocks_take_every_normalisation(norm_type):
    block = L.ResBlock(1, 8, 8, norm_type=norm_type, sa=True, sym=True, reduction=4)
    assert block(torch.randn(2, 8, 6, 6)).shape == (2, 8, 6, 6)


@pytest.mark.parametrize(
    "make",
    [
        L.SEBlock,
        L.SEResNeXtBlock,
        L.SeparableBlock,
    ],
)
@pytest.mark.parametrize("expansion", [1, 4])
def test_named_blocks_train(make, expansion):
    block = make(expansion, 64, 64, stride=2)
    out = block(torch.randn(2, 64 * expansion, 8, 8))
    assert out.shape == (2, 64 * expansion, 4, 4)
    out.sum().backward()
    assert all(p.grad is not None for p in block.parameters())


def test_named_blocks_group_their_convolutions():
    assert L.SEResNeXtBlock(4, 64, 64).convpath[1][0].groups == 32
    assert L.SEResNeXtBlock(4, 64, 64).convpath[1][0].out_channels == 128
    assert L.SeparableBlock(4, 64, 64).convpath[1][0].groups == 128


def test_squeeze_and_excitation_rescales_channels():
    layer = L.SEModule(32, 4)
    x = torch.randn(2, 32, 5, 5)
    ratio = layer(x) / x
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio), atol=1e-4, rtol=1e-4)
    assert ((ratio > 0) & (ratio < 1)).all()
    assert layer[1][0].out_channels == 8


# --- attention -----------------------------------------------------------------------------------


def naive_attention(layer, x):
    flat = x.flatten(2)
    f, g, h = layer.query(flat), layer.key(flat), layer.value(flat)
    beta = F.softmax(torch.bmm(f.transpose(1, 2), g), dim=1)
    return (layer.gamma * torch.bmm(h, beta) + flat).view(x.shape)


def test_self_attention_equals_the_paper():
    layer = L.SelfAttention(16).double().eval()
    x = torch.randn(2, 16, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x)
    with torch.no_grad():
        layer.gamma.fill_(0.7)
    torch.testing.assert_close(layer(x), naive_attention(layer, x))


def test_pooled_attention_equals_its_formula():
    layer = L.PooledSelfAttention2d(16).double().eval()
    x = torch.randn(2, 16, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x)
    with torch.no_grad():
        layer.gamma.fill_(0.7)
    theta = layer.theta(x).flatten(2)
    phi = F.max_pool2d(layer.phi(x), 2).flatten(2)
    g = F.max_pool2d(layer.g(x), 2).flatten(2)
    beta = F.softmax(torch.bmm(theta.transpose(1, 2), phi), dim=-1)
    expected = layer.o(torch.bmm(g, beta.transpose(1, 2)).view(2, 8, 6, 4))
    torch.testing.assert_close(layer(x), 0.7 * expected + x)


@pytest.mark.parametrize("sym", [False, True])
def test_simple_attention_equals_its_formula(sym):
    layer = L.SimpleSelfAttention(8, sym=sym).double().eval()
    with torch.no_grad():
        layer.gamma.fill_(0.3)
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64)
    weight = layer.conv.weight[..., 0]
    weight = (weight + weight.T) / 2 if sym else weight
    flat = x.flatten(2)
    expected = 0.3 * torch.bmm(torch.bmm(flat, flat.transpose(1, 2)), weight @ flat) + flat
    torch.testing.assert_close(layer(x), expected.view_as(x))


def test_simple_attention_refuses_a_symmetric_wide_kernel():
    with pytest.raises(ValueError, match="sym=True needs ks=1, not ks=3"):
        L.SimpleSelfAttention(8, ks=3, sym=True)


# --- questions about modules ---------------------------------------------------------------------


class WithLoneParameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.body = nn.Sequential(nn.Linear(3, 4), nn.ReLU())

    def forward(self, x):
        return self.body(x) * self.scale


def test_lone_parameters_are_not_lost():
    model = WithLoneParameter()
    found = L.children_and_parameters(model)
    assert found[0] is model.body
    assert isinstance(found[1], L.ParameterModule)
    assert found[1].val is model.scale
    leaves = L.flatten_model(model)
    assert [type(m).__name__ for m in leaves] == ["Linear", "ReLU", "ParameterModule"]
    assert L.has_children(model)
    assert not L.has_children(nn.Linear(1, 1))


def test_in_channels_reads_the_first_layer():
    assert L.in_channels(nn.Sequential(nn.ReLU(), nn.Conv2d(5, 6, 1, groups=5 // 5))) == 5
    assert L.in_channels(nn.Conv2d(8, 8, 3, groups=8)) == 8
    assert L.in_channels(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(7, 2))) == 7
    with pytest.raises(ValueError, match="no weight layer in ReLU"):
        L.in_channels(nn.ReLU())


def test_total_params_and_requires_grad():
    model = nn.Linear(3, 4)
    assert L.total_params(model) == (16, True)
    L.requires_grad(model, False)
    assert L.total_params(model) == (16, False)
    assert L.requires_grad(model) is False
    assert L.total_params(nn.ReLU()) == (0, False)
    assert not L.has_params(nn.ReLU())


def test_set_bn_eval_touches_frozen_batch_norms_alone():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm1d(2)), nn.Dropout())
    model[1].requires_grad_(False)
    L.set_bn_eval(model)
    assert model[0].training
    assert not model[1][0].training
    assert model[2].training
    L.set_bn_eval(model, use_eval=False)
    assert model[1][0].training


def test_none_reduce_restores_the_loss():
    loss = nn.MSELoss()
    x, y = torch.randn(4), torch.randn(4)
    with L.NoneReduce(loss) as unreduced:
        torch.testing.assert_close(unreduced(x, y), (x - y) ** 2)
    assert loss.reduction == "mean"
    with L.NoneReduce(F.mse_loss) as unreduced:
        torch.testing.assert_close(unreduced(x, y), (x - y) ** 2)
    with pytest.raises(RuntimeError, match="boom"), L.NoneReduce(loss):
        raise RuntimeError("boom")
    assert loss.reduction == "mean"


# --- compilation ---------------------------------------------------------------------------------

IMAGE, FLAT = (2, 8, 8, 8), (4, 8)
COMPILED = {
    "SequentialEx": (lambda: L.SequentialEx(nn.Linear(8, 8), L.MergeLayer(dense=True)), FLAT),
    "reads_orig": (lambda: L.SequentialEx(nn.Linear(8, 8), ReadsOrig(), L.MergeLayer()), FLAT),
    "Cat": (lambda: L.Cat([nn.Linear(8, 2), nn.Linear(8, 3)]), FLAT),
    "TimeDistributed": (lambda: L.TimeDistributed(nn.Linear(8, 2)), (2, 5, 8)),
    "TimeDistributed_low_mem": (lambda: L.TimeDistributed(nn.Linear(8, 2), True), (2, 5, 8)),
    "Lambda": (lambda: L.PartialLambda(torch.add, other=1), FLAT),
    "shapes": (lambda: nn.Sequential(L.ResizeBatch(4, 2), L.Flatten(), L.View(-1)), FLAT),
    "SigmoidRange": (lambda: L.SigmoidRange(0, 5), FLAT),
    "AdaptiveConcatPool2d": (lambda: L.PoolFlatten(L.PoolType.Cat), IMAGE),
    "BatchNorm1dFlat": (lambda: L.BatchNorm1dFlat(8), (2, 3, 8)),
    "LinBnDrop": (lambda: L.LinBnDrop(8, 4, act=nn.ReLU()), FLAT),
    "ConvLayer": (lambda: L.ConvLayer(8, 4), IMAGE),
    "ConvLayer_weight": (lambda: L.ConvLayer(8, 4, norm_type=L.NormType.Weight), IMAGE),
    "ConvLayer_spectral": (lambda: L.ConvLayer(8, 4, norm_type=L.NormType.Spectral), IMAGE),
    "PixelShuffle_ICNR": (lambda: L.PixelShuffle_ICNR(8, 4, blur=True), IMAGE),
    "SimpleCNN": (lambda: L.SimpleCNN([8, 4]), IMAGE),
    "SelfAttention": (lambda: L.SelfAttention(8), IMAGE),
    "PooledSelfAttention2d": (lambda: L.PooledSelfAttention2d(8), IMAGE),
    "SimpleSelfAttention": (lambda: L.SimpleSelfAttention(8, sym=True), IMAGE),
    "ResBlock": (lambda: L.ResBlock(1, 8, 8, reduction=4, sa=True, stride=2), IMAGE),
    "SeparableBlock": (lambda: L.SeparableBlock(1, 8, 8), IMAGE),
    "Mish": (lambda: nn.Sequential(L.Mish(), L.Swish()), FLAT),
    "ParameterModule": (lambda: L.ParameterModule(nn.Parameter(torch.ones(1))), FLAT),
}


@pytest.mark.parametrize("name", COMPILED)
def test_layers_compile_without_graph_breaks(name):
    make, shape = COMPILED[name]
    model = make().eval()
    x = torch.randn(shape)
    expected = model(x)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)
    torch.compiler.reset()


@pytest.mark.parametrize("name", ["reads_orig", "ResBlock", "ConvLayer_spectral"])
def test_layers_compile_in_training_too(name):
    make, shape = COMPILED[name]
    model = make().train()
    other = copy.deepcopy(model)
    x = torch.randn(shape)
    torch.compiler.reset()
    torch.compile(model, fullgraph=True, backend="aot_eager")(x).square().sum().backward()
    torch.compiler.reset()
    other(x).square().sum().backward()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", COMPILED)
def test_layers_survive_copy_and_state_dict(name):
    make, shape = COMPILED[name]
    model, other = make().eval(), make().eval()
    other.load_state_dict(model.state_dict())
    x = torch.randn(shape)
    torch.testing.assert_close(other(x), model(x))
    torch.testing.assert_close(copy.deepcopy(model)(x), model(x))


@pytest.mark.parametrize(
    "block",
    [
        L.SimpleCNN([3, 8, 16]),
        L.ConvLayer(3, 8),
        L.LinBnDrop(3, 8, act=nn.ReLU()),
        L.PoolFlatten(),
        L.PixelShuffle_ICNR(4),
    ],
    ids=lambda block: type(block).__name__,
)
def test_blocks_can_be_cut(block):
    cut = block[:-1]
    assert type(cut) is nn.Sequential
    assert list(cut) == list(block)[:-1]


def test_a_cut_concatenation_keeps_its_dimension():
    cut = L.Cat([nn.Identity(), nn.Identity(), nn.ReLU()], dim=0)[:2]
    assert cut(torch.ones(3, 2)).shape == (6, 2)


def test_modules_that_forget_to_begin():
    class Scale(Module):
        def __init__(self, n):
            self.weight = nn.Parameter(torch.full((n,), 2.0))
            self.inner = nn.Linear(n, 1)

        def forward(self, x):
            return self.inner(x * self.weight)

    class Remembers(Scale):
        def __init__(self, n):
            super().__init__(n)
            self.more = nn.Linear(1, 1)

    names = {"weight", "inner.weight", "inner.bias"}
    assert dict(Scale(3).named_parameters()).keys() == names
    assert dict(Remembers(3).named_parameters()).keys() == names | {"more.weight", "more.bias"}
    assert Scale(3)(torch.ones(2, 3)).shape == (2, 1)
