"""Groups, hypers, flags, freezing, state dicts and bad input."""

import copy
import functools
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torte import optim


def model_of(*sizes):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(sizes)))


def with_gradients(parameters, value=1.0):
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, value)


def one_step(opt, value=1.0):
    for group in opt.param_lists:
        with_gradients([p for p in group if p.requires_grad], value)
    opt.step()


# -- parameters and groups ------------------------------------------------------------------------


def forms_of_parameters():
    model = model_of(2, 3, 1)
    a, b = model[0], model[1]
    return {
        "iterable": (model.parameters(), [4]),
        "named": (model.named_parameters(), [4]),
        "list of lists": ([list(a.parameters()), list(b.parameters())], [2, 2]),
        "generators": ((m.parameters() for m in (a, b)), [2, 2]),
        "tuples of parameters": ([tuple(a.parameters()), tuple(b.parameters())], [2, 2]),
        "named lists": ([list(a.named_parameters("a")), list(b.named_parameters("b"))], [2, 2]),
        "group dicts": ([{"params": a.parameters(), "lr": 0.5}, {"params": [b.weight]}], [2, 1]),
        "named group dicts": ([{"params": list(model.named_parameters()), "lr": 0.5}], [4]),
    }


@pytest.mark.parametrize("form", forms_of_parameters())
def test_parameters_may_come_in_any_form(form):
    params, sizes = forms_of_parameters()[form]
    opt = optim.SGD(params, lr=0.1, mom=0.9)
    assert list(map(len, opt.param_lists)) == sizes
    assert opt.hypers[0]["lr"] == (0.5 if "group dicts" in form else 0.1)
    one_step(opt)


def test_names_are_given_or_positions():
    model = model_of(2, 3)
    assert list(optim.SGD(model.named_parameters(), 0.1).names) == ["0.weight", "0.bias"]
    assert list(optim.SGD([[model[0].weight], [model[0].bias]], 0.1).names) == ["0", "1"]


def test_tied_parameters_step_once():
    weight = nn.Parameter(torch.ones(3))
    opt = optim.SGD([weight, weight], lr=0.1)
    one_step(opt)
    torch.testing.assert_close(weight.detach(), torch.full((3,), 0.9))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([], "got no parameters"),
        (iter(()), "got no parameters"),
        (torch.ones(2), r"pass \[parameter\]"),
        ({torch.ones(2)}, "ordered, got a set"),
        ([torch.ones(2, dtype=torch.int64)], "parameter '0' is torch.int64"),
        ([("w", "not a tensor")], "parameter 'w' is a str"),
        ([torch.ones(2, requires_grad=True) * 2], "non-leaf.*'0'"),
        ([("w", torch.ones(2)), ("w", torch.ones(3))], "two parameters are named 'w'"),
    ],
)
def test_bad_parameters_are_named(params, message):
    with pytest.raises(optim.ParameterError, match=message):
        optim.SGD(params, lr=0.1)


def test_a_parameter_in_two_groups_is_an_error():
    weight = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="more than one parameter group"):
        optim.SGD([[weight], [weight]], lr=0.1)


def test_added_groups_take_the_defaults_and_step():
    model = model_of(2, 3, 1)
    opt = optim.Adam(model[0].named_parameters("first"), lr=0.1)
    one_step(opt)
    opt.add_param_group({"params": model[1].named_parameters("second"), "wd": 0.5})
    assert [h["wd"] for h in opt.hypers] == [0.01, 0.5]
    before = model[1].weight.detach().clone()
    one_step(opt)
    assert not torch.equal(model[1].weight, before)
    assert opt.state[model[0].weight]["step"] == 2
    assert opt.state[model[1].weight]["step"] == 1
    with pytest.raises(optim.UnknownHyperError, match="'warp'"):
        opt.add_param_group({"params": [nn.Parameter(torch.ones(1))], "warp": 1})
    assert len(opt.param_groups) == 2


# -- hypers ---------------------------------------------------------------------------------------


