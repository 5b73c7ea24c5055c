"""Losses of pairs beside negatives equal plain formulas, and learners rank by them."""

import numpy as np
import pandas as pd
import pytest
import torch
from torte.collab import (
    BPRLoss,
    CollabDataLoaders,
    SampledSoftmaxLoss,
    collab_learner,
    ranking_metrics,
)
from torte.learner import load_learner


def test_bpr_is_the_papers_formula() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(5, 4))
    difference = scores[:, :1] - scores[:, 1:]
    expected = -np.log(1 / (1 + np.exp(-difference))).mean(axis=1)
    found = BPRLoss("none")(torch.from_numpy(scores), torch.zeros(5, 4))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert BPRLoss()(torch.from_numpy(scores)).item() == pytest.approx(expected.mean())
    assert BPRLoss()(torch.tensor([[-200.0, 200.0]])).item() == 400


def test_sampled_softmax_is_the_corrected_cross_entropy() -> None:
    random = np.random.default_rng(1)
    scores, log_counts = random.normal(size=(6, 5)), np.log(random.random((6, 5)))
    log_counts[:, 0] = 0
    logits = np.exp(scores / 0.5 - log_counts)
    expected = -np.log(logits[:, 0] / logits.sum(axis=1))
    loss = SampledSoftmaxLoss("none", temperature=0.5)
    found = loss(torch.from_numpy(scores), torch.from_numpy(log_counts))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("popularity", [0.0, 1.0])
def test_the_sample_stands_for_the_whole_catalogue(popularity) -> None:
    """With many negatives, loss and gradient come near those over everything unseen."""
    random = np.random.default_rng(2)
    frame = pd.DataFrame({"user": np.repeat(np.arange(20), 6), "item": random.integers(0, 30, 120)})
    dls = CollabDataLoaders.from_df(
        frame, implicit=True, n_negatives=20_000, popularity=popularity, bs=8, valid_pct=0.0
    )
    codes, _, candidates, log_counts = dls.one_batch()
    seen = {*map(tuple, dls.train.tensors[0].tolist())}
    n_items = len(dls.train.dataset.classes["item"])
    scores = torch.randn(20 + 2, n_items, dtype=torch.float64, requires_grad=True)
    sampled = scores[codes[:, :1], candidates]
    (approximate,) = torch.autograd.grad(SampledSoftmaxLoss()(sampled, log_counts), scores)
    losses = []
    for user, item in codes.tolist():
        unseen = [other for other in range(1, n_items - 1) if (user, other) not in seen]
        losses.append(scores[user, [item, *unseen]].logsumexp(0) - scores[user, item])
    (exact,) = torch.autograd.grad(torch.stack(losses).mean(), scores)
    torch.testing.assert_close(approximate, exact, rtol=0, atol=0.004)


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """60 users who mostly meet items of their own half of 40."""
    random = np.random.default_rng(0)
    users, items = (part.ravel() for part in np.meshgrid(np.arange(60), np.arange(40)))
    met = random.random(len(users)) < np.where((users % 2) == (items % 2), 0.5, 0.01)
    frame = pd.DataFrame({"user": [f"u{n}" for n in users[met]], "item": items[met] + 100})
    return frame.sample(frac=1, random_state=0, ignore_index=True)


def trained(pairs, loss, **kwargs):
    torch.manual_seed(0)
    sides = {name: kwargs.pop(name) for name in ("item_cols", "user_cols") if name in kwargs}
    dls = CollabDataLoaders.from_df(
        pairs, implicit=True, n_negatives=4, popularity=0.5, bs=32, seed=1, **sides
    )
    metrics = ranking_metrics("ndcg", "hit_rate", k=10)
    learn = collab_learner(dls, 8, loss_func=loss, metrics=metrics, **kwargs)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(6, 0.03, wd=0.01)
    return learn


@pytest.fixture(scope="module", params=[None, SampledSoftmaxLoss()], ids=["bpr", "softmax"])
def learn(request, pairs):
    return trained(pairs, request.param)


def test_a_block_structure_is_recovered(learn) -> None:
    table = pd.DataFrame(learn.recommend(k=8))
    same = table["user"].str[1:].astype(int) % 2 == table["item"].astype(int) % 2
    assert same.mean() > 0.97
    assert (learn.similar([100], k=10)["similar"] % 2 == 0).mean() > 0.9


