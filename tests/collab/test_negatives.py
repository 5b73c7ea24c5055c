"""Negatives are never what was seen, come as often as their probabilities say, and repeat."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torte.collab import CollabDataLoaders, NegativeSampler, NegativeSampling


def pairs_of(seen):
    """Codes of users and items of lists of seen items by user, some of them twice."""
    users = [user for user, own in enumerate(seen) for _ in own]
    items = [item for own in seen for item in own]
    return (torch.tensor(part, dtype=torch.int64) for part in (users * 2, items * 2))


def expected_probabilities(seen, n_items, popularity):
    """The definition, in float64: weights of the items that each user has not seen."""
    counts = np.zeros(n_items)
    for own in seen:
        for item in own:
            counts[item] += 2
    weights = np.maximum(counts, 1.0) ** popularity
    weights[[0, -1]] = 0
    table = np.array([np.where(np.isin(np.arange(n_items), own), 0, weights) for own in seen])
    return table / table.sum(axis=1, keepdims=True).clip(1e-300)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_nothing_seen_is_drawn_and_probabilities_are_exact(data) -> None:
    n_items = data.draw(st.integers(3, 14))
    own = st.lists(st.integers(1, n_items - 2), max_size=n_items, unique=True)
    seen = data.draw(st.lists(own, min_size=1, max_size=6))
    popularity = data.draw(st.sampled_from([0.0, 0.75, 1.0, -0.5]))
    sampler = NegativeSampler(*pairs_of(seen), len(seen), n_items, popularity)
    users = torch.arange(len(seen))
    keys = users * 7919 + data.draw(st.integers(0, 2**40))
    items, log_q = sampler.draw(users, 50, keys)
    probability = expected_probabilities(seen, n_items, popularity)
    for user in range(len(seen)):
        if len(seen[user]) == n_items - 2:
            assert (items[user] == -1).all()
            assert not log_q[user].any()
            continue
        drawn = items[user].numpy()
        assert not set(drawn) & {*seen[user], 0, n_items - 1}
        np.testing.assert_allclose(log_q[user].exp(), probability[user][drawn], rtol=1e-5)


@pytest.mark.parametrize("popularity", [0.0, 0.75])
def test_items_come_as_often_as_their_probability(popularity) -> None:
    random = np.random.default_rng(5)
    seen = [(1 + random.permutation(40)[:size]).tolist() for size in (0, 1, 20, 37)]
    sampler = NegativeSampler(*pairs_of(seen), 4, 42, popularity)
    n = 60_000
    items, _ = sampler.draw(torch.arange(4), n, torch.tensor([3, 14, 159, 2653]))
    probability = expected_probabilities(seen, 42, popularity)
    for user in range(4):
        possible = probability[user] > 0
        counts = np.bincount(items[user].numpy(), minlength=42)
        assert counts[~possible].sum() == 0
        found = chisquare(counts[possible], n * probability[user][possible])
        assert found.pvalue > 1e-4


def test_draws_of_rows_with_other_keys_and_streams_are_unrelated() -> None:
    sampler = NegativeSampler(*pairs_of([[1]]), 1, 1002)
    users, keys = torch.zeros(2, dtype=torch.int64), torch.tensor([1, 2])
    first, _ = sampler.draw(users, 4000, keys)
    other, _ = sampler.draw(users, 4000, keys, stream=1)
    for one, two in ((first[0], first[1]), (first[0], other[0]), (first[0, :-1], first[0, 1:])):
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.06
    again, _ = sampler.draw(users[1:], 10, keys[1:])
    assert torch.equal(again[0], first[1, :10])


def test_a_large_catalogue_keeps_its_probabilities_apart() -> None:
    n_items = 3_000_000
    random = np.random.default_rng(0)
    items = torch.from_numpy(1 + (random.pareto(1.0, 2_000_000) % (n_items - 2)).astype(np.int64))
    users = torch.from_numpy(random.integers(0, 1_000_000, 2_000_000))
    sampler = NegativeSampler(users, items, 1_000_000, n_items, 0.75)
    asked = users[:500]
    drawn, log_q = sampler.draw(asked, 20, torch.arange(500))
    seen = {*zip(users.tolist(), items.tolist(), strict=True)}
    rows = zip(asked.tolist(), drawn.tolist(), strict=True)
    assert not any((user, item) in seen for user, own in rows for item in own)
    weights = np.bincount(items, minlength=n_items).clip(1) ** 0.75
    own = [{item for user_, item in seen if user_ == user} for user in asked.tolist()[:3]]
    left = weights[1:-1].sum() - np.array([weights[list(items)].sum() for items in own])
    expected = weights[drawn[:3]] / left[:, None]
    np.testing.assert_allclose(log_q[:3].exp(), expected, rtol=1e-5)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    random = np.random.default_rng(1)
    rows = {"user": random.integers(0, 30, 400), "item": random.integers(0, 50, 400)}
    return pd.DataFrame(rows)


def loaders(frame, **kwargs):
    return CollabDataLoaders.from_df(frame, **{"implicit": True, "bs": 16, "seed": 3, **kwargs})


def test_batches_repeat_from_seed_and_epoch_whatever_the_order(frame) -> None:
    def by_pair(dls):
        return {
            (*codes.tolist(), round_): candidates.tolist()
            for round_ in range(2)
            for batch in dls.train
            for codes, candidates in zip(batch[0], batch[2], strict=True)
        }

    made = [loaders(frame.drop_duplicates(), n_negatives=5) for _ in range(2)]
    for dls in made:
        dls.train.seed = 11
    first, second = map(by_pair, made)
    assert first == second
    users = {pair[0] for pair in first}
    both = [(first[pair], first[(*pair[:2], 1)]) for pair in first
            if pair[2] == 0 and (*pair[:2], 1) in first]  # fmt: skip
    assert len(users) > 20
    assert sum(one == two for one, two in both) < len(both) / 10


def test_training_avoids_its_pairs_and_validation_its_own_too(frame) -> None:
    dls = loaders(frame, n_negatives=30)
    train, valid = ({*map(tuple, dl.tensors[0].tolist())} for dl in dls)
    n_items = len(dls.train.dataset.classes["item"])
    for dl, avoided in ((dls.train, train), (dls.valid, train | valid)):
        for codes, _, candidates, log_counts in dl:
            assert torch.equal(candidates[:, 0], codes[:, 1])
            assert not log_counts[:, 0].any()
            assert candidates[:, 1:].min() > 0
            assert candidates[:, 1:].max() < n_items - 1
            for user, own in zip(codes[:, 0].tolist(), candidates[:, 1:].tolist(), strict=True):
                assert not avoided & {(user, item) for item in own}


def test_a_user_who_has_seen_everything_has_their_own_item_as_negative() -> None:
    frame = pd.DataFrame({"user": [1, 1, 1, 2], "item": [1, 2, 3, 1]})
    dls = loaders(frame, valid_pct=0.0, n_negatives=2, bs=4, shuffle=False)
    codes, _, candidates, log_counts = dls.one_batch()
    full = codes[:, 0] == 1
    assert full.sum() == 3
    assert torch.equal(candidates[full], codes[full, 1:].expand(3, 3))
    assert not log_counts[full].any()
    assert torch.equal(log_counts[~full, 1:], torch.zeros(1, 2))  # 2 draws from 2 items


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NegativeSampling(0), "n_negatives must be at least 1, got 0"),
        (lambda: NegativeSampler(*pairs_of([[]]), 1, 2), "there are no items to draw"),
        (
            lambda: NegativeSampler(*pairs_of([[1]]), 1, 4, float("nan")),
            "popularity must be a finite number, got nan",
        ),
    ],
)
def test_impossible_settings_are_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
