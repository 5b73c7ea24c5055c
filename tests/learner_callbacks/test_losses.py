"""Losses against PyTorch's functions on flattened data, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torte.data.tensors import (
    TensorBase,
    TensorBBox,
    TensorCategory,
    TensorMask,
    TensorMultiCategory,
    TensorPoint,
    TensorRegression,
)
from torte.dispatch import describe, rebuild
from torte.learner import losses as T


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def scores(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@given(
    batch=st.integers(1, 4),
    classes=st.integers(2, 5),
    extra=st.lists(st.integers(1, 3), max_size=2),
    reduction=st.sampled_from(["mean", "sum"]),
    smoothing=st.sampled_from([0.0, 0.2]),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_cross_entropy_equals_pytorch_at_any_axis(
    batch, classes, extra, reduction, smoothing, data
):
    axis = data.draw(st.integers(1, 1 + len(extra)))
    shape = [batch, *extra]
    inp = scores(*shape[:axis], classes, *shape[axis:])
    targ = torch.randint(classes, shape)
    loss = T.CrossEntropyLossFlat(axis=axis, reduction=reduction, label_smoothing=smoothing)
    expected = F.cross_entropy(
        inp.movedim(axis, 1), targ, reduction=reduction, label_smoothing=smoothing
    )
    torch.testing.assert_close(loss(inp, targ), expected)
    negative = T.CrossEntropyLossFlat(
        axis=axis - inp.ndim, reduction=reduction, label_smoothing=smoothing
    )
    torch.testing.assert_close(negative(inp, targ), expected)


def test_cross_entropy_weighs_and_ignores():
    inp, targ = scores(6, 3), torch.tensor([0, 1, 2, 255, 1, 255])
    loss = T.CrossEntropyLossFlat([1, 2, 3], ignore_index=255)
    weight = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    loss.func.weight = loss.func.weight.double()
    torch.testing.assert_close(
        loss(inp, targ), F.cross_entropy(inp, targ, weight, ignore_index=255)
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_small_integer_targets_are_accepted(dtype):
    inp, targ = scores(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    loss = T.CrossEntropyLossFlat(axis=1)
    torch.testing.assert_close(loss(inp, targ.to(dtype)), F.cross_entropy(inp, targ))


def test_probabilities_may_be_targets():
    inp, targ = scores(4, 3, 5), torch.rand(4, 3, 5, dtype=torch.float64).softmax(1)
    torch.testing.assert_close(
        T.CrossEntropyLossFlat(axis=1)(inp, targ), F.cross_entropy(inp, targ)
    )


def test_cross_entropy_knows_activation_and_decodes():
    loss, inp = T.CrossEntropyLossFlat(axis=1), scores(2, 3, 4)
    torch.testing.assert_close(loss.activation(inp), inp.softmax(1))
    assert torch.equal(loss.decodes(loss.activation(inp)), inp.argmax(1))


@pytest.mark.parametrize(
    ("loss", "function"),
    [
        (T.MSELossFlat(), F.mse_loss),
        (T.L1LossFlat(), F.l1_loss),
        (T.BCEWithLogitsLossFlat(), F.binary_cross_entropy_with_logits),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_elementwise_losses_flatten_and_turn_targets_to_floats(loss, function):
    inp, targ = scores(5, 1), torch.randint(2, (5,))
    torch.testing.assert_close(loss(inp, targ), function(inp[:, 0], targ.double()))


def test_bce_of_probabilities():
    inp, targ = torch.rand(4, 3, dtype=torch.float64), torch.randint(2, (4, 3))
    torch.testing.assert_close(
        T.BCELossFlat()(inp, targ), F.binary_cross_entropy(inp, targ.double())
    )


def test_bce_with_logits_weighs_classes_and_thresholds():
    inp, targ = scores(4, 3), torch.randint(2, (4, 3))
    weight = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    loss = T.BCEWithLogitsLossFlat(pos_weight=weight, thresh=0.3)
    torch.testing.assert_close(
        loss(inp, targ),
        F.binary_cross_entropy_with_logits(inp, targ.double(), pos_weight=weight),
    )
    torch.testing.assert_close(loss.activation(inp), inp.sigmoid())
    assert torch.equal(loss.decodes(inp.sigmoid()), inp.sigmoid() > 0.3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_predictions_are_measured_in_float32(dtype):
    inp, targ = torch.randn(8).to(dtype), torch.randn(8)
    out = T.MSELossFlat()(inp, targ)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, F.mse_loss(inp.float(), targ))


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_label_smoothing_equals_its_definition(eps, reduction):
    inp, targ = scores(6, 4), torch.randint(4, (6,))
    log = F.log_softmax(inp, 1)
    each = -(1 - eps) * log[torch.arange(6), targ] - eps * log.mean(1)
    expected = T.reduce_loss(each, reduction)
    torch.testing.assert_close(
        T.LabelSmoothingCrossEntropy(eps, reduction=reduction)(inp, targ), expected
    )
    flat = T.LabelSmoothingCrossEntropyFlat(eps, reduction=reduction)
    torch.testing.assert_close(flat(inp.view(2, 3, 4), targ.view(2, 3)), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_loss_equals_the_paper(gamma):
    inp, targ = scores(6, 4), torch.randint(4, (6,))
    alpha = torch.rand(4, dtype=torch.float64)
    p = inp.softmax(1)[torch.arange(6), targ]
    each = -alpha[targ] * (1 - p) ** gamma * p.log()
    torch.testing.assert_close(T.FocalLoss(gamma, weight=alpha)(inp, targ), each.mean())
    torch.testing.assert_close(
        T.FocalLossFlat(gamma, weight=alpha, reduction="sum")(inp, targ), each.sum()
    )
    assert torch.autograd.gradcheck(lambda x: T.FocalLoss(gamma)(x, targ), inp)


def test_focal_loss_without_discount_is_cross_entropy():
    inp, targ = scores(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    torch.testing.assert_close(T.FocalLossFlat(0.0, axis=1)(inp, targ), F.cross_entropy(inp, targ))


def naive_dice(pred, targ, smooth, square):
    total = []
    p = pred.softmax(1)
    for n in range(pred.shape[0]):
        for c in range(pred.shape[1]):
            t = (targ[n] == c).double()
            q = p[n, c]
            union = ((q**2 if square else q) + t).sum()
            total.append(1 - (2 * (q * t).sum() + smooth) / (union + smooth))
    return torch.stack(total)


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_dice_loss_equals_its_definition(square, reduction):
    inp, targ = scores(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    loss = T.DiceLoss(smooth=1.0, reduction=reduction, square_in_union=square)
    expected = T.reduce_loss(naive_dice(inp, targ, 1.0, square), reduction)
    torch.testing.assert_close(loss(inp, targ), expected)
    torch.testing.assert_close(loss(inp, targ[:, None]), expected)
    last = T.DiceLoss(-1, 1.0, reduction, square)
    torch.testing.assert_close(last(inp.movedim(1, -1), targ), expected)


def test_dice_loss_is_0_for_certain_truth_and_1_for_certain_error():
    targ = torch.randint(2, (1, 8, 8))
    certain = 100 * F.one_hot(targ, 2).movedim(-1, 1).float()
    assert T.DiceLoss(reduction="mean")(certain, targ).item() == pytest.approx(0, abs=1e-5)
    assert T.DiceLoss(reduction="mean")(-certain, targ).item() == pytest.approx(1, abs=1e-5)


ALL = [
    T.CrossEntropyLossFlat([1.0, 2.0, 3.0], axis=1, ignore_index=0, label_smoothing=0.1),
    T.BCEWithLogitsLossFlat(thresh=0.2, pos_weight=[1.0, 1.0, 2.0]),
    T.BCELossFlat(floatify=False),
    T.MSELossFlat(reduction="sum"),
    T.L1LossFlat(),
    T.FocalLoss(3.0, [1.0, 2.0, 3.0]),
    T.FocalLossFlat(1.0, axis=1),
    T.LabelSmoothingCrossEntropy(0.3),
    T.LabelSmoothingCrossEntropyFlat(0.3, axis=1),
    T.DiceLoss(smooth=0.1, square_in_union=True),
]


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: type(loss).__name__)
def test_every_loss_can_be_described_and_rebuilt(loss):
    import json

    again = rebuild(json.loads(json.dumps(describe(loss))))
    assert type(again) is type(loss)
    assert describe(again) == describe(loss)
    inp = torch.rand(4, 3)
    targ = torch.randint(1, 3, (4,)) if getattr(loss, "y_int", False) else torch.rand(4, 3)
    if isinstance(loss, T.DiceLoss):
        inp, targ = torch.rand(4, 3, 2), torch.randint(3, (4, 2))
    torch.testing.assert_close(again(inp, targ), loss(inp, targ))


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: type(loss).__name__)
def test_every_loss_can_be_unreduced_for_a_while(loss):
    before = loss.reduction
    inp = torch.rand(4, 3)
    targ = torch.randint(1, 3, (4,)) if getattr(loss, "y_int", False) else torch.rand(4, 3)
    if isinstance(loss, T.DiceLoss):
        inp, targ = torch.rand(4, 3, 2), torch.randint(3, (4, 2))
    with T.NoneReduce(loss) as unreduced:
        assert unreduced(inp, targ).numel() in (4, 12)
    assert loss.reduction == before


def test_unknown_reductions_are_refused():
    loss = T.MSELossFlat()
    with pytest.raises(ValueError, match="'mean', 'sum' or 'none', not 'average'"):
        loss.reduction = "average"
    with pytest.raises(ValueError, match="not 'x'"):
        T.DiceLoss(reduction="x")


@pytest.mark.parametrize(
    ("loss", "inp", "targ", "message"),
    [
        (T.MSELossFlat(), (4, 2), (4,), r"MSELossFlat: predictions of shape \(4, 2\) do not fit"),
        (T.CrossEntropyLossFlat(), (4, 3), (5,), r"axis=-1 each target needs 3 scores"),
        (T.CrossEntropyLossFlat(), (2, 3, 8, 8), (2, 8, 8), r"axis=-1 each target needs 8 scores"),
        (T.BCEWithLogitsLossFlat(), (4, 3), (4,), r"targets of shape \(4,\)"),
        (T.DiceLoss(), (2, 3, 8, 8), (2, 4, 4), r"DiceLoss: .* with axis=1"),
    ],
)
def test_shapes_that_do_not_fit_are_named(loss, inp, targ, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(inp), torch.zeros(targ, dtype=torch.long))


def test_base_loss_wraps_any_pytorch_loss():
    loss = T.BaseLoss(nn.SmoothL1Loss, beta=0.5, floatify=True, is_2d=False)
    inp, targ = scores(4, 1), torch.randint(5, (4,))
    torch.testing.assert_close(
        loss(inp, targ), F.smooth_l1_loss(inp[:, 0], targ.double(), beta=0.5)
    )
    assert loss.activation(inp) is inp
    assert loss.decodes(inp) is inp


def test_semantic_types_do_not_leak_through():
    inp, targ = TensorBase(torch.randn(4, 3)), TensorCategory(torch.randint(3, (4,)))
    assert type(T.CrossEntropyLossFlat()(inp, targ)) is torch.Tensor
    assert (
        type(T.DiceLoss()(TensorBase(torch.randn(1, 2, 3)), TensorMask(torch.zeros(1, 3))))
        is torch.Tensor
    )


@pytest.mark.parametrize(
    ("target", "kind", "axis"),
    [
        (TensorCategory(torch.tensor(1)), T.CrossEntropyLossFlat, -1),
        (TensorMultiCategory(torch.zeros(3)), T.BCEWithLogitsLossFlat, -1),
        (TensorRegression(torch.zeros(1)), T.MSELossFlat, -1),
        (TensorPoint(torch.zeros(1, 2)), T.MSELossFlat, -1),
        (TensorBBox(torch.zeros(1, 4)), T.MSELossFlat, -1),
        (TensorMask(torch.zeros(4, 4)), T.CrossEntropyLossFlat, 1),
    ],
)
def test_default_losses_follow_the_semantic_type(target, kind, axis):
    loss = T.default_loss(target)
    assert type(loss) is kind
    assert loss.axis == axis


def test_default_loss_is_none_for_anything_else_and_can_be_extended():
    class TensorAge(TensorRegression):
        pass

    assert T.default_loss(torch.zeros(3)) is None
    assert T.default_loss("text") is None

    @T.default_loss.register
    def age_loss(target: TensorAge):
        return T.L1LossFlat()

    assert type(T.default_loss(TensorAge(torch.zeros(1)))) is T.L1LossFlat
    assert type(T.default_loss(TensorRegression(torch.zeros(1)))) is T.MSELossFlat


@pytest.mark.parametrize("loss", ALL[:1] + ALL[3:9], ids=lambda loss: type(loss).__name__)
def test_losses_compile_without_graph_breaks(loss):
    inp = torch.randn(4, 3)
    targ = torch.randint(1, 3, (4,)) if getattr(loss, "y_int", False) else torch.rand(4, 3)
    torch.compiler.reset()
    compiled = torch.compile(lambda x, y: loss(x, y), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(inp, targ), loss(inp, targ))
    torch.compiler.reset()
