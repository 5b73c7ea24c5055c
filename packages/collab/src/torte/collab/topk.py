"""The best items for many users: blocked matrix products with a running top-k.

A score for every pair would not fit in memory for a million users and a hundred thousand items; a
block of users against a block of items does, and of each only the k best go on.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["SeenItems", "top_blocks", "top_items", "top_scored"]

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
    score: Callable[[slice], Tensor], n_items: int, k: int, hidden: Tensor, items_at_once: int
) -> tuple[Tensor, Tensor]:
    """Return scores and numbers of the k best items for each of a block of users."""
    best_scores = best_items = None
    places, items = hidden
    for part in _blocks(n_items, items_at_once):
        scores = score(part)
        inside = (items >= part.start) & (items < part.stop)
        scores[places[inside], items[inside] - part.start] = -torch.inf
        top, found = scores.topk(min(k, scores.shape[1]), dim=1)
        found = found + part.start
        if best_scores is None or best_items is None:
            best_scores, best_items = top, found
            continue
        merged = torch.cat([best_scores, top], dim=1)
        best_scores, order = merged.topk(min(k, merged.shape[1]), dim=1)
        best_items = torch.cat([best_items, found], dim=1).gather(1, order)
    assert best_scores is not None
    assert best_items is not None
    return best_scores, best_items


@torch.no_grad()
def top_scored(
    score: Callable[[Tensor, slice], Tensor],
    n_items: int,
    k: int,
    users: Tensor,
    seen: SeenItems | None = None,
    device: Any = None,
    users_at_once: int = USERS_AT_ONCE,
    items_at_once: int = ITEMS_AT_ONCE,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the best items of one block of users after the other, by any function of scores.

    Args:
        score: Called with codes of users and a range of items; returns scores of (users, items),
            which are then changed. -inf keeps an item out.
        n_items: How many items there are.
        k: How many items for each user.
        users: Codes of the users asked for.
        seen: What each user has seen, to be left out.
        device: Where the scores are; the users are handed over there.
        users_at_once: Size of a block of users.
        items_at_once: Size of a block of items.

    Yields:
        Codes of the users (n,), scores and items (n, k), on the CPU. A user for whom fewer than k
        items are left gets -inf and item -1 in the last places.

    Raises:
        ValueError: k is not between 1 and the number of items.
    """
    if not 1 <= k <= n_items:
        raise ValueError(f"k is {k}, but there are {n_items} items")
    nothing = torch.empty(2, 0, dtype=torch.int64)
    for part in _blocks(len(users), users_at_once):
        block = users[part].cpu()
        hidden = nothing if seen is None else torch.stack(seen.pairs(block))
        own = functools.partial(score, block.to(device))
        best, found = _best_of_block(own, n_items, k, hidden.to(device), items_at_once)
        scores, items = best.float().cpu(), found.cpu()
        items[scores == -torch.inf] = -1
        yield block, scores, items


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

    def score(block: Tensor, part: slice) -> Tensor:
        return torch.addmm(item_bias[part], user_factors[block], item_factors[part].T)

    users = torch.arange(len(user_factors)) if users is None else users
    sizes = {"users_at_once": USERS_AT_ONCE, "items_at_once": ITEMS_AT_ONCE}
    return top_scored(score, len(item_factors), k, users, seen, item_factors.device, **sizes)


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
    return gathered(top_blocks(user_factors, item_factors, item_bias, k, users, seen), count, k)


def gathered(
    blocks: Iterator[tuple[Tensor, Tensor, Tensor]], count: int, k: int
) -> tuple[Tensor, Tensor]:
    """Return scores and items of all users from those of blocks: both (users, k)."""
    scores = torch.empty(count, k)
    items = torch.empty(count, k, dtype=torch.int64)
    start = 0
    for block, best, found in blocks:
        scores[start : start + len(block)], items[start : start + len(block)] = best, found
        start += len(block)
    return scores, items
