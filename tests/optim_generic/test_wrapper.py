"""`OptimWrapper` and `Lookahead` around optimizers of PyTorch."""

import copy
import functools
import pickle

import numpy as np
import pytest
import torch
from support import optim_references as formulae
from torch import nn
from torte import optim


def two_groups():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    return model, [list(layer.named_parameters(str(i))) for i, layer in enumerate(model)]


def step(opt, value=1.0):
    for group in opt.param_lists:
        for parameter in group:
            if parameter.requires_grad:
                parameter.grad = torch.full_like(parameter, value)
    opt.step()


MAKERS = [
    (torch.optim.SGD, {"momentum": 0.9}, {"lr", "mom", "wd", "dampening"}),
    (torch.optim.AdamW, {}, {"lr", "mom", "sqr_mom", "eps", "wd"}),
    (torch.optim.RMSprop, {}, {"lr", "sqr_mom", "eps", "mom", "wd"}),
    (functools.partial(torch.optim.AdamW, amsgrad=True), {}, {"lr", "mom", "sqr_mom", "eps", "wd"}),
    (torch.optim.Adagrad, {}, {"lr", "wd", "eps"}),
]


@pytest.mark.parametrize(("make", "arguments", "names"), MAKERS)
def test_any_torch_optimizer_gets_hypers_groups_and_freezing(make, arguments, names):
    model, groups = two_groups()
    opt = optim.OptimWrapper(groups, make, lr=0.1, **arguments)
    assert names <= set(opt.hypers[0])
    opt.set_hypers(lr=slice(1e-3, 1e-2), wd=0.25)
    assert [g["lr"] for g in opt.opt.param_groups] == pytest.approx([1e-3, 1e-2])
    assert opt.opt.param_groups[0]["weight_decay"] == 0.25
    opt.freeze()
    before = copy.deepcopy(model.state_dict())
    step(opt)
    assert torch.equal(model[0].weight, before["0.weight"])
    assert not torch.equal(model[1].weight, before["1.weight"])
    saved = opt.state_dict()
    opt.load_state_dict(saved)
    opt.clear_state()
    assert not any(isinstance(v, torch.Tensor) for s in opt.state.values() for v in s.values())


def test_betas_are_momenta():
    _, groups = two_groups()
    opt = optim.OptimWrapper(groups, torch.optim.Adam, lr=0.1, mom=0.8, sqr_mom=0.95, wd=0.1)
    assert opt.opt.param_groups[0]["betas"] == (0.8, 0.95)
    opt.set_hypers(mom=[0.5, 0.6])
    assert [g["betas"] for g in opt.param_groups] == [(0.5, 0.95), (0.6, 0.95)]
    with pytest.raises(optim.UnknownHyperError, match="'warp'"):
        opt.set_hyper("warp", 1)
    with pytest.raises(optim.HyperError, match="lr=nan"):
        opt.set_hyper("lr", float("nan"))
    with pytest.raises(optim.UnknownHyperError, match="no argument 'warp'"):
        optim.OptimWrapper(two_groups()[1], torch.optim.Adam, warp=1)


def test_a_map_of_ones_own_renames_hypers():
    _, groups = two_groups()
    wrap = functools.partial(optim.OptimWrapper, opt=torch.optim.ASGD, hp_map={"lambd": "decay"})
    opt = wrap(groups, lr=0.1, decay=0.5)
    opt.set_hyper("decay", 0.25)
    assert opt.opt.param_groups[0]["lambd"] == 0.25


def test_an_optimizer_that_is_made_already():
    inner = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    opt = optim.OptimWrapper(opt=inner)
    assert opt.opt is inner
    assert isinstance(opt, torch.optim.Optimizer)
    step(opt)
    with pytest.raises(optim.OptimizerError, match="made already"):
        optim.OptimWrapper([nn.Parameter(torch.ones(2))], inner)
    with pytest.raises(optim.OptimizerError, match="needs params and opt"):
        optim.OptimWrapper([nn.Parameter(torch.ones(2))])
    with pytest.raises(optim.OptimizerError, match="must be an optimizer or make one"):
        optim.OptimWrapper([nn.Parameter(torch.ones(2))], 3)


def test_wrappers_pickle_and_copy():
    _, groups = two_groups()
    opt = optim.OptimWrapper(groups, torch.optim.AdamW, lr=0.1)
    step(opt)
    for twin in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        step(twin)
        assert twin.hypers == opt.hypers


