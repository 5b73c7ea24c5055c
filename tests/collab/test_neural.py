"""The neural variant recommends what it would predict for every pair, with side columns too."""

import numpy as np
import pandas as pd
import pytest
import torch
from torte.collab import CollabDataLoaders, SampledSoftmaxLoss, collab_learner, recommending
from torte.learner import load_learner


def ratings(n_users=40, n_items=30, seed=0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    users, items = (part.ravel() for part in np.meshgrid(np.arange(n_users), np.arange(n_items)))
    age, price = random.normal(40, 10, n_users), random.normal(5, 2, n_items)
    stars = np.where((users + items) % 2, 4.5, 1.5) + random.normal(0, 0.1, len(users))
    frame = pd.DataFrame({"user": users, "item": [f"i{n}" for n in items], "stars": stars})
    frame["age"], frame["price"] = age[users], price[items]
    frame["genre"] = np.array(["a", "b", "c"])[items % 3]
    frame["hour"] = random.integers(0, 4, len(users)).astype(str)
    return frame.sample(frac=0.6, random_state=1, ignore_index=True)


SIDES = {
    "user_cols": ["age"],
    "item_cols": ["genre", "price"],
    "cat_names": ["hour"],
    "cont_names": ["age", "price"],
}


def trained(sides=None, **kwargs):
    torch.manual_seed(0)
    dls = CollabDataLoaders.from_df(ratings(), seed=1, bs=32, **(sides or {}))
    learn = collab_learner(dls, use_nn=True, layers=[16], y_range=(0.5, 5.5), **kwargs)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(4, 0.02)
    return learn


def predicted(learn, user, items):
    """The model's prediction of each pair as rows of a frame, the hour unknown."""
    frame = ratings()
    columns = frame.drop_duplicates("item").set_index("item")[["price", "genre"]]
    rows = pd.DataFrame({"user": user, "item": items, "hour": "never"})
    rows["age"] = frame.loc[frame["user"] == user, "age"].iloc[0]
    rows = rows.join(columns, on="item")
    return learn.get_preds(dl=learn.dls.test_dl(rows))[0].ravel().numpy()


@pytest.mark.parametrize("sides", [None, SIDES], ids=["pairs", "sides"])
def test_recommendations_are_the_best_of_all_predictions(sides, monkeypatch) -> None:
    monkeypatch.setattr(recommending, "_USERS_AT_ONCE", 2)
    monkeypatch.setattr(recommending, "_PAIRS_AT_ONCE", 14)
    learn = trained(sides)
    learn.model.train()
    table = pd.DataFrame(learn.recommend([3, 8, 11], k=5))
    train = learn.dls.train.dataset.decode().items
    for user in (3, 8, 11):
        seen = set(train.loc[train["user"] == user, "item"])
        items = [f"i{n}" for n in range(30) if f"i{n}" not in seen]
        expected = pd.Series(predicted(learn, user, items), index=items).nlargest(5)
        own = table[table["user"] == user]
        np.testing.assert_allclose(own["rating"].astype(float), expected, rtol=1e-5)
        assert set(own["item"]) == set(expected.index)
    assert learn.model.training


def test_ranking_and_likeness_and_export(tmp_path) -> None:
    learn = trained(SIDES)
    found = learn.evaluate_ranking(k=5, min_rating=4)
    assert found["ndcg"] > 0.25
    similar = learn.similar(["i4"], k=3)
    weight = learn.model.embeds[1].weight.detach()
    words = learn.dls.train.dataset.classes["item"]
    pair = [weight[words.code(name)] for name in ("i4", similar["similar"][0])]
    assert similar["cosine"][0] == pytest.approx(torch.cosine_similarity(*pair, dim=0).item())
    again = load_learner(learn.export(tmp_path / "neural.torte"))
    both = [one.recommend([3], k=4, exclude_seen=False) for one in (learn, again)]
    assert both[0]["item"].tolist() == both[1]["item"].tolist()
    with pytest.raises(TypeError, match="EmbeddingNN has none: use collab_learner"):
        learn.add_users(ratings().head(1))


def test_it_learns_from_pairs_without_ratings() -> None:
    random = np.random.default_rng(0)
    users, items = (part.ravel() for part in np.meshgrid(np.arange(60), np.arange(40)))
    met = random.random(len(users)) < np.where((users % 2) == (items % 2), 0.5, 0.01)
    pairs = pd.DataFrame({"user": users[met], "item": items[met], "kind": items[met] % 2})
    dls = CollabDataLoaders.from_df(
        pairs, implicit=True, n_negatives=4, bs=32, seed=1, item_cols=["kind"], cat_names=["kind"]
    )
    torch.manual_seed(0)
    learn = collab_learner(dls, use_nn=True, layers=[32], loss_func=SampledSoftmaxLoss())
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(6, 0.02)
    table = pd.DataFrame(learn.recommend(k=5))
    assert (table["user"].astype(int) % 2 == table["item"].astype(int) % 2).mean() > 0.95
