"""`learn.compile()`, and activations that are computed again."""

import copy

import pytest
import torch
from support.learners import line_learner
from torch import nn
from torte import learner as torte_learner
from torte.learner import (
    ActivationCheckpoints,
    Callback,
    CrossEntropyLossFlat,
    Learner,
    hook_output,
    is_compiled,
)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)),
    )


def picture_learner(tmp_path, model=None, rows=(4, 4, 2), **kwargs):
    generator = torch.Generator().manual_seed(1)
    batches = [(torch.randn(n, 1, 4, 4, generator=generator), torch.arange(n) % 3) for n in rows]
    return Learner((batches, batches), model or net(), loss_func=CrossEntropyLossFlat(),
                   path=tmp_path, **kwargs)  # fmt: skip


def fitted(learn, epochs=2):
    torch.manual_seed(3)
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, 1e-2)
    return learn


def assert_equal_states(one, other, **tolerance):
    mine, theirs = one.model.state_dict(), other.model.state_dict()
    assert list(mine) == list(theirs)
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], msg=name, **tolerance)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_fit_has_the_same_numbers_and_names(tmp_path, backend):
    plain = fitted(picture_learner(tmp_path))
    compiled = picture_learner(tmp_path)
    assert compiled.compile(backend=backend, fullgraph=True) is compiled
    assert is_compiled(compiled.model)
    fitted(compiled)
    assert_equal_states(plain, compiled)
    compiled.save("compiled")
    assert_equal_states(picture_learner(tmp_path).load("compiled"), compiled)
    plain.save("plain")
    assert_equal_states(plain, picture_learner(tmp_path).compile(backend=backend).load("plain"))
    assert not is_compiled(compiled.uncompile().model)


def test_inductor_compiles_and_predicts_the_same(tmp_path):
    plain, compiled = picture_learner(tmp_path), picture_learner(tmp_path).compile()
    torch.testing.assert_close(compiled.get_preds()[0], plain.get_preds()[0])


def test_short_batches_do_not_compile_for_ever(tmp_path):
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward

    learn = picture_learner(tmp_path, rows=(8, 8, 7, 6, 5, 4, 3))
    fitted(learn.compile(backend=counting), 3)
    assert 2 <= len(graphs) <= 4  # training and validation, each at most for one size and for all


def test_freezing_hooks_summary_and_search_go_on(tmp_path):
    learn = picture_learner(tmp_path, splitter=lambda m: [list(p.parameters()) for p in m])
    learn.compile(backend="eager")
    learn.get_preds()
    learn.freeze()
    frozen = learn.model[0][0].weight.detach().clone()
    fitted(learn, 1)
    assert torch.equal(frozen, learn.model[0][0].weight)
    learn.unfreeze()
    fitted(learn, 1)
    assert not torch.equal(frozen, learn.model[0][0].weight)
    with hook_output(learn.model[0]) as hook:
        learn.get_preds()
        assert hook.stored.shape[1:] == (4, 4, 4)
    assert "Conv2d" in str(learn.summary())
    learn.lr_find(show_plot=False, num_it=3)


def test_a_compiled_model_is_exported_as_any_other(tmp_path):
    from torte.learner import load_learner

    learn = picture_learner(tmp_path)
    item = torch.randn(1, 4, 4)
    wanted = learn.predict(item)[2]
    loaded = load_learner(learn.compile(backend="eager").export())
    torch.testing.assert_close(loaded.predict(item)[2], wanted)


