"""A scikit-learn transformer that puts a network's embeddings in the place of categories."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone

from torte.tabular.embeddings import embed_categories, embedded_names
from torte.tabular.estimator_inputs import as_features
from torte.tabular.estimators import TabularClassifier, TabularRegressor

__all__ = ["CategoryEmbedder"]


class CategoryEmbedder(TransformerMixin, BaseEstimator):
    """Trains a network, then replaces categories by its embeddings, for other models to use.

        make_pipeline(CategoryEmbedder(), HistGradientBoostingClassifier())

    Numbers stay as they are, missing ones missing. Categories never seen in training are the
    network's vector for unknown ones.

    Args:
        estimator: A `TabularClassifier` or `TabularRegressor` that is trained on a copy of; by
            default the one that the targets ask for, with its own defaults.

    Attributes:
        estimator_: The trained one.
        n_features_in_: How many columns there were.
        feature_names_in_: Their names, if all were text.
    """

    estimator_: TabularClassifier | TabularRegressor
    n_features_in_: int

    def __init__(self, estimator: TabularClassifier | TabularRegressor | None = None) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train the network.

        Args:
            X: A frame or an array of (rows, columns).
            y: Targets, as the estimator takes them.
            sample_weight: As for the estimator.
        """
        from sklearn.utils.multiclass import type_of_target

        chosen = self.estimator
        if chosen is None:
            is_number = type_of_target(y).startswith("continuous")
            chosen = TabularRegressor() if is_number else TabularClassifier()
        as_features(self, X, reset=True)
        copy: Any = clone(chosen)
        self.estimator_ = copy.fit(X, y, sample_weight)
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803
        """Return rows with embeddings for categories: a frame for a frame, else an array."""
        from narwhals import dependencies
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "estimator_")
        frame = as_features(self, X, reset=False)
        found = embed_categories(self.estimator_.learn_, frame.to_native())
        return found if dependencies.is_into_dataframe(X) else np.asarray(found, dtype=np.float64)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of `transform`."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "estimator_")
        given = getattr(self, "feature_names_in_", [f"x{n}" for n in range(self.n_features_in_)])
        names = embedded_names(self.estimator_.learn_, list(given))
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.target_tags.required = True
        tags.non_deterministic = getattr(self.estimator, "random_state", None) is None
        return tags
