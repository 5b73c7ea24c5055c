"""Whatever is wrong with ratings or a question: a defined result, or an error that names it."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch import nn
from torte.collab import BPRLoss, CollabDataLoaders, collab_learner
from torte.learner import MSELossFlat
from torte.tabular import Categorify, TabularDataLoaders


def ratings(**changes) -> pd.DataFrame:
    """20 users and 10 items, 160 of the pairs."""
    users, items = (part.ravel() for part in np.meshgrid(np.arange(20), np.arange(10)))
    stars = np.random.default_rng(0).integers(1, 6, 200).astype(float)
    frame = pd.DataFrame({"user": users, "item": items, "stars": stars})
    return frame.sample(160, random_state=0, ignore_index=True).assign(**changes)


def loaders(frame=None, **kwargs):
    frame = ratings() if frame is None else frame
    return CollabDataLoaders.from_df(frame, **{"seed": 1, "bs": 16, **kwargs})


def trained(frame=None, dls=None, **kwargs):
    torch.manual_seed(0)
    learn = collab_learner(dls or loaders(frame), n_factors=3, **kwargs)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 0.01)
    return learn


@pytest.fixture(scope="module")
def learn():
    return trained()


# -- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "kwargs", "error", "message"),
    [
        (ratings().head(0), {}, ValueError, "the frame has no rows"),
        (ratings()[["user", "item"]], {}, KeyError, "no column number 2 for the ratings"),
        (ratings()[["user"]], {}, KeyError, "no column number 1 for the items"),
        (ratings(stars="good"), {}, ValueError, "'stars' .* 'good' is no number"),
        (ratings(stars=[np.nan] * 3 + [1.0] * 157), {}, ValueError, "'stars' has no value in 3 ro"),
        (ratings(stars=[1.0, np.inf] * 80), {}, ValueError, "'stars' holds inf in row 1"),
        (ratings(user=[None] + ["u"] * 159), {}, ValueError, "'user' has no value in 1 rows"),
        (ratings(item=[3.0, np.nan] * 80), {}, ValueError, "'item' has no value in 80 rows"),
        (ratings(user=[["u"]] * 160), {}, TypeError, r"column 'user' holds \['u'\] in row 0"),
        (ratings(), {"item_name": "user"}, ValueError, "users and items are both in column 'user'"),
        (ratings(), {"rating_name": 9}, KeyError, "no column number 9 for the ratings"),
        (ratings(), {"valid_pct": 1.0}, ValueError, "none of the 160 rows are left to train on"),
        (ratings(), {"popularity": 0.5}, ValueError, "n_negatives and popularity are for implicit"),
        ([1, 2], {}, TypeError, "expected a frame of pandas, polars"),
    ],
)
def test_frames_are_refused_by_column_and_value(frame, kwargs, error, message) -> None:
    with pytest.raises(error, match=message):
        loaders(frame, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"y_range": (1.5, 5.5)}, ValueError, r"first of them 1 of user \d+ for item \d: mend"),
        ({"y_range": (5.5, 0.5)}, ValueError, r"y_range must be \(lowest, highest\), got \(5.5, 0"),
        ({"y_range": 5}, ValueError, r"y_range must be \(lowest, highest\), got 5"),
        ({"n_factors": 0}, ValueError, "n_factors must be at least 1, got 0"),
        ({"layers": [3], "emb_szs": {}}, ValueError, "emb_szs, layers: for use_nn=True"),
        ({"use_nn": True, "emb_szs": {"usr": 3}}, KeyError, r"no categorical columns: \['usr'\]"),
    ],
)  # fmt: skip
def test_learners_are_refused_by_argument(kwargs, error, message) -> None:
    with pytest.raises(error, match=message):
        collab_learner(loaders(), **kwargs)


def test_losses_and_loaders_that_do_not_fit_each_other() -> None:
    pairs = loaders(implicit=True)
    for loss in (MSELossFlat(), nn.MSELoss()):
        with pytest.raises(ValueError, match=r"MSELoss.* is a loss of ratings, but these loaders"):
            collab_learner(pairs, loss_func=loss)
    with pytest.raises(ValueError, match=r"BPRLoss needs scores of .* with implicit=True"):
        trained(loss_func=BPRLoss())
    other = TabularDataLoaders.from_df(
        ratings(), procs=[Categorify], cat_names=["user", "item"], y_names="stars"
    )
    with pytest.raises(TypeError, match="needs loaders of CollabDataLoaders, got some of Tabular"):
        collab_learner(other)


# -- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [str, int, float, "category", "string", "Int64", "datetime64[ns]"], ids=str
)
def test_ids_of_any_type_come_back_as_they_were(kind) -> None:
    frame = ratings()
    frame["item"] = frame["item"].astype(kind)
    table = trained(frame).recommend([3], k=2, exclude_seen=False)
    assert set(table["item"]) <= set(frame["item"])


def test_ids_of_mixed_types_are_different_ids() -> None:
    frame = ratings()
    frame["user"] = [str(user - 10) if user >= 10 else user for user in frame["user"]]
    learn = trained(frame)
    assert len(learn.dls.train.dataset.classes["user"].values) == 20
    table = learn.recommend([2, "2"], k=10, exclude_seen=False)
    weights = learn.model.weight([2, "2"], is_item=False)
    assert not torch.equal(*weights)
    assert table["user"].tolist() == [2] * 10 + ["2"] * 10


def test_ids_are_found_by_value_whatever_their_type(learn) -> None:
    expected = learn.model.bias([3, 4])
    for given in (["3", 4.0], np.array([3, 4]), pd.Series([3, 4]), torch.tensor([3, 4]),
                  pl.Series([3, 4]), (3, 4)):  # fmt: skip
        assert torch.equal(learn.model.bias(given), expected)
        assert learn.similar(given, k=1)["item"].tolist() == list(
            given if not hasattr(given, "dtype") else [3, 4]
        )
    for given in (3, np.int64(3), torch.tensor(3), "3"):
        assert torch.equal(learn.model.bias(given), expected[:1])
    for empty in ([], np.array([])):
        assert learn.model.bias(empty).shape == (0,)
        assert all(len(column) == 0 for column in learn.similar(empty, k=1).values())
        assert all(len(column) == 0 for column in learn.recommend(empty, k=1).values())


@pytest.mark.parametrize("unknown", ["x", 99, None, float("nan"), ("a", 1)], ids=str)
def test_an_unknown_user_is_the_average_one(learn, unknown) -> None:
    table = learn.recommend([unknown], k=10)
    bias = learn.model.i_bias.weight.detach().ravel()[1:-1]
    assert sorted(table["item"], key=lambda item: -bias[item]) == table["item"].tolist()
    with pytest.raises(KeyError, match="no users of these names in training"):
        learn.model.bias([unknown], is_item=False)
    with pytest.raises(KeyError, match="items not seen in training"):
        learn.similar([unknown])


# -- rows -----------------------------------------------------------------------------------------


def test_duplicate_pairs_count_twice_in_training_and_once_in_lists() -> None:
    frame = ratings()
    twice = pd.concat([frame, frame], ignore_index=True)
    learn = trained(dls=loaders(twice, valid_pct=0.0))
    assert len(learn.dls.train.dataset) == 320
    seen = frame.groupby("user")["item"].nunique()
    table = pd.DataFrame(learn.recommend(range(20), k=10))
    assert table.groupby("user").size().to_dict() == {u: 10 - n for u, n in seen.items() if n < 10}
    again = learn.evaluate_ranking(k=3, ds_idx=0, exclude_seen=False)
    once = trained(dls=loaders(frame, valid_pct=0.0))
    once.model.load_state_dict(learn.model.state_dict())
    assert once.evaluate_ranking(k=3, ds_idx=0, exclude_seen=False) == again


@pytest.mark.parametrize("implicit", [False, True])
def test_users_with_one_rating_and_items_that_only_validation_has(implicit) -> None:
    extra = pd.DataFrame({"user": [50, 51, 3], "item": [1, 2, 77], "stars": [4.0, 5.0, 3.0]})
    frame = pd.concat([ratings(), extra], ignore_index=True)
    rows = list(range(len(frame)))
    dls = loaders(frame, splitter=lambda _: (rows[:-2], rows[-2:]), implicit=implicit)
    learn = trained(dls=dls)
    assert np.isfinite(learn.validate()[0])
    assert 77 not in learn.recommend([3], k=5, exclude_seen=False)["item"]
    assert len(learn.recommend([50], k=9)["item"]) == 9
    with pytest.raises(ValueError, match="no user has a relevant item"):
        learn.evaluate_ranking(k=3)  # a new user and a new item
    preds, _ = learn.get_preds(dl=dls.test_dl(extra))
    assert preds.isfinite().all()


@pytest.mark.parametrize("implicit", [False, True])
def test_a_user_who_has_seen_everything_gets_an_empty_list(implicit) -> None:
    full = pd.DataFrame({"user": "all", "item": np.arange(10), "stars": 3.0})
    frame = pd.concat([ratings(), full], ignore_index=True)
    learn = trained(dls=loaders(frame, valid_pct=0.0, implicit=implicit))
    assert len(learn.recommend(["all"], k=5)["item"]) == 0
    assert len(learn.recommend(["all"], k=5, exclude_seen=False)["item"]) == 5
    assert all(value.isfinite().all() for value in learn.model.parameters())


@pytest.mark.parametrize(
    ("frame", "k"), [(ratings(user=1), 1), (ratings(item=1), 1), (ratings().head(1), 1)]
)
def test_one_user_one_item_one_row(frame, k) -> None:
    learn = trained(dls=loaders(frame, valid_pct=0.0))
    table = learn.recommend(k=k, exclude_seen=False)
    assert len(table["user"]) == frame["user"].nunique()


# -- questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (0, ValueError, "k is 0, but there are 10 items"),
        (-1, ValueError, "k is -1, but there are"),
        (11, ValueError, "k is 11, but there are 10 items"),
        (2.5, TypeError, "k must be a whole number, got 2.5"),
        (None, TypeError, "k must be a whole number, got None"),
        (True, TypeError, "k must be a whole number, got True"),
    ],
)
def test_lengths_of_lists_that_cannot_be(learn, k, error, message) -> None:
    with pytest.raises(error, match=message):
        learn.recommend([1], k=k)
    with pytest.raises(error, match=message):
        learn.evaluate_ranking(k=k)
    with pytest.raises(error, match=message.replace("10 items", "9 other items")):
        learn.similar([1], k=k)


def test_rows_to_predict_are_checked_too(learn) -> None:
    with pytest.raises(KeyError, match="no column 'item'"):
        learn.predict({"user": 3})
    with pytest.raises(KeyError, match="no column 'item'"):
        learn.dls.test_dl(ratings()[["user"]])
    broken = ratings().head(3).assign(stars=[1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match=r"'stars' has no value in 1 rows, the first .* row 1"):
        learn.dls.test_dl(broken, with_labels=True)
    endless = broken.assign(stars=[1.0, 2.0, np.inf])
    with pytest.raises(ValueError, match=r"'stars' holds inf in row 2"):
        learn.dls.test_dl(endless, with_labels=True)
    preds, _ = learn.get_preds(dl=learn.dls.test_dl(broken.assign(user=[None, 1, "x"])))
    assert preds.isfinite().all()