def three_groups(lr=0.1, **kwargs):
    return optim.SGD([[nn.Parameter(torch.ones(2))] for _ in range(3)], lr=lr, **kwargs)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, [0.5, 0.5, 0.5]),
        (slice(1e-4, 1e-2), [1e-4, 1e-3, 1e-2]),
        (slice(0.5), [0.05, 0.05, 0.5]),
        ([1, 2, 3], [1, 2, 3]),
        ((0.25,), [0.25] * 3),
        (torch.tensor(0.5), [0.5] * 3),
    ],
)
def test_hypers_spread_over_groups(value, expected):
    opt = three_groups()
    opt.set_hyper("lr", value)
    assert [h["lr"] for h in opt.hypers] == pytest.approx(expected)
    made = three_groups(lr=value)
    assert [h["lr"] for h in made.hypers] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("hypers", "error", "message"),
    [
        ({"lr": [1, 2]}, optim.HyperError, "2 values for 'lr' but there are 3 parameter groups"),
        ({"lr": 0.2, "warp": 1}, optim.UnknownHyperError, r"'warp'.*\['lr', 'mom', 'wd'\]"),
        ({"mom": 0.5, "lr": "high"}, optim.HyperError, "lr='high' must be a number"),
        ({"mom": 0.5, "wd": float("nan")}, optim.HyperError, "wd=nan must be finite"),
        ({"mom": slice(None)}, optim.HyperError, "needs an end"),
    ],
)
def test_bad_hypers_are_named_and_change_nothing(hypers, error, message):
    opt = three_groups()
    before = [dict(h) for h in opt.hypers]
    with pytest.raises(error, match=message):
        opt.set_hypers(**hypers)
    assert opt.hypers == before


@given(st.floats(1e-8, 1e3), st.floats(1.0, 1e6), st.integers(2, 9))
def test_even_multiples_run_from_start_to_stop(start, factor, n):
    values = optim.even_mults(start, start * factor, n)
    assert len(values) == n
    assert values[0] == start
    assert values[-1] == start * factor
    ratios = [b / a for a, b in itertools.pairwise(values)]
    assert ratios == pytest.approx([ratios[0]] * (n - 1), rel=1e-6)


def test_hypers_read_and_write_through():
    opt = three_groups()
    opt.hypers[1]["lr"] = 0.7
    assert opt.param_groups[1]["lr"] == 0.7
    assert set(opt.hypers[0]) == {"lr", "mom", "wd"}
    with pytest.raises(optim.UnknownHyperError, match="'warp'"):
        opt.hypers[0]["warp"] = 1
    with pytest.raises(TypeError, match="'lr'"):
        del opt.hypers[0]["lr"]


def test_momentum_begins_when_it_is_set():
    opt = three_groups()
    one_step(opt)
    assert all("grad_avg" not in state for state in opt.state.values())
    opt.set_hyper("mom", 0.5)
    weight = opt.param_lists[0][0]
    for expected in (0.1, 0.15):
        before = weight.detach().clone()
        one_step(opt)
        torch.testing.assert_close(before - weight.detach(), torch.full((2,), expected))


# -- rules ----------------------------------------------------------------------------------------


def needs_warp(p, lr, warp):
    p.sub_(lr * warp * p.grad)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steppers": optim.sgd_step, "lr": 0.1, "warp": 1}, optim.UnknownHyperError, "'warp'"),
        ({"steppers": needs_warp, "lr": 0.1}, optim.RuleError, "'needs_warp' needs 'warp'"),
        ({"steppers": optim.adam_step, "lr": 0.1, "mom": 0.9}, optim.RuleError, "'sqr_mom'"),
        ({"steppers": [], "lr": 0.1}, optim.RuleError, "at least one"),
        ({"steppers": 3}, optim.RuleError, "3"),
        ({"steppers": lambda: None}, optim.RuleError, "first argument"),
        ({"steppers": lambda p, *lr: None}, optim.RuleError, r"\*args"),
        ({"steppers": functools.partial(optim.sgd_step, 1)}, optim.RuleError, "by keyword"),
        ({"steppers": optim.sgd_step}, optim.RuleError, "'sgd_step' needs 'lr'"),
    ],
)
def test_compositions_that_do_not_fit_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        optim.Optimizer([nn.Parameter(torch.ones(2))], **arguments)


def test_rules_written_for_fastai_run_unchanged():
    def average(p, mom, grad_avg=None, **kwargs):
        if grad_avg is None:
            grad_avg = torch.zeros_like(p.grad.data)
        grad_avg.mul_(mom).add_(p.grad.data)
        return {"grad_avg": grad_avg}

    average.defaults = {"mom": 0.5}

    def step(p, lr, grad_avg, **kwargs):
        p.data.add_(grad_avg, alpha=-lr)

    weight = nn.Parameter(torch.ones(2))
    opt = optim.Optimizer([weight], [average, step], lr=0.1)
    assert opt.hypers == [{"lr": 0.1, "mom": 0.5}]
    one_step(opt)
    one_step(opt)
    torch.testing.assert_close(weight.detach(), torch.full((2,), 1 - 0.1 - 0.15))


