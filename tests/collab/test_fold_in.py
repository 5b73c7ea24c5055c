"""New users and items get the rows that a plain float64 solution gives, all of them or none."""

import numpy as np
import pandas as pd
import pytest
import torch
from torte.collab import CollabDataLoaders, collab_learner
from torte.learner import load_learner


def made(y_range=(0.5, 5.5), fit=True):
    random = np.random.default_rng(0)
    users, items = (part.ravel() for part in np.meshgrid(np.arange(30), np.arange(20)))
    stars = np.where((users + items) % 2, 4.5, 1.5) + random.normal(0, 0.1, len(users))
    frame = pd.DataFrame({"user": users, "item": items, "stars": stars}).sample(
        frac=0.6, random_state=1, ignore_index=True
    )
    torch.manual_seed(0)
    learn = collab_learner(CollabDataLoaders.from_df(frame, bs=32, seed=1), 4, y_range=y_range)
    if fit:
        with learn.no_bar(), learn.no_logging():
            learn.fit(3, 0.03)
    return learn


HANDFUL = {"user": ["new"] * 3 + ["x"], "item": [1, 2, 3, 4], "stars": [4.5, 1.5, 4.4, 2.0]}


@pytest.mark.parametrize("is_item", [False, True])
@pytest.mark.parametrize("y_range", [None, (0.5, 5.5)])
def test_rows_solve_the_ridge_regression(y_range, is_item) -> None:
    learn = made(y_range)
    model, table = learn.model, learn.dls.train.dataset
    known = "user" if is_item else "item"
    words = table.classes[known]
    fixed, bias = (model.u_weight, model.u_bias) if is_item else (model.i_weight, model.i_bias)
    codes = [words.code(value) for value in (1, 2, 3)]
    factors = fixed.weight.detach().double().numpy()[codes]
    target = np.array([4.5, 1.5, 4.4])
    if y_range:
        share = (target - 0.5) / 5
        target = np.log(share / (1 - share))
    target = target - bias.weight.detach().double().numpy()[codes, 0]
    design = np.hstack([factors, np.ones((3, 1))])
    padded = np.vstack([design, np.sqrt(0.3) * np.eye(5)])
    expected = np.linalg.lstsq(padded, np.concatenate([target, np.zeros(5)]), rcond=None)[0]
    rows = pd.DataFrame(HANDFUL).rename(columns={"user": "item", "item": "user"} if is_item else {})
    names = (learn.add_items if is_item else learn.add_users)(rows, l2=0.3)
    assert names == ["new", "x"]
    np.testing.assert_allclose(
        model.weight(["new"], is_item)[0], expected[:4], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(model.bias(["new"], is_item)[0], expected[4], rtol=1e-4)


def test_the_new_user_is_one_like_the_others(tmp_path) -> None:
    learn = made()
    before = learn.dls.valid.dataset.decode().items
    state = learn.opt.state[learn.model.u_weight.weight]["grad_avg"].clone()
    learn.add_users(pd.DataFrame(HANDFUL))
    grown = learn.opt.state[learn.model.u_weight.weight]["grad_avg"]
    assert torch.equal(grown[:-3], state[:-1])
    assert torch.equal(grown[-1], state[-1])
    assert not grown[-3:-1].any()
    table = learn.recommend(["new"], k=17)
    assert len(table["item"]) == 17
    assert not set(table["item"]) & {1, 2, 3}
    assert learn.dls.valid.dataset.decode().items.equals(before)
    again = load_learner(learn.export(tmp_path / "grown.torte"))
    rows = pd.DataFrame(HANDFUL)
    found, expected = (one.get_preds(dl=one.dls.test_dl(rows))[0] for one in (again, learn))
    assert torch.equal(found, expected)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 0.01)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"stars": [4.5, 5.5, 4.4, 2.0]}, ValueError, "the rating in row 1 is 5.5, not inside of"),
        ({"stars": [4.5, np.nan, 4.4, 2.0]}, ValueError, "the rating in row 1 is nan"),
        ({"user": ["a", 3, "b", "c"]}, ValueError, r"users \[3\] are known already"),
        ({"user": ["a", None, "b", "c"]}, ValueError, "column 'user' has no value in row 1"),
        ({"item": [1, 2, 99, 4]}, KeyError, "the item 99 in row 2 was not seen in training"),
        ({"user": [], "item": [], "stars": []}, ValueError, "the frame has no rows"),
    ],
)
def test_nothing_changes_on_an_error(change, error, message) -> None:
    learn = made(fit=False)
    before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    words = learn.dls.train.dataset.classes["user"]
    with pytest.raises(error, match=message):
        learn.add_users(pd.DataFrame({**HANDFUL, **change}))
    assert learn.dls.train.dataset.classes["user"] is words
    assert all(torch.equal(value, before[name]) for name, value in learn.model.state_dict().items())
    assert not len(learn.folded)


def test_ratings_at_the_ends_may_be_clipped() -> None:
    learn = made()
    learn.add_users(pd.DataFrame({**HANDFUL, "stars": [5.5, 0.5, 5.5, 0.5]}), clip=0.01)
    assert learn.model.weight(["new"], is_item=False).isfinite().all()
