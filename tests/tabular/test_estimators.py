"""The estimators keep scikit-learn's promises, and those of the tables below them."""

import copy
import pickle
import random
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator
from torte.learner.losses import CrossEntropyLossFlat
from torte.tabular import (
    EnsembleLoss,
    TabularClassifier,
    TabularRegressor,
    add_datepart,
)
from torte.tabular.weighted import WeightedLoss

QUICK = {"layers": [16], "n_epoch": 3, "bs": 32, "random_state": 0, "device": "cpu"}

CANNOT_APPLY = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a network learns from random batches of rows: a row of weight 2 and two rows are equal in "
        "expectation alone"
    ),
}


def estimators():
    settings = {**QUICK, "n_epoch": 25}
    return [TabularClassifier(**settings), TabularRegressor(**settings)]


def checks() -> list:
    found = []
    for estimator in estimators():
        for made, check in estimator_checks_generator(estimator):
            name = check.func.__name__
            marks = [pytest.mark.skip(CANNOT_APPLY[name])] if name in CANNOT_APPLY else []
            label = f"{type(estimator).__name__}-{name}"
            found.append(pytest.param(made, check, id=label, marks=marks))
    return found


@pytest.mark.parametrize(("estimator", "check"), checks())
def test_scikit_learns_own_checks_pass(estimator, check) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks provoke them
        check(estimator)


@pytest.fixture(scope="module")
def table() -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame(
        {
            "colour": rng.choice(["red", "green", "blue"], n),
            "size": rng.normal(size=n),
            "count": rng.integers(0, 50, n),
            "new": rng.random(n) < 0.5,
        }
    )
    y = np.where((frame["colour"] == "red") ^ frame["new"], "yes", "no")
    frame.loc[rng.random(n) < 0.05, "size"] = np.nan
    return frame, pd.Series(y, name="bought")


def test_categories_and_numbers_are_learned_from_a_frame(table) -> None:
    frame, y = table
    model = TabularClassifier(random_state=0, device="cpu").fit(frame[:300], y[:300])
    assert model.score(frame[300:], y[300:]) > 0.95
    assert list(model.classes_) == ["no", "yes"]
    assert (model.n_features_in_, list(model.feature_names_in_)) == (4, list(frame.columns))
    assert list(model.learn_.dls.cat_names) == ["colour", "new", "size_na"]
    chances = model.predict_proba(frame)
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-12)
    unseen = frame.assign(colour="violet", size=None, new=pd.NA)
    assert np.isfinite(model.predict_proba(unseen)).all()


def test_defaults_are_good_on_numbers_alone() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    assert cross_val_score(TabularClassifier(random_state=0), X, y, cv=3).mean() > 0.94
    X, y = load_diabetes(return_X_y=True)
    assert cross_val_score(TabularRegressor(random_state=0), X, y, cv=3).mean() > 0.25


def test_pandas_polars_and_arrays_of_objects_give_the_same(table) -> None:
    frame, y = table
    expected = TabularClassifier(**QUICK).fit(frame, y).predict_proba(frame)
    other = pl.from_dicts(frame.replace({np.nan: None}).to_dict("records"))
    model = TabularClassifier(**QUICK).fit(other, pl.Series(y.tolist()))
    np.testing.assert_array_equal(model.predict_proba(other), expected)
    array = frame.to_numpy(dtype=object)
    model = TabularClassifier(**QUICK).fit(array, y.to_numpy())
    np.testing.assert_array_equal(model.predict_proba(array), expected)
    assert list(model.learn_.dls.cat_names) == ["x0", "x3", "x1_na"]


def test_columns_may_be_called_categories_by_name_or_position(table) -> None:
    frame, y = table
    for given in (["count", "colour"], [2, 0]):
        model = TabularClassifier(cat_names=given, **QUICK).fit(frame.drop(columns="new"), y)
        assert list(model.learn_.dls.cat_names) == ["colour", "count", "size_na"]
    with pytest.raises(ValueError, match=r"cat_names \['shape'\] are no columns"):
        TabularClassifier(cat_names=["shape"]).fit(frame, y)


def generators() -> list:
    return [
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002 - what an estimator must not touch
        torch.get_rng_state().tolist(),
    ]


def test_a_seed_repeats_and_the_global_generators_are_left_alone(table) -> None:
    frame, y = table
    before = generators()
    first = TabularClassifier(**QUICK).fit(frame, y).predict_proba(frame)
    assert generators() == before
    with torch.random.fork_rng():
        torch.manual_seed(7)
        again = TabularClassifier(**QUICK).fit(frame, y).predict_proba(frame)
    np.testing.assert_array_equal(first, again)
    other = TabularClassifier(**{**QUICK, "random_state": 1}).fit(frame, y).predict_proba(frame)
    assert not np.array_equal(first, other)


def test_pipelines_searches_and_column_transformers(table) -> None:
    frame, y = table
    transform = make_column_transformer(
        (StandardScaler(), ["size", "count"]), remainder="passthrough"
    ).set_output(transform="pandas")
    search = GridSearchCV(
        make_pipeline(transform, TabularClassifier(**QUICK)),
        {"tabularclassifier__lr": [1e-4, 2e-2], "tabularclassifier__n_epoch": [10]},
        cv=2,
    )
    search.fit(frame, y)
    assert search.best_params_["tabularclassifier__lr"] == 2e-2
    assert search.predict(frame).shape == (400,)


