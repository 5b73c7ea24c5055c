import pytest
import torch
from support.learners import line_batches, line_learner
from torch.nn import functional as F
from torte.learner import AvgMetric, Callback, Metric, Recorder
from torte.learner.loss_log import CHUNK, LossLog, smoothed
from torte.learner.recorder import format_time


def reference(losses, beta):
    result, average = [], 0.0
    for count, loss in enumerate(losses, 1):
        average = average * beta + loss * (1 - beta)
        result.append(average / (1 - beta**count))
    return result


@pytest.mark.parametrize("reads", [(), (1, 2, 3), (7, 300), range(0, 1000, 13)])
def test_smoothing_when_asked_equals_smoothing_at_every_step(reads):
    torch.manual_seed(1)
    losses = torch.rand(2 * CHUNK + 100)
    log = LossLog(0.98)
    assert log.value is None
    assert log.mean() is None
    for count, loss in enumerate(losses, 1):
        log.append(loss, 1)
        if count in reads:
            expected = reference(losses[:count].tolist(), 0.98)[-1]
            assert log.value.item() == pytest.approx(expected, rel=1e-9)
    assert log.value.item() == pytest.approx(reference(losses.tolist(), 0.98)[-1], rel=1e-9)
    assert log.tolist() == losses.tolist()
    assert log.value.item() == pytest.approx(reference(losses.tolist(), 0.98)[-1], rel=1e-9)
    assert smoothed(losses.tolist(), 0.98) == pytest.approx(reference(losses.tolist(), 0.98))


def test_losses_that_are_read_are_not_lost():
    log = LossLog()
    for number in range(600):
        log.append(torch.tensor(float(number)), 1)
        if number % 100 == 0:
            assert log.tolist()[-1] == number
    assert log.tolist() == list(map(float, range(600)))
    assert log.count == 600


def uneven():
    return [*line_batches(2, 8), *line_batches(1, 3, seed=4)]


def test_averages_are_weighted_by_samples():
    learn = line_learner(dls=(uneven(), uneven()), lr=0.0, metrics=F.l1_loss)
    learn.fit(1)
    x, y = (torch.cat(column) for column in zip(*uneven(), strict=True))
    pred = learn.model(x)
    train, valid, l1 = learn.recorder.values[0]
    assert train == pytest.approx(F.mse_loss(pred, y).item(), rel=1e-6)
    assert valid == pytest.approx(F.mse_loss(pred, y).item(), rel=1e-6)
    assert l1 == pytest.approx(F.l1_loss(pred, y).item(), rel=1e-6)


def test_names_and_rows():
    rows = []
    learn = line_learner(metrics=[F.l1_loss, AvgMetric(F.mse_loss)])
    learn.logger = rows.append
    learn.fit(2)
    names = ["epoch", "train_loss", "valid_loss", "l1_loss", "mse_loss", "time"]
    assert list(learn.recorder.metric_names) == names
    assert [row[0] for row in rows] == [0, 1]
    assert [list(row)[1:-1] for row in rows] == learn.recorder.values
    assert all(len(row) == len(names) for row in rows)
    assert list(learn.final_record) == learn.recorder.values[-1]
    assert learn.recorder.iters == [5, 10]
    assert list(learn.recorder.log) == list(rows[-1])


def test_train_metrics():
    learn = line_learner(metrics=F.l1_loss, default_cbs=True)
    learn.remove_cb(Recorder)
    learn.add_cb(Recorder(train_metrics=True, add_time=False))
    learn.fit(1)
    names = ["epoch", "train_loss", "train_l1_loss", "valid_loss", "valid_l1_loss"]
    assert list(learn.recorder.metric_names) == names
    assert len(learn.recorder.values[0]) == 4
    learn.remove_cb(Recorder)
    learn.add_cb(Recorder(train_metrics=True, valid_metrics=False))
    learn.fit(1)
    names = ["epoch", "train_loss", "train_l1_loss", "valid_loss", "time"]
    assert list(learn.recorder.metric_names) == names


def test_a_metric_without_value_and_one_that_is_no_number():
    class Nothing(Metric):
        def accumulate(self, learn):
            pass

        value = None

    class Shape(Metric):
        def accumulate(self, learn):
            self.seen = learn.pred.shape

        @property
        def value(self):
            return torch.tensor([1.0, 2.0])

    learn = line_learner(metrics=[Nothing(), Shape()])
    learn.fit(1)
    assert learn.recorder.values[0][2] is None
    assert learn.recorder.values[0][3].tolist() == [1.0, 2.0]


def test_a_new_fit_begins_a_new_record_and_a_validation_does_not():
    learn = line_learner()
    learn.fit(2)
    assert len(learn.recorder.lrs) == 10
    learn.validate()
    assert len(learn.recorder.lrs) == 10
    learn.fit(1)
    assert len(learn.recorder.lrs) == len(learn.recorder.losses) == 5


def test_the_smoothed_loss_is_at_hand_during_the_fit():
    seen = []
    learn = line_learner()

    def look(self):
        if self.training:
            seen.append((float(self.smooth_loss), self.recorder.losses[-1]))

    learn.add_cb(Callback(after_batch=look, after_fit=lambda cb: None))
    learn.cbs[-1].order = 99
    learn.add_cb(Callback())
    learn.fit(2)
    assert all(one == pytest.approx(other, rel=1e-9) for one, other in seen)
    assert len(seen) == 10


def test_recorded_losses_hold_no_graph():
    learn = line_learner()
    seen = []
    note = Callback(after_batch=lambda cb: seen.append(cb.loss.requires_grad))
    learn.fit(1, cbs=note)
    assert not any(seen)


def test_memory_is_flat(monkeypatch):
    learn = line_learner()
    learn.fit(100)
    log = learn.recorder.smooth_loss
    assert len(log._recent) <= CHUNK
    assert log._chunks == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00"), (59.9, "00:59"), (75, "01:15"), (3675, "1:01:15")]
)
def test_format_time(seconds, text):
    assert format_time(seconds) == text


def test_plots():
    learn = line_learner()
    learn.fit_one_cycle(3)
    axes = learn.recorder.plot_loss(show_epochs=True, log=True)
    train, valid = axes.get_lines()[:2]
    assert list(train.get_ydata()) == learn.recorder.losses[5:]
    assert list(valid.get_ydata()) == [row[1] for row in learn.recorder.values]
    assert list(valid.get_xdata()) == [5, 10, 15]
    figure = learn.recorder.plot_sched()
    assert list(figure.axes[0].get_lines()[0].get_ydata()) == learn.recorder.hps["lr"]
    assert len(learn.recorder.plot_sched("mom").axes) == 1
    learn.fit(1)
    with pytest.raises(ValueError, match="no hyper-parameters were scheduled"):
        learn.recorder.plot_sched()
