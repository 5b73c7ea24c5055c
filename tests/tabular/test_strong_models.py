"""RealMLP and TabM: their layers against formulas and references, and on a real table."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import QuantileTransformer
from torte.data import CategoryBlock, MultiCategoryBlock, Normalize, TensorCategory
from torte.learner import Callback, CheckpointCallback, CrossEntropyLossFlat, load_learner
from torte.tabular import (
    BatchEnsembleLinear,
    Categorify,
    CategoryEncoder,
    EnsembleLoss,
    FillMissing,
    PeriodicNumbers,
    PiecewiseLinearNumbers,
    QuantileScale,
    RealMLP,
    RobustSmoothClip,
    TabM,
    TabularDataLoaders,
    coslog4,
    flat_cos,
    tabular_learner,
)
from torte.tabular.realmlp import NTPLinear

PROCS = [Categorify, FillMissing, Normalize]
SMALL = {"realmlp": {}, "tabm": {"k": 4}}


@pytest.fixture(scope="module")
def df() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    kind, colour = rng.choice(list("ab"), 600), rng.choice(list("abcdefghijklmn"), 600)
    size, weight = rng.normal(30, 8, 600), rng.exponential(2, 600)
    weight[::17] = np.nan
    score = (kind == "a") * 12 + np.abs(size - 30) + rng.normal(0, 1, 600)
    return pd.DataFrame(
        {
            "kind": kind,
            "colour": colour,
            "size": size,
            "weight": weight,
            "large": np.where(score > 10, "yes", "no"),
            "score": 1000 + 50 * score,
            "even": (score > 8).astype(float),
            "odd": (size > 31).astype(float),
        }
    )


def _loaders(df: pd.DataFrame, y_names, y_block=None):
    return TabularDataLoaders.from_df(
        df,
        procs=PROCS,
        cat_names=["kind", "colour"],
        cont_names=["size", "weight"],
        y_names=y_names,
        y_block=y_block,
        seed=1,
        bs=48,
    )


def _trained(dls, arch: str, epochs: int, **kwargs):
    torch.manual_seed(3)
    learn = tabular_learner(dls, layers=[32, 32], config=SMALL[arch], arch=arch, **kwargs)
    with learn.no_bar(), learn.no_logging():
        learn.fit_recipe(epochs)
    return learn


def test_schedules_follow_their_formulas() -> None:
    assert [coslog4(pos) for pos in (0, 1 / 15, 3 / 15, 7 / 15, 1)] == pytest.approx([0.0] * 5)
    assert coslog4((math.sqrt(2) - 1) / 15) == pytest.approx(1.0)
    assert [flat_cos(pos) for pos in (0, 0.4, 0.75, 1)] == pytest.approx([1, 1, 0.5, 0])


def test_robust_smooth_clip_is_the_papers_formula() -> None:
    x = torch.randn(501, 3, dtype=torch.float64).mul(torch.tensor([1, 20, 0.1])).float()
    x[:, 2] = 4.0
    x[:, 1] = (x[:, 1] > 25).float() * 7  # equal quartiles: the range decides
    layer = RobustSmoothClip(3)
    layer.fit(x)
    columns = x.double().numpy()
    low, high = np.quantile(columns[:, 0], [0.25, 0.75])
    scaled = (columns[:, 0] - np.median(columns[:, 0])) / (high - low)
    expected = scaled / np.sqrt(1 + (scaled / 3) ** 2)
    out = layer(x).numpy()
    np.testing.assert_allclose(out[:, 0], expected, rtol=1e-4, atol=1e-5)
    assert set(np.round(out[:, 1], 4)) == {0.0, np.float32(round(2 / math.sqrt(1 + 4 / 9), 4))}
    assert not out[:, 2].any()


def test_quantile_scale_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    x = np.stack([rng.exponential(1, 4000), rng.integers(0, 5, 4000)], 1)
    layer = QuantileScale(2, n_quantiles=1000)
    layer.fit(torch.from_numpy(x).float())
    reference = QuantileTransformer(n_quantiles=1000, output_distribution="uniform").fit(x)
    new = np.stack([rng.exponential(1, 500), rng.integers(0, 5, 500)], 1)
    shares = reference.transform(new).clip(0.0005, 0.9995)
    expected = torch.special.ndtri(torch.from_numpy(shares)).numpy()
    # At the ends scikit-learn gives the outermost places, where many rows may share a value.
    inner = (new > x.min(0)) & (new < x.max(0))
    out = layer(torch.from_numpy(new).float()).numpy()
    np.testing.assert_allclose(out[inner], expected[inner], atol=2e-2, rtol=1e-2)


def test_embeddings_of_numbers_are_their_formulas() -> None:
    x = torch.randn(7, 2)
    periodic = PeriodicNumbers(2, size=3, n_frequencies=4)
    column = 1
    waves = torch.cos(
        2 * math.pi * x[:, column, None] * periodic.frequency[column] + periodic.phase[column]
    )
    mapped = waves @ periodic.weight[column] + periodic.shift[column]
    expected = torch.cat([x[:, column, None], mapped], 1)
    torch.testing.assert_close(periodic(x)[:, 3:], expected)

    pieces = PiecewiseLinearNumbers(1, size=2, n_bins=2)
    pieces.fit(torch.tensor([[0.0], [1.0], [3.0]]))
    assert pieces.edges.tolist() == [[0.0, 1.0, 3.0]]
    passed = torch.tensor([[0.5, 0.0], [1.0, 0.5], [1.0, 1.0]])
    values = torch.tensor([[0.5], [2.0], [9.0]])
    expected = torch.relu(passed @ pieces.weight[0] + values * pieces.linear[0] + pieces.shift[0])
    torch.testing.assert_close(pieces(values), expected)


def test_bins_are_spent_on_other_values_than_the_commonest() -> None:
    rare = torch.arange(1.0, 41.0)
    column = torch.cat([torch.zeros(960), rare])[:, None]
    pieces = PiecewiseLinearNumbers(1, size=2, n_bins=20)
    pieces.fit(column)
    assert pieces.edges[0, 0] == 0
    assert pieces.edges[0, -1] == 40
    assert (pieces.edges[0].diff() > 0).sum() >= 12


def test_categories_are_signs_one_hot_or_embedded() -> None:
    encoder = CategoryEncoder([4, 5, 20], size=6)
    out = encoder(torch.tensor([[1, 3, 19], [2, 0, 1], [0, 4, 2], [3, 1, 0]]))
    assert out.shape == (4, 1 + 3 + 6)
    assert out[:, 0].tolist() == [-1, 1, 0, 0]
    assert out[:, 1:4].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert not out[0, 4:].any()
    assert out[3, 4:].any()


def test_units_begin_with_unit_variance_and_bend_amid_the_rows() -> None:
    x = torch.randn(300, 20) * 3 + 1
    layer = NTPLinear(20, 50)
    layer.fit(x)
    out = layer(x)
    torch.testing.assert_close(out.std(0), torch.ones(50), rtol=1e-3, atol=1e-3)
    assert ((out.amin(0) < 0) & (out.amax(0) > 0)).all()


def test_shared_networks_are_what_each_would_be_alone() -> None:
    layer = BatchEnsembleLinear(5, 3, k=4, first=True)
    assert set(layer.r.detach().flatten().tolist()) == {-1.0, 1.0}
    x = torch.randn(6, 4, 5)
    out = layer(x)
    for one in range(4):
        weight = layer.s[one][:, None] * layer.weight * layer.r[one]
        torch.testing.assert_close(out[:, one], x[:, one] @ weight.T + layer.bias[one])


@pytest.mark.parametrize("average", ["softmax", "sigmoid", "none"])
def test_an_ensembles_prediction_is_the_average_of_its_networks(average) -> None:
    model = TabM([5], 2, 3, layers=[8], k=4, average=average)
    codes, numbers = torch.tensor([[1], [3]]), torch.randn(2, 2)
    for dropout in model.modules():
        if isinstance(dropout, torch.nn.Dropout):
            dropout.p = 0.0
    each = model.train()(codes, numbers)
    assert each.shape == (2, 4, 3)
    activation = {"softmax": lambda x: x.softmax(-1), "sigmoid": torch.sigmoid}.get(
        average, lambda x: x
    )
    together = model.eval()(codes, numbers)
    torch.testing.assert_close(activation(together), activation(each).mean(1))


def test_each_network_has_a_loss_of_its_own() -> None:
    loss = EnsembleLoss(CrossEntropyLossFlat())
    pred, target = torch.randn(6, 4, 3), TensorCategory(torch.randint(3, (6,)))
    expected = torch.stack([CrossEntropyLossFlat()(pred[:, one], target) for one in range(4)])
    torch.testing.assert_close(loss(pred, target), expected.mean())
    torch.testing.assert_close(loss(pred[:, 0], target), expected[0])


@pytest.mark.parametrize("arch", ["realmlp", "tabm"])
def test_classes_are_learned_and_the_learner_exported(df, arch, tmp_path) -> None:
    dls = _loaders(df, "large")
    learn = _trained(dls, arch, 8, path=tmp_path)
    probabilities, targets = learn.get_preds()
    assert (probabilities.argmax(1) == targets).float().mean() > 0.85
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(targets)))
    again = load_learner(learn.export("strong.torte"))
    found, _ = again.get_preds(dl=again.dls.test_dl(df.head(9)))
    expected, _ = learn.get_preds(dl=dls.test_dl(df.head(9)))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("arch", ["realmlp", "tabm"])
def test_numbers_far_from_zero_are_learned(df, arch) -> None:
    learn = _trained(_loaders(df, "score"), arch, 12)
    predictions, targets = learn.get_preds()
    error = (predictions - targets).square().mean() / targets.var()
    assert error < 0.35


@pytest.mark.parametrize("arch", ["realmlp", "tabm"])
def test_several_labels_are_learned(df, arch) -> None:
    block = MultiCategoryBlock(encoded=True, vocab=["even", "odd"])
    learn = _trained(_loaders(df, ["even", "odd"], block), arch, 10)
    predictions, targets = learn.get_preds()
    assert predictions.min() >= 0
    assert predictions.max() <= 1
    assert ((predictions > 0.5) == targets.bool()).float().mean() > 0.8


def test_a_recipe_sets_rates_by_group_and_puts_dropout_back(df) -> None:
    dls = _loaders(df, "large")
    learn = tabular_learner(dls, layers=[8], arch="realmlp")
    assert isinstance(learn.model, RealMLP)
    with learn.no_bar(), learn.no_logging():
        learn.fit_recipe(1, lr=0.01)
    rates = np.array([group["lr"] for group in learn.opt.param_groups])
    np.testing.assert_allclose(rates / rates[0], [1, 0.1, 6, 0.1, 0.1], rtol=1e-6)
    assert learn.opt.param_groups[1]["wd"] == 0
    assert learn.loss_func.func.label_smoothing == 0.1
    assert [m.p for m in learn.model.modules() if isinstance(m, torch.nn.Dropout)] == [0.15]


def test_arguments_that_a_model_does_not_take_are_refused(df) -> None:
    dls = _loaders(df, "even", CategoryBlock())
    with pytest.raises(ValueError, match="'mlp', 'realmlp' and 'tabm'"):
        tabular_learner(dls, arch="forest")
    with pytest.raises(ValueError, match="takes no y_range"):
        tabular_learner(dls, arch="tabm", y_range=(0, 1))


class SpoilLast(Callback):
    """Turns the weights around after the training of the fourth epoch."""

    def after_train(self) -> None:
        if self.learn.epoch == 3:
            for parameter in self.learn.model.parameters():
                parameter.data.neg_()


@pytest.mark.parametrize("arch", SMALL)
def test_the_weights_of_the_epoch_with_the_least_validation_loss_stay(df, arch) -> None:
    config = {"layers": [16], **SMALL[arch]}
    learn = tabular_learner(_loaders(df, "large"), arch=arch, config=config)
    with learn.no_bar(), learn.no_logging():
        learn.fit_recipe(4, cbs=SpoilLast())
        losses = [row[1] for row in learn.recorder.values]
        assert min(losses) < losses[-1]
        assert learn.validate()[0] == pytest.approx(min(losses), rel=1e-5)


class FailAt(Callback):
    """Breaks off before a training batch."""

    run_valid = False

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def before_batch(self) -> None:
        if self.learn.train_iter == self.at:
            raise ArithmeticError("broken off")


@pytest.mark.parametrize("at", [3, 22])
def test_a_recipe_goes_on_from_a_checkpoint(df, tmp_path, at) -> None:
    def made(folder):
        torch.manual_seed(0)
        learn = tabular_learner(
            _loaders(df, "large"), arch="realmlp", layers=[16], path=tmp_path / folder
        )
        learn.remove_cb(learn.progress)
        learn.logger = lambda row: None
        return learn

    whole, broken, again = made("whole"), made("broken"), made("broken")
    torch.manual_seed(1)
    whole.fit_recipe(4, cbs=[SpoilLast(), CheckpointCallback(every=2)])
    torch.manual_seed(1)
    with pytest.raises(ArithmeticError):
        broken.fit_recipe(4, cbs=[SpoilLast(), CheckpointCallback(every=2), FailAt(at)])
    again.fit_recipe(4, cbs=[SpoilLast(), CheckpointCallback(every=2)], resume=True)
    assert whole.recorder.raw_losses == again.recorder.raw_losses
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
