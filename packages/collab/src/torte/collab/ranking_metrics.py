"""Ranking metrics as metrics of a learner, so that epochs are judged by their recommendations."""

from typing import Any

from torte.collab.ranking import METRICS
from torte.learner import Metric

__all__ = ["RankingMetric", "ranking_metrics"]

COVERAGE = "coverage"


class _Evaluation:
    """One evaluation of a validation set, which several metrics share."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.found: dict[str, Any] | None = None

    def of(self, learn: Any) -> dict[str, Any]:
        found = self.found or learn.evaluate_ranking(dl=learn.dl, **self.settings)
        self.found = found
        return found


class RankingMetric(Metric):
    """One number of `CollabLearner.evaluate_ranking` over the validation set, at its end.

    Args:
        kind: "ndcg", "recall", "precision", "map", "mrr", "hit_rate" or "coverage".
        evaluation: What the metrics of one call of `ranking_metrics` share.
    """

    # Several processes know by it that there was something to evaluate; each evaluates all of it.
    sums = ("n_batches",)

    def __init__(self, kind: str, evaluation: _Evaluation) -> None:
        self.kind, self.evaluation = kind, evaluation
        self.name = kind
        self.reset()

    def reset(self) -> None:
        """Forget the last evaluation."""
        self.learn: Any = None
        self.n_batches = 0
        self.evaluation.found = None

    def accumulate(self, learn: Any) -> None:
        """Note whose recommendations are meant; nothing is computed batch by batch."""
        self.learn = learn
        self.n_batches += 1

    @property
    def value(self) -> float | None:
        """The metric of the model as it is now; `None` before the first batch."""
        return None if self.learn is None else self.evaluation.of(self.learn)[self.kind]


def ranking_metrics(
    *kinds: str, k: int = 10, min_rating: float | None = None, exclude_seen: bool = True
) -> list[RankingMetric]:
    """Make metrics of recommended lists for a learner: `metrics=ranking_metrics("ndcg", k=10)`.

    They share one evaluation of the whole validation set at the end of each epoch.

    Args:
        *kinds: Of "ndcg", "recall", "precision", "map", "mrr", "hit_rate" and "coverage"; by
            default the first two.
        k: Length of the lists.
        min_rating: The lowest rating that counts as relevant; by default all do.
        exclude_seen: Whether to leave out what a user has in the training rows.

    Raises:
        ValueError: There is no such metric.
    """
    known = [*METRICS, COVERAGE]
    strange = [kind for kind in kinds if kind not in known]
    if strange:
        raise ValueError(f"no ranking metrics {strange}: there are {known}")
    evaluation = _Evaluation(k=k, min_rating=min_rating, exclude_seen=exclude_seen)
    return [RankingMetric(kind, evaluation) for kind in kinds or ("ndcg", "recall")]
