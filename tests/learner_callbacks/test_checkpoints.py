"""Real processes are killed at any point of a training, which goes on to the same bits."""

import os
import signal
from functools import partial

import pytest
from support import killed_runs as runs
from torte.learner import EXIT_CODE, CheckpointStore


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """The ends of trainings that nothing interrupted, by the kind of their loaders."""
    found = {}
    # Once in this process, so that what is imported on the way is not in each of the others.
    runs.train(tmp_path_factory.mktemp("imports"))
    for loaders in (runs.own_loaders, runs.torch_loaders):
        folder = tmp_path_factory.mktemp(loaders.__name__)
        assert runs.in_process(partial(runs.train, folder, loaders=loaders)) == 0
        found[loaders] = runs.end_of(folder)
    return found


def killed(folder, at, order=2000, **kwargs):
    status = runs.in_process(partial(runs.train, folder, [runs.Kill(at, order)], **kwargs))
    assert status in (-signal.SIGKILL, 0)
    return status


def completed(folder, expected, **kwargs):
    assert runs.in_process(partial(runs.train, folder, **kwargs)) == 0
    found = runs.differences(expected, runs.end_of(folder))
    assert not found, found[:5]


# A training has about 190 events, ten in each training batch and four in each of validation:
# these fall on all kinds of them, before all other callbacks and after them.
@pytest.mark.parametrize("at", range(2, 200, 9))
def test_killed_in_any_batch(at, tmp_path, references):
    killed(tmp_path, at, order=2000 if at % 2 else -2000)
    completed(tmp_path, references[runs.own_loaders])


@pytest.mark.parametrize(("every", "step"), [(25, 1), (34, 1), (47, 3)])
def test_killed_again_and_again(every, step, tmp_path, references):
    deaths = 0
    # Not beside: on a busy machine the writing would never be done in time.
    while killed(tmp_path, every, 2000 - 4000 * (deaths % 2), every=step, beside=False):
        deaths += 1
        assert deaths < 40, "it makes no progress"
    assert deaths >= 3
    found = runs.differences(references[runs.own_loaders], runs.end_of(tmp_path))
    assert not found, found[:5]


@pytest.mark.parametrize("at", [35, 80, 97, 150])
def test_loaders_without_a_position_are_begun_again(at, tmp_path, references):
    killed(tmp_path, at, loaders=runs.torch_loaders)
    completed(tmp_path, references[runs.torch_loaders], loaders=runs.torch_loaders)


@pytest.mark.parametrize("at", [50, 100])
def test_other_numbers_of_workers(at, tmp_path, references):
    killed(tmp_path, at, workers=2)
    killed(tmp_path, at - 20, workers=0)
    completed(tmp_path, references[runs.own_loaders], workers=1)


def dying_at(module, name, count):
    """Kill this process at the so-manieth call of a function."""
    original, calls = getattr(module, name), []

    def dying(*args, **kwargs):
        calls.append(args)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(module, name, dying)


@pytest.mark.parametrize("name", ["fsync", "rename", "replace", "rmdir"])
@pytest.mark.parametrize("count", [1, 4, 9])
def test_killed_while_it_writes(name, count, tmp_path, references):
    def job():
        dying_at(os, name, count)
        runs.train(tmp_path)

    assert runs.in_process(job) == -signal.SIGKILL
    completed(tmp_path, references[runs.own_loaders])
    left = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert sorted(left) == sorted(
        path.name for path in CheckpointStore(tmp_path / "checkpoints").paths()
    )


class Signal(runs.Callback):
    """Sends its own process a signal in a batch."""

    def __init__(self, number, at, training, twice=False):
        super().__init__()
        self.number, self.at, self.of_training, self.twice = number, at, training, twice

    def before_batch(self):
        if (self.iter, self.learn.training) == (self.at, self.of_training):
            os.kill(os.getpid(), self.number)
            if self.twice:
                os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("at", "training"), [(2, True), (6, True), (1, False), (2, False)])
def test_signals_end_the_process_after_the_step(number, at, training, tmp_path, references):
    job = partial(runs.train, tmp_path, [Signal(number, at, training)], every=100)
    assert runs.in_process(job) == EXIT_CODE == 75
    facts = CheckpointStore(tmp_path / "checkpoints").checkpoints()[0].facts
    assert facts["phase"] == ("train" if training else "validate")
    assert facts["step"] == (at + 1 if training else 7)
    completed(tmp_path, references[runs.own_loaders])


def test_a_second_interrupt_is_heeded_at_once(tmp_path):
    def job():
        # A shell has processes in its background ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            runs.train(tmp_path, [Signal(signal.SIGINT, 2, True, twice=True)], every=100)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    assert runs.in_process(job) == 0
    assert CheckpointStore(tmp_path / "checkpoints").paths() == []
