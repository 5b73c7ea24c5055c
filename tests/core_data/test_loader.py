"""The DataLoader without workers: batches, extension points, failures, copies."""

import inspect
import itertools
import random
import string
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.data_items import (
    CountsUp,
    FailingEvery7th,
    UnpicklableError,
    double,
)
from torte.data.errors import ItemError, LoaderError, SkipItemException
from torte.data.loader import DataLoader, SkippedItemsWarning
from torte.data.seeding import (
    current_keys,
)
from torte.data.tensors import TensorCategory, TensorImage
from torte.dispatch import method

letters = list(string.ascii_lowercase)


def words(loader):
    return ["".join(batch) for batch in loader]


def lists(loader):
    return [batch.tolist() for batch in loader]


# -- batches and lengths ----


@given(st.integers(0, 40), st.integers(1, 12), st.booleans(), st.booleans())
def test_a_pass_takes_each_sample_once(count, bs, shuffle, drop_last):
    loader = DataLoader(range(count), bs=bs, shuffle=shuffle, drop_last=drop_last)
    batches = lists(loader)
    assert len(batches) == len(loader)
    seen = [sample for batch in batches for sample in batch]
    assert len(set(seen)) == len(seen)
    assert all(len(batch) == bs for batch in batches[:-1])
    expected = count // bs * bs if drop_last else count
    assert len(seen) == expected
    if not drop_last:
        assert sorted(seen) == list(range(count))
    if not shuffle:
        assert seen == list(range(expected))


def test_without_a_batch_size_the_dataset_gives_batches():
    assert list(DataLoader(letters)) == letters
    assert len(DataLoader(letters)) == 26
    assert sorted(DataLoader(letters, shuffle=True)) == letters
    assert list(DataLoader(letters, indexed=False)) == letters
    arrays = [np.array([0, 1, 2]), np.array([3, 4, 5])]
    assert lists(DataLoader(arrays)) == [[0, 1, 2], [3, 4, 5]]
    assert all(map(torch.is_tensor, DataLoader(arrays)))
    unchanged = list(DataLoader(arrays, create_batch=lambda batch: batch))
    assert unchanged[0] is arrays[0]


def test_batch_size_is_bs():
    assert words(DataLoader(letters, 4, drop_last=True)) == words(
        DataLoader(letters, batch_size=4, drop_last=True)
    )
    assert DataLoader(letters, batch_size=4).bs == 4
    assert DataLoader(letters, bs=4).batch_size == 4


def test_two_passes():
    loader = DataLoader(letters, bs=4, drop_last=True)
    assert " ".join(words(loader)) == "abcd efgh ijkl mnop qrst uvwx"
    assert words(loader) == words(loader)


