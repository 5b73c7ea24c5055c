"""The tabular model: an embedding for each categorical column, then a stack of linear blocks.

Guo and Berkhahn, "Entity Embeddings of Categorical Variables", 2016,
https://arxiv.org/abs/1604.06737.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from torte.dispatch import serializable
from torte.learner.layers import Embedding, LinBnDrop, SigmoidRange

__all__ = ["TabularModel", "emb_sz_rule", "get_emb_sz", "tabular_config"]


def emb_sz_rule(n_cat: int) -> int:
    """Return an embedding's size: round(1.6 * n_cat ** 0.56), at most 600."""
    return min(600, round(1.6 * n_cat**0.56))


def get_emb_sz(to: Any, sz_dict: Mapping[str, int] | None = None) -> list[tuple[int, int]]:
    """Return (number of codes, size) of the embedding of each categorical column.

    Args:
        to: A `Tabular`, or loaders of one.
        sz_dict: Sizes by column that go before the rule's.

    Raises:
        KeyError: `sz_dict` names a column that is not categorical.
    """
    classes = {name: to.classes[name] for name in to.cat_names}
    sizes = dict(sz_dict or {})
    strangers = sorted(set(sizes) - set(classes))
    if strangers:
        raise KeyError(f"no categorical columns: {strangers}; there are {sorted(classes)}")
    # The rule counts what was seen in training and the slot for missing values.
    return [
        (len(vocabulary), sizes.get(name, emb_sz_rule(len(vocabulary) - 1)))
        for name, vocabulary in classes.items()
    ]


@serializable("torte.tabular.TabularModel")
class TabularModel(nn.Module):
    """Embeddings of the categories beside the continuous columns, through linear blocks.

    Shape:
        `x_cat`: integers of (rows, categorical columns); `x_cont`: floats of (rows, continuous
        columns); out: (rows, out_sz).

    Args:
        emb_szs: (number of codes, size) of each categorical column.
        n_cont: Number of continuous columns.
        out_sz: Number of outputs.
        layers: Sizes of the hidden layers.
        ps: Dropout of each hidden layer, or one for all.
        embed_p: Dropout on the embeddings.
        y_range: Lower and upper end of a sigmoid on the outputs.
        use_bn: Whether hidden layers have batch normalisation.
        bn_final: Whether the last layer has it too.
        bn_cont: Whether the continuous columns go through it.
        act_cls: The activation of the hidden layers, as an object.
        lin_first: Whether blocks begin with their linear layer.
    """

    def __init__(
        self,
        emb_szs: Sequence[tuple[int, int]],
        n_cont: int,
        out_sz: int,
        layers: Sequence[int],
        ps: float | Sequence[float] | None = None,
        embed_p: float = 0.0,
        y_range: tuple[float, float] | None = None,
        use_bn: bool = True,
        bn_final: bool = False,
        bn_cont: bool = True,
        act_cls: nn.Module | None = None,
        lin_first: bool = True,
    ) -> None:
        super().__init__()
        dropouts = list(ps) if isinstance(ps, Sequence) else [ps or 0.0] * len(layers)
        if len(dropouts) != len(layers):
            raise ValueError(f"{len(dropouts)} dropouts in ps for {len(layers)} layers")
        embeddings = [Embedding(codes, size) for codes, size in emb_szs]
        self.embeds = nn.ModuleList(embeddings)
        for embedding in embeddings:
            # The last code stands for values that training never shows: the neutral vector.
            nn.init.zeros_(embedding.weight.data[-1])
        self.emb_drop = nn.Dropout(embed_p)
        self.bn_cont = nn.BatchNorm1d(n_cont) if bn_cont and n_cont else None
        self.n_emb = sum(size for _, size in emb_szs)
        self.n_cont = n_cont
        sizes = [self.n_emb + n_cont, *layers, out_sz]
        activation = nn.ReLU(inplace=True) if act_cls is None else act_cls
        blocks: list[nn.Module] = [
            LinBnDrop(
                n_in,
                n_out,
                bn=use_bn and (position < len(layers) or bn_final),
                p=dropouts[position] if position < len(layers) else 0.0,
                act=activation if position < len(layers) else None,
                lin_first=lin_first,
            )
            for position, (n_in, n_out) in enumerate(pairwise(sizes))
        ]
        if y_range is not None:
            blocks.append(SigmoidRange(*y_range))
        self.layers = nn.Sequential(*blocks)

    def forward(self, x_cat: Tensor, x_cont: Tensor | None = None) -> Tensor:
        """Compute the outputs of rows."""
        parts: list[Tensor] = []
        if self.n_emb:
            embedded = [embed(x_cat[:, place]) for place, embed in enumerate(self.embeds)]
            parts.append(self.emb_drop(torch.cat(embedded, dim=1)))
        if self.n_cont and x_cont is not None:
            parts.append(x_cont if self.bn_cont is None else self.bn_cont(x_cont))
        return self.layers(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))


def tabular_config(**kwargs: Any) -> dict[str, Any]:
    """Return keyword arguments for `TabularModel`, to be given to `tabular_learner` as `config`."""
    return kwargs
