r"""Metrics of recommended lists, added up over blocked users.

For a user with the relevant items :math:`R` and the list :math:`i_1, …, i_k`, :math:`h_j = 1` where
:math:`i_j \in R`:

.. math::
    \text{precision} = \frac{1}{k}\sum_j h_j \qquad
    \text{recall} = \frac{1}{|R|}\sum_j h_j \qquad
    \text{hit rate} = \max_j h_j \qquad
    \text{MRR} = \max_j \frac{h_j}{j}

    \text{NDCG} = \frac{\sum_j h_j / \log_2(j + 1)}{\sum_{j \le \min(k, |R|)} 1 / \log_2(j + 1)}
    \qquad
    \text{MAP} = \frac{1}{\min(k, |R|)} \sum_j h_j \frac{1}{j}\sum_{l \le j} h_l

each averaged over the users who have relevant items. Coverage is the share of the catalogue that
anybody was recommended. An item that is relevant twice counts once; a list that is too short goes
on with misses.

Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 20(4), 2002;
Herlocker et al., "Evaluating collaborative filtering recommender systems", TOIS 22(1), 2004.
"""

from typing import Any

import torch
from torch import Tensor

from torte.collab.topk import SeenItems

__all__ = [
    "RankingScores",
    "average_precision_at_k",
    "hit_rate_at_k",
    "hits_at_k",
    "ndcg_at_k",
    "precision_at_k",
    "recall_at_k",
    "reciprocal_rank_at_k",
]


def hits_at_k(items: Tensor, relevant: SeenItems, users: Tensor) -> tuple[Tensor, Tensor]:
    """Say which recommended items are relevant.

    Args:
        items: Recommended codes of (users, k), best first; -1 where a list has ended.
        relevant: The relevant items of all users; one that comes twice counts once.
        users: Codes of the users of the rows: (users,).

    Returns:
        Hits of (users, k), boolean, and the number of relevant items of each user, int64.
    """
    places, wanted = relevant.pairs(users)
    width = 1 + max((int(part.max()) for part in (items, wanted) if part.numel()), default=0)
    pairs = torch.unique(places * width + wanted)
    rows = torch.arange(len(users))[:, None]
    asked = torch.where(items >= 0, rows * width + items, -1)
    counts = torch.bincount(pairs // width, minlength=len(users))
    return torch.isin(asked, pairs), counts


def precision_at_k(hits: Tensor, counts: Tensor) -> Tensor:
    """Return the share of each list that is relevant: float64 of (users,)."""
    return hits.double().mean(dim=1)


def recall_at_k(hits: Tensor, counts: Tensor) -> Tensor:
    """Return the share of each user's relevant items that is in the list."""
    return hits.double().sum(dim=1) / counts


def hit_rate_at_k(hits: Tensor, counts: Tensor) -> Tensor:
    """Return 1 for each list with a relevant item."""
    return hits.any(dim=1).double()


def _ranks(hits: Tensor) -> Tensor:
    return torch.arange(1, hits.shape[1] + 1, dtype=torch.float64)


def reciprocal_rank_at_k(hits: Tensor, counts: Tensor) -> Tensor:
    """Return 1 / the rank of the first relevant item, 0 without one."""
    return (hits / _ranks(hits)).amax(dim=1)


def ndcg_at_k(hits: Tensor, counts: Tensor) -> Tensor:
    """Return the discounted gain of each list over that of the best possible list."""
    discounts = 1 / torch.log2(_ranks(hits) + 1)
    ideal = discounts.cumsum(0)[counts.clamp(1, hits.shape[1]) - 1]
    return (hits * discounts).sum(dim=1) / ideal


def average_precision_at_k(hits: Tensor, counts: Tensor) -> Tensor:
    """Return the mean of the precision at each relevant item, over as many as could be there."""
    precision = hits.double().cumsum(dim=1) / _ranks(hits)
    return (hits * precision).sum(dim=1) / counts.clamp(1, hits.shape[1])


METRICS = {
    "precision": precision_at_k,
    "recall": recall_at_k,
    "ndcg": ndcg_at_k,
    "map": average_precision_at_k,
    "mrr": reciprocal_rank_at_k,
    "hit_rate": hit_rate_at_k,
}


class RankingScores:
    """Adds up ranking metrics, one block of users after the other.

    Args:
        relevant: The relevant items of all users.
        n_items: Size of the catalogue, for the coverage.

    Attributes:
        n_users: How many users with relevant items there were so far.
    """

    def __init__(self, relevant: SeenItems, n_items: int) -> None:
        self.relevant, self.n_items = relevant, n_items
        self.n_users = 0
        self._sums = dict.fromkeys(METRICS, 0.0)
        self._shown: Tensor = torch.empty(0, dtype=torch.int64)

    def update(self, users: Tensor, items: Tensor) -> None:
        """Add the lists of some users.

        Args:
            users: Codes of (users,).
            items: Recommended codes of (users, k), best first; -1 where a list has ended.
        """
        hits, counts = hits_at_k(items, self.relevant, users)
        asked = counts > 0
        hits, counts = hits[asked], counts[asked]
        self.n_users += len(counts)
        for name, metric in METRICS.items():
            self._sums[name] += float(metric(hits, counts).sum())
        shown = torch.unique(items[asked])
        self._shown = torch.unique(torch.cat([self._shown, shown[shown >= 0]]))

    def compute(self) -> dict[str, Any]:
        """Return each metric's mean over the users, and the coverage.

        Raises:
            ValueError: No user had a relevant item.
        """
        if not self.n_users:
            raise ValueError("no user has a relevant item, so that there is nothing to rank")
        means = {name: total / self.n_users for name, total in self._sums.items()}
        return {**means, "coverage": len(self._shown) / self.n_items, "n_users": self.n_users}
