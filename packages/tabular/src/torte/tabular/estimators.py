"""Tables by scikit-learn's interface: estimators for its pipelines, searches and scores.

    from torte.tabular import TabularClassifier

    cross_val_score(TabularClassifier(), df.drop(columns="salary"), df["salary"])

This module needs scikit-learn when it is imported, so that `torte.tabular` loads it at the first
use of one of its names.
"""

import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from torte.data.blocks import CategoryBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from torte.data.numeric import Normalize
from torte.data.seeding import set_seed
from torte.data.splitters import RandomSplitter
from torte.data.stratified_splitters import TrainTestSplitter
from torte.learner import EarlyStoppingCallback, load_learner
from torte.learner.state import rng_restored
from torte.tabular.estimator_inputs import (
    as_features,
    as_training_rows,
    categorical_names,
    free_names,
)
from torte.tabular.frames import Frame, with_columns
from torte.tabular.learner import TabularLearner, tabular_learner
from torte.tabular.procs import Categorify, FillMissing
from torte.tabular.recipes import BestEpoch
from torte.tabular.table import Tabular, TabularPandas
from torte.tabular.weighted import WEIGHT, WeightedLoader, WeightedLoss

__all__ = ["TabularClassifier", "TabularRegressor"]

_ENOUGH_TO_VALIDATE = 1000
_STEPS = 1000


