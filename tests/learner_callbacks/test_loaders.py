"""Weighted and partial loaders."""

import numpy as np
import pytest
import torch
from torte.data import DataBlock, Datasets, TfmdLists, TransformBlock
from torte.learner.callbacks.loaders import PartialDL, WeightedDL


def drawn(dl):
    return torch.cat([torch.as_tensor(batch).reshape(-1) for batch in dl]).tolist()


def test_items_are_drawn_in_proportion_to_their_weights():
    weights = [0.0, 1.0, 2.0, 5.0]
    dl = WeightedDL(list(range(4)) * 1000, bs=64, wgts=weights * 1000, shuffle=True, seed=3)
    counts = np.bincount(drawn(dl), minlength=4)
    assert counts[0] == 0
    np.testing.assert_allclose(counts / 4000, np.array(weights) / 8, atol=0.03)


def test_draws_follow_from_seed_and_pass_for_any_workers():
    settings = {"bs": 8, "wgts": range(1, 101), "shuffle": True, "seed": 7}
    one, two = WeightedDL(range(100), **settings), WeightedDL(range(100), num_workers=2, **settings)
    first, second = drawn(one), drawn(one)
    assert first != second
    assert drawn(two) == first
    assert drawn(two) == second


def test_without_shuffling_or_weights_nothing_is_special():
    assert drawn(WeightedDL(range(10), bs=4, wgts=[1] * 10)) == list(range(10))
    assert sorted(drawn(WeightedDL(range(10), bs=4, shuffle=True))) == list(range(10))


@pytest.mark.parametrize(
    ("wgts", "message"),
    [
        ([1, 2], "2 weights were given for 3 items"),
        ([1, -1, 1], "at least 0"),
        ([0, 0, 0], "not all 0"),
        ([1, float("nan"), 1], "finite"),
    ],
)
def test_wrong_weights_are_refused(wgts, message):
    with pytest.raises(ValueError, match=message):
        WeightedDL(range(3), bs=1, wgts=wgts)


def datasets():
    return Datasets(list(range(20)), [[lambda x: x]], splits=[list(range(15)), list(range(15, 20))])


@pytest.mark.parametrize("whole", [False, True])
def test_datasets_make_weighted_loaders(whole):
    weights = np.zeros(20 if whole else 15)
    weights[3] = 1
    dls = datasets().weighted_dataloaders(weights, bs=5, num_workers=0)
    assert isinstance(dls.train, WeightedDL)
    assert set(drawn(b[0] for b in dls.train)) == {3}
    assert drawn(b[0] for b in dls.valid) == list(range(15, 20))


def test_a_data_block_makes_weighted_loaders():
    block = DataBlock(blocks=TransformBlock, splitter=lambda items: (range(15), range(15, 20)))
    weights = np.zeros(20)
    weights[4] = 1
    dls = block.weighted_dataloaders(list(range(20)), weights, bs=5, num_workers=0)
    batches = [b[0] if isinstance(b, (tuple, list)) else b for b in dls.train]
    assert set(drawn(batches)) == {4}


def test_partial_loaders_take_another_part_each_time():
    dl = PartialDL(range(100), bs=8, partial_n=20, shuffle=True, seed=1)
    passes = [drawn(dl) for _ in range(3)]
    assert [len(p) for p in passes] == [20] * 3
    assert all(len(set(p)) == 20 for p in passes)
    assert len({tuple(sorted(p)) for p in passes}) == 3
    assert len(dl) == 3 == len(list(dl))
    ordered = drawn(PartialDL(range(100), bs=8, partial_n=20))
    assert ordered == sorted(ordered)
    assert len(PartialDL(range(100), bs=8, partial_n=20, drop_last=True)) == 2
    assert len(PartialDL(range(100), bs=8)) == 13


def test_partial_loaders_of_collections():
    dls = datasets().partial_dataloaders(partial_n=10, bs=5, num_workers=0)
    assert len(drawn(b[0] for b in dls.train)) == 10
    assert len(drawn(b[0] for b in dls.valid)) == 5
    lists = TfmdLists(list(range(20)), [lambda x: x], splits=[range(15), range(15, 20)])
    assert len(drawn(lists.partial_dataloaders(7, bs=5, num_workers=0, drop_last=False).train)) == 7
    with pytest.raises(ValueError, match="partial_n=30 items cannot be taken of 20"):
        PartialDL(range(20), bs=2, partial_n=30)
