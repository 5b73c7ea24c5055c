"""Real workers of every kind: the same batches, clear errors, nothing left behind."""

import functools
import gc
import itertools
import multiprocessing
import os
import queue
import threading
import time
import warnings
from types import SimpleNamespace

import pytest
import torch
from support.data_items import (
    CountsUp,
    Draws,
    FailingEvery7th,
    KillsItsWorker,
    OwnDraws,
    RaisesUnpicklable,
    ReportsMemory,
    SharesItself,
    Sleeps,
    WorkerIds,
    boom,
    double,
)
from torte.data._travel import find_stuck
from torte.data.errors import ItemError, LoaderError, TravelError, WorkerError
from torte.data.loader import DataLoader, SkippedItemsWarning
from torte.data.tensors import TensorBase, TensorImage, TensorMask
from torte.data.workers import auto_workers, usable_cpus, worker_kind
from torte.dispatch import method

FAST = ["fork", "threads"]
# Workers that start afresh import torch, seconds each: one test of a kind goes through them.
KINDS = [*FAST, "forkserver", "spawn"]


def lists(loader):
    return [batch.tolist() for batch in loader]


def as_text(loader):
    return [{key: value.tolist() for key, value in batch.items()} for batch in loader]


@pytest.mark.parametrize(
    ("kind", "num_workers"),
    [("fork", 1), ("fork", 4), ("threads", 1), ("threads", 4), ("forkserver", 2), ("spawn", 2)],
)
def test_the_same_batches_for_any_workers(kind, num_workers):
    dataset = OwnDraws() if kind == "threads" else Draws()
    arguments = {"bs": 3, "shuffle": True, "seed": 8}
    expected = DataLoader(dataset, **arguments)
    loader = DataLoader(
        dataset,
        num_workers=num_workers,
        worker_kind=kind,
        persistent_workers=kind in ("forkserver", "spawn"),
        **arguments,
    )
    assert as_text(loader) == as_text(expected)
    assert as_text(loader) == as_text(expected)  # the second pass


@pytest.mark.parametrize("kind", FAST)
def test_resuming_with_workers(kind):
    whole = DataLoader(range(26), bs=4, shuffle=True, seed=3)
    list(whole)
    expected = lists(whole)
    loader = DataLoader(range(26), bs=4, shuffle=True, num_workers=2, worker_kind=kind)
    loader.load_state_dict({"seed": 3, "epoch": 1, "position": 0})
    running = iter(loader)
    seen = [batch.tolist() for batch in itertools.islice(running, 3)]
    state = loader.state_dict()
    assert state == {"seed": 3, "epoch": 1, "position": 3}
    running.close()
    loader.load_state_dict(state)
    assert seen + lists(loader) == expected


def test_workers_are_as_many_as_asked_for():
    for kind, count in (("fork", 3), ("fork", 1)):
        batches = DataLoader(WorkerIds(), bs=2, num_workers=count, worker_kind=kind)
        ids = {pid for batch in batches for pid in batch.tolist()}
        assert len(ids) == count
        assert os.getpid() not in ids
    assert set(itertools.chain(*lists(DataLoader(WorkerIds(), bs=8)))) == {os.getpid()}


def test_persistent_workers_stay_for_all_passes():
    loader = DataLoader(WorkerIds(), bs=4, num_workers=2, persistent_workers=True, shuffle=True)
    first = set(itertools.chain(*lists(loader)))
    running = iter(loader)
    next(running)
    beside = set(itertools.chain(*lists(loader)))  # the kept ones are busy
    running.close()
    assert set(itertools.chain(*lists(loader))) == first
    assert not beside & first
    other = DataLoader(
        range(20), bs=4, shuffle=True, seed=0, num_workers=2, persistent_workers=True
    )
    alone = DataLoader(range(20), bs=4, shuffle=True, seed=0)
    assert [lists(other) for _ in range(3)] == [lists(alone) for _ in range(3)]


