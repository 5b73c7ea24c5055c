import pytest
from support.learners import line_learner
from torte.learner import (
    Callback,
    CallbackCycleError,
    CallbackNameError,
    CancelFitException,
    Event,
    EventNameWarning,
    Recorder,
    ShadowedFieldWarning,
    TrainEvalCallback,
    callback_name,
    event,
)
from torte.learner.callback import LOOP_FIELDS
from torte.learner.events import EVENT_ALIASES, INNER_EVENTS
from torte.learner.ordering import sort_callbacks


def test_base_has_a_documented_method_for_every_event_and_no_other():
    methods = {
        name
        for name, member in vars(Callback).items()
        if callable(member) and name.startswith(("before_", "after_"))
    }
    assert methods == set(Event.__members__)
    assert all(getattr(Callback, name).__doc__ for name in methods)


def test_events_are_their_names():
    assert event.before_fit == "before_fit"
    assert all(member.value == member.name for member in Event)
    assert set(Event) >= INNER_EVENTS
    assert set(EVENT_ALIASES.values()) <= set(Event)


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("TrainEvalCallback", "train_eval"),
        ("Recorder", "recorder"),
        ("CSVLogger", "csv_logger"),
        ("EMACallback", "ema"),
        ("MixUp", "mix_up"),
    ],
)
def test_names(class_name, name):
    assert callback_name(type(class_name, (Callback,), {})) == name


def test_reading_goes_through_to_the_learner_and_its_model():
    class Reader(Callback):
        def after_batch(self):
            self.seen = (self.pct_train, self.model, self.in_features)

    learn = line_learner(Reader())
    learn.fit(1)
    assert learn.reader.seen[1] is learn.model
    assert learn.reader.seen[2] == 1
    assert learn.reader.learn is learn


def test_missing_attribute_names_callback_and_learner():
    class Reader(Callback):
        def before_fit(self):
            return self.nonsense

    learn = line_learner(Reader())
    with pytest.raises(AttributeError, match=r"neither Reader nor its Learner has .*'nonsense'"):
        learn.fit(1)
    with pytest.raises(AttributeError, match="'nonsense' and is not part of a Learner yet"):
        _ = Reader().nonsense


def test_hiding_a_field_of_the_loop_warns():
    class Wrong(Callback):
        def after_loss(self):
            self.loss = 0

    with pytest.warns(ShadowedFieldWarning, match=r"write self\.learn\.loss"):
        line_learner(Wrong()).fit(1)


def test_a_method_that_is_nearly_named_like_an_event_warns():
    with pytest.warns(EventNameWarning, match=r"Slip defines after_los,.* did you mean after_loss"):

        class Slip(Callback):
            def after_los(self):
                pass

    class NoSlip(Callback):  # warnings are errors here
        def before_breakfast(self):
            pass

        def after_loss(self):
            pass

    assert NoSlip().name == "no_slip"


def test_every_guarded_field_is_one_of_the_learner():
    learn = line_learner()
    assert all(hasattr(learn, name) for name in LOOP_FIELDS)


def test_functions_as_events():
    seen = []
    learn = line_learner(
        [
            Callback(after_epoch=lambda self: seen.append(self.epoch)),
            Callback(begin_fit=lambda self: seen.append("fit")),
        ]
    )
    learn.fit(2)
    assert seen == ["fit", 0, 1]
    with pytest.raises(TypeError, match=r"no event 'after_bacth'; did you mean 'after_batch'\?"):
        Callback(after_bacth=lambda self: None)


def test_the_papers_names_of_events():
    class Old(Callback):
        def begin_fit(self):
            self.fits = 1

        def begin_batch(self):
            self.fits += 1

    learn = line_learner(Old())
    learn.fit(1)
    assert learn.old.fits == 1 + 5 + 2
    learn("begin_fit")
    assert learn.old.fits == 1


def test_a_class_is_made_into_a_callback_and_names_become_attributes():
    class First(Callback):
        pass

    learn = line_learner(First)
    assert isinstance(learn.first, First)
    learn.remove_cb(First)
    assert not hasattr(learn, "first")
    with pytest.raises(TypeError, match="is no callback"):
        learn.add_cb(int)
    with pytest.raises(TypeError, match="3 is no callback"):
        learn.add_cb(3)


def test_run_train_and_run_valid_switch_batch_events_only():
    class Counter(Callback):
        run_valid = False

        def before_fit(self):
            self.batches = self.parts = 0

        def after_batch(self):
            self.batches += 1

        def after_validate(self):
            self.parts += 1

    learn = line_learner(Counter())
    learn.fit(1)
    assert (learn.counter.batches, learn.counter.parts) == (5, 1)
    learn.counter.run_valid, learn.counter.run_train = True, False
    learn.fit(1)
    assert (learn.counter.batches, learn.counter.parts) == (2, 1)


