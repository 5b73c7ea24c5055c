"""The DataLoader: where its randomness comes from; passes under way, looking, its state."""

import gc
import itertools
import random
import string

import numpy as np
import pytest
import torch
from support.data_items import (
    CountsUp,
    Draws,
)
from torte.data.errors import LoaderError
from torte.data.loader import DataLoader
from torte.data.seeding import (
    current_keys,
    current_random,
    drawing,
    sample_key,
    sample_keys,
)
from torte.dispatch import method

letters = list(string.ascii_lowercase)


def words(loader):
    return ["".join(batch) for batch in loader]


def lists(loader):
    return [batch.tolist() for batch in loader]


# -- randomness ----


def test_orders_differ_by_pass_and_by_seed_and_repeat():
    loader = DataLoader(range(50), bs=50, shuffle=True, seed=1)
    first, second = lists(loader), lists(loader)
    assert first != second
    assert lists(DataLoader(range(50), bs=50, shuffle=True, seed=1)) == first
    assert lists(DataLoader(range(50), bs=50, shuffle=True, seed=2)) != first


def test_the_order_is_uniform():
    places = np.zeros((6, 6))
    for seed in range(600):
        order = DataLoader(range(6), bs=6, shuffle=True, seed=seed).one_batch()
        places[np.arange(6), order] += 1
    assert ((places - 100) ** 2 / 100).sum() < 60  # chi-square with 25 degrees: p < 0.0001


def test_default_seed_follows_torchs_generator():
    torch.manual_seed(4)
    first = DataLoader(range(20), bs=20, shuffle=True)
    torch.manual_seed(4)
    again = DataLoader(range(20), bs=20, shuffle=True)
    other = DataLoader(range(20), bs=20, shuffle=True)
    assert lists(first) == lists(again)
    assert first.seed != other.seed


def test_draws_depend_on_seed_epoch_and_index_alone():
    def draws(loader):
        return {
            int(index): (own.item(), python.item(), numpy.item(), third.item())
            for batch in loader
            for index, own, python, numpy, third in zip(*batch.values(), strict=True)
        }

    plain, shuffled = (
        DataLoader(Draws(), bs=4, seed=9),
        DataLoader(Draws(), bs=7, shuffle=True, seed=9),
    )
    first, second = draws(plain), draws(plain)
    assert first == draws(shuffled)
    assert second == draws(shuffled)
    assert len(set(first.values()) | set(second.values())) == 44
    expected = [random.Random(sample_key(9, 0, index)).random() for index in range(22)]
    assert [first[index][0] for index in range(22)] == expected


def test_global_generators_are_left_alone():
    torch.manual_seed(0)
    random.seed(0)
    loader = DataLoader(Draws(), bs=4, shuffle=True)
    before = random.getstate(), torch.get_rng_state()
    list(loader)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_shuffling_functions_that_use_global_generators_repeat():
    def loader():
        return DataLoader(
            letters,
            bs=4,
            seed=1,
            shuffle=True,
            shuffle_fn=lambda idxs: random.sample(list(idxs), 26),
        )

    assert words(loader()) == words(loader())
    assert sorted("".join(words(loader()))) == letters


def test_a_shuffling_function_that_uses_the_loaders_generator():
    shuffling = method(lambda self, idxs: self.rng.sample(list(idxs), len(idxs)))
    loader = DataLoader(letters, bs=26, shuffle=True, shuffle_fn=shuffling, seed=5)
    first, second = words(loader), words(loader)
    assert first != second
    assert words(DataLoader(letters, bs=26, shuffle=True, shuffle_fn=shuffling, seed=5)) == first


def test_a_sample_taken_twice_gets_draws_of_its_own():
    loader = DataLoader(Draws(), bs=6, get_idxs=lambda: [3, 3, 5, 3, 5, 1], seed=2)
    drawn = loader.one_batch()["own"].tolist()
    assert len(set(drawn)) == 6
    once = DataLoader(Draws(), bs=6, get_idxs=lambda: [3, 5, 1], seed=2).one_batch()["own"].tolist()
    assert [drawn[0], drawn[2], drawn[5]] == once


def test_batch_transforms_draw_by_the_samples_keys():
    seen = []
    loader = DataLoader(
        range(5),
        bs=2,
        shuffle=True,
        seed=3,
        after_batch=lambda batch: seen.append((batch, current_keys(len(batch)))),
    )
    list(loader)
    for batch, keys in seen:
        assert keys.tolist() == sample_keys(3, 0, batch.numpy()).tolist()


def test_a_dataset_that_uses_a_loader_itself():
    class Outer:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            first = current_random().random()
            inner = next(iter(DataLoader(Draws(), bs=2, seed=1)))["own"].sum()
            assert current_random() is current_random()
            return first, inner, current_random().random()

    firsts, inners, lasts = DataLoader(Outer(), bs=3, seed=7).one_batch()
    references = [random.Random(sample_key(7, 0, index)) for index in range(3)]
    assert firsts.tolist() == [each.random() for each in references]
    assert lasts.tolist() == [each.random() for each in references]
    assert len(set(inners.tolist())) == 1


