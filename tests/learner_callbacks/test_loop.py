import gc
import weakref
from types import SimpleNamespace

import pytest
import torch
from support.learners import EventLog, line_batches, line_learner
from torch import nn
from torch.nn import functional as F
from torte.data import TensorImage
from torte.learner import (
    Callback,
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
    Event,
    Learner,
)
from torte.optim import SGD

BATCH = ["before_batch", "after_pred", "after_loss"]
STEP = ["before_backward", "after_backward", "before_step", "after_step"]
TRAIN_BATCH = [*BATCH, *STEP, "after_batch"]
VALID = ["before_validate", *2 * [*BATCH, "after_batch"], "after_validate"]
TRAIN = ["before_train", *5 * TRAIN_BATCH, "after_train"]


def events_of(learn, epochs=1):
    learn.event_log.clear()
    learn.fit(epochs)
    return learn.event_log.events


def test_the_order_of_events():
    learn = line_learner(EventLog())
    assert learn.event_log.events == ["after_create"]
    epoch = ["before_epoch", *TRAIN, *VALID, "after_epoch"]
    assert events_of(learn, 2) == ["before_fit", *epoch, *epoch, "after_fit"]


def test_without_validation_loader():
    learn = line_learner(EventLog(), dls=line_batches(5))
    assert events_of(learn) == ["before_fit", "before_epoch", *TRAIN, "after_epoch", "after_fit"]
    assert learn.recorder.values[0][1] is None


def raising(event, exception, when=lambda cb: True):
    def act(self):
        if when(self):
            raise exception

    return Callback(**{event: act})


def first_epoch(cb):
    return cb.epoch == 0 and cb.training and cb.iter == 1


@pytest.mark.parametrize(
    ("event", "exception", "batch"),
    [
        ("before_batch", CancelBatchException, ["before_batch", "after_cancel_batch"]),
        ("after_pred", CancelBatchException, [*BATCH[:2], "after_cancel_batch"]),
        ("after_loss", CancelBatchException, [*BATCH, "after_cancel_batch"]),
        (
            "before_backward",
            CancelBackwardException,
            [*BATCH, "before_backward", "after_cancel_backward", *STEP[1:]],
        ),
        (
            "before_step",
            CancelStepException,
            [*BATCH, *STEP[:3], "after_cancel_step", "after_step"],
        ),
        ("before_step", CancelBatchException, [*BATCH, *STEP[:3], "after_cancel_batch"]),
    ],
)
def test_cancelling_within_a_batch(event, exception, batch):
    learn = line_learner([EventLog(), raising(event, exception, first_epoch)])
    learn.event_log.order = -1000
    learn.cbs[-2].order = -1000
    learn.add_cb(Callback())
    expected = [*TRAIN_BATCH, *batch, "after_batch", *3 * TRAIN_BATCH]
    assert events_of(learn)[3 : 3 + len(expected)] == expected


@pytest.mark.parametrize(
    ("event", "exception", "expected"),
    [
        ("before_train", CancelTrainException, ["before_train", "after_cancel_train"]),
        ("before_step", CancelTrainException, None),
        ("before_train", CancelEpochException, None),
        ("before_epoch", CancelFitException, None),
    ],
)
def test_cancelling_sections_skips_what_is_inside(event, exception, expected):
    log = EventLog()
    log.order = -1000
    learn = line_learner([log, raising(event, exception)])
    events = events_of(learn)
    if exception is CancelTrainException:
        assert events[-4 - len(VALID) : -2] == ["after_cancel_train", "after_train", *VALID]
        assert "after_batch" not in events[: events.index("after_cancel_train")]
    elif exception is CancelEpochException:
        assert events[-3:] == ["after_cancel_epoch", "after_epoch", "after_fit"]
        assert "after_train" not in events
    else:
        assert events == ["before_fit", "before_epoch", "after_cancel_fit", "after_fit"]


def test_cancelling_validation():
    log = EventLog()
    log.order = -1000
    learn = line_learner([log, raising("before_validate", CancelValidException)])
    assert events_of(learn)[-5:] == [
        "before_validate",
        "after_cancel_validate",
        "after_validate",
        "after_epoch",
        "after_fit",
    ]


