"""Learners of ratings and of pairs do all that they do wherever their loaders put batches."""

import numpy as np
import pandas as pd
import pytest
import torch
from torte.collab import CollabDataLoaders, SampledSoftmaxLoss, collab_learner, ranking_metrics

CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
)


def frame() -> pd.DataFrame:
    random = np.random.default_rng(1)
    users, items = random.integers(0, 30, 500), random.integers(0, 20, 500)
    return pd.DataFrame(
        {"user": users, "item": items, "stars": 1.0 + (users + items) % 5, "genre": items % 3}
    )


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize(
    "kwargs", [{}, {"use_nn": True}, {"sparse": True}], ids=["dot", "neural", "sparse"]
)
@pytest.mark.parametrize("implicit", [False, True], ids=["ratings", "pairs"])
def test_everything_runs_on_the_loaders_device(implicit, kwargs, device) -> None:
    sides = {"item_cols": ["genre"], "cat_names": ["genre"]}
    dls = CollabDataLoaders.from_df(
        frame(), bs=32, seed=1, implicit=implicit, device=torch.device(device), **sides
    )
    loss = SampledSoftmaxLoss() if implicit else None
    settings = {"loss_func": loss, "metrics": ranking_metrics("ndcg", k=3), **kwargs}
    learn = collab_learner(dls, n_factors=4, **settings)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 0.01)
    assert next(learn.model.parameters()).device.type == device
    assert len(learn.recommend([1, 2], k=3, exclude_seen=False)["item"]) == 6
    assert len(learn.similar([1], k=3)["item"]) == 3
    assert 0 <= learn.evaluate_ranking(k=3)["ndcg"] <= 1
    if "use_nn" not in kwargs:
        rows = pd.DataFrame({"user": ["n", "n"], "item": [1, 2], "stars": [2.0, 4.0], "genre": 1})
        assert learn.add_users(rows) == ["n"]
        assert len(learn.recommend(["n"], k=18)["item"]) == 18
        rows = rows.assign(user=[1, 2], item="new")
        assert learn.add_items(rows) == ["new"]
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 0.01)