# -- passes, looking, state ----


def test_epochs_count_passes_begun_not_looks():
    loader = DataLoader(range(10), bs=4, shuffle=True)
    assert loader.epoch == 0
    first = loader.one_batch()
    assert torch.equal(loader.one_batch(), first)
    assert loader.epoch == 0
    assert torch.equal(next(iter(loader)), first)
    gc.collect()
    assert loader.epoch == 1
    list(loader)
    assert loader.epoch == 2
    assert not torch.equal(loader.one_batch(), first)


def test_looking_leaves_everything_alone():
    loader = DataLoader(
        Draws(), bs=4, shuffle=True, after_batch=lambda b: {**b, "r": torch.rand(2)}
    )
    torch.manual_seed(0)
    before = loader.state_dict(), torch.get_rng_state()
    loader.one_batch()
    assert loader.state_dict() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    once = DataLoader(iter(range(6)), bs=4)
    assert once.one_batch().tolist() == [0, 1, 2, 3]
    assert once.one_batch().tolist() == [0, 1, 2, 3]
    assert lists(once) == [[0, 1, 2, 3], [4, 5]]


def test_nothing_to_look_at():
    with pytest.raises(ValueError, match="does not contain any batches"):
        DataLoader([], bs=4).one_batch()
    with pytest.raises(ValueError, match="does not contain any batches"):
        DataLoader(iter([]), bs=4).one_batch()
    with pytest.raises(ValueError, match="does not contain any batches"):
        DataLoader(range(3), bs=4, drop_last=True).one_batch()


def test_passes_at_the_same_time():
    loader = DataLoader(range(10), bs=4, shuffle=True, seed=0)
    alone = lists(DataLoader(range(10), bs=4, shuffle=True, seed=0))
    assert [(a.tolist(), b.tolist()) for a, b in zip(loader, loader, strict=True)] == [
        (batch, batch) for batch in alone
    ]
    nested = [(a.tolist(), b.tolist()) for a in loader for b in loader]
    assert len(nested) == 9


@pytest.mark.parametrize("stop", range(8))
def test_a_pass_goes_on_where_it_stopped(stop):
    def loader(**arguments):
        return DataLoader(Draws(26), bs=4, shuffle=True, **arguments)

    whole = loader(seed=5)
    expected = [[str(batch) for batch in whole] for _ in range(3)]
    first = loader(seed=5)
    list(first)
    passing = iter(first)
    seen = [str(batch) for batch in itertools.islice(passing, stop)]
    state = first.state_dict()
    assert state == {"seed": 5, "epoch": 1, "position": stop}
    resumed = loader()
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert seen + [str(batch) for batch in resumed] == expected[1]
    assert [str(batch) for batch in resumed] == expected[2]


def test_resuming_reads_nothing_of_what_was_seen():
    read = []
    loader = DataLoader(range(1000), bs=10, create_item=lambda s: read.append(s) or s)
    loader.load_state_dict({"seed": 0, "epoch": 3, "position": 99})
    assert lists(loader) == [list(range(990, 1000))]
    assert read == list(range(990, 1000))
    assert loader.epoch == 4


def test_iterables_pass_over_what_was_seen_without_making_items_of_it():
    made = []
    loader = DataLoader(CountsUp(10), bs=3, after_item=lambda item: made.append(item) or item)
    loader.load_state_dict({"seed": 0, "epoch": 0, "position": 2})
    assert lists(loader) == [[6, 7, 8], [9]]
    assert made == [6, 7, 8, 9]


def test_an_old_pass_does_not_move_a_loaded_state():
    loader = DataLoader(range(10), bs=2, shuffle=True, seed=1)
    running = iter(loader)
    next(running)
    state = loader.state_dict()
    loader.load_state_dict(state)
    del running
    gc.collect()
    assert loader.state_dict() == state


def test_incomplete_states_are_refused():
    with pytest.raises(LoaderError, match=r"lacks \['position'\]"):
        DataLoader(range(3)).load_state_dict({"seed": 0, "epoch": 0})


def test_drawing_outside_is_untouched_by_a_pass():
    with drawing(5):
        before = current_random()
        list(DataLoader(Draws(), bs=4))
        assert current_random() is before


class _Listed(torch.utils.data.Dataset):
    """The items of a list, by a class that might draw."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_items_that_are_only_looked_up_leave_the_draws_of_batches_as_they_are(num_workers):
    def noisy(self, items):
        return torch.tensor(items) + torch.rand(len(items)) + random.random()

    def batches(dataset, workers):
        loader = DataLoader(
            dataset, bs=4, shuffle=True, seed=3, num_workers=workers, create_batch=method(noisy)
        )
        return torch.cat(list(loader))

    items = list(range(19))
    expected = batches(_Listed(items), 0)
    assert torch.equal(batches(items, num_workers), expected)
