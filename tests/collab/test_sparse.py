"""Sparse learners step the rows of a batch alone, and are learners like the others."""

import numpy as np
import pandas as pd
import pytest
import torch
from torte.collab import CollabDataLoaders, collab_learner
from torte.learner import Callback, CheckpointCallback, load_learner
from torte.optim import RowwiseAdagrad


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    random = np.random.default_rng(3)
    users, items = random.integers(0, 50, 900), random.integers(0, 30, 900)
    stars = np.where((users + items) % 2, 4.5, 1.5)
    return pd.DataFrame({"user": users, "item": items, "stars": stars})


def made(frame, **kwargs):
    torch.manual_seed(0)
    dls = CollabDataLoaders.from_df(frame, seed=1, bs=32)
    dls.train.seed = 7
    return collab_learner(dls, n_factors=6, y_range=(0, 6), sparse=True, **kwargs)


class Stop(Callback):
    """Ctrl-C after so many batches."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def after_batch(self) -> None:
        if self.training and self.train_iter == self.at:
            raise KeyboardInterrupt


def fitted(learn, n=2, **kwargs):
    with learn.no_bar(), learn.no_logging():
        learn.fit(n, 0.05, **kwargs)
    return learn


@pytest.mark.parametrize("kwargs", [{}, {"opt_func": RowwiseAdagrad}, {"use_nn": True}],
                         ids=["adam", "adagrad", "neural"])  # fmt: skip
def test_only_rows_of_the_batch_change(frame, kwargs) -> None:
    learn = made(frame, **kwargs)
    learn.create_opt()
    before = {name: value.clone() for name, value in learn.model.named_parameters()}
    codes, stars = learn.dls.one_batch()
    learn.loss_func(learn.model(codes), stars).backward()
    learn.opt.step()
    tables = {n: p for n, p in learn.model.named_parameters() if p.grad.is_sparse}
    assert len(tables) == (2 if kwargs.get("use_nn") else 4)
    for name, table in tables.items():
        changed = (table != before[name]).any(dim=1).nonzero().ravel()
        users = name.startswith("u_") or name == "embeds.0.weight"
        assert torch.equal(changed, codes[:, 0 if users else 1].unique())


def test_the_rule_is_learned(frame) -> None:
    assert fitted(made(frame), 8).validate()[0] < 0.2 * frame["stars"].var()


def test_checkpoints_resume_bit_for_bit_and_files_are_like_others(frame, tmp_path) -> None:
    whole = fitted(made(frame, path=tmp_path / "a"), 3)
    first = made(frame, path=tmp_path / "b", cbs=CheckpointCallback(every=10))
    with pytest.raises(KeyboardInterrupt):
        fitted(first, 3, cbs=[Stop(at=35)])
    again = made(frame, path=tmp_path / "b", cbs=CheckpointCallback(every=10))
    fitted(again, 3, resume=True)
    for one, two in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, two)
    loaded = load_learner(again.export(tmp_path / "sparse.torte"))
    both = [one.recommend([3], 4, exclude_seen=False)["item"].tolist() for one in (again, loaded)]
    assert both[0] == both[1]


def test_new_users_get_rows_in_every_state(frame) -> None:
    for opt_func in (RowwiseAdagrad, None):
        learn = fitted(made(frame, **({"opt_func": opt_func} if opt_func else {})))
        learn.add_users(pd.DataFrame({"user": ["new"] * 2, "item": [1, 2], "stars": [4.4, 2.0]}))
        table = learn.model.u_weight
        for value in learn.opt.state[table.weight].values():
            if isinstance(value, torch.Tensor):
                assert len(value) == len(table.weight)
                assert not value[-2].any()
        assert table.sparse
        fitted(learn, 1)
