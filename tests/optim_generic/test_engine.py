"""The engines agree, and the default picks one that can do the work."""

import copy
import functools
import warnings

import pytest
import torch
from support.optimizers import OPTIMIZERS
from torch import nn
from torte import optim
from torte.optim import compiler, kernels
from torte.optim.dynamo import DynamoPlan
from torte.optim.foreach import ForeachPlan
from torte.optim.fused import FusedPlan
from torte.optim.kernels import KernelPlan
from torte.optim.loop import LoopPlan

SHAPES = ((70, 300), (300,), (), (1,), (8, 4, 3, 3), (17,), (70, 300))
# Rounding: parameters in bfloat16 are rounded once a step.
TOLERANCE = {
    torch.float32: {"rtol": 1e-4, "atol": 2e-6},
    torch.float64: {"rtol": 1e-10, "atol": 1e-12},
    torch.bfloat16: {"rtol": 2e-2, "atol": 1e-2},
}


def steps(make, engine, dtype, count=8, prepare=None):
    generator = torch.Generator().manual_seed(3)
    parameters = [
        nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES
    ]
    opt = make(parameters)
    opt.engine = engine
    if prepare:
        prepare(opt, parameters)
    for _ in range(count):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(dtype)
        opt.step()
    return [parameter.detach() for parameter in parameters], opt


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_engines_agree(name, dtype):
    make = OPTIMIZERS[name]
    expected, reference = steps(make, "loop", dtype)
    # Means of rows are no operation of recorded programs: the loop runs them.
    engines = ["auto"] if name == "RowwiseAdagrad" else ["foreach", "compiled", "auto"]
    if name in ("SGD", "SGD momentum", "SGD nesterov", "Adam", "Adam l2"):
        engines += ["fused"] if dtype is not torch.bfloat16 else []
    for engine in engines:
        found, opt = steps(make, engine, dtype)
        # Newton-Schulz iterates in bfloat16, and a batch of products is rounded in another order.
        tolerance = TOLERANCE[torch.bfloat16 if name == "Muon" else dtype]
        torch.testing.assert_close(found, expected, **tolerance)
        for kept, other in zip(opt.state.values(), reference.state.values(), strict=True):
            assert set(kept) == set(other)
            tensors = [k for k, v in kept.items() if isinstance(v, torch.Tensor)]
            assert all(kept[k].dtype == other[k].dtype for k in tensors)
            assert {k: v for k, v in kept.items() if k not in tensors} == {
                k: v for k, v in other.items() if k not in tensors
            }


# One of each kind: elementwise, with norms, with several paths, with state of its own.
@pytest.mark.parametrize("name", ["Adan", "Lamb", "Larc", "ranger"])
def test_torch_compile_of_one_parameter_agrees_and_never_recompiles(name, monkeypatch):
    # The path that accelerators take, traced by Dynamo and run by its eager backend.
    make = OPTIMIZERS[name]
    plan = functools.partial(DynamoPlan, backend="eager")
    monkeypatch.setattr("torte.optim.engine.KernelPlan", plan)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    expected, _ = steps(make, "loop", torch.float32)
    found, opt = steps(make, "compiled", torch.float32)
    torch.testing.assert_close(found, expected, **TOLERANCE[torch.float32])
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for step in range(5):
        opt.set_hyper("lr", 0.001 * (step + 1))
        for group in opt.param_lists:
            for parameter in group:
                parameter.grad = torch.ones_like(parameter)
        opt.step()
    if "anger" not in name:  # Lookahead takes another path every k steps
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled


def sign_step(p, lr, mom, grad_avg):
    p.sub_(lr * grad_avg.sign())


def plan_of(opt):
    for parameter in opt.names.values():
        parameter.grad = torch.ones_like(parameter)
    opt.step()
    return opt._cohorts[0].plan


def big():
    return [nn.Parameter(torch.randn(300, 300))]