LAYERS = {
    "ConvLayer": lambda t: (t.ConvLayer(4, 8, norm_type=t.NormType.Batch), (2, 4, 8, 8)),
    "ConvLayer transpose": lambda t: (t.ConvLayer(4, 8, transpose=True), (2, 4, 8, 8)),
    "ResBlock": lambda t: (t.ResBlock(1, 4, 8, stride=2), (2, 4, 8, 8)),
    "SEBlock": lambda t: (t.SEBlock(1, 8, 8, reduction=2), (2, 8, 8, 8)),
    "SelfAttention": lambda t: (t.SelfAttention(8), (2, 8, 4, 4)),
    "PooledSelfAttention2d": lambda t: (t.PooledSelfAttention2d(8), (2, 8, 4, 4)),
    "SimpleSelfAttention": lambda t: (t.SimpleSelfAttention(8), (2, 8, 4, 4)),
    "PixelShuffle_ICNR": lambda t: (t.PixelShuffle_ICNR(8, 4), (2, 8, 4, 4)),
    "LinBnDrop": lambda t: (t.LinBnDrop(8, 4, p=0.5, act=nn.ReLU()), (3, 8)),
    "AdaptiveConcatPool2d": lambda t: (t.AdaptiveConcatPool2d(2), (2, 4, 8, 8)),
    "PoolFlatten": lambda t: (t.PoolFlatten(), (2, 4, 8, 8)),
    "BatchNorm1dFlat": lambda t: (t.BatchNorm1dFlat(4), (2, 3, 4)),
    "SequentialEx": lambda t: (t.SequentialEx(nn.Linear(4, 4), t.MergeLayer()), (2, 4)),
    "Cat": lambda t: (t.Cat([nn.Linear(4, 4), nn.Linear(4, 2)]), (2, 4)),
    "SigmoidRange": lambda t: (t.SigmoidRange(0, 5), (2, 4)),
    "Mish": lambda t: (t.Mish(), (2, 4)),
    "Swish": lambda t: (t.Swish(), (2, 4)),
    "View": lambda t: (t.View(-1, 8), (2, 2, 4)),
    "ResizeBatch": lambda t: (t.ResizeBatch(2, 2), (3, 4)),
    "Flatten": lambda t: (t.Flatten(), (2, 2, 4)),
    "TimeDistributed": lambda t: (t.TimeDistributed(nn.Linear(4, 2)), (2, 3, 4)),
    "SimpleCNN": lambda t: (t.SimpleCNN([3, 4, 5]), (2, 3, 16, 16)),
    "ProdLayer": lambda t: (t.SequentialEx(nn.Linear(4, 4), t.ProdLayer()), (2, 4)),
    "SEResNeXtBlock": lambda t: (
        t.SEResNeXtBlock(1, 8, 8, groups=2, reduction=2, base_width=8), (2, 8, 8, 8)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_no_graph_breaks(name):
    torch.manual_seed(0)
    layer, shape = LAYERS[name](torte_learner)
    layer.eval()
    x = torch.randn(shape)
    compiled = torch.compile(copy.deepcopy(layer), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))


# -- activation checkpointing -------------------------------------------------------------------


class Gradients(Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def after_backward(self):
        self.seen.append([p.grad.clone() for p in self.learn.model.parameters()])


@pytest.mark.parametrize("layers", [None, lambda module: isinstance(module, nn.Sequential)])
def test_checkpointed_activations_have_the_same_gradients_and_statistics(tmp_path, layers):
    plain, saving = (picture_learner(tmp_path, cbs=Gradients()) for _ in range(2))
    if layers is not None:
        layers = list(saving.model)
    assert saving.checkpoint_activations(layers) is saving
    for learn in (plain, saving):
        fitted(learn)
    for mine, theirs in zip(plain.gradients.seen, saving.gradients.seen, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert torch.equal(one, other)
    assert_equal_states(plain, saving, rtol=0, atol=0)
    assert all("forward" not in vars(module) for module in saving.model.modules())


def test_activations_are_not_kept(tmp_path):
    calls = []

    class Counted(nn.Linear):
        def forward(self, input):
            calls.append(torch.is_grad_enabled())
            return super().forward(input)

    model = nn.Sequential(nn.Flatten(), Counted(16, 3))
    learn = picture_learner(tmp_path, model, rows=(2,)).checkpoint_activations()
    fitted(learn, 1)
    assert calls == [True, True, False]  # forward, again for the backward pass, validation


def test_a_model_without_such_layers_is_refused(tmp_path):
    learn = line_learner(ActivationCheckpoints(), model=nn.Linear(3, 1))
    with pytest.raises(ValueError, match=r"Linear has no layer .*give layers="):
        learn.fit(1)