def test_rules_may_come_in_one_list_named_cbs():
    def run(**rules):
        weight = nn.Parameter(torch.ones(3))
        opt = optim.Optimizer([weight], lr=0.1, wd=0.2, mom=0.9, **rules)
        one_step(opt)
        one_step(opt)
        return weight.detach()

    stat, *steppers = [optim.average_grad, optim.weight_decay, optim.momentum_step]
    torch.testing.assert_close(
        run(cbs=[stat, *steppers]), run(stats=stat, steppers=steppers), rtol=0, atol=0
    )


def test_all_parameters_with_what_belongs_to_them():
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    opt = optim.SGD([[first], [second]], lr=[0.1, 0.2], mom=0.9)
    first.grad = torch.ones(2)
    opt.step()
    assert [
        parameter is p for (parameter, *_), p in zip(opt.all_params(), (first, second), strict=True)
    ] == [True, True]
    ((parameter, group, state, hypers),) = opt.all_params(with_grad=True)
    assert parameter is first
    assert group is opt.param_groups[0]
    assert "grad_avg" in state
    assert hypers["lr"] == 0.1
    for chosen in (1, slice(1, None)):
        ((parameter, *_, hypers),) = opt.all_params(chosen)
        assert parameter is second
        assert hypers["lr"] == 0.2


def test_weight_decay_and_l2_are_one_line_apart():
    def run(decay):
        weight = nn.Parameter(torch.full((2,), 2.0))
        stats = [optim.average_grad]
        opt = optim.Optimizer(
            [weight], stats, [decay, optim.momentum_step], lr=0.1, mom=0.9, wd=0.5
        )
        one_step(opt)
        one_step(opt)
        return weight[0].item()

    decoupled, average = 2.0, 0.0
    coupled, l2_average = 2.0, 0.0
    for _ in range(2):
        average = 0.9 * average + 1
        decoupled = decoupled * (1 - 0.05) - 0.1 * average
        l2_average = 0.9 * l2_average + 1 + 0.5 * coupled
        coupled -= 0.1 * l2_average
    assert run(optim.weight_decay) == pytest.approx(decoupled)
    assert run(optim.l2_reg) == pytest.approx(coupled)


# -- flags ----------------------------------------------------------------------------------------


def test_norms_and_biases_can_be_kept_from_weight_decay():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.LayerNorm(2))
    found = optim.norm_bias_params(model)
    assert [tuple(p.shape) for p in found] == [(2,)] * 5
    assert len(optim.norm_bias_params(model, with_bias=False)) == 4
    for make in (optim.SGD, optim.Adam, optim.Lamb, optim.Adan, optim.ScheduleFreeAdamW):
        twin = copy.deepcopy(model)
        opt = make(twin.parameters(), lr=0.1, wd=0.5)
        opt.set_flags(optim.norm_bias_params(twin), do_wd=False)
        plain = copy.deepcopy(model)
        other = make(plain.parameters(), lr=0.1, wd=0.0)
        one_step(opt)
        one_step(other)
        for a, b in zip(optim.norm_bias_params(twin), optim.norm_bias_params(plain), strict=True):
            torch.testing.assert_close(a, b)
        assert not torch.allclose(twin[0].weight, plain[0].weight)


def test_flags_may_be_set_by_name_in_groups_and_between_steps():
    weight, bias = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    opt = optim.SGD(
        [{"params": [("w", weight)]}, {"params": [("b", bias)], "do_wd": False}], lr=0.1, wd=1.0
    )
    one_step(opt, 0.0)
    assert weight[0].item() == pytest.approx(0.9)
    assert bias[0].item() == 1
    opt.set_flags("w", do_wd=False)
    opt.set_flags(["b"], do_wd=True)
    one_step(opt, 0.0)
    assert weight[0].item() == pytest.approx(0.9)
    assert bias[0].item() == pytest.approx(0.9)
    with pytest.raises(optim.ParameterError, match="'stranger'"):
        opt.set_flags(["w", "stranger"], do_wd=True)
    assert opt.state[weight]["do_wd"] is False


