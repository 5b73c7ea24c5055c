"""Columns of users, items and events take part in ratings, and make strangers known."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torte.collab import CollabDataLoaders, FeatureDotBias, collab_learner
from torte.learner import load_learner


def ratings_with_sides(n_users=80, n_items=50, seed=3) -> pd.DataFrame:
    """Ratings that depend on age, genre and device alone, not on who or what it is."""
    random = np.random.default_rng(seed)
    users, items = (part.ravel() for part in np.meshgrid(np.arange(n_users), np.arange(n_items)))
    age, genre = random.normal(40, 10, n_users), random.integers(0, 2, n_items)
    device = random.integers(0, 2, len(users))
    stars = 3 + np.where(genre[items] == 1, 1, -1) * (age[users] - 40) / 15 + 0.5 * device
    return pd.DataFrame(
        {
            "user": users,
            "item": [f"i{n}" for n in items],
            "stars": stars.clip(0, 6),
            "age": age[users],
            "genre": np.array(["drama", "war"])[genre[items]],
            "device": np.array(["phone", "tv"])[device],
        }
    ).sample(frac=1, random_state=seed, ignore_index=True)


SIDES = {"user_cols": "age", "item_cols": ["genre"], "cat_names": ["device"]}


def loaders(frame, **kwargs):
    return CollabDataLoaders.from_df(frame, seed=1, bs=64, **{**SIDES, **kwargs})


def trained(frame, use_nn=False):
    torch.manual_seed(0)
    learn = collab_learner(loaders(frame), n_factors=6, use_nn=use_nn, y_range=(-0.5, 6.5))
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(5, 0.02, wd=0.0)
    return learn


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return ratings_with_sides()


@pytest.fixture(scope="module")
def learn(frame):
    return trained(frame)


def test_columns_come_by_side_and_kind(frame) -> None:
    dls = loaders(frame)
    table = dls.train.dataset
    assert list(table.cat_names) == ["user", "item", "genre", "device"]
    assert list(table.cont_names) == ["age"]
    assert table.by_side(table.cat_names[2:]) == [[], ["genre"], ["device"]]
    codes, numbers, stars = dls.one_batch()
    assert (codes.shape, numbers.shape, stars.shape) == ((64, 4), (64, 1), (64, 1))
    assert abs(dls.train.tensors[1].mean()) < 1e-3


@pytest.mark.parametrize("use_nn", [False, True])
def test_strangers_are_known_by_their_features(frame, learn, use_nn) -> None:
    learn = trained(frame, use_nn) if use_nn else learn
    strangers = ratings_with_sides(seed=9).head(400)
    strangers = strangers.assign(user=strangers["user"] + 1000, item="new " + strangers["item"])
    dl = learn.dls.test_dl(strangers, with_labels=True)
    predicted, stars = learn.get_preds(dl=dl)
    error = (predicted.ravel() - stars.ravel()).square().mean()
    assert error < 0.35 * stars.var()


def test_the_forward_pass_is_the_sum_over_pairs_of_features() -> None:
    torch.manual_seed(2)
    model = FeatureDotBias(3, 5, 6, [4], [3, 7], [2], [1, 0, 2], y_range=None).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    codes = torch.tensor([[1, 2, 3, 1, 6, 1]])
    numbers = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    user, item, event = model.user_side, model.item_side, model.event_side
    query = [(1, model.u_weight.weight[1]), (1, user.vectors[0].weight[3])]
    query += [(0.5, user.number_vectors[0]), (1, event.vectors[0].weight[1])]
    query += [(-1.0, event.number_vectors[0]), (2.0, event.number_vectors[1])]
    key = [model.i_weight.weight[2], item.vectors[0].weight[1], item.vectors[1].weight[6]]
    expected = sum(x * (a @ b) for (x, a), b in itertools.product(query, key))
    expected = expected + model.u_bias.weight[1, 0] + model.i_bias.weight[2, 0]
    expected = expected + user.biases[0].weight[3, 0] + 0.5 * user.number_biases[0]
    expected = expected + item.biases[0].weight[1, 0] + item.biases[1].weight[6, 0]
    expected = expected + event.biases[0].weight[1, 0]
    expected = expected - event.number_biases[0] + 2 * event.number_biases[1]
    torch.testing.assert_close(model(codes, numbers)[0], expected)


def test_recommended_ratings_are_the_models_own_without_the_event(frame, learn) -> None:
    table = learn.recommend([7], k=5, exclude_seen=False)
    age = frame.loc[frame["user"] == 7, "age"].iloc[0]
    genres = frame.drop_duplicates("item").set_index("item")["genre"]
    rows = pd.DataFrame(
        {"user": 7, "item": table["item"], "age": age, "genre": genres[table["item"]].to_numpy()}
    ).assign(device="never seen")
    predicted, _ = learn.get_preds(dl=learn.dls.test_dl(rows))
    np.testing.assert_allclose(predicted.numpy().ravel(), table["rating"], rtol=1e-5)


def test_an_exported_learner_knows_the_features_of_all(learn, tmp_path) -> None:
    again = load_learner(learn.export(tmp_path / "sides.torte"))
    expected, found = (one.recommend(k=3, exclude_seen=False) for one in (learn, again))
    for name, values in expected.items():
        assert np.array_equal(values, found[name])
    assert again.dls.train.dataset.user_cols == ["age"]


def test_columns_may_be_told_their_kind(frame) -> None:
    table = loaders(frame.assign(shelf=frame["item"].str[1:].astype(int)), item_cols=["shelf"],
                    cat_names=["shelf"], user_cols=()).train.dataset  # fmt: skip
    assert list(table.cat_names) == ["user", "item", "shelf"]
    assert table.by_side(["shelf"]) == [[], ["shelf"], []]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"user_cols": ["agee"]}, KeyError, "no column 'agee': did you mean 'age'"),
        ({"user_cols": ["age"], "item_cols": ["age"]}, ValueError, r"columns \['age'\] are in"),
        ({"cat_names": ["user"]}, ValueError, "column 'user' is in cat_names and in cat_names"),
        ({"cat_names": ["age"], "cont_names": ["age"]}, ValueError, "is in cat_names and in cont"),
    ],
)
def test_columns_with_no_role_or_two_are_named(frame, kwargs, error, message) -> None:
    with pytest.raises(error, match=message):
        loaders(frame, **kwargs)


def test_missing_numbers_and_categories_have_their_places(frame) -> None:
    holed = frame.copy()
    holed.loc[holed["user"] == 3, "age"] = np.nan
    holed.loc[holed["item"] == "i4", "genre"] = None
    learn = collab_learner(loaders(holed), n_factors=3)
    code = learn.dls.train.dataset.classes["item"].code("i4")
    assert learn.model.item_side.known_codes[code].tolist() == [0]
    assert learn.model.user_side.known_numbers.isfinite().all()
    assert learn.validate()[0] > 0
