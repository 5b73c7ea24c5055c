r"""Negatives for pairs that were seen: items that a user has not seen, drawn on the device.

The items of the catalogue lie side by side on a line, item :math:`i` as long as its weight
:math:`w_i`, an integer. Taking out what user :math:`u` has seen leaves a shorter line, of length
:math:`W - M_u`; a point on it that is drawn uniformly is a negative with probability
:math:`q_{ui} = w_i / (W - M_u)`, and never an item that was seen. To find its item, the seen items
before it are put back: with the unseen length before each of them as its key, one binary search
says how many they are, and a second one over the whole line finds the item. So a negative costs two
searches and no rejection, whatever share of the catalogue a user has seen.
"""

import math
from typing import Any

import torch
from torch import Tensor

from torte.data.seeding import current_keys, integers, next_stream
from torte.dispatch import ItemTransform, serializable

__all__ = ["NegativeSampler", "NegativeSampling"]

_LONGEST_LINE = 1 << 40
_LARGEST_KEY = 1 << 62


class NegativeSampler:
    """Draws items that users have not seen, with probabilities known exactly.

    Args:
        users: Codes of the users of all pairs that were seen: int64 of (pairs,).
        items: Codes of their items, likewise; a pair may come more than once.
        n_users: Number of codes of users.
        n_items: Number of codes of items; the first and the last, which stand for none, are never
            drawn.
        popularity: Items are drawn in proportion to this power of how often they come in the pairs
            (at least once is taken for each): 0 for all alike, 1 as often as seen; word2vec's 0.75
            (Mikolov et al., NIPS 2013) is in between.

    Raises:
        ValueError: There is no item, or `popularity` is no finite number.
    """

    tensors = ("keys", "removed", "starts", "left", "line")
    """The names of the tensors that drawing needs."""

    def __init__(
        self, users: Tensor, items: Tensor, n_users: int, n_items: int, popularity: float = 0.0
    ) -> None:
        if n_items < 3:
            raise ValueError("there are no items to draw negatives from")
        weights = _weights(items, n_users, n_items, popularity)
        self.line = weights.cumsum(0)
        pairs = torch.unique(users * n_items + items)
        users, items = pairs // n_items, pairs % n_items
        counts = torch.bincount(users, minlength=n_users)
        self.starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        passed = torch.cat([weights.new_zeros(1), weights[items].cumsum(0)])
        of_earlier_users = passed[self.starts[users]]
        total = self.line[-1]
        unseen_before = self.line[items] - weights[items] - (passed[:-1] - of_earlier_users)
        self.keys = users * (total + 1) + unseen_before
        self.removed = passed[1:] - of_earlier_users
        self.left = total - passed[self.starts].diff()

    def draw(self, users: Tensor, n: int, keys: Tensor, stream: int = 0) -> tuple[Tensor, Tensor]:
        """Draw negatives for users, with replacement.

        Args:
            users: Codes of (rows,), on the device of the tensors.
            n: How many for each.
            keys: A key for each row, from which everything is drawn: int64 of (rows,).
            stream: Which of a key's streams of numbers.

        Returns:
            Items of (rows, n) and the logarithms of their probabilities, float32 of (rows, n). A
            user who has seen everything gets item -1 with 0.
        """
        left = self.left[users]
        points = integers(keys, n, stream).T.contiguous() % left.clamp_min(1)[:, None]
        offset = users * (self.line[-1] + 1)
        place = torch.searchsorted(self.keys, points + offset[:, None], right=True)
        skipped = place > self.starts[users][:, None]
        if len(self.removed):
            before = self.removed[(place - 1).clamp_min(0)]
            points = torch.where(skipped, points + before, points)
        items = torch.searchsorted(self.line, points, right=True)
        possible = (left > 0)[:, None]
        items = items.where(possible, -1)
        weights = self.line[items] - self.line[(items - 1).clamp_min(0)]
        log_q = weights.log() - left.clamp_min(1).log()[:, None]
        return items, log_q.where(possible, 0.0)


def _weights(items: Tensor, n_users: int, n_items: int, popularity: float) -> Tensor:
    """Return the length of each item on the line: int64 of (items,)."""
    inside = torch.ones(n_items, dtype=torch.int64)
    inside[[0, -1]] = 0
    if popularity == 0:
        return inside
    powers = torch.bincount(items, minlength=n_items).clamp_min(1).double() ** popularity
    if not powers.isfinite().all():
        raise ValueError(f"popularity must be a finite number, got {popularity}")
    powers = powers * inside
    longest = min(_LONGEST_LINE, _LARGEST_KEY // (n_users + 1))
    return (powers / powers.sum() * longest).round().long().clamp_min(1) * inside


@serializable("torte.collab.NegativeSampling")
class NegativeSampling(ItemTransform):
    """A batch transform that sets negatives beside each pair.

    A batch (codes, numbers) becomes (codes, numbers, candidates, log counts): the candidates, int64
    of (rows, 1 + n_negatives), are the pair's own item and then the negatives; the log counts,
    float32 of the same shape, are those of how often a candidate is expected among the negatives,
    and 0 for the pair's own. They are drawn on the batch's device, from (seed, epoch, index).

    For a user who has seen everything the negatives are the pair's own item, from which no loss
    learns anything.

    Args:
        n_negatives: How many for each pair.
        popularity: See `NegativeSampler`.
    """

    def __init__(self, n_negatives: int = 1, popularity: float = 0.0) -> None:
        super().__init__()
        if n_negatives < 1:
            raise ValueError(f"n_negatives must be at least 1, got {n_negatives}")
        self.n_negatives, self.popularity = n_negatives, popularity
        self.sampler: NegativeSampler | None = None

    def fit(self, codes: Tensor, n_users: int, n_items: int) -> None:
        """Learn which pairs were seen, from codes of (pairs, 2 or more), on the CPU."""
        users, items = codes[:, 0], codes[:, 1]
        self.sampler = NegativeSampler(users, items, n_users, n_items, self.popularity)

    def encodes(self, b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Draw negatives for a batch."""
        codes, numbers = b[:2]
        users, own = codes[:, 0], codes[:, 1:2]
        keys = current_keys(len(codes), codes.device)
        sampler = self._on(codes.device)
        items, log_q = sampler.draw(users, self.n_negatives, keys, next_stream())
        possible = items >= 0
        expected = (log_q + math.log(self.n_negatives)).where(possible, 0.0)
        candidates = torch.cat([own, torch.where(possible, items, own)], dim=1)
        counts = torch.cat([expected.new_zeros(len(codes), 1), expected], dim=1)
        return codes, numbers, candidates, counts

    def _on(self, device: Any) -> NegativeSampler:
        if self.sampler is None:
            raise ValueError("negatives cannot be drawn: nobody told which pairs were seen (fit)")
        if self.sampler.line.device != device:
            for name in NegativeSampler.tensors:
                setattr(self.sampler, name, getattr(self.sampler, name).to(device))
        return self.sampler

    def config(self) -> dict[str, Any]:
        """The arguments; which pairs were seen belongs to the data and is not kept."""
        return {"n_negatives": self.n_negatives, "popularity": self.popularity}

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}
