import pytest
import torch
from support.learners import EventLog, line_batches, line_learner
from torch import nn
from torch.nn import functional as F
from torte.data import DataLoader, DataLoaders
from torte.learner import (
    Callback,
    CancelBatchException,
    CrossEntropyLossFlat,
    FetchPredsCallback,
    Learner,
    MSELossFlat,
    read_saved,
)


def joined(batches):
    return tuple(torch.cat(column) for column in zip(*batches, strict=True))


def classifier(dls=None, **kwargs):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=generator)
    y = x.argmax(1)
    batches = [(x[i : i + 6], y[i : i + 6]) for i in range(0, 20, 6)]
    torch.manual_seed(0)
    return line_learner(
        model=nn.Linear(4, 4), dls=dls or (batches, batches), loss_func=CrossEntropyLossFlat(),
        **kwargs,
    ), x, y  # fmt: skip


def test_validate_returns_loss_and_metrics():
    learn = line_learner(metrics=F.l1_loss)
    x, y = joined(line_batches(2, seed=2))
    expected = [F.mse_loss(learn.model(x), y).item(), F.l1_loss(learn.model(x), y).item()]
    assert list(learn.validate()) == pytest.approx(expected, rel=1e-6)
    x, y = joined(line_batches(5))
    assert learn.validate(0)[0] == pytest.approx(F.mse_loss(learn.model(x), y).item(), rel=1e-6)
    other = line_batches(3, seed=9)
    x, y = joined(other)
    assert learn.validate(dl=other)[0] == pytest.approx(F.mse_loss(learn.model(x), y).item())


def test_validate_without_anything_to_validate():
    learn = line_learner(dls=line_batches(2))
    with pytest.raises(ValueError, match=r"no loader number 1 .*test_dl"):
        learn.validate()


def test_events_of_a_validation():
    learn = line_learner(EventLog())
    learn.event_log.clear = None
    seen = []
    learn.validate(cbs=Callback(before_fit=lambda cb: seen.append("fit"),
                                after_epoch=lambda cb: seen.append("epoch")))  # fmt: skip
    assert seen == ["fit", "epoch"]


def test_nothing_is_logged_by_a_validation():
    rows = []
    learn = line_learner()
    learn.logger = rows.append
    learn.validate()
    assert rows == []


def test_get_preds_all_of_it():
    learn, x, y = classifier()
    inputs, preds, targets, decoded, losses = learn.get_preds(
        with_input=True, with_decoded=True, with_loss=True
    )
    out = learn.model(x)
    assert torch.equal(inputs, x)
    assert torch.allclose(preds, out.softmax(1))
    assert torch.equal(targets, y)
    assert torch.equal(decoded, out.argmax(1))
    assert torch.allclose(losses, F.cross_entropy(out, y, reduction="none"))
    assert not preds.requires_grad
    assert learn.loss_func.reduction == "mean"


def test_activation_of_ones_own():
    learn, x, _ = classifier()
    preds, _ = learn.get_preds(act=lambda out: out * 0 + 1)
    assert torch.equal(preds, torch.ones(20, 4))
    learn.loss_func = F.cross_entropy
    assert torch.allclose(learn.get_preds()[0], learn.model(x))


def test_unlabelled_batches_and_other_loaders():
    learn, x, _ = classifier()
    preds, targets = learn.get_preds(dl=[(x[:3],), (x[3:],)])
    assert targets is None
    assert preds.shape == (20, 4)
    with pytest.raises(ValueError, match="no loader number 7"):
        learn.get_preds(7)


def test_losses_of_sequences_are_averaged_by_sample():
    x = torch.randn(6, 5, 1)
    learn = line_learner(dls=([(x, x * 2)], [(x, x * 2)]), loss_func=MSELossFlat())
    losses = learn.get_preds(with_loss=True)[-1]
    expected = ((learn.model(x) - 2 * x) ** 2).mean((1, 2))
    assert torch.allclose(losses, expected)


def test_losses_need_a_loss_that_gives_them():
    learn = line_learner(loss_func=lambda pred, y: F.mse_loss(pred, y))
    with pytest.raises((ValueError, TypeError, AttributeError), match="reduction"):
        learn.get_preds(with_loss=True)


def shuffled_loaders():
    x = torch.arange(10.0)[:, None]
    items = list(zip(x, x + 1, strict=True))
    loaders = [DataLoader(items, bs=4, shuffle=True, drop_last=True), DataLoader(items, bs=3)]
    return DataLoaders(*loaders, device="cpu"), x


def test_training_data_come_whole_and_in_order():
    dls, x = shuffled_loaders()
    learn = line_learner(dls=dls)
    inputs, preds, targets = learn.get_preds(0, with_input=True)
    assert torch.equal(inputs, x)
    assert torch.equal(targets, x + 1)
    assert torch.allclose(preds, learn.model(x))


def test_a_loader_with_an_order_of_its_own_is_put_into_the_datasets():
    dls, x = shuffled_loaders()
    learn = line_learner(dls=dls)
    own = dls[1].new(shuffle=True)
    inputs, _, _ = learn.get_preds(dl=own, with_input=True)
    assert torch.equal(inputs, x)
    inputs, _, _ = learn.get_preds(dl=own, with_input=True, reorder=False)
    assert not torch.equal(inputs, x)
    assert torch.equal(inputs.sort(0).values, x)