def test_partial_passes():
    assert lists(DataLoader(range(100), bs=4, n=10)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    shuffled = lists(DataLoader(range(100), bs=5, n=10, shuffle=True))
    assert sorted(itertools.chain(*shuffled)) == list(range(10))
    assert len(DataLoader(range(100), bs=4, n=10)) == 3


def test_iterables():
    assert lists(DataLoader(iter(range(5)), bs=2)) == [[0, 1], [2, 3], [4]]
    assert lists(DataLoader(CountsUp(5), bs=2, drop_last=True)) == [[0, 1], [2, 3]]
    assert lists(DataLoader((n * n for n in range(4)), bs=2, after_item=double)) == [
        [0, 2],
        [8, 18],
    ]
    assert lists(DataLoader(itertools.count(), bs=2, n=5)) == [[0, 1], [2, 3], [4]]
    assert lists(DataLoader(iter([]), bs=2)) == []
    loader = DataLoader(CountsUp(5), bs=2)
    assert lists(loader) == lists(loader)
    with pytest.raises(TypeError, match=r"has no length: its dataset \(CountsUp\) has none"):
        len(loader)


def test_an_indexed_dataset_without_a_length_ends_with_its_index():
    class Endless:
        def __getitem__(self, index):
            return index

    class Five(Endless):
        def __getitem__(self, index):
            return [10, 11, 12, 13, 14][index]

    assert lists(DataLoader(Five(), bs=2)) == [[10, 11], [12, 13], [14]]
    first = list(itertools.islice(DataLoader(Endless(), bs=3), 2))
    assert [batch.tolist() for batch in first] == [[0, 1, 2], [3, 4, 5]]


def test_items_without_a_dataset():
    def until_unlucky(sample):
        drawn = random.random()
        if drawn > 0.95:
            raise StopIteration
        return drawn

    loader = DataLoader(create_item=until_unlucky, bs=4, seed=3)
    batches = list(loader)
    assert sum(map(len, batches)) == sum(
        map(len, DataLoader(create_item=until_unlucky, seed=3, bs=4))
    )
    assert all(len(batch) == 4 for batch in batches[:-1])
    whole = list(DataLoader(create_item=until_unlucky, bs=4, seed=3, drop_last=True))
    assert all(len(batch) == 4 for batch in whole)
    assert len(whole) == sum(len(batch) == 4 for batch in batches)
    assert len(list(DataLoader(create_item=lambda sample: 1, n=10, bs=4))) == 3
    with pytest.raises(ItemError, match="needs a dataset or a create_item"):
        next(iter(DataLoader(n=3)))


def test_samples_of_any_kind():
    loader = DataLoader(create_item=str.upper, get_idxs=lambda: ["a", "b", "c"], bs=2)
    assert list(loader) == [["A", "B"], ["C"]]
    loader = DataLoader(letters, get_idxs=lambda: torch.tensor([3, 1, 1]), bs=2)
    assert words(loader) == ["db", "b"]
    loader = DataLoader(letters, get_idxs=lambda: iter([3, 1, 2]), bs=2)
    assert words(loader) == ["db", "c"]


# -- arguments ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bs": 0}, "bs must be at least 1, got 0"),
        ({"bs": 2.5}, r"bs must be an integer, got 2\.5"),
        ({"bs": True}, "bs must be an integer, got True"),
        ({"n": -1}, "n must be at least 0"),
        ({"n": 11}, "n=11 is more than the dataset's 10 samples"),
        ({"num_workers": -1}, "num_workers must be at least 0"),
        ({"num_workers": 1, "worker_kind": "fibers"}, "worker_kind must be one of auto, fork"),
        ({"prefetch_factor": 0}, "prefetch_factor must be at least 1"),
        ({"shuffle": True, "indexed": False}, "shuffle=True needs a dataset with indices"),
    ],
)
def test_contradictions_are_found_at_once(arguments, message):
    with pytest.raises(LoaderError, match=message):
        DataLoader(range(10), **arguments)


def test_an_iterable_cannot_be_shuffled():
    with pytest.raises(LoaderError, match="which CountsUp does not have: shuffle where it is made"):
        DataLoader(CountsUp(), bs=2, shuffle=True)


def test_unknown_arguments_are_named():
    with pytest.raises(TypeError, match=r"has no argument 'colate_fn'; functions can be given for"):
        DataLoader(letters, colate_fn=list)


# -- extension points ----


def test_every_point_is_called_in_its_place():
    calls = []

    def noting(name):
        original = getattr(DataLoader, name)

        def point(self, *args):
            calls.append(name)
            return original(self, *args)

        return point

    names = [name for name in DataLoader._methods if name not in ("create_batches", "create_items")]
    kind = type("Noting", (DataLoader,), {name: noting(name) for name in names})
    assert list(map(torch.Tensor.tolist, kind(range(3), bs=2, shuffle=True, seed=0)))
    once = ["before_iter", "randomize", "sample", "get_idxs", "shuffle_fn"]
    item = ["do_item", "create_item", "after_item"]
    batch = ["do_batch", "before_batch", "create_batch", "retain", "after_batch"]
    assert calls == [*once, *item, *item, *batch, *item, *batch, "after_iter"]


def test_functions_replace_points():
    log = []
    loader = DataLoader(
        range(6),
        bs=3,
        before_iter=lambda: log.append("begin"),
        get_idxs=lambda: [5, 4, 3, 2],
        create_item=lambda sample: sample * 10,
        after_item=lambda item: item + 1,
        before_batch=lambda items: items[::-1],
        create_batch=tuple,
        after_batch=lambda batch: [*batch, "end"],
        after_iter=lambda: log.append("done"),
    )
    assert list(loader) == [[31, 41, 51, "end"], [21, "end"]]
    assert log == ["begin", "done"]


