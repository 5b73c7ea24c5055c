"""Checkpoints as files: failures to write, damage, strangers, what is kept, several fits."""

import errno
import json
import os
import resource
import warnings

import pytest
import torch
from support.learners import _equal, everything, line_batches, line_learner
from torch import nn
from torte.data import DataLoaders, TfmdDL
from torte.learner import (
    Callback,
    CheckpointCallback,
    CheckpointError,
    CheckpointStore,
    DamagedCheckpointWarning,
    FitLogger,
    MixedPrecision,
    NonFiniteCheckpointWarning,
)
from torte.learner.packing import FileFormatError
from torte.optim import Adam, RMSProp
from torte.optim.errors import StateMismatchError


def learner(folder, **kwargs):
    return line_learner(path=folder, **{"model": nn.Linear(1, 1), **kwargs})


def store(folder):
    return CheckpointStore(folder / "checkpoints")


def trained(folder, n_epoch=3, **kwargs):
    learn = learner(folder)
    learn.fit(n_epoch, cbs=CheckpointCallback(keep=10, **kwargs))
    return learn


def numbers(folder):
    return [int(path.name.removeprefix("checkpoint-")) for path in store(folder).paths()]


# -- failures to write -----------------------------------------------------------------------------


def full_disk(monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("beside", [True, False])
def test_a_full_disk_is_an_error_and_leaves_the_earlier_ones(beside, tmp_path, monkeypatch):
    trained(tmp_path)
    before = {path: sorted(path.rglob("*")) for path in store(tmp_path).paths()}
    other = learner(tmp_path)
    full_disk(monkeypatch)
    with pytest.raises(
        CheckpointError, match=r"could not be written \(OSError.*No space left"
    ) as e:
        other.fit(3, cbs=CheckpointCallback(every=1, beside=beside))
    assert isinstance(e.value.__cause__, OSError)
    assert other.train_iter < 15, "it is told at the next batch, not at the end"
    assert {path: sorted(path.rglob("*")) for path in store(tmp_path).paths()} == before
    assert sorted((tmp_path / "checkpoints").iterdir()) == sorted(before)
    monkeypatch.undo()
    other.fit(1, cbs=CheckpointCallback())


def test_a_file_that_may_not_grow(tmp_path):
    trained(tmp_path)
    before = numbers(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="could not be written"):
            trained(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert numbers(tmp_path) == before


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "checkpoints").write_text("a file is in the way")
    with pytest.raises(CheckpointError, match=r"checkpoint-00000000 could not be written"):
        trained(tmp_path)


# -- damage ----------------------------------------------------------------------------------------


def flip(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


DAMAGE = {
    "a flipped bit of the weights": lambda path: flip(path / "state.safetensors", -3),
    "a flipped bit of the description": lambda path: flip(path / "state.safetensors", 40),
    "a flipped bit of the manifest": lambda path: flip(path / "manifest.json", 60),
    "a truncated file": lambda path: os.truncate(path / "state.safetensors", 500),
    "an empty manifest": lambda path: os.truncate(path / "manifest.json", 0),
    "no state": lambda path: (path / "state.safetensors").unlink(),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_one_is_passed_over_with_a_word(damage, tmp_path):
    expected = trained(tmp_path)
    newest, older = store(tmp_path).paths()[:2]
    damage(newest)
    learn = learner(tmp_path)
    with pytest.warns(DamagedCheckpointWarning, match=newest.name):
        learn.fit(3, cbs=CheckpointCallback(keep=10), resume=True)
    assert learn.epoch == 2
    assert torch.equal(learn.model.weight, expected.model.weight)
    assert learn.recorder.losses == expected.recorder.losses
    assert newest.exists()
    assert older.exists()


def test_when_all_are_damaged_nothing_is_begun_again_unasked(tmp_path):
    trained(tmp_path)
    for path in store(tmp_path).paths():
        flip(path / "state.safetensors", -1)
    learn = learner(tmp_path)
    before = everything(learn)
    with (
        pytest.warns(DamagedCheckpointWarning),
        pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole"),
    ):
        learn.fit(3, cbs=CheckpointCallback(), resume=True)
    assert _equal(before["weights"], everything(learn)["weights"])
    with pytest.raises(CheckpointError, match="is damaged"):
        learn.fit(3, resume=store(tmp_path).paths()[0])


def test_a_later_format_is_told(tmp_path):
    trained(tmp_path)
    path = store(tmp_path).paths()[0] / "manifest.json"
    from torte.learner.checkpoints import store as module

    document = json.loads(path.read_text())
    document["manifest"]["torte"] = 99
    document["sha256"] = module._checksum_of(document["manifest"])
    path.write_text(json.dumps(document))
    with pytest.warns(DamagedCheckpointWarning, match="has format 99"):
        store(tmp_path).newest(None, 0)


# -- strangers -------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_model(tmp_path):
    trained(tmp_path)
    learn = learner(tmp_path, model=nn.Linear(1, 2))
    before = everything(learn)["weights"]
    with pytest.raises(FileFormatError, match=r"'weight' is \(2, 1\) here, \(1, 1\) there"):
        learn.fit(3, cbs=CheckpointCallback(), resume=True)
    assert _equal(before, everything(learn)["weights"])
    assert not learn.resuming


def test_a_checkpoint_of_another_optimizer(tmp_path):
    trained(tmp_path)
    learn = learner(tmp_path, opt_func=RMSProp)
    before = everything(learn)["weights"]
    with pytest.raises(StateMismatchError, match="another optimizer"):
        learn.fit(3, cbs=CheckpointCallback(), resume=True)
    assert _equal(before, everything(learn)["weights"])


def test_other_data(tmp_path):
    def loaders(count):
        return DataLoaders(TfmdDL([(torch.ones(1), torch.ones(1))] * count, bs=4), device="cpu")

    learn = learner(tmp_path, dls=loaders(20))
    learn.fit(1, cbs=CheckpointCallback())
    other = learner(tmp_path, dls=loaders(30))
    with pytest.raises(CheckpointError, match="loader 0 has 30 samples, and had 20"):
        other.fit(2, cbs=CheckpointCallback(), resume=True)


def test_another_batch_size_goes_on_from_the_same_sample(tmp_path):
    def loaders(bs):
        items = [(torch.tensor([float(i)]), torch.ones(1)) for i in range(24)]
        return DataLoaders(TfmdDL(items, bs=bs, shuffle=True, seed=2), device="cpu")

    seen = []

    class Note(Callback):
        def before_batch(self):
            seen.append(self.x.flatten().tolist())

    learner(tmp_path / "whole", dls=loaders(4), cbs=Note()).fit(1)
    order, seen[:] = [number for batch in seen for number in batch], []
    with pytest.raises(ArithmeticError):
        learner(tmp_path, dls=loaders(4), cbs=[Note(), Fail(3)]).fit(
            1, cbs=CheckpointCallback(every=1, beside=False)
        )
    assert len(seen) == 4
    seen[:] = []
    learn = learner(tmp_path, dls=loaders(6), cbs=Note())
    learn.fit(1, cbs=CheckpointCallback(), resume=True)
    assert [number for batch in seen for number in batch] == order[12:]
    assert len(seen) == 2
    assert learn.pct_train == 1


class Fail(Callback):
    """An error after some training batches."""

    run_valid = False

    def __init__(self, at):
        super().__init__()
        self.at = at

    def before_batch(self):
        if self.learn.train_iter == self.at:
            raise ArithmeticError("boom")


def test_resuming_needs_to_know_where(tmp_path):
    with pytest.raises(ValueError, match="resume=True needs a CheckpointCallback"):
        learner(tmp_path).fit(1, resume=True)


# -- what is kept, several fits --------------------------------------------------------------------


def test_the_last_and_the_best_are_kept(tmp_path):
    class Values(Callback):
        order = 55

        def after_epoch(self):
            values = [5.0, 1.0, 4.0, 0.5, 3.0, 2.0]
            self.learn.recorder.values[-1][1] = values[self.learn.epoch]

    learn = learner(tmp_path, cbs=Values())
    learn.fit(6, cbs=CheckpointCallback(keep=2, monitor="valid_loss", keep_best=2))
    facts = [checkpoint.facts for checkpoint in store(tmp_path).checkpoints()]
    assert [(f["epoch"], f["phase"], f["value"]) for f in facts] == [
        (5, "done", None), (5, "epoch", 2.0), (3, "epoch", 0.5), (1, "epoch", 1.0),
    ]  # fmt: skip


def test_a_fit_that_was_complete_is_not_repeated(tmp_path, capsys):
    expected = trained(tmp_path)
    learn = learner(tmp_path)
    learn.logger = print
    learn.fit(3, cbs=CheckpointCallback(), resume=True)
    assert "was complete" in capsys.readouterr().out
    one, other = everything(expected), everything(learn)
    for name in ("weights", "opt", "losses", "values", "lrs"):
        assert _equal(one[name], other[name]), name
    # More epochs go on from there.
    learn = learner(tmp_path)
    learn.fit(5, cbs=CheckpointCallback(), resume=True)
    assert len(learn.recorder.values) == 5


@pytest.mark.parametrize("at", [(0, 3), (0, 4), (1, 2), (1, 7)])
def test_fine_tune_goes_on_in_the_part_that_was_interrupted(at, tmp_path):
    def build(folder):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
        splitter = lambda m: [list(m[0].parameters()), list(m[2].parameters())]
        return learner(folder, model=model, splitter=splitter, opt_func=Adam)

    class FailIn(Fail):
        def before_batch(self):
            if self.learn.fit_number == at[0] and self.learn.train_iter == at[1]:
                raise ArithmeticError("boom")

    whole = build(tmp_path / "whole")
    whole.fine_tune(2, cbs=CheckpointCallback(every=1))
    broken = build(tmp_path)
    with pytest.raises(ArithmeticError):
        broken.fine_tune(2, cbs=[CheckpointCallback(every=1), FailIn(0)])
    again = build(tmp_path)
    again.fine_tune(2, cbs=CheckpointCallback(every=1), resume=True)
    one, other = everything(whole), everything(again)
    for name in ("weights", "opt", "losses", "values", "lrs", "required"):
        assert _equal(one[name], other[name]), name
    with pytest.raises(ValueError, match="fine_tune finds by itself"):
        again.fine_tune(2, resume="checkpoints/checkpoint-00000001")


def test_every_policy_goes_on(tmp_path):
    def run(name, learn, **kwargs):
        fits = {
            "fit": lambda: learn.fit(3, **kwargs),
            "fit_flat_cos": lambda: learn.fit_flat_cos(3, **kwargs),
            "fit_sgdr": lambda: learn.fit_sgdr(2, 1, **kwargs),
        }
        fits[name]()

    for name in ("fit", "fit_flat_cos", "fit_sgdr"):
        ends = []
        for fails in (False, True):
            folder = tmp_path / f"{name} {fails}"
            torch.manual_seed(0)
            if fails:
                with pytest.raises(ArithmeticError):
                    run(name, learner(folder), cbs=[CheckpointCallback(every=2), Fail(8)])
            learn = learner(folder)
            run(name, learn, cbs=CheckpointCallback(every=2), resume=True)
            ends.append(everything(learn))
        for what in ("weights", "opt", "losses", "lrs", "values"):
            assert _equal(ends[0][what], ends[1][what]), (name, what)


def test_a_named_checkpoint(tmp_path):
    trained(tmp_path)
    middle = store(tmp_path).checkpoints()[-1]
    assert (middle.facts["epoch"], middle.facts["phase"]) == (0, "epoch")
    learn = learner(tmp_path)
    learn.fit(3, resume=middle.path)
    assert len(learn.recorder.values) == 3


def test_what_is_not_finite_is_not_written(tmp_path):
    class Spoil(Callback):
        def after_step(self):
            if self.learn.train_iter == 12:
                with torch.no_grad():
                    self.learn.model.weight.fill_(float("nan"))

    learn = learner(tmp_path, cbs=Spoil())
    with pytest.warns(NonFiniteCheckpointWarning, match=r"step 15: model.weight is not finite"):
        learn.fit(3, cbs=CheckpointCallback())
    assert [c.facts["epoch"] for c in store(tmp_path).checkpoints()] == [1, 0]


def test_masks_may_be_infinite(tmp_path):
    class Masked(nn.Linear):
        def __init__(self):
            super().__init__(1, 1)
            self.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner(tmp_path, model=Masked()).fit(1, cbs=CheckpointCallback())
    assert numbers(tmp_path) == [0]


def test_callbacks_that_come_and_go_are_told(tmp_path):
    class Counts(Callback):
        state_attributes = ("count",)

        def before_fit(self):
            self.count = 0

        def after_batch(self):
            self.count += 1

    learn = learner(tmp_path, cbs=Counts())
    learn.fit(2, cbs=CheckpointCallback())
    same = learner(tmp_path, cbs=Counts())
    same.fit(3, cbs=CheckpointCallback(), resume=True)
    assert same.counts.count == 3 * 7
    other = learner(tmp_path)
    with pytest.warns(UserWarning, match=r"something for \['counts'\], which are not here"):
        other.fit(3, cbs=CheckpointCallback(), resume=True)


def test_batches_in_a_list_go_on_too(tmp_path):
    dls = (line_batches(5), line_batches(2, seed=2))
    whole = learner(tmp_path / "whole", dls=dls)
    start = {k: v.clone() for k, v in whole.model.state_dict().items()}
    whole.fit(2, cbs=CheckpointCallback(every=1))
    broken = learner(tmp_path, dls=dls)
    broken.model.load_state_dict(start)
    with pytest.raises(ArithmeticError):
        broken.fit(2, cbs=[CheckpointCallback(every=1), Fail(3)])
    again = learner(tmp_path, dls=dls)
    again.fit(2, cbs=CheckpointCallback(every=1), resume=True)
    assert torch.equal(again.model.weight, whole.model.weight)
    assert again.recorder.raw_losses == whole.recorder.raw_losses


# -- what is attached ------------------------------------------------------------------------------


def interrupted(folder, make, at, n_epoch=3):
    """A fit without interruption, and one that was interrupted before a batch and went on."""

    def seeded(path):
        torch.manual_seed(1)
        return make(path)

    whole, broken, again = seeded(folder / "whole"), seeded(folder), seeded(folder)
    whole.fit(n_epoch, cbs=CheckpointCallback(every=1))
    with pytest.raises(ArithmeticError):
        broken.fit(n_epoch, cbs=[CheckpointCallback(every=1), Fail(at)])
    again.fit(n_epoch, cbs=CheckpointCallback(every=1), resume=True)
    one, other = everything(whole), everything(again)
    for name in ("weights", "opt", "losses", "values", "lrs"):
        assert _equal(one[name], other[name]), name
    return whole, broken, again


@pytest.mark.parametrize("at", [1, 5, 12])
def test_the_scale_of_losses_goes_on(at, tmp_path):
    def make(folder):
        # It grows every other step, and overflows on the way.
        precision = MixedPrecision(init_scale=2.0**14, growth_interval=2)
        return learner(folder, cbs=precision)

    whole, _, again = interrupted(tmp_path, make, at)
    scales = [each.mixed_precision.scaler.state_dict() for each in (whole, again)]
    assert scales[0] == scales[1]
    assert scales[0]["scale"] != 2.0**14


@pytest.mark.parametrize("at", [1, 5, 7, 12])
def test_loggers_repeat_and_leave_out_nothing(at, tmp_path):
    class Notes(FitLogger):
        def __init__(self):
            super().__init__()
            self.notes = []

        def log_values(self, values, step):
            self.notes.append((step, values))

    made = interrupted(tmp_path, lambda folder: learner(folder, cbs=Notes()), at)
    whole, broken, again = (each.notes.notes for each in made)
    assert broken + again == whole
    assert len(whole) == 3 * 5 + 3
