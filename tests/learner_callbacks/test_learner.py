import pytest
import torch
from support.learners import line_batches, line_learner
from torch import nn
from torch.nn import functional as F
from torte.data import (
    Categorize,
    DataLoader,
    DataLoaders,
    Datasets,
    MultiCategorize,
    OneHotEncode,
    RegressionSetup,
)
from torte.learner import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    CudaCallback,
    Learner,
    MSELossFlat,
    SkipToEpoch,
    bn_bias_params,
    trainable_params,
)
from torte.learner.callbacks.training_mode import TrainEvalCallback
from torte.optim import SGD, Adam


def deep_model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.LayerNorm(4)), nn.Linear(4, 1)
    )


def by_child(model):
    return [list(child.parameters()) for child in model.children()]


def required(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


NORM = {"0.1.weight", "0.1.bias"}
LAST = {"1.weight", "1.bias"}


@pytest.mark.parametrize("opt_func", [Adam, SGD, torch.optim.SGD])
def test_freezing_never_freezes_batch_norm(opt_func):
    learn = line_learner(model=deep_model(), splitter=by_child, opt_func=opt_func)
    learn.freeze()
    assert required(learn.model) == NORM | LAST
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    learn.fit(1)
    moved = {k for k, v in learn.model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved >= {*LAST, *NORM, "0.1.running_mean", "0.1.running_var"}
    assert not moved & {"0.0.weight", "0.0.bias", "0.2.weight", "0.2.bias"}
    learn.unfreeze()
    assert required(learn.model) == set(dict(learn.model.named_parameters()))


def test_batch_norm_is_frozen_too_if_asked_for():
    learn = line_learner(model=deep_model(), splitter=by_child, train_bn=False)
    learn.freeze_to(1)
    assert required(learn.model) == LAST


def test_weight_decay_spares_norms_and_biases():
    for spare in (True, False):
        learn = line_learner(
            model=deep_model(), opt_func=SGD, wd=10.0, wd_bn_bias=not spare, loss_func=None, lr=0.01
        )
        learn.loss_func = lambda pred, y: pred.sum() * 0
        learn.model[0][1].weight.data += 1
        before = {k: v.clone() for k, v in learn.model.named_parameters()}
        learn.fit(1)
        moved = {k for k, v in learn.model.named_parameters() if not torch.equal(v, before[k])}
        weights = {"0.0.weight", "1.weight"}
        assert (moved == weights) if spare else (moved > weights)


def test_parameters_by_kind():
    model = deep_model()
    names = {p: n for n, p in model.named_parameters()}
    assert {names[p] for p in bn_bias_params(model)} == {
        *NORM, "0.0.bias", "0.2.weight", "0.2.bias", "1.bias",
    }  # fmt: skip
    assert {names[p] for p in bn_bias_params(model, with_bias=False)} == NORM
    model[1].weight.requires_grad_(False)
    assert "1.weight" not in {names[p] for p in trainable_params(model)}


def test_optimizers_know_parameters_by_the_models_names():
    learn = line_learner(model=deep_model(), splitter=by_child)
    learn.create_opt()
    assert set(learn.opt.names) == set(dict(learn.model.named_parameters()))
    assert len(learn.opt.param_lists) == 2


@pytest.mark.parametrize(
    "splitter",
    [
        lambda m: list(m.children()),
        nn.Module.parameters,
        lambda m: [m[0].parameters(), m[1].parameters()],
    ],
)
def test_forms_of_splitters(splitter):
    learn = line_learner(model=deep_model(), splitter=splitter)
    learn.fit(1)
    assert sum(map(len, learn.opt.param_lists)) == len(list(learn.model.parameters()))


@pytest.mark.parametrize(
    "opt_func",
    [
        torch.optim.AdamW,
        lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=0.5),
        lambda params, lr: Adam(params, lr=lr, wd=0.3),
    ],
)
def test_forms_of_optimizers(opt_func):
    learn = line_learner(opt_func=opt_func)
    learn.fit_one_cycle(1, 0.01)
    learn.lr_find(show_plot=False)
    assert learn.recorder.lrs[0] != learn.recorder.lrs[1]


def test_learning_rates():
    learn = line_learner(model=deep_model(), splitter=by_child, lr=slice(1e-3, 1e-1))
    learn.fit(1)
    assert [h["lr"] for h in learn.opt.hypers] == pytest.approx([1e-3, 1e-1])
    learn.fit(1, [0.5, 0.25])
    assert [h["lr"] for h in learn.opt.hypers] == [0.5, 0.25]


def test_the_optimizer_is_kept_from_fit_to_fit_unless_reset():
    learn = line_learner(opt_func=Adam)
    learn.fit(1)
    first = learn.opt
    learn.fit_one_cycle(1)
    assert learn.opt is first
    learn.fit_one_cycle(1, reset_opt=True)
    assert learn.opt is not first


def test_weight_decay_of_learner_and_fit():
    learn = line_learner(wd=0.2)
    learn.fit(1)
    assert learn.opt.hypers[0]["wd"] == 0.2
    learn.fit(1, wd=0.4)
    assert learn.opt.hypers[0]["wd"] == 0.4


def test_fine_tune():
    frozen = []

    class Notes(TrainEvalCallback):
        order = -9

        def before_train(self):
            frozen.append(required(self.learn.model) == NORM | LAST)

        def after_batch(self):
            pass

        def before_validate(self):
            pass

    learn = line_learner(Notes(), model=deep_model(), splitter=by_child)
    learn.fine_tune(2, 1e-2, freeze_epochs=2)
    assert frozen == [True, True, False, False]
    peaks = learn.opt.hypers
    assert max(learn.recorder.lrs) == pytest.approx(5e-3, rel=0.05)
    assert peaks[1]["lr"] / peaks[0]["lr"] == pytest.approx(100)
    assert len(learn.recorder.lrs) == 10


# -- data -----------------------------------------------------------------------------------------


def test_forms_of_loaders():
    train, valid = line_batches(3), line_batches(2)
    for dls in (
        (train, valid),
        DataLoaders(train, valid, device="cpu"),
        (torch.utils.data.DataLoader(list(zip(*map(torch.cat, zip(*train, strict=True)),
                                              strict=True)), batch_size=8), valid),
        (DataLoader(list(zip(*map(torch.cat, zip(*train, strict=True)), strict=True)), bs=8),
         valid),
    ):  # fmt: skip
        learn = line_learner(dls=dls)
        learn.fit(1)
        assert len(learn.recorder.losses) == 3
        assert learn.recorder.values[0][1] is not None
    with pytest.raises(TypeError, match="loader must be an iterable of batches, got int"):
        Learner(3, nn.Linear(1, 1))


def datasets_of(*target):
    items = [{"x": float(i), "y": "ab"[i % 2]} for i in range(8)]
    return Datasets(
        items, [[lambda o: torch.tensor([o["x"]])], list(target)], splits=[range(6), [6, 7]]
    ).dataloaders(bs=2, device="cpu")


@pytest.mark.parametrize(
    ("target", "loss"),
    [
        ([lambda o: o["y"], Categorize()], CrossEntropyLossFlat),
        ([lambda o: [o["y"]], MultiCategorize(), OneHotEncode()], BCEWithLogitsLossFlat),
        ([lambda o: o["x"], RegressionSetup()], MSELossFlat),
    ],
)
def test_the_loss_is_taken_from_the_data(target, loss):
    dls, model = datasets_of(*target), nn.Linear(1, 1 if loss is MSELossFlat else 2)
    before = torch.get_rng_state()
    learn = Learner(dls, model)
    assert type(learn.loss_func) is loss
    assert torch.equal(before, torch.get_rng_state())
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)