class _TabularEstimator(BaseEstimator):
    """What classifier and regressor share; see `TabularClassifier` for the arguments."""

    learn_: TabularLearner
    n_features_in_: int

    def __init__(
        self,
        arch: str = "mlp",
        *,
        cat_names: Sequence[str | int] | None = None,
        layers: Sequence[int] | None = None,
        config: Mapping[str, Any] | None = None,
        procs: Sequence[Any] | None = None,
        n_epoch: int | None = None,
        lr: float | None = None,
        wd: float | None = None,
        bs: int | None = None,
        valid_pct: float | None = None,
        patience: int | None = None,
        device: Any = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.arch = arch
        self.cat_names = cat_names
        self.layers = layers
        self.config = config
        self.procs = procs
        self.n_epoch = n_epoch
        self.lr = lr
        self.wd = wd
        self.bs = bs
        self.valid_pct = valid_pct
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # -- training ----------------------------------------------------------------------------------

    def _train(
        self,
        frame: Frame,
        targets: Mapping[str, Any],
        block: TransformBlock,
        weights: np.ndarray | None,
        strata: np.ndarray | None = None,
    ) -> None:
        """Prepare the table and train a learner on it, the global generators left alone."""
        from sklearn.utils import check_random_state

        seed = int(check_random_state(self.random_state).randint(1 << 31))
        columns = {**targets, **({} if weights is None else {WEIGHT: weights})}
        categorical = categorical_names(frame, self.cat_names)
        with rng_restored():
            set_seed(seed)
            table = TabularPandas(
                with_columns(frame, columns).to_native(),
                _procs(self.procs),
                categorical,
                [name for name in frame.columns if name not in categorical],
                list(targets),
                y_block=block,
                splits=self._splits(len(frame), seed, strata),
            )
            self.learn_ = self._learner(table)
            if weights is None:
                self._fit_learner(self.learn_)
            else:
                self._fit_weighted(self.learn_, table)

    def _splits(self, n_rows: int, seed: int, strata: np.ndarray | None) -> Any:
        """Return the rows to train on, and those that choose the best epoch, if any."""
        share = self.valid_pct
        if share is None:
            share = 0.1 if n_rows >= _ENOUGH_TO_VALIDATE or self.patience is not None else 0.0
        if not 0 <= share < 1:
            raise ValueError(f"valid_pct must be at least 0 and less than 1, got {share!r}")
        if not share:
            return [range(n_rows)]
        if strata is not None and np.bincount(strata).min() > 1:
            labels = strata.tolist()
            return TrainTestSplitter(float(share), random_state=seed, stratify=labels)(
                range(n_rows)
            )
        return RandomSplitter(share, seed=seed)(range(n_rows))

    def _learner(self, table: Tabular) -> TabularLearner:
        """Make the learner; the size of batches depends on how many rows there are."""
        n_rows = len(table.splits[0])
        if n_rows < 2:
            raise ValueError(f"{type(self).__name__} cannot learn from 1 sample: give at least two")
        bs = int(np.clip(n_rows // 20, 32, 256)) if self.bs is None else self.bs
        dls = table.dataloaders(bs=bs, val_bs=max(bs, 1024), device=self.device)
        arguments: dict[str, Any] = {} if self.wd is None else {"wd": self.wd}
        return tabular_learner(dls, self.layers, config=self.config, arch=self.arch, **arguments)

    def _fit_weighted(self, learn: TabularLearner, table: Tabular) -> None:
        """Train with a weight for each row; afterwards the learner is as one without weights."""
        loaders, loss = learn.dls, learn.loss_func
        sizes = {"bs": loaders.train.bs, "val_bs": loaders.loaders[-1].bs}
        learn.dls = table.dataloaders(**sizes, device=self.device, dl_type=WeightedLoader)
        learn.loss_func = WeightedLoss(loss)
        try:
            self._fit_learner(learn)
        finally:
            learn.dls, learn.loss_func = loaders, loss

    def _fit_learner(self, learn: TabularLearner) -> None:
        """Train as the model's authors do, or else for about a thousand batches in one cycle."""
        own_recipe = hasattr(learn.model, "recipe")
        n_epoch, lr = self.n_epoch, self.lr
        if not own_recipe:
            lr = 1e-2 if lr is None else lr
            if n_epoch is None:
                n_epoch = int(np.clip(-(-_STEPS // max(len(learn.dls.train), 1)), 5, 50))
        validates = len(learn.dls.loaders) > 1 and len(learn.dls.valid_ds) > 0
        cbs: list[Any] = []
        if validates and not own_recipe:  # recipes have it of their own
            cbs.append(BestEpoch())
        if self.patience is not None:
            if not validates:
                raise ValueError("patience watches rows that are held out: make valid_pct larger")
            cbs.append(EarlyStoppingCallback(patience=self.patience))
        if self.verbose:
            learn.fit_recipe(n_epoch, lr, cbs=cbs)
            return
        with learn.no_bar(), learn.no_logging():
            learn.fit_recipe(n_epoch, lr, cbs=cbs)

    # -- predicting --------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> np.ndarray:  # noqa: N803 - scikit-learn's name
        """Return what the model makes of rows, after its activation: float64 of (rows, outputs)."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "learn_")
        frame = as_features(self, X, reset=False)
        dl = self.learn_.dls.test_dl(frame.to_native())
        with self.learn_.no_bar(), self.learn_.no_logging():
            found, _ = self.learn_.get_preds(dl=dl)
        outputs = found.cpu().double().numpy()
        return outputs.reshape(len(outputs), -1)

    # -- scikit-learn's protocol -------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.non_deterministic = self.random_state is None
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """The parameters, and the learner as the bytes of its exported file, without the rows."""
        state: Any = super().__getstate__()
        state = dict(state)
        learn = state.get("learn_")
        if learn is not None:
            with tempfile.TemporaryDirectory() as folder:
                state["learn_"] = learn.export(Path(folder).resolve() / "learner").read_bytes()
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        state = dict(state)
        if isinstance(state.get("learn_"), bytes):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "learner"
                file.write_bytes(state["learn_"])
                state["learn_"] = load_learner(file, cpu=False)
        super().__setstate__(state)


class TabularClassifier(ClassifierMixin, _TabularEstimator):
    """A neural network on tables as a scikit-learn classifier.

    Frames of pandas, polars or PyArrow and arrays alike: columns of text, categories and truth
    values are categorical, numbers are numbers; missing values are fine in both, and new data is
    matched by value. Targets are one of several classes, or any number of labels at once as a
    matrix of zeros and ones.

    Args:
        arch: The model, as `tabular_learner` takes it: "mlp", "realmlp" or "tabm".
        cat_names: Names or positions of the categorical columns; by default found by type.
        layers: Sizes of the hidden layers; by default the model's own.
        config: More arguments for the model (dropout, …), as `tabular_config` returns.
        procs: Preparing steps; by default `[Categorify, FillMissing, Normalize]`.
        n_epoch: Passes over the rows; by default as many as make about 1,000 batches, at least 5
            and at most 50 ("mlp"), or what the paper says.
        lr: Learning rate, the largest of one cycle; by default 0.01 ("mlp"), or the paper's.
        wd: Weight decay; by default the optimizer's or the paper's.
        bs: Rows in a batch; by default a twentieth of the rows, within 32 and 256.
        valid_pct: Share of the rows that is held out, after which the best epoch's weights are
            kept; by default a tenth of 1,000 rows or more and none of fewer.
        patience: Stop after this many epochs without improvement on the rows held out.
        device: Where to compute; by default a GPU if there is one.
        random_state: An integer or a NumPy generator makes results repeatable. The global
            generators are left as they were.
        verbose: Whether to show the progress of training.

    Attributes:
        classes_: The labels, sorted.
        learn_: The trained `TabularLearner`, with all that it can do: `show_results`, `export`, ….
            After unpickling it holds no rows.
        n_features_in_: How many columns there were.
        feature_names_in_: Their names, if all were text.
    """

    classes_: np.ndarray

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train from nothing.

        Args:
            X: A frame or an array of (rows, columns).
            y: Labels of (rows,), or zeros and ones of (rows, labels).
            sample_weight: How much each row counts; by default all alike. Rows of weight 0 are
                left out.

        Raises:
            ValueError: There are too few rows, or what is given has no such shape or values.
            TypeError: A column holds what is neither number nor category.
        """
        from sklearn.utils.multiclass import check_classification_targets, type_of_target

        frame, y, weights = as_training_rows(self, X, y, sample_weight, y_numeric=False)
        check_classification_targets(y)
        if type_of_target(y) == "multilabel-indicator":
            self.classes_ = np.arange(y.shape[1])
            names = free_names(frame, [f"label{place}" for place in self.classes_])
            block = MultiCategoryBlock(encoded=True, vocab=names)
            self._train(frame, dict(zip(names, y.astype(bool).T, strict=True)), block, weights)
            return self
        if y.ndim > 1:
            raise ValueError(f"y has {y.shape[1]} columns of classes: fit one classifier for each")
        self.classes_, codes = np.unique(y, return_inverse=True)
        vocab = self.classes_.tolist()
        target = {free_names(frame, ["target"])[0]: [vocab[code] for code in codes]}
        self._train(frame, target, CategoryBlock(vocab=vocab, sort=False), weights, codes)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the probability of each class, or of each of several labels: (rows, classes)."""
        found = self._outputs(X)
        if self._is_multilabel:
            return found
        return found / found.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the likeliest label of each row, or ones for the labels that hold."""
        found = self.predict_proba(X)
        if self._is_multilabel:
            return (found > 0.5).astype(np.int64)
        return self.classes_[found.argmax(axis=1)]

    @property
    def _is_multilabel(self) -> bool:
        return self.learn_.dls.train.dataset.target.encoded is not None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class TabularRegressor(RegressorMixin, _TabularEstimator):
    """A neural network on tables as a scikit-learn regressor, of one target or several.

    The arguments are those of `TabularClassifier`. The network learns targets of mean 0 and
    standard deviation 1; `learn_` predicts in these units.

    Attributes:
        learn_: The trained `TabularLearner`.
        target_mean_: The mean of each target in training.
        target_std_: Its standard deviation.
        n_features_in_: How many columns there were.
        feature_names_in_: Their names, if all were text.
    """

    target_mean_: np.ndarray
    target_std_: np.ndarray

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train from nothing.

        Args:
            X: A frame or an array of (rows, columns).
            y: Numbers of (rows,) or (rows, targets).
            sample_weight: How much each row counts; by default all alike. Rows of weight 0 are
                left out.

        Raises:
            ValueError: There are too few rows, or what is given has no such shape or values.
            TypeError: A column holds what is neither number nor category.
        """
        frame, y, weights = as_training_rows(self, X, y, sample_weight, y_numeric=True)
        values = y.astype(np.float64)
        self.n_dimensions_ = values.ndim
        columns = values.reshape(len(values), -1)
        self.target_mean_, spread = columns.mean(0), columns.std(0)
        self.target_std_ = np.where(spread > 0, spread, 1.0)
        scaled = (columns - self.target_mean_) / self.target_std_
        wanted = ["target"] if values.ndim == 1 else [f"target{n}" for n in range(columns.shape[1])]
        targets = dict(zip(free_names(frame, wanted), scaled.T, strict=True))
        self._train(frame, targets, RegressionBlock(), weights)
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the number, or the numbers, of each row."""
        found = self._outputs(X) * self.target_std_ + self.target_mean_
        return found[:, 0] if self.n_dimensions_ == 1 else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _procs(given: Sequence[Any] | None) -> list[Any]:
    """Return preparing steps that nobody else fits: an estimator does not change its arguments."""
    return [Categorify, FillMissing, Normalize] if given is None else deepcopy(list(given))
