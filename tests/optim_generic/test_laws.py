"""Laws that every named optimizer keeps; a new one is found by itself."""

import copy
import io
import pickle

import pytest
import torch
from support.optimizers import OPTIMIZERS
from torch import nn
from torte import optim

EVERY = pytest.mark.parametrize("name", OPTIMIZERS)


def small_problem(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    x = torch.randn(64, 4)
    y = (x[:, :1] * x[:, 1:2]).tanh() + 0.5 * x[:, 2:3]
    return model, x, y


def train(model, opt, x, y, steps):
    loss = torch.tensor(0.0)
    for _ in range(steps):
        opt.zero_grad()
        loss = (model(x) - y).pow(2).mean()
        loss.backward()
        opt.step()
    return loss.item()


def points(model):
    return [p.detach().clone() for p in model.parameters()]


def test_reflection_finds_the_optimizers_of_the_paper_and_after():
    expected = {"SGD", "RMSProp", "Adam", "RAdam", "QHAdam", "Larc", "Lamb", "ranger", "Lion"}
    assert expected | {"Adan", "ADOPT", "ScheduleFreeAdamW", "Muon"} <= set(OPTIMIZERS)


@EVERY
def test_converges_on_a_small_problem(name):
    model, x, y = small_problem()
    opt = OPTIMIZERS[name](model.parameters())
    start = (model(x) - y).pow(2).mean().item()
    train(model, opt, x, y, 300)
    if isinstance(opt, optim.ScheduleFreeOptimizer):
        opt.eval()
    assert (model(x) - y).pow(2).mean().item() < 0.25 * start


@EVERY
@pytest.mark.parametrize("midpoint", [0, 1, 7])
def test_a_saved_state_goes_on_bit_for_bit(name, midpoint):
    model, x, y = small_problem()
    opt = OPTIMIZERS[name](model.named_parameters())
    train(model, opt, x, y, midpoint)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "opt": opt.state_dict()}, file)
    train(model, opt, x, y, 6)

    again, _, _ = small_problem(seed=1)
    other = OPTIMIZERS[name](again.named_parameters())
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again.load_state_dict(saved["model"])
    other.load_state_dict(saved["opt"])
    train(again, other, x, y, 6)
    assert all(map(torch.equal, points(model), points(again)))


@EVERY
def test_pickles_and_copies(name):
    model, x, y = small_problem()
    opt = OPTIMIZERS[name](model.parameters())
    train(model, opt, x, y, 2)
    for twin_model, twin in (
        copy.deepcopy((model, opt)),
        pickle.loads(pickle.dumps((model, opt))),
    ):
        a, b = copy.deepcopy(model), twin_model
        train(b, twin, x, y, 2)
        assert not all(map(torch.equal, points(a), points(b)))
        assert twin.state_dict()["param_groups"] == opt.state_dict()["param_groups"]


@EVERY
def test_missing_gradients_leave_parameters_alone_and_catch_up_later(name):
    model, x, y = small_problem()
    opt = OPTIMIZERS[name](model.parameters())
    train(model, opt, x, y, 2)
    first = next(iter(model.parameters()))
    before = first.detach().clone()
    opt.zero_grad()
    (model(x) - y).pow(2).mean().backward()
    first.grad = None
    opt.step()
    assert torch.equal(first, before)
    train(model, opt, x, y, 2)
    assert not torch.equal(first, before)


@EVERY
def test_zero_size_parameters_are_no_trouble(name):
    empty, full = nn.Parameter(torch.zeros(3, 0)), nn.Parameter(torch.ones(3, 2))
    opt = OPTIMIZERS[name]([empty, full])
    for _ in range(3):
        empty.grad, full.grad = torch.zeros(3, 0), torch.ones(3, 2)
        opt.step()
    assert full.isfinite().all()
    assert not torch.equal(full, torch.ones(3, 2))


@EVERY
def test_frozen_groups_keep_still_and_go_on_with_their_state(name):
    model, x, y = small_problem()
    opt = OPTIMIZERS[name]([list(model[0].parameters()), list(model[2].parameters())])
    train(model, opt, x, y, 3)
    kept = {k: copy.copy(v) for k, v in opt.state[model[0].weight].items()}
    before = points(model[0])
    opt.freeze()
    train(model, opt, x, y, 2)
    assert all(map(torch.equal, points(model[0]), before))
    for key, value in opt.state[model[0].weight].items():
        assert key in kept
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(kept[key]))
    opt.unfreeze()
    train(model, opt, x, y, 1)
    assert not all(map(torch.equal, points(model[0]), before))


@EVERY
def test_hypers_are_plain_numbers_that_can_be_set(name):
    model, x, y = small_problem()
    opt = OPTIMIZERS[name]([[model[0].weight], [model[0].bias], list(model[2].parameters())])
    opt.set_hypers(lr=slice(1e-4, 1e-2))
    assert [h["lr"] for h in opt.hypers] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert all(type(v) in (int, float) for h in opt.hypers for v in h.values())
    with pytest.raises(optim.UnknownHyperError, match="'warp'"):
        opt.set_hyper("warp", 9)
    train(model, opt, x, y, 1)


@EVERY
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_bad_learning_rates_change_nothing(name, value):
    model, x, y = small_problem()
    opt = OPTIMIZERS[name](model.parameters())
    train(model, opt, x, y, 1)
    before, state = points(model), copy.deepcopy(opt.state_dict())
    with pytest.raises(optim.HyperError, match="lr="):
        opt.set_hyper("lr", value)
    with pytest.raises(optim.HyperError, match="lr="):
        OPTIMIZERS[name](model.parameters(), lr=value)
    opt.param_groups[0]["lr"] = value  # as a scheduler would
    with pytest.raises(optim.HyperError, match="lr="):
        opt.step()
    assert all(map(torch.equal, points(model), before))
    assert str(opt.state_dict()["state"]) == str(state["state"])


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.complex64])
def test_other_dtypes_take_steps_near_those_of_float32(name, dtype):
    if name == "Muon" and dtype.is_complex:
        pytest.skip("Muon orthogonalizes real matrices")
    torch.manual_seed(0)
    shape = (6, 5)
    start, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(5)]
    results = []
    for kind in (torch.float32, dtype):
        parameter = nn.Parameter(start.to(kind, copy=True))
        opt = OPTIMIZERS[name]([parameter])
        for gradient in gradients:
            parameter.grad = gradient.to(kind)
            opt.step()
        results.append(parameter.detach())
        tensors = [v for v in opt.state[parameter].values() if isinstance(v, torch.Tensor)]
        assert all(v.dtype == torch.float32 for v in tensors)
    expected, found = results
    if dtype.is_complex:
        # A layer's norms count both parts, so only elementwise methods match the real ones.
        assert found.isfinite().all()
    else:
        torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.03)


@EVERY
def test_channels_last_parameters_step_like_contiguous_ones(name):
    torch.manual_seed(0)
    start, gradients = torch.randn(4, 3, 2, 2), [torch.randn(4, 3, 2, 2) for _ in range(4)]
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        parameter = nn.Parameter(start.clone(memory_format=layout))
        opt = OPTIMIZERS[name]([parameter])
        for gradient in gradients:
            parameter.grad = gradient.clone(memory_format=layout)
            opt.step()
        parameter.grad = gradients[0].clone()  # and a gradient of another layout
        opt.step()
        results.append(parameter.detach())
    torch.testing.assert_close(results[1].contiguous(), results[0])
