"""What is known of users and items beside their ratings, kept in the model."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["KnownColumns"]


class KnownColumns(nn.Module):
    """What training showed of the side columns of each user or item, so that all can be scored.

    Args:
        n_codes: Number of codes of each categorical column.
        n_numbers: How many continuous columns.
        n_ids: How many codes the users or items have.
    """

    known_codes: Tensor
    known_numbers: Tensor

    def __init__(self, n_codes: Sequence[int], n_numbers: int = 0, n_ids: int = 0) -> None:
        super().__init__()
        # An id that training did not show has no features: the last code, and 0 for a mean number.
        unknown = torch.tensor([size - 1 for size in n_codes], dtype=torch.int64)
        self.register_buffer("known_codes", unknown.repeat(n_ids, 1))
        self.register_buffer("known_numbers", torch.zeros(n_ids, n_numbers))

    def remember(self, ids: Tensor, codes: Tensor, numbers: Tensor) -> None:
        """Keep the features of these users or items; of several rows of one, the last counts."""
        ids = ids.cpu()
        last = torch.full((len(self.known_codes),), -1)
        last.scatter_reduce_(0, ids, torch.arange(len(ids)), "amax")
        seen = (last >= 0).nonzero().squeeze(1)
        self.known_codes[seen] = codes[last[seen]].to(self.known_codes)
        self.known_numbers[seen] = numbers[last[seen]].to(self.known_numbers)
