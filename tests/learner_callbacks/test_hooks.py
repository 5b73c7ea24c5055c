"""Hooks on modules and in fits; looking at shapes changes nothing."""

import random

import pytest
import torch
from support.learners import line_learner
from torch import nn
from torte.learner.hooks import (
    Hook,
    HookCallback,
    Hooks,
    dummy_eval,
    hook_output,
    hook_outputs,
    model_sizes,
    num_features_model,
)


def hooks_on(model):
    return sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules())


def test_a_hook_stores_what_its_function_returns():
    layer, x = nn.Linear(3, 4), torch.randn(2, 3)
    with Hook(layer, lambda m, i, o: (m, i[0], o)) as hook:
        assert hook.stored is None
        y = layer(x)
        module, inp, out = hook.stored
    assert module is layer
    assert torch.equal(inp, x)
    assert torch.equal(out, y)
    assert not out.requires_grad
    assert hooks_on(layer) == 0


def test_hooks_can_keep_the_graph_and_gather():
    layer, x = nn.Linear(3, 4), torch.randn(2, 3)
    with Hook(layer, lambda m, i, o: o, detach=False, gather=True) as hook:
        layer(x), layer(2 * x)
        assert [o.requires_grad for o in hook.stored] == [True, True]
        hook.reset()
        assert hook.stored == []
    hook.remove()


def test_hooks_see_into_structures():
    lstm = nn.LSTM(3, 4)
    with hook_output(lstm) as hook:
        lstm(torch.randn(5, 2, 3))
        out, (h, c) = hook.stored
    assert not any(t.requires_grad for t in (out, h, c))
    assert out.shape == (5, 2, 4)


def test_backward_hooks_store_gradients():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with hook_output(model[0], grad=True) as hook, hook_outputs(model, grad=True) as hooks:
        out = model(torch.randn(5, 3))
        out.pow(2).sum().backward()
        expected = 2 * out.detach() @ model[1].weight
    (gradient,) = hook.stored
    torch.testing.assert_close(gradient, expected.detach())
    assert [g.shape for (g,) in hooks.stored] == [(5, 4), (5, 2)]
    assert not gradient.requires_grad


def test_hooks_come_off_after_an_exception():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())

    def fails(m, i, o):
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), Hooks(model, fails):
        model(torch.randn(1, 3))
    assert hooks_on(model) == 0


def test_hooks_behave_like_a_list():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with hook_outputs(model) as hooks:
        model(torch.randn(2, 3))
        assert len(hooks) == 2
        assert hooks[1].stored is list(hooks)[1].stored
        hooks.reset()
        assert hooks.stored == [None, None]


def conv_model():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Dropout(), nn.Conv2d(8, 16, 3, 2, 1)
    )


def test_sizes_are_found_and_nothing_changes():
    model = conv_model().train()
    model[2].eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    generators = torch.get_rng_state(), random.getstate()
    assert model_sizes(model, (32, 16))[-1] == (1, 16, 8, 4)
    assert len(model_sizes(model)) == 4
    assert dummy_eval(model).shape == (1, 16, 16, 16)
    assert num_features_model(model) == 16
    assert [m.training for m in model] == [True, True, False, True]
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert hooks_on(model) == 0


def test_looking_restores_modes_when_the_model_fails():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(99, 2)).train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model_sizes(model)
    assert all(m.training for m in model.modules())
    assert torch.is_grad_enabled()
    assert hooks_on(model) == 0


def test_deep_models_get_larger_images_for_counting_features():
    deep = nn.Sequential(*[nn.Conv2d(3 if i == 0 else 4, 4, 3, 2) for i in range(6)])
    assert num_features_model(deep) == 4


class Means(HookCallback):
    def before_fit(self):
        super().before_fit()
        self.means = []

    def hook(self, m, i, o):
        return o.mean()

    def after_batch(self):
        self.means.append(None if self.hooks is None else self.hooks.stored)
        super().after_batch()


def test_hook_callbacks_hook_layers_with_parameters_in_training():
    cb = Means()
    model = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1))
    learn = line_learner(cb, model=model)
    learn.fit(2)
    assert len(cb.means) == 10
    assert [len(row) for row in cb.means] == [2] * 10
    assert hooks_on(model) == 0


def test_hook_callbacks_can_hook_some_batches_and_chosen_modules():
    model = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1))
    seen = []
    cb = HookCallback(modules=[model[1]], every=2, hook=lambda m, i, o: seen.append(m))
    line_learner(cb, model=model).fit(1)
    assert seen == [model[1]] * 3
    assert hooks_on(model) == 0


def test_hook_callbacks_come_off_after_an_exception():
    model = nn.Sequential(nn.Linear(1, 1))
    learn = line_learner(HookCallback(), model=model)
    with pytest.raises(NotImplementedError, match=r"HookCallback must write hook\(self"):
        learn.fit(1)
    assert hooks_on(model) == 0
    kept = HookCallback(hook=lambda m, i, o: None, remove_end=False)
    learn = line_learner(kept, model=model)
    learn.fit(1)
    assert hooks_on(model) == 1
    kept.hooks.remove()
    assert hooks_on(model) == 0