# -- freezing -------------------------------------------------------------------------------------


def test_freezing_takes_gradients_away_but_not_from_forced_parameters():
    model = model_of(2, 3, 3, 1)
    opt = optim.Adam([list(layer.parameters()) for layer in model], lr=0.1)
    opt.set_flags(model[0].bias, force_train=True)
    one_step(opt)
    opt.freeze_to(2)
    assert [p.requires_grad for p in model.parameters()] == [False, True, False, False, True, True]
    assert model[0].weight.grad is None
    opt.freeze_to(-2)
    assert opt.frozen_idx == 1
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True, True]
    one_step(opt)
    assert opt.state[model[0].weight]["step"] == 1
    assert opt.state[model[1].weight]["step"] == 2
    opt.unfreeze()
    one_step(opt)
    assert [opt.state[p]["step"] for p in model.parameters()] == [2, 3, 3, 3, 3, 3]


def test_freezing_everything_warns():
    opt = three_groups()
    with pytest.warns(UserWarning, match="the whole model is frozen"):
        opt.freeze_to(3)
    opt.zero_grad()
    opt.step()


def test_clearing_state_keeps_flags():
    opt = optim.Adam([("w", nn.Parameter(torch.ones(2)))], lr=0.1)
    opt.set_flags("w", do_wd=False)
    one_step(opt)
    opt.clear_state()
    assert dict(opt.state[opt.names["w"]]) == {"do_wd": False}
    one_step(opt)
    assert opt.state[opt.names["w"]]["step"] == 1


# -- state dicts ----------------------------------------------------------------------------------


def trained(groups=None, steps=3, make=optim.Adam):
    model = model_of(2, 3, 1)
    params = groups(model) if groups else model.named_parameters()
    opt = make(params, lr=0.1)
    for _ in range(steps):
        one_step(opt)
    return model, opt


def by_layer(model):
    named = list(model.named_parameters())
    return [named[2:], named[:2]]  # another order too


def test_state_is_matched_by_name_over_regrouping():
    model, opt = trained()
    other_model, other = trained(by_layer, steps=0)
    other_model.load_state_dict(model.state_dict())
    other.load_state_dict(opt.state_dict())
    for name, parameter in opt.names.items():
        mine = other.state[other.names[name]]
        assert mine["step"] == 3
        assert torch.equal(mine["sqr_avg"], opt.state[parameter]["sqr_avg"])
    one_step(opt)
    one_step(other)
    for a, b in zip(model.parameters(), other_model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_added_parameters_start_afresh():
    _, opt = trained()
    model = model_of(2, 3, 1)
    model.append(nn.Linear(1, 1))
    larger = optim.Adam(model.named_parameters(), lr=0.1)
    larger.load_state_dict(opt.state_dict())
    one_step(larger)
    assert larger.state[model[0].weight]["step"] == 4
    assert larger.state[model[2].weight]["step"] == 1


def test_a_loaded_state_is_a_copy():
    _, opt = trained()
    _, other = trained(steps=0)
    saved = opt.state_dict()
    other.load_state_dict(saved)
    one_step(other)
    weight = opt.names["0.weight"]
    assert torch.equal(saved["state"][0]["grad_avg"], opt.state[weight]["grad_avg"])
    assert opt.state[weight]["step"] == 3


def renamed(model):
    return [(f"new.{name}", parameter) for name, parameter in model.named_parameters()]


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (lambda: trained(make=optim.SGD)[1].state_dict(), "another optimizer: it lacks 'sqr_mom'"),
        (lambda: trained(make=optim.Lion)[1].state_dict(), "it lacks 'sqr_mom'"),
        (
            lambda: torch.optim.Adam([nn.Parameter(torch.ones(1))]).state_dict(),
            r"it lacks 'mom'.*'betas'",
        ),
        (lambda: trained(renamed)[1].state_dict(), "another model: the optimizer has no 'new.0"),
        (lambda: {"nothing": 1}, "lacks 'param_groups'"),
        (
            lambda: optim.Adam([nn.Parameter(torch.ones(1))], lr=0.1).state_dict(),
            "1 parameters and the optimizer 4",
        ),
    ],
)
def test_states_of_others_are_refused_and_change_nothing(saved, message):
    _, opt = trained()
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises(optim.StateMismatchError, match=message):
        opt.load_state_dict(saved())
    assert str(opt.state_dict()) == str(before)


