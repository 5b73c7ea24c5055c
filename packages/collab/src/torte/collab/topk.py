"""The best items for many users: blocked matrix products with a running top-k.

A score for every pair would not fit in memory for a million users and a hundred thousand items; a
block of users against a block of items does, and of each only the k best go on. They are among the
k groups of items with the greatest maxima, and a maximum costs a small part of what a top-k does.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["SeenItems", "top_blocks", "top_items", "top_scored"]

USERS_AT_ONCE, ITEMS_AT_ONCE, TILE = 256, 16384, 1024
"""Of a block of users and items, a tile of items is scored at a time: it stays in a processor's
second cache until its groups are compared. An accelerator takes whole blocks, of more users."""

_MORE_USERS, _GROUP, _MERGED_TOGETHER = 16, 16, 8

Fill = Callable[[Tensor, slice, Tensor], object]


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


def _blocks(size: int, at_once: int, start: int = 0) -> Iterator[slice]:
    for begin in range(start, size, at_once):
        yield slice(begin, min(begin + at_once, size))


class _Hidden:
    """What the users of a block have seen, tile by tile."""

    def __init__(self, places: Tensor, items: Tensor, n_items: int, tile: int, device: Any) -> None:
        order = items.argsort()
        items = items[order]
        self.cuts = torch.searchsorted(items, torch.arange(0, n_items + tile, tile)).tolist()
        self.places, self.items = places[order].to(device), (items % tile).to(device)
        self.tile = tile

    def hide(self, scores: Tensor, start: int) -> None:
        """Take the seen items out of the tile that starts at an item."""
        first, last = self.cuts[start // self.tile : start // self.tile + 2]
        if first < last:
            scores[self.places[first:last], self.items[first:last]] = -torch.inf


def _fill_block(
    fill: Callable[[slice, Tensor], object],
    part: slice,
    scores: Tensor,
    hidden: _Hidden | None,
    tile: int,
) -> Tensor:
    """Write the scores of a block of items and return the maxima of their groups.

    A group is every (tile / _GROUP)th item of a tile. Places behind the last item get -inf.
    """
    maxima: list[Tensor] = []
    for piece in _blocks(part.stop, tile, part.start):
        begin = piece.start - part.start
        whole = scores[:, begin : begin + tile]
        fill(piece, whole[:, : piece.stop - piece.start])
        whole[:, piece.stop - piece.start :] = -torch.inf
        if hidden is not None:
            hidden.hide(whole, piece.start)
        maxima.append(whole.unflatten(1, (_GROUP, -1)).amax(dim=1))
    return torch.cat(maxima, dim=1)


def _largest(scores: Tensor, maxima: Tensor, k: int, tile: int) -> tuple[Tensor, Tensor]:
    """Return values and places of the k largest of each row, in no order.

    They are in the k groups with the greatest maxima.
    """
    if maxima.shape[1] < 4 * k:
        filled = scores[:, : maxima.shape[1] * _GROUP]
        return filled.topk(min(k, filled.shape[1]), dim=1, sorted=False)
    width = tile // _GROUP
    _, groups = maxima.topk(k, dim=1, sorted=False)
    members = torch.arange(0, tile, width, device=scores.device)[:, None]
    places = ((groups // width * tile + groups % width)[:, None] + members).flatten(1)
    best, order = scores.gather(1, places).topk(k, dim=1, sorted=False)
    return best, places.gather(1, order)


def _merged(tops: list[tuple[Tensor, Tensor]], k: int) -> tuple[Tensor, Tensor]:
    """Return the k best of several blocks of items, best first."""
    scores, items = (torch.cat(parts, dim=1) for parts in zip(*tops, strict=True))
    best, order = scores.topk(min(k, scores.shape[1]), dim=1)
    return best, items.gather(1, order)


@torch.no_grad()
def _lists(
    fill: Fill,
    n_items: int,
    k: int,
    users: Tensor,
    seen: SeenItems | None,
    like: Tensor,
    sizes: tuple[int, int, int],
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the best items of blocks of users.

    Args:
        fill: Called with users, a range of items and where their scores are to be written.
        n_items: How many items there are.
        k: How many items for each user.
        users: Codes of users.
        seen: What to leave out.
        like: A tensor of the type and on the device of the scores.
        sizes: How many users, items and items of a tile at once, the second a multiple of the last.

    Raises:
        ValueError: k is not between 1 and the number of items.
    """
    if not 1 <= k <= n_items:
        raise ValueError(f"k is {k}, but there are {n_items} items")
    users_at_once, items_at_once, tile = sizes
    columns = min(items_at_once, -(-n_items // tile) * tile)
    # One place for all scores: new memory for each block would cost as much as its product.
    buffer = like.new_empty(min(users_at_once, len(users)), columns)
    for some in _blocks(len(users), users_at_once):
        block = users[some].cpu()
        hidden = None
        if seen is not None:
            hidden = _Hidden(*seen.pairs(block), n_items, tile, like.device)
        scores, own = buffer[: len(block)], functools.partial(fill, block.to(like.device))
        tops: list[tuple[Tensor, Tensor]] = []
        for part in _blocks(n_items, items_at_once):
            best, found = _largest(scores, _fill_block(own, part, scores, hidden, tile), k, tile)
            tops.append((best, found + part.start))
            if len(tops) == _MERGED_TOGETHER:
                tops = [_merged(tops, k)]
        best, found = (each.cpu() for each in _merged(tops, k))
        found[best == -torch.inf] = -1
        yield block, best.float(), found


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
        items_at_once: Size of a block of items, rounded up to a multiple of 16.

    Yields:
        Codes of the users (n,), scores and items (n, k), on the CPU. A user for whom fewer than k
        items are left gets -inf and item -1 in the last places.

    Raises:
        ValueError: k is not between 1 and the number of items.
    """

    def fill(block: Tensor, part: slice, out: Tensor) -> None:
        out.copy_(score(block, part))

    tile = -(-items_at_once // _GROUP) * _GROUP
    sizes = users_at_once, tile, tile
    return _lists(fill, n_items, k, users, seen, torch.empty(0, device=device), sizes)


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
    users = torch.arange(len(user_factors)) if users is None else users
    # The bias as one more factor, of users who all have a 1 there, spares a pass over the scores.
    items = torch.cat([item_factors.detach(), item_bias.detach()[:, None]], dim=1)
    factors = user_factors.detach()

    def fill(block: Tensor, part: slice, out: Tensor) -> None:
        some = torch.nn.functional.pad(factors[block], (0, 1), value=1.0)
        torch.mm(some, items[part].T, out=out)

    sizes = USERS_AT_ONCE, ITEMS_AT_ONCE, TILE
    if items.device.type != "cpu":
        sizes = USERS_AT_ONCE * _MORE_USERS, ITEMS_AT_ONCE, ITEMS_AT_ONCE
    return _lists(fill, len(items), k, users, seen, items, sizes)


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