def test_cancelling_the_fit_from_a_batch_goes_straight_to_the_end():
    log = EventLog()
    log.order = -1000
    learn = line_learner([log, raising("after_batch", CancelFitException)])
    assert events_of(learn)[-3:] == ["after_batch", "after_cancel_fit", "after_fit"]


def test_gradients_are_kept_by_cancelling_the_batch_and_zeroed_after_a_cancelled_step():
    for exception, kept in ((CancelBatchException, True), (CancelStepException, False)):
        learn = line_learner(raising("before_step", exception))
        grads = []
        learn.add_cb(Callback(after_batch=lambda cb, g=grads: g.append(cb.model.weight.grad)))
        learn.fit(1)
        assert (grads[0] is not None) == kept


def test_a_cancelled_batch_is_not_recorded_unless_it_had_a_loss():
    learn = line_learner(raising("before_batch", CancelBatchException, first_epoch))
    learn.fit(1)
    assert len(learn.recorder.losses) == 4
    learn = line_learner(raising("before_step", CancelBatchException, first_epoch))
    learn.fit(1)
    assert len(learn.recorder.losses) == 5


# -- numbers -------------------------------------------------------------------------------------


def net(seed=3):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(1, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1)
    )


def torch_loader(seed=0):
    x, y = (torch.cat(column) for column in zip(*line_batches(6, 7), strict=True))
    dataset = torch.utils.data.TensorDataset(x, y)
    return torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_losses_equal_a_hand_written_loop_to_the_bit(optimizer):
    loader, valid = torch_loader(), torch_loader()
    model = net()
    opt = optimizer(model.parameters(), lr=0.02, weight_decay=0.0)
    torch.manual_seed(5)
    losses, valid_losses = [], []
    for _ in range(3):
        model.train()
        for x, y in loader:
            loss = F.mse_loss(model(x), y)
            losses.append(loss.item())
            loss.backward()
            opt.step()
            opt.zero_grad()
        model.eval()
        with torch.no_grad():
            parts = [(F.mse_loss(model(x), y).item(), len(x)) for x, y in valid]
        valid_losses.append(sum(loss * n for loss, n in parts) / sum(n for _, n in parts))

    learn = line_learner(
        model=net(), dls=(torch_loader(), torch_loader()), opt_func=optimizer, lr=0.02, wd=0.0
    )
    torch.manual_seed(5)
    learn.fit(3)
    assert learn.recorder.raw_losses == losses
    for name, value in model.state_dict().items():
        assert torch.equal(value, learn.model.state_dict()[name])
    recorded = [row[1] for row in learn.recorder.values]
    assert recorded == pytest.approx(valid_losses, rel=1e-12)


def test_progress_is_exact_at_every_batch():
    seen = []
    note = Callback(before_batch=lambda cb: seen.append((cb.training, cb.pct_train, cb.train_iter)))
    line_learner(note).fit(3)
    trained = [(pct, count) for training, pct, count in seen if training]
    assert [count for _, count in trained] == list(range(15))
    assert [pct for pct, _ in trained] == pytest.approx([k / 15 for k in range(15)], abs=1e-15)
    assert {pct for training, pct, _ in seen if not training} == {1 / 3, 2 / 3, 1.0}


def test_start_epoch():
    learn = line_learner(EventLog())
    seen = []
    learn.add_cb(Callback(before_batch=lambda cb: seen.append((cb.epoch, cb.pct_train))))
    learn.fit(4, start_epoch=3)
    assert seen[0] == (3, 0.75)
    assert learn.event_log.events.count("before_epoch") == 1


def test_models_and_losses_get_plain_tensors_on_the_models_device():
    kinds = set()

    class Look(nn.Linear):
        def forward(self, x):
            kinds.add(type(x))
            return super().forward(x)

    def loss(pred, target):
        kinds.add(type(target))
        return F.mse_loss(pred, target)

    batches = [(TensorImage(x), TensorImage(y)) for x, y in line_batches(3)]
    seen = []
    learn = line_learner(
        Callback(before_batch=lambda cb: seen.append(type(cb.batch[0]))),
        model=Look(1, 1),
        dls=(batches, batches),
        loss_func=loss,
    )
    learn.fit(1)
    assert kinds == {torch.Tensor}
    assert set(seen) == {TensorImage}


