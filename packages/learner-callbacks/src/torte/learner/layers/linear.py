"""Linear blocks and embeddings."""

from __future__ import annotations

from torch import nn

from torte.learner.layers.containers import SequenceBlock
from torte.learner.layers.initialisers import trunc_normal_
from torte.learner.layers.normalisation import BatchNorm

__all__ = ["Embedding", "LinBnDrop"]


class LinBnDrop(SequenceBlock):
    """Batch normalisation, dropout, a linear layer and an activation.

    Args:
        n_in: Features in.
        n_out: Features out.
        bn: Whether to normalise (the linear layer then needs no bias).
        p: Dropout probability; 0 leaves the dropout out.
        act: The activation, if any; it follows the linear layer.
        lin_first: Put linear layer and activation before normalisation and dropout.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        bn: bool = True,
        p: float = 0.0,
        act: nn.Module | None = None,
        lin_first: bool = False,
    ) -> None:
        regular: list[nn.Module] = [BatchNorm(n_out if lin_first else n_in, ndim=1)] if bn else []
        if p != 0:
            regular.append(nn.Dropout(p))
        linear: list[nn.Module] = [nn.Linear(n_in, n_out, bias=not bn)]
        if act is not None:
            linear.append(act)
        super().__init__(*(linear + regular if lin_first else regular + linear))


class Embedding(nn.Embedding):
    """An embedding that starts from a truncated normal distribution.

    Args:
        ni: Number of entries.
        nf: Size of each vector.
        std: Standard deviation before truncation (at two of them).
    """

    def __init__(self, ni: int, nf: int, std: float = 0.01) -> None:
        super().__init__(ni, nf)
        trunc_normal_(self.weight, std=std)