def test_a_pickled_estimator_predicts_the_same_and_holds_no_rows(table) -> None:
    frame, y = table
    model = TabularClassifier(**QUICK).fit(frame, y)
    expected = model.predict_proba(frame)
    file = pickle.dumps(model)
    again = pickle.loads(file)
    np.testing.assert_array_equal(again.predict_proba(frame), expected)
    assert len(again.learn_.dls.train.dataset) == 0
    np.testing.assert_array_equal(copy.deepcopy(model).predict(frame), model.predict(frame))
    assert not hasattr(clone(model), "learn_")
    numbers = TabularRegressor(**QUICK).fit(frame, frame["count"])
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(numbers)).predict(frame), numbers.predict(frame)
    )


def test_weights_decide_between_rows_that_contradict_each_other() -> None:
    frame = pd.DataFrame({"a": ["x", "y"] * 100})
    y = np.repeat([0, 1], 100)
    weight = np.where(y == (frame["a"] == "x"), 5.0, 1.0)
    model = TabularClassifier(**{**QUICK, "n_epoch": 20}).fit(frame, y, sample_weight=weight)
    assert model.predict(frame).tolist() == [1, 0] * 100
    assert model.predict_proba(frame)[0, 1] == pytest.approx(5 / 6, abs=0.1)


@pytest.mark.parametrize("arch", ["mlp", "realmlp", "tabm"])
def test_rows_of_no_weight_are_as_if_they_were_not_there(table, arch) -> None:
    frame, y = table
    weight = np.r_[np.ones(300), np.zeros(100)]
    settings = {**QUICK, "arch": arch, "n_epoch": 1}
    left_out = TabularClassifier(**settings).fit(frame, y, weight).predict_proba(frame)
    alike = TabularClassifier(**settings).fit(frame[:300], y[:300], np.full(300, 3.0))
    np.testing.assert_array_equal(left_out, alike.predict_proba(frame))


def test_the_weighted_loss_is_the_mean_of_weighted_rows() -> None:
    scores, target = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    weight = torch.tensor([0.5, 2.0, 1.0, 0.25, 1.25])
    each = torch.nn.functional.cross_entropy(scores, target, reduction="none")
    loss = CrossEntropyLossFlat()
    found = WeightedLoss(loss)(scores, target, weight)
    torch.testing.assert_close(found, (each * weight).mean())
    assert loss.reduction == "mean"
    three = torch.stack([scores, 2 * scores, -scores], dim=1)
    parts = [WeightedLoss(loss)(part, target, weight) for part in three.unbind(1)]
    found = WeightedLoss(EnsembleLoss(loss))(three, target, weight)
    torch.testing.assert_close(found, torch.stack(parts).mean())


def test_several_labels_at_once_and_several_numbers(table) -> None:
    frame, _ = table
    labels = np.stack([frame["new"], frame["colour"] == "red"], 1).astype(int)
    model = TabularClassifier(**{**QUICK, "n_epoch": 20}).fit(frame, labels)
    assert model.predict_proba(frame).shape == (400, 2)
    assert (model.predict(frame) == labels).mean() > 0.98
    both = np.stack([frame["count"] * 100.0, 5 - frame["count"] / 10], 1)
    numbers = TabularRegressor(**{**QUICK, "n_epoch": 20}).fit(frame, both)
    assert numbers.predict(frame).shape == (400, 2)
    assert numbers.score(frame, both) > 0.9


@pytest.mark.parametrize("arch", ["realmlp", "tabm"])
def test_the_strong_models_are_one_argument_away(table, arch) -> None:
    frame, y = table
    settings = {**QUICK, "arch": arch, "layers": [64], "n_epoch": 20}
    assert TabularClassifier(**settings).fit(frame, y).score(frame, y) > 0.9
    numbers = TabularRegressor(**settings).fit(frame, frame["count"])
    assert numbers.score(frame, frame["count"]) > 0.9


def test_training_stops_when_the_rows_held_out_get_no_better(table) -> None:
    frame, _ = table
    noise = np.random.default_rng(1).integers(0, 2, len(frame))
    settings = {**QUICK, "n_epoch": 40, "lr": 0.1}
    model = TabularClassifier(patience=2, valid_pct=0.3, **settings).fit(frame, noise)
    assert 3 <= len(model.learn_.recorder.values) < 40
    assert len(model.learn_.dls.valid.dataset) == 120
    losses = [row[1] for row in model.learn_.recorder.values]
    with model.learn_.no_bar():
        assert model.learn_.validate()[0] == pytest.approx(min(losses), rel=1e-5), "the best's"


def test_mistakes_are_named(table) -> None:
    frame, y = table
    day = frame.assign(day=pd.Timestamp("2024-01-01"))
    with pytest.raises(TypeError, match=r"column 'day' holds Datetime.*add_datepart"):
        TabularClassifier().fit(day, y)
    TabularClassifier(**QUICK).fit(add_datepart(day, "day"), y)
    with pytest.raises(ValueError, match="column 'size' of the input contains infinity"):
        TabularClassifier().fit(frame.assign(size=np.inf), y)
    with pytest.raises(ValueError, match="at least one non-zero"):
        TabularClassifier().fit(frame, y, np.zeros(len(y)))
    with pytest.raises(ValueError, match="valid_pct must be at least 0 and less than 1, got 10"):
        TabularClassifier(valid_pct=10).fit(frame, y)
    model = TabularClassifier(**QUICK).fit(frame, y)
    with pytest.raises(ValueError, match=r"column 'size' .* 'large' is no number"):
        model.predict(frame.assign(size="large"))


def test_scikit_learn_is_loaded_at_the_first_use() -> None:
    script = (
        "import sys; from torte.tabular.all import *; import torte.tabular as tabular;"
        "before = 'sklearn' in sys.modules; name = tabular.TabularClassifier.__name__;"
        "print(before, name, 'TabularClassifier' in dir(tabular))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "TabularClassifier", "True"]