def test_default_takes_the_fused_kernel_where_the_composition_is_one():
    assert isinstance(plan_of(optim.Adam(big(), 0.1)), FusedPlan)
    assert isinstance(plan_of(optim.SGD(big(), 0.1, mom=0.9)), FusedPlan)
    made_by_hand = optim.Optimizer(
        big(),
        optim.adam.ADAM_STATS,
        [optim.weight_decay, optim.adam_step],
        lr=0.1, mom=0.9, sqr_mom=0.99, eps=1e-5, wd=0.1,
    )  # fmt: skip
    assert isinstance(plan_of(made_by_hand), FusedPlan)
    # The same name is not the same composition.
    undamped = optim.Optimizer(
        big(),
        [optim.average_grad, optim.average_sqr_grad, optim.step_stat],
        [optim.weight_decay, optim.adam_step],
        lr=0.1, mom=0.9, sqr_mom=0.99, eps=1e-5, wd=0.1,
    )  # fmt: skip
    assert not isinstance(plan_of(undamped), FusedPlan)


def test_default_compiles_large_cohorts_and_small_ones_after_a_while():
    assert isinstance(plan_of(optim.Lamb(big(), 0.1)), KernelPlan)
    assert plan_of(optim.Lamb(big(), 0.1))._patience == 0
    assert plan_of(optim.Lamb([nn.Parameter(torch.randn(3))], 0.1))._patience > 0


def test_matrices_of_one_shape_are_orthogonalized_together(monkeypatch):
    sizes = []
    whole = optim.orthogonal.orthogonalize

    def seen(matrix, *args):
        sizes.append(tuple(matrix.shape))
        return whole(matrix, *args)

    shapes = [(6, 4), (5,), (6, 4), (4, 6), (6, 2, 2)]
    opt = optim.Muon([nn.Parameter(torch.randn(shape)) for shape in shapes])
    monkeypatch.setattr("torte.optim.orthogonal.orthogonalize", seen)
    plan_of(opt)
    assert sorted(sizes) == [(3, 6, 4), (4, 6)]
    kinds = {cohort.flags["is_matrix"]: type(cohort.plan) for cohort in opt._cohorts}
    assert kinds[True] is ForeachPlan
    assert [set(opt.state[p]) for p in opt.param_lists[0]] == [
        {"grad_avg", "step"} | ({"sqr_avg"} if len(shape) == 1 else set()) for shape in shapes
    ]


def test_default_does_without_a_compiler(monkeypatch):
    monkeypatch.setattr("torte.optim.engine.compiler", lambda: None)
    assert type(plan_of(optim.Lamb(big(), 0.1))) is ForeachPlan


def test_a_compiler_that_fails_is_replaced_with_a_warning(monkeypatch):
    def refuse(source):
        raise compiler.CompilationError("no")

    monkeypatch.setattr(kernels, "load_kernel", refuse)
    start = torch.randn(300, 300)
    points = []
    for engine in ("auto", "loop"):
        parameter = nn.Parameter(start.clone())
        parameter.grad = torch.ones_like(parameter)
        opt = OPTIMIZERS["Lamb"]([parameter])
        opt.engine = engine
        if engine == "auto":
            with pytest.warns(UserWarning, match="without a compiled kernel: no"):
                opt.step()
        else:
            opt.step()
        points.append(parameter.detach())
    torch.testing.assert_close(*points)
    with pytest.raises(optim.EngineError, match="the compiled engine cannot run here: no"):
        steps(OPTIMIZERS["Lamb"], "compiled", torch.float32)


def test_a_source_that_does_not_compile_says_what_the_compiler_said():
    with pytest.raises(compiler.CompilationError, match="refused a kernel"):
        compiler.load_kernel("void run( {")


def test_a_forced_fused_engine_names_what_it_cannot_fuse():
    opt = optim.Optimizer(big(), optim.average_grad, sign_step, lr=0.1, mom=0.9, engine="fused")
    with pytest.raises(optim.EngineError, match=r"'average_grad', 'sign_step'.*torch.float32"):
        plan_of(opt)


