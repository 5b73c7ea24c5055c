"""Pictures of factors and biases, against scikit-learn's components and the model's numbers."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from torte.collab import CollabDataLoaders, collab_learner, plot_biases, plot_factors


@pytest.fixture
def learn():
    random = np.random.default_rng(0)
    # Item i comes i + 1 times, in an order that is not that of the names.
    items = random.permutation(np.repeat([f"i{number}" for number in range(12)], range(1, 13)))
    ratings = pd.DataFrame({"user": np.arange(len(items)) % 9, "item": items, "rating": 3.0})
    dls = CollabDataLoaders.from_df(ratings, valid_pct=0.01, seed=1, bs=16)
    learn = collab_learner(dls, n_factors=5, y_range=(0.5, 5.5))
    torch.manual_seed(0)
    for table in (learn.model.i_weight, learn.model.i_bias):
        torch.nn.init.normal_(table.weight)
    return learn


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_items_stand_where_their_components_put_them(learn):
    ax = plot_factors(learn, n=6)
    assert set(words(ax)) <= {f"i{number}" for number in range(5, 12)}
    assert len(words(ax)) == 6
    found = ax.collections[0].get_offsets().data
    factors = learn.model.weight(words(ax), is_item=True).numpy()
    wanted = PCA(2).fit_transform(factors.astype(np.float64))
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), rtol=1e-4, atol=1e-4)


def test_items_of_ones_choice(learn):
    assert words(plot_factors(learn, ["i3", "i1", "i2"])) == ["i3", "i1", "i2"]
    with pytest.raises(KeyError, match="nobody"):
        plot_factors(learn, ["i1", "i2", "nobody"])
    with pytest.raises(ValueError, match="three items or more, got 2"):
        plot_factors(learn, ["i1", "i2"])


def test_the_highest_and_the_lowest_biases(learn):
    ax = plot_biases(learn, k=3)
    names = [label.get_text() for label in ax.get_yticklabels()]
    widths = [bar.get_width() for bar in ax.patches]
    every = {f"i{n}": float(learn.model.bias([f"i{n}"], is_item=True)) for n in range(12)}
    ordered = sorted(every, key=lambda name: every[name])
    assert names == ordered[:3] + ordered[-3:]
    np.testing.assert_allclose(widths, [every[name] for name in names], rtol=1e-6)
    assert len(plot_biases(learn, k=30).patches) == 12
    with pytest.raises(ValueError, match="k must be at least 1"):
        plot_biases(learn, k=0)


def test_neural_models_have_neither(learn):
    neural = collab_learner(learn.dls, use_nn=True, y_range=(0.5, 5.5))
    for plot in (plot_factors, plot_biases):
        with pytest.raises(TypeError, match=r"EmbeddingNN has no factors.*use_nn=False"):
            plot(neural)