# -- any iterable, any structure -----------------------------------------------------------------


class Stream:
    """Batches without a length."""

    def __iter__(self):
        return iter(line_batches(5))


def test_loaders_without_length():
    seen = []
    learn = line_learner(
        Callback(before_batch=lambda cb: seen.append((cb.n_iter, cb.pct_train))),
        dls=(Stream(), Stream()),
    )
    learn.fit(2)
    trained = seen[:5] + seen[10:15]
    assert trained[:5] == [(None, 0.0)] * 5
    assert trained[5:] == [(5, pytest.approx(0.5 + k / 10)) for k in range(5)]
    assert learn.get_preds()[0].shape == (40, 1)
    assert learn.validate()[0] == pytest.approx(learn.validate()[0])


def test_iterators_serve_once_and_empty_loaders_are_an_error():
    learn = line_learner(dls=iter(line_batches(5)))
    learn.fit(1)
    assert len(learn.recorder.losses) == 5
    with pytest.raises(ValueError, match=r"no batch in epoch 0: it is empty .* was used up"):
        learn.fit(1)
    with pytest.raises(ValueError, match=r"the training loader .* yielded no batch in epoch 0"):
        line_learner(dls=[]).fit(1)


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, inputs, scale=None, labels=None):
        pred = self.linear(inputs * scale)
        loss = None if labels is None else F.mse_loss(pred, labels)
        return SimpleNamespace(logits=pred, loss=loss) if labels is not None else pred


def dict_batches(**renamed):
    return [
        {renamed.get("inputs", "inputs"): x, "scale": torch.ones(1), renamed.get("y", "labels"): y}
        for x, y in line_batches(5)
    ]


@pytest.mark.parametrize("label", ["labels", "label", "target", "targets", "y"])
def test_dict_batches_reach_the_model_as_keywords(label):
    learn = line_learner(model=Named(), dls=(dict_batches(y=label), dict_batches(y=label)))
    learn.fit(2)
    losses = learn.recorder.raw_losses
    assert losses[-1] < losses[0]
    preds, targets = learn.get_preds()
    assert preds.shape == targets.shape == (40, 1)


def test_a_model_that_computes_its_own_loss_needs_no_loss_function():
    torch.manual_seed(0)
    own = Learner((dict_batches(), dict_batches()), Named(), lr=0.05)
    torch.manual_seed(0)
    given = line_learner(model=Named(), dls=(dict_batches(), dict_batches()))
    with own.no_bar(), own.no_logging():
        own.fit(2)
    given.fit(2)
    assert own.recorder.raw_losses == given.recorder.raw_losses
    assert own.recorder.values == given.recorder.values
    assert torch.equal(own.get_preds()[0], given.get_preds()[0])
    assert own.get_preds()[1] is not None


def test_a_model_for_whole_mappings_gets_them_whole():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 1)

        def forward(self, batch):
            return self.linear(batch["inputs"])

    line_learner(model=Whole(), dls=(dict_batches(), dict_batches())).fit(1)


def test_wrong_keys_are_named():
    learn = line_learner(model=Named(), dls=[{"inputs": torch.ones(2, 1), "extra": 1, "y": 2}])
    with pytest.raises(TypeError, match=r"does not take the batch's keys \['extra', 'inputs'\]"):
        learn.fit(1)


def test_no_loss_function_where_one_is_needed():
    learn = line_learner(loss_func=None)
    with pytest.raises(ValueError, match="give the Learner a loss_func"):
        learn.fit(1)


def test_several_inputs_and_targets():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 1)

        def forward(self, a, b):
            return self.linear(a + b)

    batches = [(x, x, y) for x, y in line_batches(3)]
    learn = line_learner(model=Two(), dls=(batches, batches))
    learn.fit(1)
    inputs, preds, targets = learn.get_preds(with_input=True)
    assert isinstance(inputs, tuple)
    assert len(inputs) == 2
    assert preds.shape == targets.shape


def test_x_and_y_and_one_batch():
    learn = line_learner()
    learn.create_opt()
    learn._use(learn.dls.train)
    x, y = line_batches(1)[0]
    learn.training = True
    before = learn.model.weight.clone()
    learn.one_batch(0, (x, y))
    assert torch.equal(learn.x, x)
    assert torch.equal(learn.y, y)
    assert learn.loss.item() == F.mse_loss(learn.pred, y).item()
    assert not torch.equal(before, learn.model.weight)
    learn.x = x * 2
    assert torch.equal(learn.xb[0], x * 2)


