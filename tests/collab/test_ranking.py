"""Ranking metrics equal plain loops over lists, scikit-learn's, and published definitions."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score
from torte.collab import (
    CollabDataLoaders,
    LeaveLastOut,
    RankingScores,
    SeenItems,
    collab_learner,
    top_blocks,
    topk,
)


def plain(lists, relevant, k):
    """The definitions, one user and one rank at a time."""
    rows = []
    for found, wanted in zip(lists, relevant, strict=True):
        wanted = set(wanted)
        if not wanted:
            continue
        hits = [item in wanted for item in found]
        best = min(k, len(wanted))
        rows.append(
            {
                "precision": sum(hits) / k,
                "recall": sum(hits) / len(wanted),
                "hit_rate": float(any(hits)),
                "mrr": next((1 / rank for rank, hit in enumerate(hits, 1) if hit), 0.0),
                "ndcg": sum(hit / math.log2(rank + 1) for rank, hit in enumerate(hits, 1))
                / sum(1 / math.log2(rank + 1) for rank in range(1, best + 1)),
                "map": sum(
                    sum(hits[:rank]) / rank for rank, hit in enumerate(hits, 1) if hit
                ) / best,
            }
        )  # fmt: skip
    return pd.DataFrame(rows).mean()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_streamed_blocks_agree_with_plain_loops(data) -> None:
    n_users, n_items = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 15))
    k, block = data.draw(st.integers(1, n_items)), data.draw(st.integers(1, 5))
    items = st.lists(st.integers(0, n_items - 1), max_size=2 * n_items)
    relevant = data.draw(st.lists(items, min_size=n_users, max_size=n_users))
    seen = data.draw(st.lists(items, min_size=n_users, max_size=n_users))
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    users, catalogue = (torch.randn(n, 3, generator=random) for n in (n_users, n_items))
    if not any(relevant):
        relevant[0] = [0]

    def sparse(lists):
        pairs = [(user, item) for user, own in enumerate(lists) for item in own]
        return SeenItems.from_pairs(*np.array(pairs, dtype=np.int64).reshape(-1, 2).T, n_users)

    scores = RankingScores(sparse(relevant), n_items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "USERS_AT_ONCE", block)
        for part in top_blocks(users, catalogue, torch.zeros(n_items), k, seen=sparse(seen)):
            scores.update(part[0], part[2])
    found = scores.compute()
    product = users.double() @ catalogue.double().T
    lists = [
        [item for item in product[user].argsort(descending=True).tolist() if item not in own][:k]
        for user, own in enumerate(seen)
    ]
    expected = plain(lists, relevant, k)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    shown = {item for own, wanted in zip(lists, relevant, strict=True) if wanted for item in own}
    assert found["coverage"] == len(shown) / n_items
    assert found["n_users"] == sum(map(bool, relevant))


def test_whole_rankings_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    scores, wanted = random.random((20, 30)), random.random((20, 30)) < 0.2
    wanted[:, 0] = True
    items = torch.from_numpy(np.argsort(-scores, axis=1))
    sums = RankingScores(SeenItems.from_pairs(*np.nonzero(wanted), 20), 30)
    sums.update(torch.arange(20), items)
    found = sums.compute()
    assert found["ndcg"] == pytest.approx(ndcg_score(wanted, scores))
    precisions = [average_precision_score(*rows) for rows in zip(wanted, scores, strict=True)]
    assert found["map"] == pytest.approx(np.mean(precisions))


def test_the_published_example_of_average_precision() -> None:
    """Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008), exercise 8.8.

    Four relevant documents, the first system's are at ranks 1, 3, 9 and 10: MAP 0.6.
    """
    relevant = SeenItems.from_pairs(np.zeros(4, np.int64), np.array([0, 2, 8, 9]), 1)
    scores = RankingScores(relevant, 10)
    scores.update(torch.tensor([0]), torch.arange(10)[None])
    assert scores.compute()["map"] == pytest.approx((1 + 2 / 3 + 3 / 9 + 4 / 10) / 4)
    assert round(scores.compute()["map"], 1) == 0.6


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Users of the even items and of the odd ones, in the order of time."""
    random = np.random.default_rng(2)
    rows = [
        (user, f"i{item}", 5.0 if rank % 2 else 3.0, rank)
        for user in range(40)
        for rank, item in enumerate(random.permutation(np.arange(user % 2, 40, 2))[:12])
    ]
    return pd.DataFrame(rows, columns=["user", "item", "rating", "at"])


def test_a_learner_ranks_what_was_left_out(frame) -> None:
    strange = pd.DataFrame({"user": [0, 99], "item": ["never", "i3"], "rating": 4.0, "at": 99})
    ratings = pd.concat([frame, strange], ignore_index=True)
    torch.manual_seed(1)
    dls = CollabDataLoaders.from_df(ratings, splitter=LeaveLastOut("at", 2), bs=16)
    learn = collab_learner(dls, n_factors=4, y_range=(0, 6))
    found = learn.evaluate_ranking(k=5)
    valid = dls.valid.dataset.decode().items
    known = [valid["item"][valid["user"] == user].tolist() for user in range(40)]
    table = pd.DataFrame(learn.recommend(range(40), k=5))
    lists = [table["item"][table["user"] == user].tolist() for user in range(40)]
    known = [[item for item in own if item != "#unknown#"] for own in known]
    expected = plain(lists, known, 5)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    assert found["n_users"] == 40
    assert found["n_unknown"] == 1
    high = learn.evaluate_ranking(k=5, min_rating=4)
    relevant = learn.evaluate_ranking(
        k=5, dl=dls.test_dl(valid[valid["rating"] >= 4], with_labels=True)
    )
    assert {**high, "n_unknown": 0} == {**relevant, "n_unknown": 0}


def test_nothing_relevant_and_lists_too_long_are_refused(frame) -> None:
    dls = CollabDataLoaders.from_df(frame, splitter=LeaveLastOut("at"), bs=16)
    learn = collab_learner(dls, n_factors=2)
    with pytest.raises(ValueError, match="no user has a relevant item"):
        learn.evaluate_ranking(min_rating=6)
    with pytest.raises(ValueError, match="k is 41, but there are 40 items"):
        learn.evaluate_ranking(k=41)
    with pytest.raises(ValueError, match="min_rating needs ratings"):
        learn.evaluate_ranking(dl=dls.test_dl(frame), min_rating=3)