def test_a_state_of_another_shape_is_refused():
    _, opt = trained()
    saved = copy.deepcopy(opt.state_dict())
    saved["state"][2]["grad_avg"] = torch.zeros(7)
    with pytest.raises(
        optim.StateMismatchError, match=r"'grad_avg' of '1.weight' has shape \(7,\)"
    ):
        opt.load_state_dict(saved)
    saved = copy.deepcopy(opt.state_dict())
    saved["state"][2]["momentum_buffer"] = torch.zeros(1, 3)
    with pytest.raises(optim.StateMismatchError, match="no rule keeps the 'momentum_buffer'"):
        opt.load_state_dict(saved)


def test_state_stays_in_float32_when_a_half_precision_model_loads_it():
    model = model_of(2, 3).to(torch.bfloat16)
    opt = optim.Adam(model.named_parameters(), lr=0.1)
    one_step(opt)
    again = optim.Adam(model.named_parameters(), lr=0.1)
    again.load_state_dict(opt.state_dict())
    assert again.state[model[0].weight]["sqr_avg"].dtype == torch.float32


# -- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.Lamb], ids=lambda f: f.__name__)
def test_sparse_gradients_step_like_dense_ones(make):
    results = []
    for sparse in (False, True):
        torch.manual_seed(0)
        table = nn.Embedding(10, 3, sparse=sparse)
        opt = make(table.parameters(), lr=0.1)
        for _ in range(3):
            opt.zero_grad()
            table(torch.tensor([1, 1, 4])).pow(2).sum().backward()
            opt.step()
        results.append(table.weight.detach())
    torch.testing.assert_close(*results)


def test_a_parameter_that_changes_dtype_or_memory_is_followed():
    model = model_of(3, 2)
    opt = optim.Adam(model.parameters(), lr=0.1)
    one_step(opt)
    model[0].weight.data = model[0].weight.data.clone()
    before = model[0].weight.detach().clone()
    one_step(opt)
    assert not torch.equal(model[0].weight, before)
    model.double()
    one_step(opt)
    assert model[0].weight.dtype == torch.float64
    assert model[0].weight.isfinite().all()


@pytest.mark.parametrize("engine", ["auto", "loop", "foreach", "compiled"])
def test_states_that_are_replaced_are_followed(engine):
    model = model_of(3, 2)
    opt = optim.Adam(model.parameters(), lr=0.1)
    opt.engine = engine
    one_step(opt)
    for parameter, state in list(opt.state.items()):
        opt.state[parameter] = {
            k: torch.zeros_like(v) if isinstance(v, torch.Tensor) else 0 for k, v in state.items()
        }
    one_step(opt)
    fresh = model_of(3, 2)
    other = optim.Adam(fresh.parameters(), lr=0.1)
    one_step(other)
    for mine, its in zip(model.parameters(), fresh.parameters(), strict=True):
        for key, value in other.state[its].items():
            torch.testing.assert_close(opt.state[mine][key], value)


def test_an_expanded_gradient_is_spread_out():
    for engine in ("loop", "foreach", "compiled", "fused"):
        weight = nn.Parameter(torch.ones(3, 4))
        opt = optim.Adam([weight], lr=0.1, wd=0.0)
        opt.engine = engine
        weight.grad = torch.ones(()).expand(3, 4)
        opt.step()
        torch.testing.assert_close(weight.detach(), torch.full((3, 4), 0.9), rtol=0, atol=1e-4)


def test_closures_are_run_with_gradients():
    model = model_of(2, 1)
    opt = optim.SGD(model.parameters(), lr=0.1)
    x = torch.ones(4, 2)

    def closure():
        opt.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        return loss

    losses = [opt.step(closure).item() for _ in range(5)]
    assert losses == sorted(losses, reverse=True)


def test_an_error_in_a_rule_leaves_state_and_parameters(monkeypatch):
    weight = nn.Parameter(torch.ones(2))
    opt = optim.Adam([weight], lr=0.1)
    one_step(opt)
    before, state = weight.detach().clone(), copy.deepcopy(opt.state_dict())
    opt.param_groups[0]["mom"] = float("inf")
    with pytest.raises(optim.HyperError, match="mom=inf"):
        opt.step()
    assert torch.equal(weight, before)
    assert str(opt.state_dict()["state"]) == str(state["state"])
