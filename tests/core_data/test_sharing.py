"""Shares of batches: together they are the whole pass, whatever the loader and the processes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.data_items import CountsUp
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import IterableDataset, TensorDataset, WeightedRandomSampler
from torch.utils.data.distributed import DistributedSampler
from torte.data.errors import SkipItemException
from torte.data.loader import DataLoader
from torte.data.seeding import current_keys, current_random
from torte.data.sharing import TorchLoaderShares, part_of, row_share, row_shares


def joined(shares):
    """The whole batches out of the shares of all processes, which must be in step."""
    whole = []
    for parts in zip(*shares, strict=True):
        assert len({share.total for share in parts}) == 1
        assert sum(share.size for share in parts) == parts[0].total
        whole.append(torch.cat([share.batch for share in parts if share.size]))
    return whole


def shares_of(make, world):
    return [list(make().share(rank, world)) for rank in range(world)]


@given(st.integers(0, 100), st.integers(1, 12))
def test_parts_are_even_and_cover_everything_once(total, world):
    parts = [part_of(total, rank, world) for rank in range(world)]
    assert [n for part in parts for n in range(total)[part]] == list(range(total))
    sizes = [part.stop - part.start for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 6), st.booleans(), st.booleans())
def test_shares_of_an_indexed_loader_are_its_pass(n, bs, world, shuffle, drop_last):
    def make():
        return DataLoader(range(n), bs=bs, shuffle=shuffle, drop_last=drop_last, seed=3)

    whole = list(make())
    together = joined(shares_of(make, world))
    assert [batch.tolist() for batch in together] == [batch.tolist() for batch in whole]


def test_each_process_makes_only_its_own_samples():
    made = []

    def note(item):
        made.append(item)
        return item

    loader = DataLoader(range(12), bs=6, after_item=note, seed=0)
    assert [share.batch.tolist() for share in loader.share(1, 3)] == [[2, 3], [8, 9]]
    assert made == [2, 3, 8, 9]


def test_who_has_no_sample_gets_the_whole_batch_for_nothing():
    loader = DataLoader(range(5), bs=3)
    last = list(loader.share(2, 3))[-1]
    assert last.batch.tolist() == [3, 4]
    assert (last.size, last.total) == (0, 2)


def test_a_part_whose_items_are_all_left_out_keeps_step():
    def skip(item):
        if item in (0, 1):
            raise SkipItemException
        return item

    first, second = shares_of(lambda: DataLoader(range(8), bs=4, after_item=skip), 2)
    assert [(s.batch.tolist(), s.size) for s in first] == [([2, 3], 0), ([4, 5], 2)]
    assert [(s.batch.tolist(), s.size) for s in second] == [([2, 3], 2), ([6, 7], 2)]


@pytest.mark.parametrize("workers", [0, 2])
def test_random_transforms_do_not_depend_on_the_processes(workers):
    def make():
        return DataLoader(
            list(range(11)),
            bs=4,
            shuffle=True,
            seed=7,
            num_workers=workers,
            after_item=lambda item: torch.tensor([item, current_random().random()]),
            after_batch=lambda b: torch.cat([b, current_keys(len(b))[:, None] % 1000], 1),
        )

    together = joined(shares_of(make, 3))
    for whole, parts in zip(make(), together, strict=True):
        assert torch.equal(whole, parts)


def test_a_share_can_be_taken_up_by_another_number_of_processes():
    def make():
        return DataLoader(range(20), bs=4, shuffle=True, seed=5)

    loaders = [make() for _ in range(2)]
    runs = [loader.share(rank, 2) for rank, loader in enumerate(loaders)]
    begun = [joined([[next(run)] for run in runs])[0] for _ in range(2)]
    state = loaders[0].state_dict()
    assert state == loaders[1].state_dict()

    def resumed():
        loader = make()
        loader.load_state_dict(state)
        return loader

    rest = joined(shares_of(resumed, 3))
    assert [b.tolist() for b in (*begun, *rest)] == [b.tolist() for b in make()]


@pytest.mark.parametrize("workers", [0, 2])
def test_iterable_datasets_are_cut_by_rows(workers):
    def make():
        return DataLoader(CountsUp(10), bs=4, num_workers=workers)

    whole = list(make())
    together = joined(shares_of(make, 3))
    assert [b.tolist() for b in together] == [b.tolist() for b in whole]


def test_ready_made_batches_are_cut_by_rows():
    def make():
        return DataLoader([torch.arange(5), torch.arange(3)], bs=None)

    assert [b.tolist() for b in joined(shares_of(make, 2))] == [[0, 1, 2, 3, 4], [0, 1, 2]]


def test_rows_of_structures():
    batch = {
        "x": torch.arange(4),
        "names": ["a", "b", "c", "d"],
        "pair": (np.arange(4), [torch.arange(8).view(4, 2), "same"]),
        "scale": torch.tensor(2.0),
    }
    share = row_share(batch, 1, 2)
    assert (share.size, share.total) == (2, 4)
    assert share.batch["x"].tolist() == [2, 3]
    assert share.batch["names"] == ["c", "d"]
    assert share.batch["pair"][0].tolist() == [2, 3]
    assert share.batch["pair"][1][0].tolist() == [[4, 5], [6, 7]]
    assert share.batch["pair"][1][1] == "same"
    assert share.batch["scale"] == 2
    (share,) = row_shares([(torch.arange(2), torch.arange(2))], 1, 2)
    assert [part.tolist() for part in share.batch] == [[1], [1]]
    with pytest.raises(ValueError, match="holds no tensor"):
        row_share(["a"], 0, 2)


def torch_shares(make, world, seed=1):
    shares = []
    state = torch.Generator().manual_seed(seed).get_state()
    for rank in range(world):
        before = torch.get_rng_state()
        found = TorchLoaderShares(make(), rank, world).shares(state)
        shares.append([share._replace(batch=share.batch[0]) for share in found])
        assert torch.equal(torch.get_rng_state(), before)
    return joined(shares)


DATA = TensorDataset(torch.arange(10))


@pytest.mark.parametrize("workers", [0, 2])
def test_torch_loaders_are_shared_by_sample(workers):
    def make(**kwargs):
        return TorchLoader(DATA, batch_size=4, num_workers=workers, **kwargs)

    assert [b.tolist() for b in torch_shares(make, 3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    first = torch_shares(lambda: make(shuffle=True), 3)
    assert sorted(torch.cat(first).tolist()) == list(range(10))
    assert [b.tolist() for b in torch_shares(lambda: make(shuffle=True), 2)] == [
        b.tolist() for b in first
    ]
    other = torch_shares(lambda: make(shuffle=True), 3, seed=2)
    assert torch.cat(other).tolist() != torch.cat(first).tolist()


def test_torch_samplers_and_their_generators():
    sampler = WeightedRandomSampler([1.0] * 10, 10)
    together = torch_shares(lambda: TorchLoader(DATA, batch_size=3, sampler=sampler), 2)
    assert torch.cat(together).shape == (10,)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_is_that_of_the_loader_itself(workers):
    loader = TorchLoader(DATA, batch_size=4, shuffle=True, num_workers=workers)
    torch.manual_seed(3)
    expected = [[batch[0].tolist() for batch in loader] for _ in range(2)]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = (TorchLoaderShares(loader, rank, 2) for rank in range(2))
    for whole in expected:
        state = torch.get_rng_state()
        shares = [list(first.shares()), list(second.shares(state))]
        parts = [[s._replace(batch=s.batch[0]) for s in share] for share in shares]
        assert [batch.tolist() for batch in joined(parts)] == whole


def test_a_distributed_sampler_has_shared_already():
    def make(rank):
        sampler = DistributedSampler(DATA, 2, rank, shuffle=False)
        return TorchLoader(DATA, batch_size=2, sampler=sampler)

    shares = [list(TorchLoaderShares(make(rank), rank, 2).shares()) for rank in range(2)]
    assert [s.batch[0].tolist() for s in shares[1]] == [[1, 3], [5, 7], [9]]
    assert [(s.size, s.total) for s in shares[0]] == [(2, 4), (2, 4), (1, 2)]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(5))


def test_torch_loaders_of_streams_are_cut_by_rows():
    loader = TorchLoader(Stream(), batch_size=2)
    shares = [list(TorchLoaderShares(loader, rank, 2).shares()) for rank in range(2)]
    assert [b.tolist() for b in joined(shares)] == [[0, 1], [2, 3], [4]]