def test_functions_that_take_the_loader():
    loader = DataLoader(
        range(4), bs=2, create_item=method(lambda self, s: self.dataset[s] * self.bs)
    )
    assert lists(loader) == [[0, 2], [4, 6]]
    assert lists(loader.new(bs=4)) == [[0, 4, 8, 12]]


def test_making_items_of_a_batch_in_one_go():
    table = np.arange(20) * 2
    loader = DataLoader(table, bs=8, shuffle=True, seed=1, create_items=lambda samps: table[samps])
    single = DataLoader(table, bs=8, shuffle=True, seed=1)
    whole = [torch.as_tensor(batch).tolist() for batch in loader]
    assert whole == lists(single)


def test_batches_of_the_users_own_making():
    class ByLetters(DataLoader):
        """Batches of words with at most eight letters."""

        def create_batches(self, samps):
            batch = []
            for item in map(self.do_item, samps):
                if sum(map(len, [*batch, item])) > 8:
                    yield batch
                    batch = []
                batch.append(item)
            yield batch

    text = ["to", "be", "or", "not", "to", "be", "that", "is", "the", "question"]
    expected = [["to", "be", "or"], ["not", "to", "be"], ["that", "is"], ["the"], ["question"]]
    assert list(ByLetters(text, bs=1)) == expected
    assert list(ByLetters(iter(text), bs=1)) == expected


def test_the_iterator_of_an_iterable_dataset():
    class Pairs(DataLoader):
        def create_item(self, s):
            return next(self.it), -1

    batch = next(iter(Pairs(CountsUp(4), bs=4)))
    assert batch[0].tolist() == [0, 1, 2, 3]
    with pytest.raises(LoaderError, match="no iterator outside of a pass"):
        Pairs(CountsUp(4), bs=4).it


def test_items_left_out():
    def odd(sample):
        if sample % 2 == 0:
            raise SkipItemException
        return sample

    loader = DataLoader(range(10), bs=4, create_item=odd)
    assert lists(loader) == [[1, 3], [5, 7], [9]]
    assert lists(DataLoader(range(3), bs=1, create_item=odd)) == [[1]]
    none = DataLoader(range(10), bs=4, after_item=lambda item: item if item > 4 else None)
    assert lists(none) == [[5, 6, 7], [8, 9]]


def test_types_are_kept_by_collation_or_put_back_by_retain():
    items = [(TensorImage(torch.rand(3, 2, 2)), TensorCategory(torch.tensor(1)))] * 4
    assert [type(part) for part in DataLoader(items, bs=2).one_batch()] == [
        TensorImage,
        TensorCategory,
    ]

    def stripped(batch):
        return tuple(
            torch.stack([torch.tensor(part.tolist()) for part in column])
            for column in zip(*batch, strict=True)
        )

    kept = DataLoader(items, bs=2, create_batch=stripped).one_batch()
    assert [type(part) for part in kept] == [TensorImage, TensorCategory]


def test_signature_names_every_point():
    names = set(inspect.signature(DataLoader).parameters)
    assert names >= set(DataLoader._methods)


def test_items_fetched_together():
    class Table:
        def __init__(self):
            self.asked = []

        def __len__(self):
            return 5

        def __getitem__(self, index):
            return {"x": index}

        def __getitems__(self, indices):
            self.asked.append(indices)
            if 4 in indices:
                raise ValueError("row 4 is broken")
            return [{"x": index} for index in indices]

    table = Table()
    batches = [batch["x"].tolist() for batch in DataLoader(table, bs=2)]
    assert batches == [[0, 1], [2, 3], [4]]
    assert table.asked == [[0, 1], [2, 3], [4]]
    subset = torch.utils.data.Subset(letters, [3, 4])
    assert words(DataLoader(subset, bs=2)) == ["de"]


# -- failures ----


def test_a_failing_item_is_named_and_keeps_its_cause():
    loader = DataLoader(FailingEvery7th(), bs=4)
    with pytest.raises(ItemError) as info:
        list(loader)
    assert str(info.value) == (
        "item 3 of FailingEvery7th ('file3.jpg') failed: ZeroDivisionError: broken at 3"
    )
    assert info.value.index == 3
    assert type(info.value.__cause__) is ZeroDivisionError
    assert info.value.__cause__.__traceback__ is not None
    assert loader.epoch == 1