def test_a_loss_that_the_data_supply_comes_first():
    dls = datasets_of(lambda o: o["y"], Categorize())
    dls.train_ds.loss_func = F.mse_loss
    assert Learner(dls, nn.Linear(1, 2)).loss_func is F.mse_loss


def test_paths():
    learn = line_learner()
    assert str(learn.path) == "."
    dls = DataLoaders(line_batches(1), path="somewhere", device="cpu")
    assert str(Learner(dls, nn.Linear(1, 1)).path) == "somewhere"
    assert str(Learner(dls, nn.Linear(1, 1), path="here").path) == "here"


def test_attributes_of_the_model_and_missing_ones():
    learn = line_learner()
    assert learn.in_features == 1
    with pytest.raises(AttributeError, match="neither Learner nor its model Linear has 'nonsense'"):
        _ = learn.nonsense
    with pytest.raises(AttributeError, match="Learner has no attribute '_nonsense'"):
        _ = learn._nonsense


def test_the_training_loop_is_shown(capsys):
    line_learner().show_training_loop()
    lines = capsys.readouterr().out.splitlines()
    assert "before_fit            TrainEvalCallback, Recorder" in lines[0]
    assert [len(line) - len(line.lstrip()) for line in lines[:4]] == [0, 3, 6, 9]
    assert lines[-1].strip().startswith("after_fit")


def test_skipping_epochs():
    learn = line_learner(SkipToEpoch(2))
    learn.fit_one_cycle(3, 0.1)
    whole = line_learner()
    whole.fit_one_cycle(3, 0.1)
    assert learn.recorder.lrs == whole.recorder.lrs[10:]


def test_cuda_callback_moves_to_where_it_is_told():
    learn = line_learner(CudaCallback("cpu"))
    learn.fit(1)
    assert next(learn.model.parameters()).device.type == "cpu"
    assert learn.to("cpu") is learn


def test_a_model_with_memory_is_reset_before_each_fit():
    class Remembers(nn.Linear):
        resets = 0

        def reset(self):
            self.resets += 1

    learn = line_learner(model=Remembers(1, 1))
    learn.fit(2)
    assert learn.model.resets == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_training_step_never_waits_for_the_gpu():
    batches = [(x.cuda(), y.cuda()) for x, y in line_batches(20)]
    learn = line_learner(dls=DataLoaders(batches, device="cuda"))
    learn.fit(1)
    learn.loss_func(learn.model(batches[0][0]), batches[0][1])
    learn.create_opt()
    learn._use(learn.dls.train)
    learn("before_fit")
    learn("before_epoch")
    learn("before_train")
    learn.one_batch(0, batches[0])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number, batch in enumerate(batches):
            learn.one_batch(number, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_an_optimizer_that_is_made_already_is_refused_with_the_remedy():
    made = torch.optim.AdamW(nn.Linear(1, 1).parameters())
    with pytest.raises(TypeError, match=r"AdamW cannot be called: .*opt_func=torch\.optim\.AdamW"):
        line_learner(opt_func=made).fit(1)


def test_a_fit_of_no_epochs_trains_nothing():
    learn = line_learner()
    before = [p.clone() for p in learn.model.parameters()]
    learn.fit(0)
    learn.fit_one_cycle(0)
    assert all(map(torch.equal, before, learn.model.parameters()))
    learn.fine_tune(1, freeze_epochs=0)
    assert not all(map(torch.equal, before, learn.model.parameters()))
