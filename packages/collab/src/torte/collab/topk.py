"""The best items for many users: blocked matrix products and maxima of groups.

A score for every pair would not fit in memory for a million users and a hundred thousand items. So
a block of users meets a tile of items at a time, and what stays of the scores are the maxima of
groups of sixteen: the k best items of a user are in the k groups with the greatest maxima. The few
scores of these groups are computed a second time, which costs less than to keep all of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["SeenItems", "top_blocks", "top_items", "top_scored"]

USERS_AT_ONCE, ITEMS_AT_ONCE, TILE = 256, 16384, 1024
"""The scores of these users for a tile of items stay in a processor's second cache until their
maxima are taken. An accelerator takes more users and larger tiles."""

_MORE_USERS, _GROUP, _LANES = 16, 16, 16
_GATHERED = 1 << 18  # how many factors of items are brought together at a time


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
    for begin in range(0, size, at_once):
        yield slice(begin, min(begin + at_once, size))


class _Hidden:
    """What the users of a block have seen, tile by tile."""

    def __init__(
        self, seen: SeenItems, users: Tensor, n_items: int, tile: int, device: Any
    ) -> None:
        places, items = seen.pairs(users)
        # The last key is none's, so that every search ends at one.
        keys = torch.cat([places * n_items + items, torch.tensor([len(users) * n_items])])
        self.keys, self.n_items, self.tile = keys.sort().values.to(device), n_items, tile
        order = items.argsort()
        items = items[order]
        self.cuts = torch.searchsorted(items, torch.arange(0, n_items + tile, tile)).tolist()
        self.places, self.items = places[order].to(device), (items % tile).to(device)

    def hide(self, scores: Tensor, start: int) -> None:
        """Take the seen items out of the tile that starts at an item."""
        first, last = self.cuts[start // self.tile : start // self.tile + 2]
        if first < last:
            scores[self.places[first:last], self.items[first:last]] = -torch.inf

    def among(self, items: Tensor, start: int) -> Tensor:
        """Say which of some items, a row a user from a place in the block on, were seen."""
        rows = torch.arange(start, start + len(items), device=items.device)
        keys = rows[:, None] * self.n_items + items
        return self.keys[torch.searchsorted(self.keys, keys)] == keys


def _check_k(k: int, n_items: int) -> None:
    if not 1 <= k <= n_items:
        raise ValueError(f"k is {k}, but there are {n_items} items")


def _listed(users: Tensor, scores: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return lists on the CPU, with -1 in the places that nothing is left for."""
    scores, items = scores.cpu(), items.cpu()
    items[scores == -torch.inf] = -1
    return users, scores.float(), items