def test_failures_of_transforms_generators_and_makers():
    with pytest.raises(ItemError, match=r"item 2 of list \('c'\) failed: TypeError"):
        list(DataLoader(letters, bs=4, after_item=lambda s: s if s < "c" else s + 1))
    failing = (1 // (3 - n) for n in range(6))
    with pytest.raises(ItemError, match="item 3 of Replayable failed: ZeroDivisionError"):
        list(DataLoader(failing, bs=2))
    with pytest.raises(ItemError, match=r"item 0 of the loader's create_item failed: KeyError"):
        list(DataLoader(create_item=lambda s: {}["x"], n=3, bs=2))
    with pytest.raises(ItemError, match="StopIteration"):  # never taken for the end of the data
        list(DataLoader(range(4), bs=2, after_item=lambda item: next(iter([]))))


def test_a_failing_batch_names_its_samples():
    with pytest.raises(Exception, match="must be alike") as info:
        list(DataLoader([torch.ones(n) for n in range(4)], bs=2))
    assert info.value.__notes__[-1] == "while making one batch of the samples [0, 1]"


def test_failures_are_left_out_and_reported():
    loader = DataLoader(FailingEvery7th(), bs=4, skip_failures=True)
    with pytest.warns(
        SkippedItemsWarning, match=r"3 items failed .* \[3, 10, 17\]; the first: item 3"
    ):
        batches = lists(loader)
    assert batches == [[0, 1, 2], [4, 5, 6, 7], [8, 9, 11], [12, 13, 14, 15], [16, 18, 19]]
    assert [failure.index for failure in loader.failures] == [3, 10, 17]
    assert all(type(failure.__cause__) is ZeroDivisionError for failure in loader.failures)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert lists(loader) == batches
    assert len(loader.failures) == 3


def test_errors_with_constructors_of_their_own():
    class Broken(list):
        def __getitem__(self, index):
            raise UnpicklableError("one", "two")

    with pytest.raises(ItemError, match="UnpicklableError: one and two"):
        list(DataLoader(Broken([1]), bs=1))


# -- copies and devices ----


def test_new_keeps_everything_but_what_is_given():
    class Mine(DataLoader):
        def __init__(self, dataset=None, bs=None, factor=1, **kwargs):
            self.factor = factor
            super().__init__(dataset, bs, **kwargs)

        def after_item(self, item):
            return item * self.factor

    loader = Mine(
        range(10),
        4,
        factor=3,
        shuffle=True,
        seed=7,
        n=8,
        num_workers=None,
        timeout=2,
        after_batch=torch.neg,
        skip_failures=True,
    )
    loader.to("cpu")
    copy = loader.new()
    assert type(copy) is Mine
    assert lists(copy) == lists(loader)
    assert (copy.n, copy.timeout, copy.skip_failures, copy.device) == (8, 2, True, loader.device)
    assert copy._num_workers is None
    other = loader.new(range(100), shuffle=False, bs=50)
    assert (other.n, other.bs, other.factor, other.seed) == (100, 50, 3, 7)
    assert other.one_batch().tolist() == [-3 * n for n in range(50)]
    loader.bs = 2
    assert loader.new().bs == 2
    assert loader.new(batch_size=5).bs == 5
    assert type(loader.new(cls=DataLoader)) is DataLoader


def test_device():
    loader = DataLoader([{"a": torch.ones(2), "b": "text"}] * 3, bs=3, device="meta")
    batch = loader.one_batch()
    assert batch["a"].device.type == "meta"
    assert batch["b"] == ["text"] * 3
    assert next(iter(loader))["a"].device.type == "meta"
    assert DataLoader(range(3), bs=3).to("meta").one_batch().device.type == "meta"
    assert loader.to(None).one_batch()["a"].device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_cuda(num_workers):
    items = [(torch.full((4,), float(n)), n) for n in range(50)]
    loader = DataLoader(
        items,
        bs=8,
        device="cuda",
        num_workers=num_workers,
        after_batch=lambda b: (b[0] + current_keys(len(b[1]), b[0].device)[:, None] * 0, b[1]),
    )
    assert loader.pins_memory
    found = [(x.cpu(), y.cpu()) for x, y in loader]
    expected = list(DataLoader(items, bs=8))
    for (x, y), (left, right) in zip(found, expected, strict=True):
        assert torch.equal(x, left)
        assert torch.equal(y, right)