# -- failures ------------------------------------------------------------------------------------


class FailureError(Exception):
    pass


@pytest.mark.parametrize("error", [FailureError, KeyboardInterrupt])
@pytest.mark.parametrize("event", [e.value for e in Event if "cancel" not in e.value][1:])
def test_after_a_failure_in_any_event_the_learner_trains_as_if_nothing_had_been(event, error):
    def fail(self):
        if self.learn.armed:
            raise error("boom")

    def build():
        learn = line_learner(model=net(), dls=(line_batches(5), line_batches(2)), opt_func=SGD)
        learn.armed = False
        return learn

    learn, twin = build(), build()
    start = {name: value.clone() for name, value in twin.model.state_dict().items()}
    callbacks = list(learn.cbs)
    learn.armed = True
    with pytest.raises(error, match="boom") as caught:
        learn.fit(1, cbs=Callback(**{event: fail}))
    assert any(f"in callback Callback at {event} (epoch 0," in n for n in caught.value.__notes__)
    learn.armed = False
    assert list(learn.cbs) == callbacks
    learn.model.load_state_dict(start)
    learn.opt = None
    for each in (learn, twin):
        torch.manual_seed(9)
        each.fit(2)
    assert learn.recorder.raw_losses == twin.recorder.raw_losses


def test_errors_in_the_model_and_the_loss_say_where_and_on_what():
    learn = line_learner(model=nn.Linear(7, 1))
    with pytest.raises(RuntimeError) as caught:
        learn.fit(1)
    assert caught.value.__notes__ == [
        "epoch 0, training batch 0: inputs float32[8, 1]; targets float32[8, 1]"
    ]
    learn = line_learner(loss_func=F.nll_loss)
    with pytest.raises(RuntimeError) as caught:
        learn.fit(1)
    assert "targets float32[8, 1]" in caught.value.__notes__[0]


def test_leftover_gradients_of_a_failed_step_do_not_enter_the_next_fit():
    learn = line_learner()

    def fail(self):
        raise FailureError

    with pytest.raises(FailureError):
        learn.fit(1, cbs=Callback(after_backward=fail))
    assert learn.model.weight.grad is None


def test_clean_up_comes_once_and_always():
    class Cleans(Callback):
        count = 0

        def clean_up(self):
            self.count += 1

    learn = line_learner(Cleans())
    learn.fit(1)
    assert learn.cleans.count == 1
    with pytest.raises(FailureError):
        learn.fit(1, cbs=raising("before_fit", FailureError))
    assert learn.cleans.count == 2


def test_a_failing_clean_up_does_not_keep_others_from_theirs():
    class Fails(Callback):
        order = -50

        def clean_up(self):
            raise FailureError

    class Cleans(Callback):
        done = False

        def clean_up(self):
            self.done = True

    learn = line_learner([Fails(), Cleans()])
    with pytest.raises(FailureError) as caught:
        learn.fit(1)
    assert caught.value.__notes__ == ["in callback Fails, clean_up"]
    assert learn.cleans.done


def test_nothing_of_the_last_batch_is_held_after_a_fit():
    alive = []
    learn = line_learner(Callback(after_loss=lambda cb: alive.append(weakref.ref(cb.pred))))
    learn.fit(1)
    gc.collect()
    assert not any(ref() is not None for ref in alive)
    assert learn.loss is None
    assert learn.xb == ()


def test_a_pass_that_ends_early_closes_its_loader():
    closed = []

    class Closing:
        def __iter__(self):
            try:
                yield from line_batches(5)
            finally:
                closed.append(True)

    line_learner(raising("after_step", CancelTrainException), dls=(Closing(),)).fit(1)
    assert closed == [True]


def test_events_can_be_called_by_name():
    learn = line_learner(EventLog())
    learn(["before_fit", "after_fit"])
    assert learn.event_log.events[-2:] == ["before_fit", "after_fit"]
    with pytest.raises(ValueError, match="no event 'nonsense'"):
        learn("nonsense")