def test_lbfgs_works_through_a_closure():
    model, _ = two_groups()
    opt = optim.OptimWrapper(model.parameters(), torch.optim.LBFGS, lr=0.5)
    x = torch.randn(8, 3)

    def closure():
        opt.zero_grad()
        loss = (model(x) - 1).pow(2).mean()
        loss.backward()
        return loss

    assert opt.step(closure) > opt.step(closure)


def test_lookahead_around_torch_follows_the_formulae_and_resumes():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=5), rng.normal(size=(11, 5))

    def make():
        parameter = nn.Parameter(torch.tensor(start))
        inner = optim.OptimWrapper([("w", parameter)], torch.optim.SGD, lr=0.1, momentum=0.5)
        return parameter, optim.Lookahead(inner, k=4, alpha=0.3)

    parameter, opt = make()
    resumed, other = make()
    for index, gradient in enumerate(gradients):
        if index == 6:
            resumed.data.copy_(parameter)
            other.load_state_dict(copy.deepcopy(opt.state_dict()))
        for p, o in ((parameter, opt), (resumed, other))[: 2 if index >= 6 else 1]:
            p.grad = torch.tensor(gradient)
            o.step()
    expected = formulae.run(
        formulae.lookahead_of_sgd, start, gradients, lr=0.1, mom=0.5, k=4, alpha=0.3
    )
    np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-12)
    assert torch.equal(parameter, resumed)
    with pytest.raises(optim.StateMismatchError, match="no state of Lookahead"):
        opt.load_state_dict(opt.opt.state_dict())


def test_lookahead_refuses_what_it_cannot_wrap():
    inner = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    with pytest.raises(TypeError, match="OptimWrapper"):
        optim.Lookahead(inner)


def test_lookahead_keeps_the_state_and_hypers_of_what_it_wraps():
    parameter = nn.Parameter(torch.ones(3))
    inner = optim.Adam([("w", parameter)], lr=0.1, wd=0.2)
    inner.set_flags("w", do_wd=False)
    step(inner)
    opt = optim.Lookahead(inner, k=3)
    assert opt.hypers[0]["wd"] == 0.2
    assert opt.hypers[0]["k"] == 3
    step(opt)
    assert opt.state[parameter]["step"] == 2
    assert opt.state[parameter]["do_wd"] is False


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD], ids=lambda m: m.__name__)
def test_flagged_parameters_do_not_decay(make):
    def trained(wrap):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        opt = wrap(model)
        x = torch.randn(8, 3)
        for _ in range(3):
            opt.zero_grad()
            model(x).square().sum().backward()
            opt.step()
        return model, opt

    def flagged(model):
        opt = optim.OptimWrapper(model.named_parameters(), make, lr=0.01, wd=0.5)
        opt.set_flags(optim.norm_bias_params(model), do_wd=False)
        return opt

    def grouped(model):
        exempt = set(optim.norm_bias_params(model))
        kept = [p for p in model.parameters() if p not in exempt]
        groups = [{"params": kept}, {"params": list(exempt), "weight_decay": 0.0}]
        return make(groups, lr=0.01, weight_decay=0.5)

    model, opt = trained(flagged)
    expected, _ = trained(grouped)
    for found, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, other)
    assert len(opt.param_groups) == 1
    assert len(opt.param_groups[0]["params"]) == len(opt.param_groups[0]["param_names"]) == 6
    assert opt.hypers[0]["wd"] == 0.5
    again = pickle.loads(pickle.dumps(opt))
    assert sum(not flags["do_wd"] for flags in again._flags.values()) == 4


def test_flags_that_a_torch_optimizer_cannot_have():
    weight = nn.Parameter(torch.ones(2))
    opt = optim.OptimWrapper([weight], torch.optim.SGD, lr=0.1)
    with pytest.raises(optim.OptimizerError, match=r"SGD has no rule that asks for \['clip'\]"):
        opt.set_flags(weight, clip=True)
    with pytest.raises(optim.OptimizerError, match="LBFGS has no weight_decay"):
        optim.OptimWrapper([weight], torch.optim.LBFGS).set_flags(weight, do_wd=False)
    two = optim.OptimWrapper([[weight], [nn.Parameter(torch.ones(1))]], torch.optim.SGD, lr=0.1)
    two.set_flags(weight, force_train=True)
    two.freeze()
    assert weight.requires_grad
    assert not two.state
