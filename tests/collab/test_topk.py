"""The best items in blocks equal those of one full product, sorted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.collab import SeenItems, top_items, topk


def reference(users, items, bias, k, seen):
    scores = users.double() @ items.double().T + bias.double()
    for user, item in seen:
        scores[user, item] = -torch.inf
    order = scores.sort(dim=1, descending=True, stable=True)
    found = order.indices[:, :k]
    return order.values[:, :k], torch.where(order.values[:, :k] == -torch.inf, -1, found)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 23), st.integers(1, 37), st.integers(0, 2**31), st.integers(1, 9), st.data())
def test_blocks_agree_with_a_full_sort(n_users, n_items, seed, block, data) -> None:
    k = data.draw(st.integers(1, n_items))
    generator = torch.Generator().manual_seed(seed)
    users = torch.randn(n_users, 4, generator=generator)
    items = torch.randn(n_items, 4, generator=generator)
    bias = torch.randn(n_items, generator=generator)
    random = np.random.default_rng(seed)
    pairs = np.stack(
        [random.integers(0, n_users, n_items), random.integers(0, n_items, n_items)], axis=1
    )
    seen = SeenItems.from_pairs(pairs[:, 0], pairs[:, 1], n_users)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "USERS_AT_ONCE", block)
        patch.setattr(topk, "TILE", tile := data.draw(st.sampled_from([2, 4, 8])))
        patch.setattr(topk, "ITEMS_AT_ONCE", tile * data.draw(st.integers(1, 4)))
        patch.setattr(topk, "_GROUP", 2)
        patch.setattr(topk, "_GATHERED", data.draw(st.sampled_from([1, 40, 1000])))
        scores, found = top_items(users, items, bias, k, seen=seen)
    expected_scores, expected = reference(users, items, bias, k, pairs.tolist())
    torch.testing.assert_close(scores.double(), expected_scores, rtol=1e-5, atol=1e-5)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("n_items", [640, 1000, 16384, 20_000])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_the_best_by_groups_are_those_of_a_topk(n_items, k) -> None:
    scores = torch.randn(7, n_items, generator=torch.Generator().manual_seed(n_items + k))
    scores[0] = 1.0  # all alike
    scores[1, 150:] = -torch.inf
    scores[2, ::2] = scores[2].max() + 1  # many best
    users = torch.tensor([3, 0, 1, 2, 4, 5, 6])
    blocks = topk.top_scored(
        lambda block, part: scores[block, part], n_items, k, users, users_at_once=4
    )
    for block, values, items in blocks:
        assert torch.equal(values, scores[block].topk(k).values)
        assert torch.equal(scores[block].gather(1, items), values)
        assert all(len(set(row)) == k for row in items.tolist())


@pytest.mark.parametrize("n_items", [641, 1024, 5000, 16385])
@pytest.mark.parametrize("k", [1, 10, 40])
def test_products_in_tiles_agree_with_a_full_sort(n_items, k) -> None:
    generator = torch.Generator().manual_seed(n_items * k)
    users = torch.randn(300, 6, generator=generator)
    items = torch.randn(n_items, 6, generator=generator)
    bias = torch.randn(n_items, generator=generator)
    bias[[0, -1]] = -torch.inf
    users[0], bias[3:7] = 0, 9.0  # ties of four
    best = (users @ items.T + bias).topk(5).indices
    places = torch.arange(300).repeat_interleave(5)
    pairs = torch.stack([places, best.ravel()], dim=1)[1000:]  # the last users know their best
    all_but_one = torch.stack([torch.full((n_items - 1,), 7), torch.arange(n_items - 1)], dim=1)
    pairs = torch.cat([pairs, pairs[:50], all_but_one])
    seen = SeenItems.from_pairs(pairs[:, 0].numpy(), pairs[:, 1].numpy(), 300)
    scores, found = top_items(users, items, bias, k, seen=seen)
    expected, _ = reference(users, items, bias, k, pairs.tolist())
    torch.testing.assert_close(scores.double(), expected, rtol=1e-5, atol=1e-5)
    own = (users.double() @ items.double().T + bias).gather(1, found.clamp_min(0))
    torch.testing.assert_close(own[found >= 0], expected[found >= 0], rtol=1e-5, atol=1e-5)
    assert torch.equal(found < 0, expected == -torch.inf)
    keys = (torch.arange(300)[:, None] * n_items + found)[found >= 0]
    assert len(keys.unique()) == len(keys)
    assert not torch.isin(keys, pairs[:, 0] * n_items + pairs[:, 1]).any()


def test_users_may_be_asked_for_in_any_order_and_twice() -> None:
    users, items = torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 3]])
    scores, found = top_items(users, items, torch.zeros(3), 1, users=torch.tensor([2, 0, 2]))
    assert found.ravel().tolist() == [2, 0, 2]
    assert scores.ravel().tolist() == [3.0, 1.0, 3.0]


@pytest.mark.parametrize("k", [0, 4])
def test_k_beyond_the_catalogue_is_refused(k) -> None:
    with pytest.raises(ValueError, match=f"k is {k}, but there are 3 items"):
        top_items(torch.eye(3), torch.eye(3), torch.zeros(3), k)