def test_engine_names_are_checked():
    with pytest.raises(optim.EngineError, match="'warp'"):
        optim.Optimizer(big(), steppers=optim.sgd_step, lr=0.1, engine="warp")


def looks_at_elements(p, lr):
    if p.grad.norm() > 1:
        p.sub_(lr * p.grad / p.grad.norm())
    else:
        p.sub_(lr * p.grad)


def looks_at_shape(p, lr):
    p.sub_(lr * p.grad / p.shape[-1])


def looks_at_single_elements(p, lr):
    p[..., 0] -= lr * p.grad[..., 0]


@pytest.mark.parametrize("rule", [looks_at_elements, looks_at_shape, looks_at_single_elements])
def test_rules_that_cannot_be_recorded_run_parameter_by_parameter(rule):
    parameters = [nn.Parameter(torch.ones(300, 300)), nn.Parameter(torch.ones(4))]
    opt = optim.Optimizer(parameters, steppers=rule, lr=0.1)
    expected = []
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 0.2)
        twin = parameter.detach().clone()
        twin.grad = parameter.grad.clone()
        rule(twin, 0.1)
        expected.append(twin)
    opt.step()
    assert isinstance(opt._cohorts[0].plan, LoopPlan)
    torch.testing.assert_close([p.detach() for p in parameters], expected)


def turns_to_shape(p, lr, step):
    p.sub_(lr * (p.grad if step < 3 else p.grad / p.shape[0]))


def test_rules_that_turn_unrecordable_midway_go_on():
    def make(p):
        return optim.Optimizer(p, optim.step_stat, turns_to_shape, lr=0.1)

    shapes = [nn.Parameter(torch.ones(30, 20)), nn.Parameter(torch.ones(4))]
    results = []
    for engine in ("loop", "compiled"):
        parameters = copy.deepcopy(shapes)
        opt = make(parameters)
        opt.engine = engine
        for _ in range(5):
            for parameter in parameters:
                parameter.grad = torch.ones_like(parameter)
            opt.step()
        results.append([p.detach() for p in parameters])
    torch.testing.assert_close(*results)


def test_gradients_of_the_user_stay_as_they_are():
    def spoils(p, lr, wd):
        p.grad.add_(p, alpha=wd)
        p.grad.clamp_(-1, 1)
        p.sub_(lr * p.grad)

    results = []
    for engine in ("loop", "foreach", "compiled"):
        parameter = nn.Parameter(torch.linspace(-2, 2, 40).reshape(10, 4))
        opt = optim.Optimizer([parameter], steppers=spoils, lr=0.1, wd=0.5, engine=engine)
        for _ in range(3):
            gradient = parameter.detach().cos() * 2
            parameter.grad = gradient.clone()
            opt.step()
            assert torch.equal(parameter.grad, gradient)
        results.append(parameter.detach())
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(results[2], results[0])


