r"""New users and items of models that rank, from the pairs in which they were met.

Where there are no ratings, what the model says of user :math:`u` meeting item :math:`i` is its
share of the softmax over the catalogue. With everything else fixed, the factors of a new user or
item are those under which their pairs (and, for an item, that the users met others) are likeliest:

.. math::
    \min_{w} \sum_{i \in S} \Big(\log \sum_j e^{s_j} - s_i\Big) + \frac{\lambda}{2} \lVert w
    \rVert^2, \qquad s_j = \langle w + a, q_j \rangle + b_j

for a user who met the items :math:`S`, with :math:`a` what side columns say of them; and for an
item with factors and bias :math:`w, b` that the users :math:`U` met

.. math::
    \min_{w, b} \sum_u c_u \log\big(1 + e^{z_u}\big) - \sum_{u \in U} z_u + \frac{\lambda}{2}
    \big(\lVert w \rVert^2 + b^2\big), \qquad z_u = s_u - \log \sum_j e^{s_{uj}}

where user :math:`u` has :math:`c_u` pairs in all. Both are half steps of the same likelihood of all
pairs, and convex, so that Newton's method finds the one minimum. A model that was trained by
`BPRLoss` or a sample of the softmax is asked for the same.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["item_of_pairs", "items_of_pairs", "log_partitions", "user_of_pairs", "users_of_pairs"]

Objective = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
_USERS_AT_ONCE = 1024


def user_of_pairs(items: Tensor, factors: Tensor, scores: Tensor, l2: float) -> Tensor:
    """Return the factors of a new user: float64 of (n_factors,).

    Args:
        items: Which items they met, by their row in `factors`.
        factors: Those of all items, float64 of (items, n_factors).
        scores: What the model says of each item without the new factors: float64 of (items,).
        l2: The penalty on squared factors, above 0.
    """
    count, met = len(items), factors[items].sum(dim=0)

    def objective(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s = scores + factors @ w
        share = s.softmax(dim=0)
        mean = share @ factors
        value = count * s.logsumexp(dim=0) - s[items].sum() + l2 / 2 * w @ w
        spread = factors.T @ (share[:, None] * factors) - torch.outer(mean, mean)
        return value, count * mean - met + l2 * w, count * spread + l2 * _eye(w)

    return _minimum(objective, factors.new_zeros(factors.shape[1]))


def item_of_pairs(
    users: Tensor, design: Tensor, scores: Tensor, n_pairs: Tensor, l2: float
) -> Tensor:
    """Return the factors and, last, the bias of a new item: float64 of (n_factors + 1,).

    Args:
        users: Who met it, by their row in `design`.
        design: Factors of all users and a column of ones: float64 of (users, n_factors + 1).
        scores: What the model says of the item for each user without the new factors, less the
            logarithm of the sum over the catalogue: float64 of (users,).
        n_pairs: How many pairs each user has in all, these included: (users,).
        l2: The penalty on squared factors and bias, above 0.
    """
    met = torch.bincount(users, minlength=len(design)).to(design)

    def objective(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = scores + design @ w
        share = z.sigmoid()
        value = (n_pairs * torch.nn.functional.softplus(z)).sum() - met @ z + l2 / 2 * w @ w
        slope = design.T @ (n_pairs * share - met) + l2 * w
        weight = n_pairs * share * (1 - share)
        return value, slope, design.T @ (weight[:, None] * design) + l2 * _eye(w)

    return _minimum(objective, design.new_zeros(design.shape[1]))


def users_of_pairs(
    met: Sequence[Tensor], base: Tensor, factors: Tensor, bias: Tensor, l2: float
) -> Tensor:
    """Return the factors of new users and a bias of 0 behind them: (users, n_factors + 1).

    Args:
        met: For each user the items that they met.
        base: What side columns add to their factors: float64 of (users, n_factors).
        factors: Those of all items.
        bias: Biases of the items.
        l2: The penalty.
    """
    found = [
        user_of_pairs(items, factors, bias + factors @ own, l2)
        for items, own in zip(met, base, strict=True)
    ]
    return torch.nn.functional.pad(torch.stack(found), (0, 1))


def items_of_pairs(
    met: Sequence[Tensor], base: Tensor, users: Tensor, n_pairs: Tensor, rest: Tensor, l2: float
) -> Tensor:
    """Return the factors and biases of new items: (items, n_factors + 1).

    Args:
        met: For each item the users who met it.
        base: What side columns add to its factors and bias: float64 of (items, n_factors + 1).
        users: Factors of all users.
        n_pairs: How many pairs each user has without these items.
        rest: `log_partitions` of the users.
        l2: The penalty.
    """
    design = torch.cat([users, users.new_ones(len(users), 1)], dim=1)
    found = []
    for own_users, own in zip(met, base, strict=True):
        counts = n_pairs + torch.bincount(own_users, minlength=len(users))
        found.append(item_of_pairs(own_users, design, design @ own - rest, counts, l2))
    return torch.stack(found)


def log_partitions(users: Tensor, items: Tensor, bias: Tensor) -> Tensor:
    """Return the logarithm of the sum over the catalogue for each user: (users,).

    Args:
        users: Factors of (users, n_factors).
        items: Factors of (items, n_factors).
        bias: Biases of the items.
    """
    blocks = users.split(_USERS_AT_ONCE)
    return torch.cat([torch.addmm(bias, block, items.T).logsumexp(dim=1) for block in blocks])


def _eye(like: Tensor) -> Tensor:
    return torch.eye(len(like), dtype=like.dtype, device=like.device)


def _minimum(objective: Objective, start: Tensor, steps: int = 100) -> Tensor:
    """Return where a strictly convex function is least, by Newton's method with halved steps."""
    place = start
    value, slope, curvature = objective(place)
    for _ in range(steps):
        step = torch.linalg.solve(curvature, slope)
        expected = slope @ step
        if expected <= 1e-14 * (1 + value.abs()):
            break
        size = 1.0
        while size > 1e-10:
            tried = objective(place - size * step)
            if tried[0] <= value - 1e-4 * size * expected:
                break
            size /= 2
        else:
            break  # no better place that these digits can tell
        place = place - size * step
        value, slope, curvature = tried
    return place
