"""Fifty steps of every optimizer against PyTorch, or the published formulae in float64."""

import functools

import numpy as np
import pytest
import torch
from support import optim_references as formulae
from torte import optim

ENGINES = ("loop", "foreach", "compiled")
SHAPES = ((4, 3), (5,), (2, 3, 2, 2), (), (1,))
STEPS = 50


def problem(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    gradients = [
        [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
        for _ in range(STEPS)
    ]
    return [s.to(dtype) for s in start], [[g.to(dtype) for g in row] for row in gradients]


def final_points(make, dtype=torch.float64, engine="auto"):
    start, gradients = problem(dtype)
    parameters = [torch.nn.Parameter(s.clone()) for s in start]
    opt = make(parameters)
    if engine != "auto":
        opt.engine = engine
    for row in gradients:
        for parameter, gradient in zip(parameters, row, strict=True):
            parameter.grad = gradient.clone()
        opt.step()
    return [parameter.detach() for parameter in parameters]


AGAINST_FORMULAE = {
    "sgd": (optim.SGD, formulae.sgd, {"lr": 0.1}),
    "momentum": (optim.SGD, formulae.sgd, {"lr": 0.1, "mom": 0.9, "wd": 0.1}),
    "nesterov": (
        functools.partial(optim.SGD, nesterov=True),
        functools.partial(formulae.sgd, nesterov=True),
        {"lr": 0.1, "mom": 0.9, "wd": 0.1},
    ),
    "sgd l2": (
        functools.partial(optim.SGD, decouple_wd=False),
        functools.partial(formulae.sgd, decouple=False),
        {"lr": 0.1, "mom": 0.9, "wd": 0.1},
    ),
    "rmsprop": (optim.RMSProp, formulae.rmsprop, {"lr": 0.01, "mom": 0.9, "wd": 0.1}),
    "adam": (optim.Adam, formulae.adam, {"lr": 0.01, "wd": 0.1}),
    "adam l2": (
        functools.partial(optim.Adam, decouple_wd=False),
        functools.partial(formulae.adam, decouple=False),
        {"lr": 0.01, "wd": 0.1},
    ),
    "radam": (optim.RAdam, formulae.radam, {"lr": 0.01, "wd": 0.1}),
    "radam softplus": (optim.RAdam, formulae.radam, {"lr": 0.01, "beta": 2.0}),
    "qhadam": (optim.QHAdam, formulae.qhadam, {"lr": 0.01, "nu_2": 0.8, "wd": 0.1}),
    "larc": (optim.Larc, formulae.larc, {"lr": 0.1, "wd": 0.1}),
    "lars": (
        functools.partial(optim.Larc, clip=False),
        functools.partial(formulae.larc, clip=False),
        {"lr": 3.0, "trust_coeff": 0.02},
    ),
    "lamb": (optim.Lamb, formulae.lamb, {"lr": 0.01, "wd": 0.1}),
    "lion": (optim.Lion, formulae.lion, {"lr": 0.01, "wd": 0.1}),
    "adan": (optim.Adan, formulae.adan, {"lr": 0.01, "wd": 0.1}),
    "adopt": (optim.ADOPT, formulae.adopt, {"lr": 0.01, "wd": 0.1}),
    "schedule-free": (
        optim.ScheduleFreeAdamW,
        formulae.schedule_free,
        {"lr": 0.01, "wd": 0.1, "warmup_steps": 7},
    ),
    "lookahead": (
        lambda p, lr, mom, k, alpha: optim.Lookahead(optim.SGD(p, lr=lr, mom=mom), k, alpha),
        formulae.lookahead_of_sgd,
        {"lr": 0.1, "mom": 0.5, "k": 4, "alpha": 0.3},
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", AGAINST_FORMULAE)
def test_fifty_steps_follow_the_formulae(name, engine):
    make, reference, hypers = AGAINST_FORMULAE[name]
    found = final_points(lambda p: make(p, **hypers), engine=engine)
    start, gradients = problem()
    for index, point in enumerate(found):
        rows = [row[index].numpy() for row in gradients]
        expected = formulae.run(reference, start[index].numpy(), rows, **hypers)
        np.testing.assert_allclose(point.numpy(), expected, rtol=1e-10, atol=1e-12)


T = torch.optim
AGAINST_TORCH = {
    "SGD": (optim.SGD, T.SGD, {"lr": 0.1}, {"lr": 0.1}),
    "SGD nesterov": (
        functools.partial(optim.SGD, decouple_wd=False, nesterov=True),
        functools.partial(T.SGD, nesterov=True),
        {"lr": 0.1, "mom": 0.9, "wd": 0.1},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    ),
    "RMSprop": (
        functools.partial(optim.RMSProp, decouple_wd=False),
        T.RMSprop,
        {"lr": 0.01, "sqr_mom": 0.9, "wd": 0.1},
        {"lr": 0.01, "alpha": 0.9, "weight_decay": 0.1},
    ),
    "Adam": (
        functools.partial(optim.Adam, decouple_wd=False),
        T.Adam,
        {"lr": 0.01, "sqr_mom": 0.999, "eps": 1e-8, "wd": 0.1},
        {"lr": 0.01, "weight_decay": 0.1},
    ),
    "AdamW": (
        optim.Adam,
        T.AdamW,
        {"lr": 0.01, "sqr_mom": 0.999, "eps": 1e-8, "wd": 0.1},
        {"lr": 0.01, "weight_decay": 0.1},
    ),
    "RAdam": (
        optim.RAdam,
        functools.partial(T.RAdam, decoupled_weight_decay=True),
        {"lr": 0.01, "eps": 0.0, "wd": 0.1},
        {"lr": 0.01, "betas": (0.9, 0.99), "eps": 0.0, "weight_decay": 0.1},
    ),
}


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
@pytest.mark.parametrize("name", AGAINST_TORCH)
def test_fifty_steps_equal_torch(name, engine):
    make, torch_make, hypers, torch_hypers = AGAINST_TORCH[name]
    found = final_points(lambda p: make(p, **hypers), engine=engine)
    expected = final_points(lambda p: torch_make(p, **torch_hypers))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("match_rms", [True, False])
def test_muon_equals_torch_on_matrices(match_rms):
    def finals(make):
        generator = torch.Generator().manual_seed(2)
        p = torch.nn.Parameter(torch.randn(6, 4, generator=generator))
        opt = make([p])
        for _ in range(STEPS):
            p.grad = torch.randn(6, 4, generator=generator)
            opt.step()
        return p.detach()

    adjust = "match_rms_adamw" if match_rms else "original"
    found = finals(lambda p: optim.Muon(p, lr=0.01, match_rms=match_rms))
    expected = finals(lambda p: T.Muon(p, lr=0.01, adjust_lr_fn=adjust))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_muon_steps_vectors_by_adamw():
    start, gradients = problem()
    found = final_points(lambda p: optim.Muon(p, lr=0.01))
    hypers = {"lr": 0.01, "mom": 0.95, "eps": 1e-7, "wd": 0.1}
    for index in (1, 3, 4):
        rows = [row[index].numpy() for row in gradients]
        expected = formulae.run(formulae.adam, start[index].numpy(), rows, **hypers)
        np.testing.assert_allclose(found[index].numpy(), expected, rtol=1e-10)


def test_orthogonalized_singular_values_are_near_one():
    matrix = torch.randn(20, 8)
    values = torch.linalg.svdvals(optim.orthogonalize(matrix).float())
    assert ((values > 0.6) & (values < 1.3)).all()


def test_ranger_is_lookahead_around_radam():
    found = final_points(lambda p: optim.ranger(p, lr=0.01))
    expected = final_points(
        lambda p: optim.Lookahead(optim.RAdam(p, lr=0.01, mom=0.95, wd=0.01, eps=1e-6))
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_schedule_free_gives_the_averaged_weights_and_takes_them_back():
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    opt = optim.ScheduleFreeAdamW([parameter], lr=0.1)
    points = []
    for _ in range(20):
        parameter.grad = 2 * parameter.detach()
        opt.step()
        points.append(opt.state[parameter]["z"].clone())
    training = parameter.detach().clone()
    opt.eval()
    # With a constant learning rate x is the plain mean of all z.
    torch.testing.assert_close(parameter.detach(), torch.stack(points).mean(0))
    with pytest.raises(optim.OptimizerError, match=r"call train\(\) before step\(\)"):
        opt.step()
    opt.train()
    torch.testing.assert_close(parameter.detach(), training)
    with opt.averaged_weights():
        assert opt.averaged
    assert not opt.averaged
