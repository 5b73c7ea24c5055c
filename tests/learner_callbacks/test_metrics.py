"""Metrics over batches of unequal size against scikit-learn and SciPy on everything at once."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as skm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torte.data.tensors import TensorCategory
from torte.learner import metrics as M


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def batch_of(pred, targ, loss=None, xb=None):
    yb = () if targ is None else (targ,)
    return SimpleNamespace(pred=pred, yb=yb, y=targ, xb=xb or (pred,), loss=loss)


def run(metric, preds, targs, sizes=(3, 8, 1, 5)):
    """Feed a metric in batches of unequal sizes and return its value as a float."""
    metric = M.mk_metric(metric)
    metric.reset()
    start = 0
    for size in [*sizes, len(preds) - sum(sizes)]:
        metric.accumulate(batch_of(preds[start : start + size], targs[start : start + size]))
        start += size
    return float(metric.value)


N = 40


def binary():
    return torch.randn(N, 2), torch.randint(2, (N,))


def multiclass():
    return torch.randn(N, 4), torch.randint(4, (N,))


def multilabel():
    return torch.randn(N, 3), torch.randint(2, (N, 3))


def regression():
    preds = torch.randn(N, 1)
    return preds, preds + 0.3 * torch.randn(N, 1)


def numpy(*tensors):
    return [t.double().numpy() if t.is_floating_point() else t.numpy() for t in tensors]


def soft(x):
    return x.double().softmax(-1).numpy()


def sig(x):
    return x.double().sigmoid().numpy()


# --- the contract --------------------------------------------------------------------------------


def test_a_metric_must_write_its_methods():
    class Half(M.Metric):
        pass

    with pytest.raises(NotImplementedError, match=r"Half must write accumulate\(self, learn\)"):
        Half().accumulate(batch_of(torch.zeros(1), None))
    with pytest.raises(NotImplementedError, match="Half must write the property value"):
        _ = Half().value


def test_names_come_from_class_or_function():
    class CosineDistanceMetric(M.Metric):
        pass

    assert CosineDistanceMetric().name == "cosine_distance"
    assert M.AvgMetric(F.mse_loss).name == "mse_loss"
    assert M.AvgMetric(partial(M.accuracy, axis=1)).name == "accuracy"
    assert M.F1Score().name == "f1_score"
    assert M.Dice().name == "dice"
    assert M.Perplexity().name == "perplexity"
    assert M.rmse.name == "rmse"
    named = M.Dice()
    named.name = "overlap"
    assert named.name == "overlap"


def test_the_papers_dice_can_be_written_by_a_user():
    class UserDice(M.Metric):
        def __init__(self, axis=1):
            self.axis = axis

        def reset(self):
            self.inter, self.union = 0, 0

        def accumulate(self, learn):
            pred, targ = M.flatten_check(learn.pred.argmax(self.axis), learn.y)
            self.inter += (pred * targ).float().sum().item()
            self.union += (pred + targ).float().sum().item()

        @property
        def value(self):
            return 2.0 * self.inter / self.union if self.union > 0 else None

    preds, targs = torch.randn(N, 2, 4, 4), torch.randint(2, (N, 4, 4))
    assert run(UserDice(), preds, targs) == pytest.approx(run(M.Dice(), preds, targs))


@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_averages_are_weighted_by_samples(sizes):
    preds, targs = torch.randn(sum(sizes), 3), torch.randint(3, (sum(sizes),))
    metric = M.AvgMetric(lambda p, t: F.cross_entropy(p.double(), t))
    loss = M.AvgLoss()
    start = 0
    for size in sizes:
        p, t = preds[start : start + size], targs[start : start + size]
        metric.accumulate(batch_of(p, t))
        loss.accumulate(batch_of(p, t, loss=F.cross_entropy(p.double(), t)))
        start += size
    expected = F.cross_entropy(preds.double(), targs).item()
    assert float(metric.value) == pytest.approx(expected, abs=1e-12)
    assert float(loss.value) == pytest.approx(expected, abs=1e-12)


def test_metrics_without_samples_have_no_value():
    for metric in (
        M.AvgMetric(M.accuracy),
        M.AvgLoss(),
        M.AvgSmoothLoss(),
        M.F1Score(),
        M.Dice(),
        M.DiceMulti(),
        M.JaccardCoeffMulti(),
        M.Perplexity(),
        M.CorpusBLEUMetric(),
    ):
        assert metric.value is None


def test_functions_that_are_means_are_exact_over_elements():
    # Sequences of different lengths: a mean of means by sample would be wrong.
    first = torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    second = torch.randn(2, 9, 5), torch.randint(5, (2, 9))
    metric = M.AvgMetric(M.accuracy)
    for pred, targ in (first, second):
        metric.accumulate(batch_of(pred, targ))
    hits = sum((p.argmax(-1) == t).sum().item() for p, t in (first, second))
    assert float(metric.value) == hits / 24


def test_a_float32_sum_does_not_lose_counts():
    metric = M.AvgMetric(lambda p, t: torch.tensor(1.0))
    metric.total, metric.count = torch.tensor(2.0**25, dtype=torch.float64), 2**25
    metric.accumulate(batch_of(torch.zeros(1), torch.zeros(1)))
    assert float(metric.total) == 2**25 + 1


def test_smooth_loss_equals_its_recurrence():
    metric, expected = M.AvgSmoothLoss(beta=0.9), 0.0
    losses = torch.randn(10)
    for i, loss in enumerate(losses, 1):
        metric.accumulate(batch_of(None, None, loss=loss))
        expected = 0.9 * expected + 0.1 * loss.item()
        assert float(metric.value) == pytest.approx(expected / (1 - 0.9**i), rel=1e-5)
    assert metric.name == "loss"


def test_values_may_come_from_elsewhere():
    metric = M.ValueMetric(lambda: 3.5, "learning_rate")
    metric.reset()
    metric.accumulate(batch_of(None, None))
    assert (metric.value, metric.name) == (3.5, "learning_rate")
    assert M.ValueMetric(abs).name == "abs"


def test_loss_metrics_read_attributes_of_the_loss():
    metrics = M.LossMetrics("content,style", "c,s")
    assert [m.name for m in metrics] == ["c", "s"]
    learn = batch_of(torch.zeros(2), torch.zeros(2))
    learn.loss_func = SimpleNamespace(content=torch.tensor(1.0), style=torch.tensor([2.0, 4.0]))
    for metric in metrics:
        metric.accumulate(learn)
    assert [float(m.value) for m in metrics] == [1.0, 3.0]
    assert [m.name for m in M.LossMetrics(["a", "b"])] == ["a", "b"]


def test_values_do_not_hold_the_graph():
    x = torch.randn(4, 3, requires_grad=True)
    loss = F.cross_entropy(x, torch.zeros(4, dtype=torch.long))
    for metric in (M.AvgLoss(), M.AvgSmoothLoss(), M.AvgMetric(F.cross_entropy), M.F1Score()):
        metric.accumulate(batch_of(x, torch.zeros(4, dtype=torch.long), loss=loss))
        kept = [v for v in vars(metric).values() if isinstance(v, torch.Tensor)]
        kept += [t for v in vars(metric).values() if isinstance(v, list) for t in v]
        assert kept
        assert not any(t.requires_grad for t in kept)


def test_semantic_types_do_not_reach_functions():
    seen = []
    metric = M.AvgMetric(lambda p, t: seen.append((type(p), type(t))) or torch.tensor(0.0))
    metric.accumulate(batch_of(TensorCategory(torch.zeros(2)), TensorCategory(torch.zeros(2))))
    assert seen == [(torch.Tensor, torch.Tensor)]


# --- making metrics of what users pass ------------------------------------------------------------


def test_anything_sensible_becomes_a_metric():
    assert type(M.mk_metric(M.accuracy)) is M.AvgMetric
    assert type(M.mk_metric(M.Dice)) is M.Dice
    same = M.F1Score()
    assert M.mk_metric(same) is same
    with pytest.raises(TypeError, match="3 is no metric: pass a Metric"):
        M.mk_metric(3)
    assert M.mk_metrics(None) == []
    assert [m.name for m in M.mk_metrics([M.accuracy, [M.Dice(), M.error_rate]])] == [
        "accuracy",
        "dice",
        "error_rate",
    ]
    assert len(M.mk_metrics(M.accuracy)) == 1


def test_torchmetrics_objects_are_taken_as_they_are():
    torchmetrics = pytest.importorskip("torchmetrics")
    preds, targs = multiclass()
    metric = torchmetrics.F1Score(task="multiclass", num_classes=4, average="macro")
    expected = skm.f1_score(targs, preds.argmax(-1), average="macro")
    assert run(metric, preds, targs) == pytest.approx(expected, abs=1e-6)
    wrapped = M.mk_metric(torchmetrics.MeanSquaredError())
    assert wrapped.name == "mean_squared_error"
    assert wrapped.value is None
    pair = torchmetrics.MetricCollection(
        {"a": torchmetrics.MeanSquaredError(), "b": torchmetrics.MeanAbsoluteError()}
    )
    made = M.mk_metrics([pair, M.mse])
    assert [m.name for m in made] == ["a", "b", "mse"]
    preds, targs = regression()
    assert run(made[0], preds, targs) == pytest.approx(
        skm.mean_squared_error(targs, preds), rel=1e-5
    )
    with pytest.raises(TypeError, match="MetricCollection holds several"):
        M.mk_metric(pair)


# --- against scikit-learn ------------------------------------------------------------------------

F1 = partial(skm.f1_score, average="macro")
SINGLE_LABEL = {
    "accuracy": (M.accuracy, multiclass, lambda p, t: skm.accuracy_score(t, p.argmax(-1))),
    "error_rate": (M.error_rate, multiclass, lambda p, t: 1 - skm.accuracy_score(t, p.argmax(-1))),
    "top_k": (
        partial(M.top_k_accuracy, k=2),
        multiclass,
        lambda p, t: skm.top_k_accuracy_score(t, p, k=2),
    ),
    "average_precision": (
        M.APScoreBinary(),
        binary,
        lambda p, t: skm.average_precision_score(t, soft(p)[:, 1]),
    ),
    "balanced": (
        M.BalancedAccuracy(),
        multiclass,
        lambda p, t: skm.balanced_accuracy_score(t, p.argmax(-1)),
    ),
    "brier": (M.BrierScore(), binary, lambda p, t: skm.brier_score_loss(t, soft(p)[:, 1])),
    "kappa": (
        M.CohenKappa(weights="quadratic"),
        multiclass,
        lambda p, t: skm.cohen_kappa_score(t, p.argmax(-1), weights="quadratic"),
    ),
    "f1": (M.F1Score(), binary, lambda p, t: skm.f1_score(t, p.argmax(-1))),
    "f1_macro": (
        M.F1Score(average="macro"),
        multiclass,
        lambda p, t: skm.f1_score(t, p.argmax(-1), average="macro"),
    ),
    "fbeta": (
        M.FBeta(2.0, average="micro"),
        multiclass,
        lambda p, t: skm.fbeta_score(t, p.argmax(-1), beta=2, average="micro"),
    ),
    "hamming": (M.HammingLoss(), multiclass, lambda p, t: skm.hamming_loss(t, p.argmax(-1))),
    "jaccard": (M.Jaccard(), binary, lambda p, t: skm.jaccard_score(t, p.argmax(-1))),
    "precision": (M.Precision(), binary, lambda p, t: skm.precision_score(t, p.argmax(-1))),
    "recall": (
        M.Recall(average="weighted"),
        multiclass,
        lambda p, t: skm.recall_score(t, p.argmax(-1), average="weighted"),
    ),
    "roc": (M.RocAuc(), multiclass, lambda p, t: skm.roc_auc_score(t, soft(p), multi_class="ovr")),
    "roc_binary": (M.RocAucBinary(), binary, lambda p, t: skm.roc_auc_score(t, soft(p)[:, 1])),
    "matthews": (
        M.MatthewsCorrCoef(),
        multiclass,
        lambda p, t: skm.matthews_corrcoef(t, p.argmax(-1)),
    ),
}
above = lambda p, limit=0.5: sig(p) >= limit
MULTI_LABEL = {
    "accuracy": (
        M.accuracy_multi,
        multilabel,
        lambda p, t: 1 - skm.hamming_loss(t, above(p)),
    ),
    "average_precision": (
        M.APScoreMulti(),
        multilabel,
        lambda p, t: skm.average_precision_score(t, sig(p)),
    ),
    "brier": (
        M.BrierScoreMulti(),
        multilabel,
        lambda p, t: skm.brier_score_loss(t.ravel(), above(p).ravel()),
    ),
    "brier_probabilities": (
        M.BrierScoreMulti(thresh=None),
        multilabel,
        lambda p, t: skm.brier_score_loss(t.ravel(), sig(p).ravel()),
    ),
    "f1": (M.F1ScoreMulti(0.3), multilabel, lambda p, t: F1(t, above(p, 0.3))),
    "fbeta": (
        M.FBetaMulti(0.5, average="weighted"),
        multilabel,
        lambda p, t: skm.fbeta_score(t, above(p), beta=0.5, average="weighted"),
    ),
    "hamming": (M.HammingLossMulti(), multilabel, lambda p, t: skm.hamming_loss(t, above(p))),
    "jaccard": (
        M.JaccardMulti(),
        multilabel,
        lambda p, t: skm.jaccard_score(t, above(p), average="macro"),
    ),
    "matthews": (
        M.MatthewsCorrCoefMulti(),
        multilabel,
        lambda p, t: skm.matthews_corrcoef(t.ravel(), above(p).ravel()),
    ),
    "precision": (
        M.PrecisionMulti(average="micro"),
        multilabel,
        lambda p, t: skm.precision_score(t, above(p), average="micro"),
    ),
    "recall": (
        M.RecallMulti(),
        multilabel,
        lambda p, t: skm.recall_score(t, above(p), average="macro"),
    ),
    "roc": (M.RocAucMulti(), multilabel, lambda p, t: skm.roc_auc_score(t, sig(p))),
}
REGRESSION = {
    "mse": (M.mse, regression, lambda p, t: skm.mean_squared_error(*numpy(t, p))),
    "mae": (M.mae, regression, lambda p, t: skm.mean_absolute_error(*numpy(t, p))),
    "rmse": (M.rmse, regression, lambda p, t: skm.root_mean_squared_error(*numpy(t, p))),
    "explained": (
        M.ExplainedVariance(),
        regression,
        lambda p, t: skm.explained_variance_score(*numpy(t, p)),
    ),
    "r2": (M.R2Score(), regression, lambda p, t: skm.r2_score(*numpy(t, p))),
    "pearson": (
        M.PearsonCorrCoef(),
        regression,
        lambda p, t: scipy.stats.pearsonr(*[x.ravel() for x in numpy(p, t)]).statistic,
    ),
    "spearman": (
        M.SpearmanCorrCoef(),
        regression,
        lambda p, t: scipy.stats.spearmanr(*[x.ravel() for x in numpy(p, t)]).statistic,
    ),
    "msle": (
        M.msle,
        lambda: (torch.rand(N), torch.rand(N)),
        lambda p, t: skm.mean_squared_log_error(*numpy(t, p)),
    ),
    "exp_rmspe": (
        M.exp_rmspe,
        regression,
        lambda p, t: ((1 - (p.double() - t.double()).exp()) ** 2).mean().sqrt(),
    ),
}
CASES = {
    f"{family}-{name}": case
    for family, table in [
        ("single", SINGLE_LABEL),
        ("multi", MULTI_LABEL),
        ("regression", REGRESSION),
    ]
    for name, case in table.items()
}


@pytest.mark.parametrize("name", CASES)
def test_metrics_equal_the_reference_on_everything_at_once(name):
    metric, data, reference = CASES[name]
    preds, targs = data()
    assert run(metric, preds, targs) == pytest.approx(float(reference(preds, targs)), abs=1e-12)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if callable(c[0])])
def test_functions_and_objects_can_be_called_directly(name):
    metric, data, reference = CASES[name]
    preds, targs = data()
    value = metric(preds, targs)
    assert float(value) == pytest.approx(float(reference(preds, targs)), rel=1e-6)


def test_saturated_scores_do_not_become_ties():
    preds = torch.stack([torch.zeros(4), torch.tensor([20.0, 25.0, 30.0, 18.0])], 1)
    targs = torch.tensor([0, 1, 1, 0])
    assert run(M.RocAucBinary(), preds, targs, sizes=(2,)) == 1.0


def test_half_precision_predictions_are_summed_widely():
    preds, targs = torch.randn(4096).bfloat16(), torch.randn(4096)
    expected = skm.mean_squared_error(*numpy(targs, preds))
    assert run(M.mse, preds, targs) == pytest.approx(expected, rel=1e-9)
    assert run(M.R2Score(), preds, targs) == pytest.approx(
        skm.r2_score(*numpy(targs, preds)), rel=1e-9
    )


def test_skm_to_fastai_prepares_predictions():
    preds, targs = multiclass()
    metric = M.skm_to_fastai(skm.precision_score, average="macro")
    assert metric.name == "precision_score"
    expected = skm.precision_score(targs, preds.argmax(-1), average="macro")
    assert run(metric, preds, targs) == pytest.approx(expected)
    at_axis_1 = M.skm_to_fastai(skm.accuracy_score, axis=1)
    masks, codes = torch.randn(N, 3, 2, 2), torch.randint(3, (N, 2, 2))
    assert run(at_axis_1, masks, codes) == pytest.approx(
        skm.accuracy_score(codes.ravel(), masks.argmax(1).ravel())
    )
    thresholded = M.skm_to_fastai(skm.hamming_loss, thresh=0.7)
    preds, targs = multilabel()
    assert run(thresholded, preds, targs) == pytest.approx(
        skm.hamming_loss(targs.ravel(), (sig(preds) >= 0.7).ravel())
    )
    with pytest.raises(ValueError, match="'tanh' is not a valid ActivationType"):
        M.skm_to_fastai(skm.accuracy_score, activation="tanh")


def test_accumulated_predictions_are_small_and_own_their_memory():
    metric = M.F1Score()
    big = torch.randn(64, 1000)
    metric.accumulate(batch_of(big[:8], torch.zeros(64, dtype=torch.long)[:8]))
    assert metric.preds[0].untyped_storage().nbytes() == 8 * 8
    assert metric.targs[0].untyped_storage().nbytes() == 8 * 8


def test_accumulated_metrics_name_what_does_not_fit():
    with pytest.raises(
        ValueError, match=r"predictions of shape \(3,\) and targets of shape \(4,\)"
    ):
        M.F1Score().accumulate(batch_of(torch.randn(3, 2), torch.zeros(4)))
    with pytest.raises(TypeError, match=r"f1_score takes one tensor of predictions.*tuple"):
        M.F1Score().accumulate(batch_of(torch.randn(3, 2), (torch.zeros(3), torch.zeros(3))))


def test_optim_metric_finds_the_best_threshold():
    preds, targs = multilabel()
    f1 = lambda p, t, thresh: F1(t, p.sigmoid() > thresh)
    best = M.optim_metric(f1, "thresh", (0.05, 0.95), get_x=True)(preds, targs)
    grid = [f1(preds, targs, thresh) for thresh in np.linspace(0.05, 0.95, 19)]
    assert best[1] == pytest.approx(f1(preds, targs, best[0]))
    assert best[1] >= np.mean(grid)
    assert M.optim_metric(f1, "thresh", (0.05, 0.95))(preds, targs) == best[1]


# --- segmentation --------------------------------------------------------------------------------


def test_dice_and_jaccard_equal_scikit_learn():
    preds, targs = torch.randn(N, 2, 6, 6), torch.randint(2, (N, 6, 6))
    flat, truth = preds.argmax(1).ravel(), targs.ravel()
    assert run(M.Dice(), preds, targs) == pytest.approx(skm.f1_score(truth, flat))
    assert run(M.JaccardCoeff(), preds, targs) == pytest.approx(skm.jaccard_score(truth, flat))
    assert run(M.Dice(axis=-1), preds.movedim(1, -1), targs) == pytest.approx(
        skm.f1_score(truth, flat)
    )


def test_multi_class_overlap_equals_scikit_learn():
    preds, targs = torch.randn(N, 4, 6, 6), torch.randint(4, (N, 6, 6))
    flat, truth = preds.argmax(1).ravel(), targs.ravel()
    assert run(M.DiceMulti(), preds, targs) == pytest.approx(F1(truth, flat))
    assert run(M.JaccardCoeffMulti(), preds, targs) == pytest.approx(
        skm.jaccard_score(truth, flat, average="macro")
    )


def test_classes_that_never_occur_do_not_count_and_ignored_labels_belong_to_none():
    preds = torch.zeros(1, 5, 1, 4)
    preds[0, 0] = 1
    targs = torch.tensor([[[0, 0, 1, 255]]])
    # Class 0: 2 right of 4 predicted and 2 expected; class 1: expected once, never predicted.
    metric = M.DiceMulti()
    metric.accumulate(batch_of(preds, targs))
    assert metric.value == pytest.approx((2 * 2 / (4 + 2) + 0) / 2)


def test_foreground_accuracy_counts_foreground_pixels():
    preds, targs = torch.randn(N, 3, 4, 4), torch.randint(3, (N, 4, 4))
    targs[:3] = 0  # a first batch without any foreground
    mask = targs != 0
    expected = (preds.argmax(1)[mask] == targs[mask]).double().mean().item()
    assert run(M.foreground_acc, preds, targs) == pytest.approx(expected)
    assert float(M.foreground_acc(preds, targs[:, None])) == pytest.approx(expected, rel=1e-6)
    other = targs != 2
    expected = (preds.argmax(1)[other] == targs[other]).double().mean().item()
    assert run(partial(M.foreground_acc, bkg_idx=2), preds, targs) == pytest.approx(expected)


# --- language ------------------------------------------------------------------------------------


def test_perplexity_is_the_exponential_of_the_average_loss():
    metric = M.Perplexity()
    losses = [torch.tensor(1.0), torch.tensor(3.0)]
    for loss, size in zip(losses, (1, 3), strict=True):
        metric.accumulate(batch_of(torch.zeros(size), torch.zeros(size), loss=loss))
    assert float(metric.value) == pytest.approx(np.exp(2.5))


def test_bleu_equals_a_hand_count():
    # Prediction "a b c d e" for "a b c d f": precisions 4/5, 3/4, 2/3, 1/2, no brevity penalty.
    pred, targ = torch.tensor([[0, 1, 2, 3, 4]]), torch.tensor([[0, 1, 2, 3, 5]])
    metric = M.CorpusBLEUMetric(vocab_sz=6)
    metric.accumulate(batch_of(F.one_hot(pred, 6).float(), targ))
    assert metric.value == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert metric.name == "corpus_bleu"


def test_bleu_clips_repeated_words_and_is_zero_without_matches():
    pred, targ = torch.tensor([[1, 1, 1, 1, 1]]), torch.tensor([[1, 2, 3, 4, 5]])
    metric = M.CorpusBLEUMetric(vocab_sz=6)
    metric.accumulate(batch_of(F.one_hot(pred, 6).float(), targ))
    assert metric.value == 0.0
    assert metric.corrects == [1, 0, 0, 0]


@pytest.mark.parametrize("matches", [1, 2, 3, 4, 9])
def test_bleu_equals_sacrebleu_without_smoothing_at_few_matches(matches):
    sacrebleu = pytest.importorskip("sacrebleu")
    targ = [list(range(9)), list(range(20, 26))]
    pred = [[*range(matches), *range(30, 39 - matches)], [20, 21, 40, 41, 42, 43]]
    metric = M.CorpusBLEUMetric(vocab_sz=50)
    for words, targets in zip(pred, targ, strict=True):
        scores = F.one_hot(torch.tensor([words]), 50).float()
        metric.accumulate(SimpleNamespace(pred=scores, y=torch.tensor([targets])))

    def joined(rows):
        return [" ".join(map(str, row)) for row in rows]

    expected = sacrebleu.corpus_bleu(
        joined(pred), [joined(targ)], tokenize="none", smooth_method="none", force=True
    )
    assert metric.value == pytest.approx(expected.score / 100, abs=1e-12)


def test_bleu_equals_torchmetrics_over_a_corpus():
    text = pytest.importorskip("torchmetrics.text")
    targ = torch.randint(6, (30, 9))
    pred = torch.where(torch.rand(30, 9) < 0.8, targ, torch.randint(6, (30, 9)))
    metric = M.CorpusBLEUMetric(vocab_sz=6)
    for part in (slice(0, 7), slice(7, 30)):
        metric.accumulate(batch_of(F.one_hot(pred[part], 6).float(), targ[part]))
    words = lambda rows: [" ".join(map(str, row)) for row in rows.tolist()]
    expected = text.BLEUScore()(words(pred), [[sentence] for sentence in words(targ)])
    assert metric.value == pytest.approx(expected.item(), rel=1e-5)


# --- several processes ---------------------------------------------------------------------------

MERGED = {
    "accuracy": (lambda: M.mk_metric(M.accuracy), multiclass),
    "user_function": (lambda: M.AvgMetric(F.cross_entropy), multiclass),
    "f1": (lambda: M.F1Score(average="macro"), multiclass),
    "dice": (M.DiceMulti, lambda: (torch.randn(N, 3, 4, 4), torch.randint(3, (N, 4, 4)))),
    "bleu": (
        M.CorpusBLEUMetric,
        lambda: (F.one_hot(torch.randint(2, (N, 6)), 2).float(), torch.randint(2, (N, 6))),
    ),
}


@pytest.mark.parametrize("name", MERGED)
def test_states_of_processes_merge_to_the_whole(name):
    make, data = MERGED[name]
    preds, targs = data()
    whole, parts = make(), [make(), make()]
    whole.accumulate(batch_of(preds[:25], targs[:25]))
    whole.accumulate(batch_of(preds[25:], targs[25:]))
    parts[0].accumulate(batch_of(preds[:25], targs[:25]))
    parts[1].accumulate(batch_of(preds[25:], targs[25:]))
    merged = make()
    merged.merge([part.state() for part in parts])
    assert float(merged.value) == pytest.approx(float(whole.value), rel=1e-12)


def test_batch_sizes_are_found_in_any_structure():
    assert M.batch_size_of({"a": [torch.zeros(3, 2)]}) == 3
    assert M.batch_size_of(torch.tensor(1.0)) == 1
    with pytest.raises(ValueError, match="found no tensor in the batch"):
        M.batch_size_of({"a": "text"})


def test_metrics_import_no_heavy_library():
    import subprocess
    import sys

    code = (
        "import sys, torte.learner.metrics, torte.learner.losses, torte.learner.layers;"
        "print([m for m in ('sklearn','scipy','torchmetrics','matplotlib','pandas') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_that_are_metrics_run_without_gradients():
    class Distance(nn.Module):
        def forward(self, pred, targ):
            assert not torch.is_grad_enabled()
            return (pred - targ).abs().mean()

    metric = M.mk_metric(Distance())
    metric.accumulate(batch_of(torch.ones(2, requires_grad=True), torch.zeros(2)))
    assert float(metric.value) == 1.0
    assert metric.name == "Distance"


def test_calling_a_metric_leaves_a_phase_under_way_alone():
    metric = M.AccumMetric(lambda p, t: (p - t).abs().max())
    metric.accumulate(batch_of(torch.tensor([3.0]), torch.tensor([0.0])))
    assert metric(torch.tensor([9.0]), torch.tensor([0.0])).item() == 9
    assert metric.value.item() == 3