def every_operation(p, lr, a=None, b=None):
    g = p.grad
    a = torch.zeros_like(p) if a is None else a
    b = torch.ones_like(p) if b is None else b
    a.mul_(0.5).add_(g, alpha=2).sub_(p, alpha=0.1)
    b.copy_(torch.where(g > 0, b, -b) * 0.9 + (1 - g) / 4)
    small = torch.minimum(g.abs(), torch.maximum(a.abs(), p.abs() + 0.1))
    waves = small.exp().log() + small.tanh() * small.sigmoid() - (-small).square()
    powers = (small + 1) ** 2 + (small + 1).pow(0.5) + (small + 1) ** -1 + (small + 1) ** 1.7
    powers = powers + 2**small + (small + 1).rsqrt() + (small + 1).reciprocal()
    masks = ((g >= 0) & (p < 1)) | ~(a <= b)
    rest = torch.clamp(g, -0.3, 0.4) + g.clip(min=-0.2) + torch.addcmul(a, g, p, value=0.1)
    rest = rest.addcdiv(g, small + 1, value=0.2).lerp(p, 0.3).lerp_(a, b.sigmoid())
    layer = p.norm() / (g.sum().abs() + g.mean().abs() + 1) + torch.linalg.vector_norm(g)
    update = waves + powers * masks + rest * layer + (g == 0) + (p != 0)
    p.sub_(lr * update / (1 + update.abs()))
    return {"a": a, "b": b, "size": layer}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_all_operations_mean_the_same_in_all_engines(dtype):
    def make(parameters):
        return optim.Optimizer(parameters, steppers=every_operation, lr=0.1)

    expected, _ = steps(make, "loop", dtype, 3)
    plans = ("foreach", "compiled")
    for engine in plans:
        found, opt = steps(make, engine, dtype, 3)
        torch.testing.assert_close(found, expected, **TOLERANCE[dtype])
        assert all(state["size"].dim() == 0 for state in opt.state.values())


def test_per_layer_statistics_are_kept_for_each_parameter():
    def layer_step(p, lr, param_norm, grad_norm):
        p.sub_(lr * p.grad * (param_norm / grad_norm))

    for engine in ("loop", "foreach", "compiled"):
        parameters = [nn.Parameter(torch.full((200, 200), 2.0)), nn.Parameter(torch.ones(4))]
        opt = optim.Optimizer(parameters, optim.grad_norm_stat, layer_step, lr=0.5, engine=engine)
        for _ in range(2):
            before = [p.detach().clone() for p in parameters]
            for parameter in parameters:
                parameter.grad = torch.full_like(parameter, 3.0)
            opt.step()
        for parameter, old in zip(parameters, before, strict=True):
            assert opt.state[parameter]["param_norm"].item() == pytest.approx(old.norm().item())
            torch.testing.assert_close(
                parameter.detach(), old - 0.5 * old.norm() / old.numel() ** 0.5
            )


def clipped_step(p, lr, max_norm, model_grad_sqr):
    norm = model_grad_sqr.sqrt()
    p.sub_(lr * p.grad * torch.where(norm > max_norm, max_norm / norm, 1.0))


@pytest.mark.parametrize("engine", ["auto", "loop", "foreach", "compiled"])
def test_whole_model_statistics_span_groups_and_dtypes(engine):
    shapes = [(300, 200), (7,), (3, 3)]
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(s, generator=generator)) for s in shapes]
    parameters[2].data = parameters[2].data.double()
    opt = optim.Optimizer(
        [parameters[:1], parameters[1:]],
        optim.whole_model_norms,
        clipped_step,
        lr=[0.1, 0.2],
        max_norm=1.0,
        engine=engine,
    )
    for _ in range(2):
        gradients = [torch.randn(p.shape, generator=generator).to(p) for p in parameters]
        total = sum(g.double().pow(2).sum() for g in gradients) ** 0.5
        expected = [
            p.detach() - lr * g / total.item()
            for p, g, lr in zip(parameters, gradients, (0.1, 0.2, 0.2), strict=True)
        ]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        opt.step()
        torch.testing.assert_close([p.detach() for p in parameters], expected)
        assert all("model_grad_sqr" not in state for state in opt.state.values())


def test_stepping_invalidates_graphs_that_saved_the_parameter():
    for engine in ("foreach", "compiled", "fused"):
        parameter = nn.Parameter(torch.ones(200, 200))
        opt = optim.Adam([parameter], 0.1)
        opt.engine = engine
        loss = parameter.pow(2).sum()
        parameter.grad = torch.ones_like(parameter)
        opt.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_threads_do_not_change_a_bit():
    def run(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return steps(OPTIMIZERS["Lamb"], "compiled", torch.float32)[0]
        finally:
            torch.set_num_threads(before)

    assert all(map(torch.equal, run(1), run(2)))
