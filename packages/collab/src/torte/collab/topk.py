"""The best items for many users: blocked matrix products with a running top-k.

A score for every pair would not fit in memory for a million users and a hundred thousand items; a
block of users against a block of items does, and of each only the k best go on.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["SeenItems", "top_blocks", "top_items"]

USERS_AT_ONCE, ITEMS_AT_ONCE = 1024, 16384


@dataclass(frozen=True)
class SeenItems:
    """Which items each user has seen, row by row like a sparse matrix.

    Attributes:
        starts: int64 of (users + 1,): where the items of each user begin in `items`.
        items: int64: the items of all users, one user after the other.
    """

    starts: Tensor
    items: Tensor

    @classmethod
    def from_pairs(cls, users: np.ndarray, items: np.ndarray, n_users: int) -> "SeenItems":
        """Sort pairs of user and item codes by user."""
        order = np.argsort(users, kind="stable")
        counts = np.bincount(users, minlength=n_users)
        starts = np.concatenate([[0], np.cumsum(counts)])
        return cls(torch.from_numpy(starts), torch.from_numpy(items[order].astype(np.int64)))

    def pairs(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Return (place in `users`, item) of everything that these users have seen."""
        starts, ends = self.starts[users], self.starts[users + 1]
        counts = ends - starts
        places = torch.repeat_interleave(torch.arange(len(users)), counts)
        begun = torch.repeat_interleave(starts - (counts.cumsum(0) - counts), counts)
        return places, self.items[begun + torch.arange(len(places))]


def _blocks(size: int, at_once: int) -> Iterator[slice]:
    for start in range(0, size, at_once):
        yield slice(start, min(start + at_once, size))


def _best_of_block(
    user_factors: Tensor, item_factors: Tensor, item_bias: Tensor, k: int, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Return scores and numbers of the k best items for each of a block of users."""
    best_scores = user_factors.new_empty(len(user_factors), 0)
    best_items = torch.empty(len(user_factors), 0, dtype=torch.int64, device=user_factors.device)
    for part in _blocks(len(item_factors), ITEMS_AT_ONCE):
        scores = torch.addmm(item_bias[part], user_factors, item_factors[part].T)
        places, items = hidden
        inside = (items >= part.start) & (items < part.stop)
        scores[places[inside], items[inside] - part.start] = -torch.inf
        top, found = scores.topk(min(k, scores.shape[1]), dim=1)
        merged = torch.cat([best_scores, top], dim=1)
        numbers = torch.cat([best_items, found + part.start], dim=1)
        best_scores, order = merged.topk(min(k, merged.shape[1]), dim=1)
        best_items = numbers.gather(1, order)
    return best_scores, best_items


@torch.no_grad()
def top_blocks(
    user_factors: Tensor,
    item_factors: Tensor,
    item_bias: Tensor,
    k: int,
    users: Tensor | None = None,
    seen: SeenItems | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the best items of one block of users after the other; see `top_items`.

    Yields:
        Codes of the users (n,), scores and items (n, k), on the CPU.

    Raises:
        ValueError: k is not between 1 and the number of items.
    """
    if not 1 <= k <= len(item_factors):
        raise ValueError(f"k is {k}, but there are {len(item_factors)} items")
    users = torch.arange(len(user_factors)) if users is None else users.cpu()
    device = item_factors.device
    nothing = torch.empty(2, 0, dtype=torch.int64)
    for part in _blocks(len(users), USERS_AT_ONCE):
        block = users[part]
        hidden = nothing if seen is None else torch.stack(seen.pairs(block))
        factors = user_factors[block.to(device)]
        best, found = _best_of_block(factors, item_factors, item_bias, k, hidden.to(device))
        scores, items = best.float().cpu(), found.cpu()
        items[scores == -torch.inf] = -1
        yield block, scores, items


def top_items(
    user_factors: Tensor,
    item_factors: Tensor,
    item_bias: Tensor,
    k: int,
    users: Tensor | None = None,
    seen: SeenItems | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the k items of the highest score for each user.

    The score of a pair is the dot product of their factors plus the item's bias (a user's own bias
    changes no order).

    Args:
        user_factors: (all users, factors).
        item_factors: (items, factors).
        item_bias: (items,); -inf keeps an item out.
        k: How many items for each user.
        users: Codes of the users asked for; by default all.
        seen: What each user has seen, to be left out.

    Returns:
        Scores and items, both (users, k), best first, on the CPU. A user for whom fewer than k
        items are left gets -inf and item -1 in the last places.

    Raises:
        ValueError: k is not between 1 and the number of items.
    """
    count = len(user_factors) if users is None else len(users)
    scores = torch.empty(count, k)
    items = torch.empty(count, k, dtype=torch.int64)
    start = 0
    for block, best, found in top_blocks(user_factors, item_factors, item_bias, k, users, seen):
        scores[start : start + len(block)], items[start : start + len(block)] = best, found
        start += len(block)
    return scores, items