def test_epochs_are_judged_by_their_recommendations(learn) -> None:
    names = list(learn.recorder.metric_names)
    last = dict(zip(names[1:], learn.recorder.values[-1], strict=False))
    found = learn.evaluate_ranking(k=10)
    assert (last["ndcg"], last["hit_rate"]) == (found["ndcg"], found["hit_rate"])
    assert last["ndcg"] > 2 * 0.1
    assert last["valid_loss"] < learn.recorder.values[0][names.index("valid_loss") - 1]


def test_pairs_get_scores_one_by_one_and_export_keeps_them(learn, pairs, tmp_path) -> None:
    rows = pairs.head(7)
    found, targets = learn.get_preds(dl=learn.dls.test_dl(rows))
    assert targets is None
    assert found.shape == (7,)
    again = load_learner(learn.export(tmp_path / "pairs.torte"))
    assert torch.equal(again.get_preds(dl=again.dls.test_dl(rows))[0], found)
    assert (
        again.predict({"user": "u3", "item": 100})[2]
        == learn.predict({"user": "u3", "item": 100})[2]
    )
    recommended = learn.recommend(["u3"], k=3, exclude_seen=False)
    assert list(recommended) == ["user", "item", "score"]
    rows = pd.DataFrame({name: recommended[name] for name in ("user", "item")})
    scores, _ = learn.get_preds(dl=learn.dls.test_dl(rows))
    np.testing.assert_allclose(scores, recommended["score"], rtol=1e-5)


def test_looking_at_batches_and_results(learn, capsys) -> None:
    learn.dls.show_batch(max_n=3)
    learn.show_results(max_n=3)
    shown = capsys.readouterr().out
    assert "score" in shown
    assert "place" in shown


def test_candidates_take_part_with_their_side_columns(pairs) -> None:
    kind = pairs.assign(kind=np.where(pairs["item"] % 2, "odd", "even"))
    learn = trained(kind, None, item_cols=["kind"])
    model = learn.model
    codes, numbers, candidates, _ = learn.dls.valid.one_batch()
    scores = model(codes, numbers, candidates)
    places = {item: code for code, item in enumerate(learn.dls.train.dataset.classes["item"])}
    table = kind.drop_duplicates("item")
    kinds = learn.dls.train.dataset.classes["kind"]
    known = {places[item]: kinds.code(word) for item, word in zip(table["item"], table["kind"],
             strict=True) if item in places}  # fmt: skip
    for column in range(candidates.shape[1]):
        items = candidates[:, column]
        own = torch.tensor([known.get(item, 3) for item in items.tolist()])
        rows = torch.stack([codes[:, 0], items, own], dim=1)
        torch.testing.assert_close(scores[:, column], model(rows, numbers))


def test_an_epoch_goes_on_bit_for_bit_with_the_same_negatives(pairs) -> None:
    """The draws are those of the pass's number, not of how many batches came before."""
    dls = [CollabDataLoaders.from_df(pairs, implicit=True, bs=32, seed=1) for _ in range(2)]
    for each in dls:
        each.train.seed = 5
    whole = [batch[2] for batch in dls[0].train]
    dls[1].train.load_state_dict({"seed": 5, "epoch": 0, "position": 3})
    rest = [batch[2] for batch in dls[1].train]
    assert len(rest) == len(whole) - 3
    assert all(torch.equal(one, two) for one, two in zip(whole[3:], rest, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: BPRLoss()(torch.zeros(3)),
            r"needs scores of \(rows, 1 \+ negatives\), got \(3,\)",
        ),
        (lambda: SampledSoftmaxLoss()(torch.zeros(2, 3), torch.zeros(2, 4)), "do not fit log"),
        (lambda: SampledSoftmaxLoss(temperature=0), "temperature must be above 0, got 0"),
        (lambda: ranking_metrics("auc"), r"no ranking metrics \['auc'\]: there are \['prec"),
    ],
)
def test_wrong_arguments_are_named(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_ratings_have_no_place_among_pairs(pairs) -> None:
    with pytest.raises(ValueError, match="implicit=True reads no ratings, so rating_name='stars'"):
        CollabDataLoaders.from_df(pairs.assign(stars=1), implicit=True, rating_name="stars")
    dls = CollabDataLoaders.from_df(pairs, implicit=True)
    with pytest.raises(ValueError, match=r"y_range=\(0, 5\) bounds ratings"):
        collab_learner(dls, y_range=(0, 5))
    with pytest.raises(ValueError, match="min_rating needs ratings"):
        collab_learner(dls, 2).evaluate_ranking(min_rating=4)