@torch.no_grad()
def top_scored(
    score: Callable[[Tensor, slice], Tensor],
    n_items: int,
    k: int,
    users: Tensor,
    seen: SeenItems | None = None,
    device: Any = None,
    users_at_once: int = USERS_AT_ONCE,
    items_at_once: int = TILE,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the best items of one block of users after the other, by any function of scores.

    Args:
        score: Called with codes of users and a range of items; returns scores of (users, items).
            -inf keeps an item out.
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
    _check_k(k, n_items)
    for some in _blocks(len(users), users_at_once):
        block = users[some].cpu()
        hidden = None if seen is None else _Hidden(seen, block, n_items, items_at_once, device)
        best, found = torch.empty(len(block), 0), torch.empty(len(block), 0, dtype=torch.int64)
        best, found = best.to(device), found.to(device)
        for part in _blocks(n_items, items_at_once):
            scores = score(block.to(device), part)
            if hidden is not None:
                hidden.hide(scores, part.start)
            top, places = scores.topk(min(k, scores.shape[1]), dim=1)
            both, items = torch.cat([best, top], 1), torch.cat([found, places + part.start], 1)
            best, order = both.topk(min(k, both.shape[1]), dim=1)
            found = items.gather(1, order)
        yield _listed(block, best, found)


class _Tiles:
    """Vectors of items cut into tiles, each of whose columns of scores belong to groups.

    A group is every `width`th item of a tile. Behind the last item stand some of score -inf. There
    is one place for the scores and maxima of all blocks: new memory costs as much as a product.
    """

    def __init__(self, factors: Tensor, bias: Tensor, tile: int, users_at_once: int) -> None:
        self.n_items = len(factors)
        # Widths that are no multiple of a processor's vectors would make the maxima slow.
        lanes = -(-self.n_items // (_GROUP * _LANES)) * _LANES
        self.width = min(tile // _GROUP, lanes)
        self.size = self.width * _GROUP
        n_tiles = -(-self.n_items // self.size)
        # The bias as one more factor, of users who all have a 1 there, spares a pass over scores.
        self.items = factors.new_empty(n_tiles * self.size, factors.shape[1] + 1)
        self.items[: self.n_items, :-1], self.items[: self.n_items, -1] = factors, bias
        self.items[self.n_items :, :-1], self.items[self.n_items :, -1] = 0, -torch.inf
        self.scores = self.items.new_empty(users_at_once, self.size)
        self.greatest = self.items.new_empty(users_at_once, n_tiles * self.width)

    def maxima(self, users: Tensor, hidden: _Hidden | None) -> Tensor:
        """Return the greatest score of each group for vectors of users: (users, groups)."""
        scores, found = self.scores[: len(users)], self.greatest[: len(users)]
        by_group = scores.unflatten(1, (_GROUP, -1))
        for tile, part in enumerate(found.split(self.width, dim=1)):
            start = tile * self.size
            torch.mm(users, self.items[start : start + self.size].T, out=scores)
            if hidden is not None:
                hidden.hide(scores, start)
            torch.amax(by_group, dim=1, out=part)
        return found

    def best(
        self, users: Tensor, groups: Tensor, hidden: _Hidden | None, k: int
    ) -> tuple[Tensor, Tensor]:
        """Return scores and items of the k best in some groups of each user, best first."""
        members = torch.arange(0, self.size, self.width, device=users.device)
        firsts = groups // self.width * self.size + groups % self.width
        width = groups.shape[1] * _GROUP
        at_once = min(len(users), max(1, _GATHERED // (width * users.shape[1])))
        gathered = users.new_empty(at_once * width, users.shape[1])
        parts: list[tuple[Tensor, Tensor]] = []
        for rows in _blocks(len(users), at_once):
            items = (firsts[rows, :, None] + members).flatten(1)
            vectors = torch.index_select(
                self.items, 0, items.ravel(), out=gathered[: items.numel()]
            ).view(*items.shape, -1)
            scores = torch.bmm(vectors, users[rows, :, None]).squeeze(2)
            if hidden is not None:
                scores[hidden.among(items, rows.start)] = -torch.inf
            top, order = scores.topk(k, dim=1)
            parts.append((top, items.gather(1, order)))
        best, found = (torch.cat(each) for each in zip(*parts, strict=True))
        return best, found


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
    n_items, device = len(item_factors), item_factors.device
    _check_k(k, n_items)
    users = torch.arange(len(user_factors)) if users is None else users
    on_cpu = device.type == "cpu"
    at_once = USERS_AT_ONCE if on_cpu else USERS_AT_ONCE * _MORE_USERS
    if n_items < 4 * k * _GROUP:  # the groups of the best would hold most of the items

        def score(block: Tensor, part: slice) -> Tensor:
            return item_bias[part] + user_factors[block] @ item_factors[part].T

        yield from top_scored(score, n_items, k, users, seen, device, at_once, ITEMS_AT_ONCE)
        return
    at_once = min(at_once, max(1, len(users)))
    tiles = _Tiles(item_factors, item_bias, TILE if on_cpu else ITEMS_AT_ONCE, at_once)
    for some in _blocks(len(users), at_once):
        block = users[some].cpu()
        vectors = nn.functional.pad(user_factors[block.to(device)], (0, 1), value=1.0)
        hidden = (
            None if seen is None else _Hidden(seen, block, len(tiles.items), tiles.size, device)
        )
        _, groups = tiles.maxima(vectors, hidden).topk(k, dim=1, sorted=False)
        yield _listed(block, *tiles.best(vectors, groups, hidden, k))


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
