"""The optimizers in PyTorch's own tools: schedulers, scalers, hooks, DDP, FSDP2, Accelerate."""

import functools
import pickle

import pytest
import torch
from support import distributed_optim as workers
from torch import nn
from torch.optim import lr_scheduler
from torte import optim


def setup(make=optim.Adam, lr=0.1):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return model, make(model.named_parameters(), lr=lr), torch.randn(5, 3)


def backward(model, x, scale=1.0):
    (model(x).pow(2).mean() * scale).backward()


SCHEDULERS = {
    "StepLR": lambda opt: lr_scheduler.StepLR(opt, 2, gamma=0.1),
    "OneCycleLR": lambda opt: lr_scheduler.OneCycleLR(opt, 0.5, 10),
    "OneCycleLR, steady momentum": lambda opt: lr_scheduler.OneCycleLR(
        opt, 0.5, 10, cycle_momentum=False
    ),
    "Cosine": lambda opt: lr_scheduler.CosineAnnealingLR(opt, 10),
    "Lambda": lambda opt: lr_scheduler.LambdaLR(opt, lambda step: 1 / (step + 1)),
    "Sequential": lambda opt: lr_scheduler.SequentialLR(
        opt, [lr_scheduler.ConstantLR(opt, 0.1, 2), lr_scheduler.ExponentialLR(opt, 0.9)], [2]
    ),
    "Cyclic": lambda opt: lr_scheduler.CyclicLR(opt, 0.01, 0.1, 2),
}


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_drive_the_learning_rate(name, wrapped):
    model, opt, x = setup()
    if wrapped:
        opt = optim.OptimWrapper(model.parameters(), torch.optim.AdamW, lr=0.1)
    twin = nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    peer = torch.optim.AdamW(
        twin.parameters(), lr=0.1, **({} if wrapped else {"betas": (0.9, 0.99), "eps": 1e-5})
    )
    schedules = [SCHEDULERS[name](o) for o in (opt, peer)]
    for _ in range(8):
        for net, o, schedule in zip((model, twin), (opt, peer), schedules, strict=True):
            o.zero_grad()
            backward(net, x)
            o.step()
            schedule.step()
        assert opt.hypers[0]["lr"] == pytest.approx(peer.param_groups[0]["lr"])
    torch.testing.assert_close(model.weight, twin.weight)


def test_momentum_is_another_name_of_mom_and_no_key_of_its_own():
    model, opt, x = setup(functools.partial(optim.SGD, mom=0.9))
    (group,) = opt.param_groups
    assert group["momentum"] == group.get("momentum") == 0.9
    assert "momentum" in opt.defaults
    assert "momentum" not in list(group)
    group["momentum"] = 0.5
    assert opt.hypers[0]["mom"] == 0.5
    backward(model, x)
    opt.step()
    saved = opt.state_dict()
    assert "momentum" not in saved["param_groups"][0]
    again = pickle.loads(pickle.dumps(opt))
    again.param_groups[0]["momentum"] = 0.7
    assert again.hypers[0]["mom"] == 0.7
    plain = optim.Optimizer(model.parameters(), steppers=[optim.sgd_step], lr=0.1)
    assert "momentum" not in plain.defaults
    assert plain.param_groups[0].get("momentum") is None
    with pytest.raises(ValueError, match="momentum"):
        lr_scheduler.OneCycleLR(plain, 0.1, 10)


def test_reduce_on_plateau_and_its_state():
    _, opt, _ = setup()
    schedule = lr_scheduler.ReduceLROnPlateau(opt, patience=0)
    for loss in (1.0, 2.0, 3.0):
        schedule.step(loss)
    assert opt.hypers[0]["lr"] == pytest.approx(0.001)


@pytest.mark.parametrize("make", [optim.Adam, optim.Lamb], ids=lambda f: f.__name__)
def test_grad_scaler_skips_steps_with_infinite_gradients(make):
    model, opt, x = setup(make)
    twin, peer, _ = setup(make)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for scale in (1.0, float("inf"), 1.0):
        opt.zero_grad()
        scaler.scale((model(x).pow(2).mean()) * scale).backward()
        before = model.weight.detach().clone()
        scaler.step(opt)
        scaler.update()
        if scale == 1.0:
            peer.zero_grad()
            backward(twin, x)
            peer.step()
        else:
            assert torch.equal(model.weight, before)
    torch.testing.assert_close(model.weight, twin.weight)
    assert opt.state[model.weight]["step"] == 2


@pytest.mark.parametrize("wrapped", [False, True])
def test_step_and_state_hooks_are_called(wrapped):
    model, opt, x = setup()
    if wrapped:
        opt = optim.OptimWrapper(model.parameters(), torch.optim.AdamW, lr=0.1)
    calls = []
    opt.register_step_pre_hook(lambda *_: calls.append("before"))
    opt.register_step_post_hook(lambda *_: calls.append("after"))
    opt.register_state_dict_pre_hook(lambda *_: calls.append("saving"))
    opt.register_state_dict_post_hook(lambda _, saved: {**saved, "more": 1})
    opt.register_load_state_dict_pre_hook(lambda _, saved: calls.append("loading"))
    opt.register_load_state_dict_post_hook(lambda _: calls.append("loaded"))
    backward(model, x)
    opt.step()
    saved = opt.state_dict()
    assert saved.pop("more") == 1
    opt.load_state_dict(saved)
    assert calls == ["before", "after", "saving", "loading", "loaded"]


def test_clipping_and_accumulation_work_on_the_same_gradients():
    model, opt, x = setup(optim.SGD)
    before = model.weight.detach().clone()
    backward(model, x)
    backward(model, x)
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    gradient = model.weight.grad.clone()
    opt.step()
    torch.testing.assert_close(model.weight.detach(), before - 0.1 * gradient)


def test_swa_model_and_parametrizations():
    model, opt, x = setup()
    torch.nn.utils.parametrizations.weight_norm(model)
    opt = optim.Lamb(model.named_parameters(), lr=0.1)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    for _ in range(3):
        opt.zero_grad()
        backward(model, x)
        opt.step()
        averaged.update_parameters(model)
    assert not torch.equal(averaged.module.weight, model.weight)


def test_a_step_inside_autograd_backward_hooks():
    # One optimizer a parameter, stepped as soon as its gradient is there.
    model, _, x = setup()
    optimizers = {p: optim.Adam([p], lr=0.1) for p in model.parameters()}

    def step(parameter):
        optimizers[parameter].step()
        parameter.grad = None

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    before = model.weight.detach().clone()
    backward(model, x)
    assert not torch.equal(model.weight, before)
    assert model.weight.grad is None


@pytest.mark.slow
def test_data_parallel_processes_agree_with_one(tmp_path):
    workers.spawn(workers.data_parallel, tmp_path, ["Adam", "SGD", "Lamb"])


@pytest.mark.slow
def test_fully_sharded_processes_agree_with_one(tmp_path):
    workers.spawn(workers.fully_sharded, tmp_path, list(workers.MAKERS))


@pytest.mark.slow
def test_accelerate_prepares_steps_and_resumes(tmp_path):
    workers.spawn(workers.accelerated, tmp_path)