def test_predictions_to_disk(tmp_path):
    learn, x, y = classifier()
    preds, targets = learn.get_preds(
        save_preds=tmp_path / "preds", save_targs=tmp_path / "targets", with_preds=False,
        with_targs=False,
    )  # fmt: skip
    assert preds is None
    assert targets is None
    assert len(list((tmp_path / "preds").iterdir())) == 4
    assert torch.allclose(read_saved(tmp_path / "preds"), learn.model(x).softmax(1))
    assert torch.equal(read_saved(tmp_path / "targets"), y)
    with pytest.raises(FileNotFoundError, match="no saved batches"):
        read_saved(tmp_path / "nothing")


def test_structured_predictions(tmp_path):
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 1)

        def forward(self, x):
            return self.linear(x), {"twice": x * 2}

    learn = line_learner(model=Many(), loss_func=lambda pred, y: F.mse_loss(pred[0], y))
    learn.fit(1)
    preds, targets = learn.get_preds(save_preds=tmp_path)
    x, y = joined(line_batches(2, seed=2))
    assert torch.allclose(preds[0], learn.model.linear(x))
    assert torch.equal(preds[1]["twice"], x * 2)
    assert torch.equal(targets, y)
    saved = read_saved(tmp_path)
    assert torch.equal(saved["1.twice"], x * 2)


def test_shapes_that_cannot_be_joined():
    learn = line_learner(
        dls=([(torch.ones(2, 1), torch.ones(2, 1))],), loss_func=F.mse_loss, model=nn.Linear(1, 1)
    )
    batches = [(torch.ones(2, 3, 1),), (torch.ones(2, 4, 1),)]
    with pytest.raises(ValueError, match=r"\(2, 3, 1\), \(2, 4, 1\).*save_preds"):
        learn.get_preds(dl=batches)
    assert learn.get_preds(dl=[(torch.ones(2, 3, 1),)] * 2, concat_dim=1)[0].shape == (2, 6, 1)


def test_cancelled_batches_are_left_out():
    def skip(self):
        if self.learn.iter == 1:
            raise CancelBatchException

    learn = line_learner()
    inputs, preds, targets = learn.get_preds(with_input=True, cbs=Callback(before_batch=skip))
    assert len(inputs) == len(preds) == len(targets) == 8


def test_predict_without_pipelines():
    learn, x, _ = classifier()
    target, decoded, probabilities = learn.predict(x[0])
    out = learn.model(x[:1])[0]
    assert torch.allclose(probabilities, out.softmax(0))
    assert decoded.item() == out.argmax().item()
    assert target == decoded
    assert torch.equal(learn.predict(x[0], with_input=True)[0], x[0])


def test_fetching_predictions_within_a_fit():
    class Counts(Callback):
        remove_on_fetch = True
        batches = 0

        def after_batch(self):
            self.batches += 1

    learn = line_learner([FetchPredsCallback(with_input=True, with_decoded=True), Counts()])
    twin = line_learner()
    for each in (learn, twin):
        torch.manual_seed(4)
        each.fit(2)
    assert learn.recorder.raw_losses == twin.recorder.raw_losses
    assert learn.recorder.values == twin.recorder.values
    assert learn.counts.batches == 2 * (5 + 2)
    inputs, preds, _, decoded = learn.fetch_preds.preds
    assert torch.allclose(preds, learn.model(inputs))
    assert torch.equal(decoded, preds)


def test_looking_in_the_middle_of_a_fit_leaves_the_fit_as_it_was():
    def look(self):
        self.learn.get_preds(inner=True)
        self.learn.get_preds(0, inner=True)

    plain, looked = line_learner(), line_learner()
    plain.fit(2)
    looked.fit(2, cbs=Callback(after_step=look))
    assert plain.recorder.raw_losses == looked.recorder.raw_losses
    assert looked.recorder.iters == [5, 10]


def test_the_loaders_show_results():
    shown = []

    class Shows(DataLoader):
        def show_results(self, b, out, max_n=9, **kwargs):
            shown.append((b, out, max_n, kwargs))

    items = [(torch.ones(1) * i, torch.ones(1)) for i in range(4)]
    dls = DataLoaders(DataLoader(items, bs=2), Shows(items, bs=2), device="cpu")
    learn = line_learner(dls=dls)
    learn.show_results(max_n=3, shuffle=False, figsize=(1, 1))
    batch, out, max_n, kwargs = shown[0]
    assert torch.allclose(out, learn.model(batch[0]))
    assert (max_n, kwargs) == (3, {"figsize": (1, 1)})


def test_batch_norm_statistics_do_not_move_in_validation():
    learn = line_learner(model=nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)))
    learn.model.train()
    before = learn.model[1].running_mean.clone()
    learn.validate()
    assert torch.equal(before, learn.model[1].running_mean)
    assert learn.model.training


def test_repr():
    assert repr(line_learner()).startswith("Learner(Linear, loss_func=mse_loss, cbs=[")
    assert isinstance(line_learner(), Learner)


def test_losses_are_not_reduced_within_a_block():
    learn, x, y = classifier()
    scores = learn.model(x).detach()
    with learn.loss_not_reduced():
        assert learn.loss_func(scores, y).shape == (20,)
    with pytest.raises(ZeroDivisionError), learn.loss_not_reduced():
        raise ZeroDivisionError
    assert learn.loss_func(scores, y).ndim == 0

    learn.loss_func = function = F.cross_entropy
    with learn.loss_not_reduced():
        assert learn.loss_func(scores, y).shape == (20,)
    assert learn.loss_func is function