def test_choosing_the_number_of_workers():
    assert auto_workers(3, "auto") == 0
    assert auto_workers(1000, "fork") == min(16, usable_cpus())
    assert auto_workers(None, "fork") == min(16, usable_cpus())
    assert auto_workers(1000, "spawn") == 0
    assert DataLoader(range(8), bs=4, num_workers=None).num_workers == 0
    assert DataLoader(range(800), bs=4, num_workers=None).num_workers == min(16, usable_cpus())
    assert DataLoader(range(800), bs=4, num_workers=3).num_workers == 3


def test_kinds(monkeypatch):
    assert worker_kind("threads") == "threads"
    assert worker_kind("auto") in KINDS
    monkeypatch.setattr("sys.platform", "darwin")
    assert worker_kind("auto") == "spawn"
    monkeypatch.setattr("torch.multiprocessing.get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(LoaderError, match=r"'fork' does not exist .* one of spawn, threads"):
        worker_kind("fork")


# -- iterables ----


@pytest.mark.parametrize("kind", FAST)
@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_an_iterable_is_shared_out(kind, num_workers, drop_last):
    expected = lists(DataLoader(CountsUp(22), bs=4, drop_last=drop_last, after_item=double))
    assert [n for batch in expected for n in batch] == list(range(0, 40 if drop_last else 44, 2))
    loader = DataLoader(
        CountsUp(22),
        bs=4,
        drop_last=drop_last,
        after_item=double,
        num_workers=num_workers,
        worker_kind=kind,
    )
    assert lists(loader) == expected
    assert lists(loader) == expected


@pytest.mark.parametrize(
    ("kind", "count"), [("fork", 1), ("fork", 7), ("fork", 22), ("fork", 24), ("spawn", 22)]
)
def test_an_iterable_that_shares_itself_out_is_left_to(kind, count):
    loader = DataLoader(SharesItself(count), bs=4, num_workers=2, worker_kind=kind)
    batches = lists(loader)
    assert sorted(itertools.chain(*batches)) == list(range(count))
    if count == 22:
        assert batches[:2] == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_lists_read_in_order():
    loader = DataLoader(list("abcdefghij"), bs=3, indexed=False, num_workers=2)
    assert list(map("".join, loader)) == ["abc", "def", "ghi", "j"]
    limited = DataLoader(itertools.count(), bs=4, n=10, num_workers=3)
    assert lists(limited) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_one_pass_iterators():
    assert lists(DataLoader(map(double, range(7)), bs=4, num_workers=2)) == [
        [0, 2, 4, 6],
        [8, 10, 12],
    ]
    source = iter(range(9))
    loader = DataLoader(source, bs=4, num_workers=3, worker_kind="threads")
    assert lists(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert next(source, None) is None


def test_a_source_that_hands_each_item_out_once():
    waiting = multiprocessing.get_context("fork").Queue()
    for number in range(30):
        waiting.put(number)

    class Source:
        def __iter__(self):
            while True:
                try:
                    yield waiting.get(timeout=0.3)
                except queue.Empty:
                    return

    found = lists(DataLoader(Source(), bs=4, num_workers=3, split_stream=False))
    assert sorted(itertools.chain(*found)) == list(range(30))


class BySum(DataLoader):
    """Makes batches of its own: items up to a sum of ten."""

    def create_batches(self, samps):
        batch = []
        for item in map(self.do_item, samps):
            if sum([*batch, item]) > 10:
                yield self.do_batch(batch)
                batch = []
            batch.append(item)
        if batch:
            yield self.do_batch(batch)


@pytest.mark.parametrize("kind", ["fork", "threads"])
@pytest.mark.parametrize("dataset", [range(6), CountsUp(6)])
def test_own_batches_in_workers(kind, dataset):
    one = BySum(dataset, bs=2, num_workers=1, worker_kind=kind)
    assert lists(one) == [[0, 1, 2, 3, 4], [5]]
    several = BySum(dataset, bs=2, num_workers=2, worker_kind=kind)
    assert sorted(itertools.chain(*lists(several))) == list(range(6))


# -- failures ----


@pytest.mark.parametrize("kind", [*FAST, "spawn"])
def test_a_failing_item_is_named_and_keeps_its_cause(kind):
    loader = DataLoader(FailingEvery7th(), bs=4, num_workers=2, worker_kind=kind)
    with pytest.raises(ItemError, match=r"item 3 of FailingEvery7th \('file3.jpg'\)") as info:
        list(loader)
    assert type(info.value.__cause__) is ZeroDivisionError
    assert str(info.value.__cause__) == "broken at 3"
    if kind != "threads":
        (note,) = info.value.__cause__.__notes__
        assert note.startswith("In a worker process:\nTraceback")
        assert "data_items.py" in note
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("kind", FAST)
def test_failures_are_left_out_and_reported(kind):
    loader = DataLoader(
        FailingEvery7th(), bs=4, num_workers=2, worker_kind=kind, skip_failures=True
    )
    with pytest.warns(SkippedItemsWarning, match=r"3 items failed .* \[3, 10, 17\]"):
        batches = lists(loader)
    assert batches[0] == [0, 1, 2]
    assert [failure.index for failure in loader.failures] == [3, 10, 17]


def test_an_exception_that_cannot_travel_is_told_of():
    with pytest.raises(ItemError, match="UnpicklableError: one and two") as info:
        list(DataLoader(RaisesUnpicklable(), bs=2, num_workers=1))
    assert "support.data_items.UnpicklableError" in str(info.value.__cause__)


def _with_a_local_function(items):
    return {"numbers": torch.tensor(items), "made_by": [lambda: items]}


def _of_a_local_class(items):
    class Local(TensorBase):
        pass

    return Local(torch.tensor(items))


@pytest.mark.parametrize(
    ("create_batch", "culprit"),
    [
        (_with_a_local_function, r"the batch\['made_by'\]\[0\] is a lambda"),
        (_of_a_local_class, "Local"),
    ],
)
def test_a_batch_that_cannot_travel_is_an_error_not_a_hang(create_batch, culprit):
    loader = functools.partial(DataLoader, range(8), bs=4, num_workers=2, create_batch=create_batch)
    with pytest.raises(TravelError, match=rf"batch 0 cannot be sent .*{culprit}"):
        list(loader(worker_kind="fork"))
    assert len(list(loader(worker_kind="threads"))) == 2


@pytest.mark.parametrize("kind", ["fork"])
def test_a_killed_worker_is_an_error_not_a_hang(kind):
    loader = DataLoader(KillsItsWorker(), bs=4, num_workers=2, worker_kind=kind)
    with pytest.raises(WorkerError, match=r"process of the loader died: .*(Killed|exited)"):
        list(loader)
    assert lists(DataLoader(range(4), bs=2, num_workers=2)) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("kind", [ConnectionResetError, EOFError, FileNotFoundError])
def test_a_worker_that_is_gone_when_its_batch_is_fetched_is_an_error(kind, monkeypatch):
    def gone(packed):
        raise kind("gone")

    monkeypatch.setattr("torte.data._tasks.pickle", SimpleNamespace(loads=gone))
    loader = DataLoader(range(8), bs=4, num_workers=1, persistent_workers=True)
    with pytest.raises(WorkerError, match=r"process of the loader died: it exited before") as info:
        list(loader)
    assert type(info.value.__cause__) is kind
    monkeypatch.undo()
    assert lists(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_killed_persistent_worker_is_replaced():
    loader = DataLoader(WorkerIds(), bs=4, num_workers=1, persistent_workers=True)
    (worker,) = set(itertools.chain(*lists(loader)))
    running = iter(loader)
    next(running)
    os.kill(worker, 9)
    with pytest.raises((WorkerError, RuntimeError), match=r"Killed|exited"):
        [time.sleep(0.01) for _ in running]
    assert len(lists(loader)) == 16


@pytest.mark.parametrize("kind", ["fork", "threads"])
def test_a_batch_that_does_not_come_in_time(kind):
    loader = DataLoader(Sleeps(2.5), bs=1, num_workers=1, worker_kind=kind, timeout=0.5)
    with pytest.raises(WorkerError, match=rf"timeout=0\.5 seconds from 1 workers \({kind}\)"):
        list(loader)


def test_a_worker_that_cannot_start_is_an_error():
    with pytest.raises(RuntimeError, match="no such worker"):
        list(DataLoader(range(8), bs=2, num_workers=1, wif=boom))


@pytest.mark.parametrize("kind", FAST)
def test_an_abandoned_pass_leaves_nothing_behind(kind):
    loader = DataLoader(range(1000), bs=2, num_workers=2, worker_kind=kind)
    for batch in loader:
        assert batch.tolist() == [0, 1]
        break
    gc.collect()
    assert not multiprocessing.active_children()
    for thread in threading.enumerate():
        if thread.name.startswith("torte-loader"):
            thread.join(5)
            assert not thread.is_alive()
    assert loader.epoch == 1


def test_threads_that_wait_to_read_are_let_go():
    for _ in range(20):
        loader = DataLoader(
            CountsUp(10**6), bs=2, num_workers=8, worker_kind="threads", prefetch_factor=4
        )
        running = iter(loader)
        next(running)
        running.close()
    for thread in threading.enumerate():
        if thread.name.startswith("torte-loader"):
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["fork", "threads"])
def test_passes_at_the_same_time(kind):
    loader = DataLoader(range(12), bs=4, num_workers=2, worker_kind=kind)
    nested = [(a.tolist()[0], b.tolist()[0]) for a in loader for b in loader]
    assert nested == list(itertools.product([0, 4, 8], [0, 4, 8]))


# -- what travels ----


@pytest.mark.parametrize("kind", ["spawn", "forkserver"])
@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        (
            range(3),
            {"after_item": lambda item: item},
            r"after_item is a lambda from .*\.py",
        ),
        (
            range(3),
            {"create_batch": functools.partial(lambda a, b: b, 1)},
            r"create_batch\.func is a lambda from",
        ),
        ([1, threading.Lock()], {}, r"dataset\[1\] is a lock \(TypeError: cannot pickle"),
        (iter(range(3)), {}, None),
        ((n for n in range(3)), {}, r"dataset\.source is a generator"),
    ],
)
def test_what_cannot_travel_is_named_when_the_loader_is_made(kind, dataset, arguments, message):
    def make(count):
        return DataLoader(dataset, bs=2, num_workers=count, worker_kind=kind, **arguments)

    make(0)
    if message is None:
        make(1)
        return
    with pytest.raises(TravelError, match=message) as info:
        make(1)
    assert "worker_kind='threads'" in str(info.value)
    DataLoader(dataset, bs=2, num_workers=1, worker_kind="fork", **arguments)


