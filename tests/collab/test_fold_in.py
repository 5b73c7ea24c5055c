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


# -- side columns ---------------------------------------------------------------------------------


def with_sides():
    random = np.random.default_rng(5)
    users, items = (part.ravel() for part in np.meshgrid(np.arange(30), np.arange(20)))
    frame = pd.DataFrame({"user": users, "item": items, "age": (users * 7) % 50 + 20.5})
    frame["genre"] = np.array(["a", "b", "c"])[items % 3]
    frame["hour"] = random.integers(0, 3, len(users)).astype(str)
    frame["stars"] = np.where((users + items) % 2, 4.5, 1.5) + random.normal(0, 0.1, len(users))
    frame = frame.sample(frac=0.6, random_state=1, ignore_index=True)
    dls = CollabDataLoaders.from_df(
        frame, rating_name="stars", user_cols="age", item_cols="genre", cat_names=["hour", "genre"],
        bs=32, seed=1,
    )  # fmt: skip
    torch.manual_seed(0)
    learn = collab_learner(dls, 4, y_range=(0.5, 5.5))
    with learn.no_bar(), learn.no_logging():
        learn.fit(3, 0.03)
    return learn


@pytest.mark.parametrize("is_item", [False, True])
def test_side_columns_of_new_rows_take_part_and_are_remembered(is_item) -> None:
    """The solution is where the gradient of the penalised squares, by autograd, is zero."""
    learn = with_sides()
    rows = pd.DataFrame(
        {"user": ["n"] * 4, "item": [1, 2, 3, 4], "age": 33.3, "genre": ["b", "c", "a", "b"],
         "hour": ["0", "1", "2", "9"], "stars": [4.5, 1.5, 4.4, 2.0]}
    )  # fmt: skip
    if is_item:
        rows = rows.assign(user=[1, 2, 3, 4], item="n", genre="b", age=[27.5, 34.5, 41.5, 48.5])
    (learn.add_items if is_item else learn.add_users)(rows, l2=0.7)
    model = learn.model.double()
    codes, numbers = learn.dls.train.dataset.test_set(rows).codes_and_numbers()
    words = learn.dls.train.dataset.classes["item" if is_item else "user"]
    assert (codes[:, int(is_item)] == words.code("n")).all()
    share = (torch.tensor(rows["stars"].to_numpy()) - 0.5) / 5
    model.y_range = None
    table, bias = (model.i_weight, model.i_bias) if is_item else (model.u_weight, model.u_bias)
    errors = (model(codes, numbers.double()) - share.logit()).square().sum()
    penalty = table.weight[-2].square().sum() + bias.weight[-2].square().sum()
    (errors + 0.7 * penalty).backward()
    assert table.weight.grad[-2].abs().max() < 1e-5
    assert bias.weight.grad[-2].abs().max() < 1e-5
    side = model.item_side if is_item else model.user_side
    known = [side.known_codes[-2], side.known_numbers[-2]]
    place = 2 if is_item else slice(0, 0)
    torch.testing.assert_close(known[0], codes[0, [place] if is_item else place])
    assert len(known[1]) == (0 if is_item else 1)
    found = learn.recommend(["n"] if not is_item else [1], k=3, exclude_seen=False)
    assert np.isfinite(found["rating"].astype(float)).all()


# -- pairs without ratings ------------------------------------------------------------------------


def of_pairs(sides=False):
    random = np.random.default_rng(0)
    users, items = (part.ravel() for part in np.meshgrid(np.arange(40), np.arange(20)))
    met = random.random(len(users)) < np.where((users % 2) == (items % 2), 0.5, 0.02)
    frame = pd.DataFrame({"user": users[met], "item": items[met], "genre": (items[met] % 3) / 2})
    kwargs = {"item_cols": ["genre"], "cont_names": ["genre"]} if sides else {}
    dls = CollabDataLoaders.from_df(frame, implicit=True, n_negatives=3, bs=32, seed=1, **kwargs)
    torch.manual_seed(0)
    learn = collab_learner(dls, 4)
    with learn.no_bar(), learn.no_logging():
        learn.fit(4, 0.05)
    return learn


@pytest.mark.parametrize("sides", [False, True])
def test_a_new_users_factors_are_their_pairs_likeliest(sides) -> None:
    learn = of_pairs(sides)
    rows = pd.DataFrame({"user": ["n"] * 3 + ["m"], "item": [1, 3, 5, 4], "genre": 0.5})
    assert learn.add_users(rows, l2=0.4) == ["n", "m"]
    model = learn.model.double()
    w = model.weight(["n"], is_item=False)[0].requires_grad_()
    factors, bias = (part[1:-1].detach() for part in model.item_table())
    places = [learn.dls.train.dataset.classes["item"].code(item) - 1 for item in (1, 3, 5)]
    scores = factors @ w + bias
    loss = -scores.log_softmax(0)[places].sum() + 0.2 * w.square().sum()
    (slope,) = torch.autograd.grad(loss, w)
    assert slope.abs().max() < 1e-5
    assert model.bias(["n"], is_item=False).item() == 0
    found = learn.recommend(["n"], k=5)
    assert not {1, 3, 5} & set(found["item"])
    assert sum(item % 2 for item in found["item"]) >= 4


@pytest.mark.parametrize("sides", [False, True])
def test_a_new_items_factors_are_all_pairs_likeliest(sides) -> None:
    learn = of_pairs(sides)
    users = [1, 3, 5, 7, 9]
    rows = pd.DataFrame({"user": users, "item": "n", "genre": 0.5})
    pairs = learn.dls.train.tensors[0][:, :2].clone()
    learn.add_items(rows, l2=0.4)
    model = learn.model.double()
    table, bias = model.i_weight, model.i_bias
    code = learn.dls.train.dataset.classes["item"].code("n")
    own = [learn.dls.train.dataset.classes["user"].code(user) for user in users]
    every = torch.cat([pairs, torch.tensor([[user, code] for user in own])])
    item_factors, item_bias = model.item_table()
    scores = model.user_table()[0] @ item_factors[1:-1].T + item_bias[1:-1]
    loss = -scores.log_softmax(1)[every[:, 0], every[:, 1] - 1].sum()
    penalty = table.weight[code].square().sum() + bias.weight[code].square().sum()
    (loss + 0.2 * penalty).backward()
    assert table.weight.grad[code].abs().max() < 1e-5
    assert bias.weight.grad[code].abs().max() < 1e-5
    with learn.no_bar(), learn.no_logging():
        learn.model.float()
        learn.fit(1, 0.01)
    candidates = torch.cat([batch[2][:, 1:].ravel() for batch in learn.dls.train])
    assert code in candidates


def test_pairs_have_no_ratings_to_clip() -> None:
    with pytest.raises(ValueError, match=r"clip=0.1 is for ratings"):
        of_pairs().add_users(pd.DataFrame({"user": ["n"], "item": [1]}), clip=0.1)
