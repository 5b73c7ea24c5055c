"""Permutation importance: what carries the target is found, and nothing is changed."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from torte.data import Normalize, set_seed
from torte.learner import accuracy
from torte.tabular import (
    Categorify,
    FillMissing,
    TabularDataLoaders,
    TabularLearner,
    feature_importance,
    plot_importance,
    tabular_learner,
)

PROCS = [Categorify, FillMissing, Normalize]


def table(n: int = 1500) -> pd.DataFrame:
    """The label is whether `strong` + its colour is positive; `gaps` tells it by being missing."""
    draw = np.random.default_rng(0)
    strong, noise = draw.normal(size=n), draw.normal(size=n)
    colour = draw.choice(["red", "blue"], n)
    label = strong + (colour == "red") - 0.5 > 0
    gaps = np.where(label & (draw.random(n) < 0.3), np.nan, draw.normal(size=n))
    columns = {"noise": noise, "strong": strong, "gaps": gaps, "colour": colour}
    return pd.DataFrame({**columns, "label": np.where(label, "yes", "no")})


@pytest.fixture(scope="module")
def learn() -> TabularLearner:
    set_seed(0)
    dls = TabularDataLoaders.from_df(
        table(),
        procs=PROCS,
        cat_names=["colour"],
        cont_names=["noise", "strong", "gaps"],
        y_names="label",
        bs=64,
        seed=0,
    )
    learn = tabular_learner(dls, layers=[32], metrics=accuracy)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(5, 1e-2)
    return learn


def test_columns_come_in_the_order_of_what_they_say(learn: TabularLearner) -> None:
    found = feature_importance(learn, metric=accuracy, n_repeats=3)
    assert list(found.columns) == ["feature", "importance", "std", "baseline"]
    assert found.feature.iloc[0] == "strong"
    assert found.feature.iloc[-1] == "noise"
    assert sorted(found.feature) == ["colour", "gaps", "noise", "strong"]
    assert found.importance.iloc[0] > 0.2
    assert abs(found.importance.iloc[-1]) < 0.02
    # What is missing in `gaps` tells the label, and its indicator is shuffled with it.
    assert found.set_index("feature").importance["gaps"] > 0.03
    assert found.baseline.iloc[0] == pytest.approx(float(learn.validate()[1]), abs=1e-6)


def test_shuffles_by_hand_give_the_same_number(learn: TabularLearner) -> None:
    found = feature_importance(learn, n_repeats=40, seed=1).set_index("feature")
    codes, numbers, targets = (part.clone() for part in learn.dls.valid.tensors)
    loss = torch.nn.functional.cross_entropy
    learn.model.eval()
    place = list(learn.dls.valid.dataset.cont_names).index("strong")
    draw, worse = np.random.default_rng(7), []
    with torch.no_grad():
        before = loss(learn.model(codes, numbers), targets).item()
        for _ in range(40):
            other = numbers.clone()
            other[:, place] = numbers[draw.permutation(len(numbers)), place]
            worse.append(loss(learn.model(codes, other), targets).item() - before)
    error = 5 * np.std(worse) / 40**0.5
    assert found.baseline["strong"] == pytest.approx(before, rel=1e-5)
    assert found.importance["strong"] == pytest.approx(np.mean(worse), abs=error)


def test_nothing_is_changed_and_the_seed_decides(learn: TabularLearner) -> None:
    state = {name: value.clone() for name, value in learn.model.state_dict().items()}
    tensors = [part.clone() for part in learn.dls.valid.tensors]
    training, callbacks = learn.model.training, list(learn.cbs)
    generator = torch.get_rng_state()
    first = feature_importance(learn, n_repeats=2, seed=5)
    assert torch.equal(torch.get_rng_state(), generator)
    pd.testing.assert_frame_equal(first, feature_importance(learn, n_repeats=2, seed=5))
    other = feature_importance(learn, n_repeats=2, seed=6)
    assert not np.array_equal(first.importance, other.importance)
    assert learn.model.training == training
    assert list(learn.cbs) == callbacks
    for name, value in learn.model.state_dict().items():
        assert torch.equal(value, state[name])
    for part, before in zip(learn.dls.valid.tensors, tensors, strict=True):
        assert torch.equal(part, before)


def test_new_rows_and_errors_serve_too(learn: TabularLearner) -> None:
    found = feature_importance(
        learn,
        table(200),
        metric=lambda preds, targets: (preds.argmax(1) != targets).float().mean(),
        n_repeats=2,
        lower_is_better=True,
    )
    assert found.feature.iloc[0] == "strong"
    assert found.importance.iloc[0] > 0.2
    with pytest.raises(ValueError, match="no targets"):
        feature_importance(learn, table(20).drop(columns="label"))
    with pytest.raises(ValueError, match="no rows"):
        feature_importance(learn, table(20)[:0])
    with pytest.raises(ValueError, match="n_repeats"):
        feature_importance(learn, n_repeats=0)


def test_the_plot_has_a_bar_for_each_column_the_first_on_top(learn: TabularLearner) -> None:
    mpl.use("Agg")
    found = feature_importance(learn, n_repeats=2)
    axes = plot_importance(found, max_n=3)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(found.feature[:3])[::-1]
    widths = [bar.get_width() for bar in axes.patches]
    np.testing.assert_allclose(widths, found.importance[:3][::-1])