def test_run_silences_until_the_end_of_the_fit():
    class Once(Callback):
        count = 0

        def after_batch(self):
            self.count += 1
            self.run = False

    learn = line_learner(Once())
    learn.fit(2)
    assert learn.once.count == 1
    assert learn.once.run
    learn.fit(1)
    assert learn.once.count == 2


def test_a_call_operator_of_its_own_gets_every_event():
    class All(Callback):
        def __init__(self):
            super().__init__()
            self.seen = set()

        def __call__(self, event):
            self.seen.add(event)

    learn = line_learner(All())
    learn.fit(1)
    assert {"after_create", "before_step", "after_fit"} <= learn.all.seen


# -- order ---------------------------------------------------------------------------------------


def make(name, **attributes):
    return type(name, (Callback,), attributes)


def names(callbacks):
    return [type(cb).__name__ for cb in sort_callbacks(callbacks)]


def test_order_then_position():
    made = [make("A", order=5)(), make("B")(), make("C", order=-1)(), make("D")()]
    assert names(made) == ["C", "B", "D", "A"]


def test_run_before_and_run_after_override_order():
    early = make("Early", order=100)
    late = make("Late", order=-100, run_after=early)
    before = make("Before", order=500, run_before=(early, "Nobody"))
    assert names([late(), early(), before()]) == ["Before", "Early", "Late"]


def test_constraints_by_name_and_by_base_class():
    base = make("Base")
    derived = type("Derived", (base,), {"order": 3})
    assert names([make("X", order=9, run_before=base)(), derived()]) == ["X", "Derived"]
    assert names([make("X", run_after="derived")(), derived()]) == ["Derived", "X"]
    assert names([make("X", run_after="Base")(), derived()]) == ["Derived", "X"]


def test_constraints_carry_over_those_between():
    a = make("A", order=3)
    b = make("B", order=2, run_after=a)
    c = make("C", order=1, run_after=b)
    assert names([c(), b(), a()]) == ["A", "B", "C"]


def test_a_cycle_is_an_error_at_once_and_changes_nothing():
    a = make("A", run_after="B")
    b = make("B", run_after="A")
    learn = line_learner(a())
    before = list(learn.cbs)
    with pytest.raises(CallbackCycleError, match=r"'a' before 'b' before 'a'|'b' before 'a'"):
        learn.add_cb(b())
    assert list(learn.cbs) == before
    assert not hasattr(learn, "b")
    learn.fit(1)


def test_a_name_clash_is_an_error_at_once():
    learn = line_learner()
    with pytest.raises(CallbackNameError, match="callback called 'recorder' already"):
        learn.add_cb(Recorder())
    with pytest.raises(CallbackNameError, match="hide the learner's own 'model'"):
        learn.add_cb(make("Model")())
    second = Recorder()
    second.name = "second_recorder"
    learn.add_cb(second)
    learn.fit(1)
    assert learn.second_recorder.losses == learn.recorder.losses


def test_ordered_cbs():
    learn = line_learner()
    assert learn.ordered_cbs("after_batch") == [learn.train_eval, learn.recorder]
    assert learn.ordered_cbs("begin_train") == [learn.train_eval, learn.recorder]


def test_added_and_removed_for_a_while():
    class First(Callback):
        pass

    learn = line_learner(First)
    before = list(learn.cbs)
    with learn.removed_cbs([learn.train_eval, First]):
        assert list(learn.cbs) == [learn.recorder]
    assert list(learn.cbs) == before
    with pytest.raises(RuntimeError), learn.removed_cbs(learn.train_eval):
        raise RuntimeError
    assert list(learn.cbs) == before
    assert learn.train_eval.learn is learn
    with learn.added_cbs([make("Second"), Callback()]):
        assert hasattr(learn, "second")
    assert list(learn.cbs) == before
    assert not hasattr(learn, "second")


def test_callbacks_may_change_the_callbacks_while_they_run():
    class Leaves(Callback):
        def after_batch(self):
            self.learn.remove_cb(self)

    class Stays(Callback):
        count = 0

        def after_batch(self):
            self.count += 1

    learn = line_learner([Leaves(), Stays()])
    learn.fit(1)
    assert learn.stays.count == 7
    assert not hasattr(learn, "leaves")


def test_state_of_a_callback():
    class Best(Callback):
        state_attributes = ("best", "missing")

    one, other = Best(), Best()
    one.best = 3.0
    assert one.state() == {"best": 3.0}
    other.load_state(one.state())
    assert other.best == 3.0


def test_default_callbacks_are_in_order():
    learn = line_learner()
    assert [type(cb) for cb in learn.cbs] == [TrainEvalCallback, Recorder]
    assert line_learner(default_cbs=False).cbs == []


def test_cancelling_with_an_anonymous_callback():
    def stop(self):
        raise CancelFitException

    learn = line_learner(Callback(before_step=stop))
    learn.fit(3)
    assert learn.train_iter == 0