def test_deeply_nested_culprits_are_found():
    class Local:
        def __init__(self):
            self.steps = [double, {"scale": lambda x: x}]

    stuck = find_stuck({"tfms": [1, Local()]}, "loader")
    assert stuck[0][0] in ("loader['tfms'][1]", "loader['tfms'][1].steps[1]['scale']")
    culprits = find_stuck({"tfms": (double, [lambda x: x])}, "loader")
    assert [way for way, _, _ in culprits] == ["loader['tfms'][1][0]"]


def test_what_only_the_main_process_needs_may_be_a_lambda():
    loader = DataLoader(
        range(4),
        bs=2,
        num_workers=1,
        worker_kind="spawn",
        after_batch=lambda batch: batch + 1,
        before_iter=lambda: None,
        shuffle_fn=lambda idxs: idxs[::-1],
        shuffle=True,
    )
    assert lists(loader) == [[4, 3], [2, 1]]


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_semantic_tensors_travel(kind):
    items = [
        (TensorImage(torch.full((3, 2, 2), float(n))), TensorMask(torch.ones(2, 2), codes=["a"]))
        for n in range(4)
    ]
    image, mask = next(iter(DataLoader(items, bs=4, num_workers=1, worker_kind=kind)))
    assert type(image) is TensorImage
    assert image[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert mask.codes == ["a"]
    assert mask.is_shared()


def test_many_workers_and_forking_bring_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(lists(DataLoader(range(40), bs=4, num_workers=8))) == 10


def test_memory_of_workers_is_flat_over_a_million_items():
    loader = DataLoader(
        ReportsMemory(1_000_000),
        bs=2500,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        sample=method(lambda self: self.get_idxs()[:50_000]),
    )
    peaks = [max(batch.max().item() for batch in loader) for _ in range(3)]
    assert min(peaks) > 0
    assert max(peaks) - min(peaks) < 8  # MiB
