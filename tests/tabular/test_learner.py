"""From a frame to a trained model and back, on a real table that ships with torte.data."""

import numpy as np
import pandas as pd
import pytest
import torch
from torte.data import CategoryBlock, Normalize, URLs, untar_data
from torte.learner import (
    ClassificationInterpretation,
    Interpretation,
    accuracy,
    load_learner,
)
from torte.tabular import (
    Categorify,
    FillMissing,
    TabularDataLoaders,
    TabularModel,
    cont_cat_split,
    emb_sz_rule,
    get_emb_sz,
    tabular_learner,
)

PROCS = [Categorify, FillMissing, Normalize]


@pytest.fixture(scope="module")
def adult(tmp_path_factory) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORTE_HOME", str(tmp_path_factory.mktemp("home")))
        path = untar_data(URLs.ADULT_TINY)
        return pd.read_csv(next(path.rglob("*.csv")))


@pytest.fixture
def dls(adult):
    target = adult.columns[-1]
    conts, cats = cont_cat_split(adult, dep_var=target)
    return TabularDataLoaders.from_df(
        adult, procs=PROCS, cat_names=cats, cont_names=conts, y_names=target, seed=3, bs=128
    )


def test_batches_are_whole_rows_of_the_table_in_any_order(dls) -> None:
    table = dls.valid.dataset
    codes, numbers = (torch.from_numpy(part) for part in table.arrays())
    first = next(iter(dls.valid))
    torch.testing.assert_close(first[0], codes[: len(first[0])])
    torch.testing.assert_close(first[1], numbers[: len(first[1])])
    seen = torch.cat([batch[1] for batch in dls.train])
    assert len(seen) == len(dls.train.dataset) // 128 * 128
    assert not torch.equal(seen[:128], torch.from_numpy(dls.train.dataset.arrays()[1])[:128])


def test_the_model_beats_the_majority_and_predicts_rows(adult, dls) -> None:
    learn = tabular_learner(dls, layers=[64, 32], metrics=accuracy)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(3, 1e-2)
    _, score = learn.validate()
    majority = adult[adult.columns[-1]].value_counts(normalize=True).max()
    assert score > majority + 0.04
    probabilities, targets = learn.get_preds()
    guessed = (probabilities.argmax(1) == targets).float().mean().item()
    assert guessed == pytest.approx(score, abs=1e-6)
    row, label, chances = learn.predict(adult.iloc[0])
    assert row[adult.columns[-1]][0] == dls.vocab[int(label)]
    assert chances.sum().item() == pytest.approx(1.0, abs=1e-5)


def test_new_rows_need_no_target_and_may_hold_unseen_values(adult, dls) -> None:
    learn = tabular_learner(dls, layers=[8])
    rows = adult.drop(columns=adult.columns[-1]).head(5)
    for name in dls.train.dataset.cat_names[:2]:
        if name in rows:
            rows[name] = "never seen"
    predictions, targets = learn.get_preds(dl=learn.dls.test_dl(rows))
    assert predictions.shape == (5, 2)
    assert targets is None
    assert torch.isfinite(predictions).all()


def test_several_numbers_are_predicted_at_once(adult) -> None:
    conts, cats = cont_cat_split(adult)
    dls = TabularDataLoaders.from_df(
        adult, procs=PROCS, cat_names=cats[:2], cont_names=conts[2:], y_names=conts[:2], bs=64
    )
    learn = tabular_learner(dls, layers=[16])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
    assert learn.get_preds()[0].shape == (len(dls.valid.dataset), 2)


def test_numbers_can_be_made_categories_by_the_block(adult) -> None:
    conts, _ = cont_cat_split(adult)
    name = min(conts, key=lambda column: adult[column].nunique())
    dls = TabularDataLoaders.from_df(
        adult,
        procs=[Normalize, FillMissing],
        cont_names=[other for other in conts if other != name],
        y_names=name,
        y_block=CategoryBlock(),
        valid_idx=range(100),
    )
    assert list(dls.vocab) == sorted(adult[name][100:].unique())


def test_embeddings_follow_the_rule_and_unknown_starts_neutral(dls) -> None:
    sizes = get_emb_sz(dls.train.dataset)
    for (codes, size), name in zip(sizes, dls.train.dataset.cat_names, strict=True):
        assert codes == len(dls.train.dataset.classes[name])
        assert size == emb_sz_rule(codes - 1)
    model = TabularModel(sizes, 2, 3, [10])
    assert all(not embedding.weight[-1].any() for embedding in model.embeds)
    with pytest.raises(KeyError, match="no categorical columns: \\['nothing'\\]"):
        get_emb_sz(dls.train.dataset, {"nothing": 3})


def test_the_model_computes_what_its_parts_say() -> None:
    model = TabularModel([(4, 3), (5, 2)], 2, 1, [6], ps=0.0, y_range=(0, 5)).eval()
    codes, numbers = torch.tensor([[1, 4], [3, 0]]), torch.randn(2, 2)
    embedded = torch.cat([model.embeds[0](codes[:, 0]), model.embeds[1](codes[:, 1])], 1)
    expected = model.layers(torch.cat([embedded, model.bn_cont(numbers)], 1))
    torch.testing.assert_close(model(codes, numbers), expected)
    assert ((expected >= 0) & (expected <= 5)).all()


def test_show_batch_and_results_print_tables(dls, capsys) -> None:
    dls.show_batch(max_n=3)
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 4
    assert all(name in shown for name in dls.train.dataset.y_names)
    tabular_learner(dls, layers=[8]).show_results(max_n=2)
    assert f"{dls.train.dataset.y_names[0]}_pred" in capsys.readouterr().out


def test_an_exported_learner_predicts_the_same(adult, dls, tmp_path) -> None:
    learn = tabular_learner(dls, layers=[8], path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2)
    rows = adult.head(20)
    expected, _ = learn.get_preds(dl=learn.dls.test_dl(rows))
    again = load_learner(learn.export("adult.torte"))
    found, _ = again.get_preds(dl=again.dls.test_dl(rows))
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert list(again.dls.vocab) == list(dls.vocab)
    row, label, chances = again.predict(adult.iloc[0])
    assert chances.tolist() == pytest.approx(found[0].tolist(), rel=1e-4)
    assert row[adult.columns[-1]][0] == dls.vocab[int(label)]


def test_top_losses_are_rows_with_prediction_and_loss(dls, adult, capsys) -> None:
    learn = tabular_learner(dls, layers=[8])
    interpretation = ClassificationInterpretation.from_learner(learn)
    losses, places = interpretation.top_losses(3)
    frame = interpretation.plot_top_losses(3)
    target = adult.columns[-1]
    assert list(frame.columns[-4:]) == [target, f"{target}_pred", "loss", "probability"]
    assert frame["loss"].tolist() == pytest.approx(losses.tolist())
    decoded = dls.valid.dataset.decode().items[target].to_numpy()
    assert frame[target].tolist() == decoded[places.numpy()].tolist()
    assert (frame[target] != frame[f"{target}_pred"]).all()
    interpretation.show_results([0, 1])
    assert f"{target}_pred" in capsys.readouterr().out
    numbers = TabularDataLoaders.from_df(
        adult[:200], procs=PROCS, cat_names="education", cont_names="fnlwgt", y_names="age", seed=0
    )
    worst = Interpretation.from_learner(tabular_learner(numbers)).plot_top_losses(2)
    assert list(worst.columns[-2:]) == ["age_pred", "loss"]
