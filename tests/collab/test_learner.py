"""Ratings that follow a rule are learned, recommended by it, and survive export."""

import numpy as np
import pandas as pd
import pytest
import torch
from torte.collab import CollabDataLoaders, EmbeddingDotBias, collab_learner
from torte.learner import load_learner


@pytest.fixture(scope="module")
def ratings() -> pd.DataFrame:
    """60 users who like items of their own half, 40 items, half of all pairs rated."""
    random = np.random.default_rng(4)
    users, items = (part.ravel() for part in np.meshgrid(np.arange(60), np.arange(40)))
    rated = random.random(len(users)) < 0.5
    users, items = users[rated], items[rated]
    likes = (users % 2) == (items % 2)
    scores = np.where(likes, 4.5, 1.5) + random.normal(0, 0.2, len(users))
    frame = pd.DataFrame(
        {"user": [f"u{n}" for n in users], "movie": items + 100, "stars": scores.clip(1, 5)}
    )
    return frame.sample(frac=1, random_state=0).reset_index(drop=True)


def trained(ratings, use_nn=False, **kwargs):
    torch.manual_seed(0)
    dls = CollabDataLoaders.from_df(ratings, seed=1, bs=32)
    learn = collab_learner(dls, n_factors=8, use_nn=use_nn, y_range=(0.5, 5.5), **kwargs)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(5, 0.03, wd=0.01)
    return learn


@pytest.fixture(scope="module")
def learn(ratings):
    return trained(ratings)


@pytest.mark.parametrize("use_nn", [False, True])
def test_the_rule_is_learned(ratings, use_nn) -> None:
    error = trained(ratings, use_nn=use_nn).validate()[0]
    variance = ratings["stars"].var()
    assert error < 0.2 * variance


def test_batches_are_pairs_of_codes_and_ratings_in_a_column(learn) -> None:
    codes, stars = learn.dls.one_batch()
    assert codes.shape == (32, 2)
    assert codes.dtype == torch.int64
    assert stars.shape == (32, 1)


def test_recommendations_are_new_to_the_user_and_to_their_taste(ratings, learn) -> None:
    table = learn.recommend(["u3", "u8"], k=5)
    assert table["user"].tolist() == ["u3"] * 5 + ["u8"] * 5
    train = learn.dls.train.dataset.decode().items
    for user, item, rating in zip(table["user"], table["item"], table["rating"], strict=True):
        assert item % 2 == int(user[1:]) % 2
        assert not ((train["user"] == user) & (train["movie"] == item)).any()
        assert 0.5 <= rating <= 5.5
    assert (np.diff(table["rating"][:5]) <= 0).all()


def test_recommended_ratings_are_the_models_own(learn) -> None:
    table = learn.recommend(["u3"], k=4, exclude_seen=False)
    rows = pd.DataFrame({"user": table["user"], "movie": table["item"]})
    predicted, _ = learn.get_preds(dl=learn.dls.test_dl(rows))
    np.testing.assert_allclose(predicted.numpy().ravel(), table["rating"], rtol=1e-5)


def test_an_unknown_user_gets_what_the_average_user_would(learn) -> None:
    model = learn.model
    table = learn.recommend(["nobody"], k=3)
    bias = model.i_bias.weight.detach().ravel()[1:-1]
    items = learn.dls.train.dataset.classes["movie"].values
    assert table["item"].tolist() == [items[place] for place in bias.topk(3).indices]


def test_similar_items_share_the_taste(learn) -> None:
    table = learn.similar([100, 101], k=6)
    assert ((table["similar"] - table["item"]) % 2 == 0).all()
    assert not (table["similar"] == table["item"]).any()
    with pytest.raises(KeyError, match=r"items not seen in training: \[999\]"):
        learn.similar(999)


def test_the_model_knows_weights_and_biases_by_name(learn) -> None:
    model = learn.model
    code = learn.dls.train.dataset.classes["movie"].code(105)
    assert model.bias([105]).item() == model.i_bias.weight[code].item()
    user = learn.dls.train.dataset.classes["user"].code("u7")
    factors = model.weight(["u7"], is_item=False)
    assert torch.equal(factors[0], model.u_weight.weight[user].detach())
    with pytest.raises(KeyError, match="no items of these names in training: \\['x'\\]"):
        model.bias(["x"])


def test_the_forward_pass_is_the_papers_formula() -> None:
    model = EmbeddingDotBias(3, 5, 6, y_range=(1, 5))
    pairs = torch.tensor([[1, 2], [4, 0]])
    user, item = model.u_weight.weight[pairs[:, 0]], model.i_weight.weight[pairs[:, 1]]
    score = (user * item).sum(1) + model.u_bias.weight[pairs[:, 0], 0]
    score = score + model.i_bias.weight[pairs[:, 1], 0]
    torch.testing.assert_close(model(pairs), torch.sigmoid(score) * 4 + 1)


def test_an_exported_learner_predicts_the_same(ratings, learn, tmp_path) -> None:
    rows = ratings.head(10)
    expected, _ = learn.get_preds(dl=learn.dls.test_dl(rows))
    again = load_learner(learn.export(tmp_path / "ratings.torte"))
    found, _ = again.get_preds(dl=again.dls.test_dl(rows))
    assert torch.equal(found, expected)
    both = [one.recommend(["u3"], 5, exclude_seen=False) for one in (learn, again)]
    assert both[0]["item"].tolist() == both[1]["item"].tolist()
    assert torch.equal(again.model.bias([105]), learn.model.bias([105]))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("stars", None, "column 'stars' has no value in 1 rows, the first of them row 3"),
        ("user", None, "column 'user' has no value in 1 rows"),
    ],
)
def test_incomplete_rows_are_named(ratings, column, value, message) -> None:
    broken = ratings.copy()
    broken.loc[3, column] = value
    with pytest.raises(ValueError, match=message):
        CollabDataLoaders.from_df(broken)


def test_columns_by_name_or_position_and_none_too_many(ratings) -> None:
    reordered = ratings[["stars", "movie", "user"]]
    dls = CollabDataLoaders.from_df(reordered, user_name="user", item_name=1, rating_name=0)
    assert list(dls.train.dataset.cat_names) == ["user", "movie"]
    with pytest.raises(KeyError, match="no column 'film' for the items"):
        CollabDataLoaders.from_df(ratings, item_name="film")


@pytest.mark.parametrize("k", [0, 41])
def test_k_beyond_the_catalogue_is_refused(learn, k) -> None:
    with pytest.raises(ValueError, match=f"k is {k}, but there are 40 items"):
        learn.recommend(k=k)


def test_a_user_who_has_seen_everything_gets_nothing() -> None:
    ratings = pd.DataFrame(
        {"user": [1] * 4 + [2] * 2, "item": [1, 2, 3, 4, 1, 2], "rating": [3.0] * 6}
    )
    dls = CollabDataLoaders.from_df(ratings, valid_pct=0.0, bs=2)
    table = collab_learner(dls, n_factors=2).recommend([1, 2], k=2)
    assert table["user"].tolist() == [2, 2]
    assert sorted(table["item"].tolist()) == [3, 4]


@pytest.mark.parametrize(("given", "expected"), [(None, 6), ((0, 7), 7)])
def test_the_range_of_ratings_may_be_in_the_config(ratings, given, expected) -> None:
    dls = CollabDataLoaders.from_df(ratings, seed=1, bs=32)
    config = {"y_range": (0, 6)}
    learn = collab_learner(dls, use_nn=True, layers=[4], config=config, y_range=given)
    assert learn.model.layers[-1].high == expected
