r"""New users and items from a handful of ratings, without training: the closed form.

With everything else fixed, the factors :math:`w` and the bias :math:`b` of a new user are those of
a ridge regression on the vectors :math:`q_i` of the items that they rated:

.. math::
    (F^\top F + \lambda I) \binom{w}{b} = F^\top \big(\operatorname{logit}(r) - c\big), \qquad
    F = \begin{pmatrix} q_i^\top & 1 \end{pmatrix}_i

where :math:`c` is what the model says of the row without them (the items' biases, and what side
columns add) and the logit undoes the sigmoid of `y_range`. This is one half step of alternating
least squares: Zhou, Wilkinson, Schreiber and Pan, "Large-scale Parallel Collaborative Filtering for
the Netflix Prize", AAIM 2008; Hu, Koren and Volinsky, ICDM 2008.

Models of pairs without ratings have a likelihood in its place; see `torte.collab.likelihood`.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from torte.collab.features import FeatureDotBias
from torte.collab.growing import Growth
from torte.collab.interactions import refresh_negatives
from torte.collab.likelihood import items_of_pairs, log_partitions, users_of_pairs
from torte.collab.recommending import Recommending
from torte.collab.table import TabularCollab
from torte.optim.shards import is_sharded
from torte.tabular.frames import as_frame, categories, column, numbers
from torte.tabular.vocabulary import ColumnVocabulary

__all__ = ["FoldIn", "logit_targets", "ridge"]


def ridge(design: Tensor, target: Tensor, l2: float) -> Tensor:
    """Solve `(FᵀF + l2·I) w = Fᵀt` in float64.

    Args:
        design: F of (rows, unknowns).
        target: t of (rows,).
        l2: The penalty on squared unknowns, above 0.
    """
    design, target = design.double(), target.double()
    gram = design.T @ design
    gram.diagonal().add_(l2)
    return torch.linalg.solve(gram, design.T @ target)


def logit_targets(
    ratings: np.ndarray, y_range: tuple[float, float] | None, clip: float | None = None
) -> Tensor:
    """Return what a model's sigmoid makes the ratings from: float64 of (rows,).

    Args:
        ratings: The ratings.
        y_range: Ends of the sigmoid, or None for a model without one.
        clip: How near an end of the range a rating may come, as a share of the range; nearer ones
            are moved there.

    Raises:
        ValueError: A rating is at an end of the range or outside, where there is no logit, and
            `clip` was not given; or a rating is no finite number.
    """
    finite = np.isfinite(ratings)
    if not finite.all():
        row = int((~finite).argmax())
        raise ValueError(f"the rating in row {row} is {ratings[row]}: mend or drop the row")
    if y_range is None:
        return torch.tensor(ratings, dtype=torch.float64)
    low, high = y_range
    share = (ratings - low) / (high - low)
    if clip is not None:
        if not 0 < clip < 0.5:
            raise ValueError(f"clip must be between 0 and 0.5, got {clip}")
        share = share.clip(clip, 1 - clip)
    outside = (share <= 0) | (share >= 1)
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"the rating in row {row} is {ratings[row]:g}, not inside of y_range {y_range}, so "
            "that no factors lead to it: mend it, or give clip=0.01 to take it for one near the end"
        )
    return torch.from_numpy(share).logit()


class FoldIn(Recommending):
    """The part of `CollabLearner` that takes in users and items that training did not show."""

    opt: Any

    def add_users(self, ratings: Any, l2: float = 1.0, clip: float | None = None) -> list[Any]:
        """Take in new users by some ratings of known items (or pairs alone), without training.

        Afterwards they have a place of their own like the users of the training rows: in the model,
        in the optimizer's state and in the vocabulary, which the loaders share (so other learners
        on these loaders, and loaders made by `test_dl` before, have to be made anew). What they
        rated counts as seen. Either all of them are taken in or, on an error, nothing changes.

        Args:
            ratings: A frame with the columns that the loaders were made from, side columns too.
            l2: The penalty λ on the squared factors and bias.
            clip: How near an end of `y_range` a rating may come, as a share of the range; by
                default a rating at an end is an error. Not for loaders without ratings.

        Returns:
            The names of the new users, in the order of their codes.

        Raises:
            KeyError: A column is missing, or an item is unknown.
            ValueError: A user is known already, a rating is missing or out of range, or the frame
                has no rows.
            TypeError: The model is a neural one.
            RuntimeError: The tables are cut over several processes.
        """
        return self._fold_in(ratings, l2, clip, is_item=False)

    def add_items(self, ratings: Any, l2: float = 1.0, clip: float | None = None) -> list[Any]:
        """Take in new items by some ratings of known users; see `add_users`."""
        return self._fold_in(ratings, l2, clip, is_item=True)

    def _fold_in(self, ratings: Any, l2: float, clip: float | None, is_item: bool) -> list[Any]:
        model, table = self._dot_model(), self._table()
        if l2 <= 0:
            raise ValueError(f"l2 must be above 0, got {l2}")
        if is_sharded(model.u_weight.weight):
            raise RuntimeError("tables in pieces take nobody in: end learn.distributed() first")
        new, names = _new_rows(table, ratings, is_item)
        target = self._targets(ratings, clip)
        processed = table.test_set(ratings)
        codes, side_numbers = processed.codes_and_numbers()
        last = torch.zeros(len(names), dtype=torch.int64)
        last.scatter_reduce_(0, new, torch.arange(len(new)), "amax")
        features = _own_features(table, codes[last], side_numbers[last], is_item)
        if target is None:
            solved = self._likeliest(codes, new, features, l2, is_item)
        else:
            device = model.u_weight.weight.device
            inputs = codes.to(device), side_numbers.to(device)
            solved = _least_squares(model, *inputs, target, new, l2, is_item)
        growth = Growth(model, self.opt, is_item, solved[:, :-1], solved[:, -1], features)
        place = int(is_item)
        name = table.cat_names[place]
        old = table.classes[name]
        words = ColumnVocabulary([*old.values, *names])
        codes[:, place] = new + old.unknown
        growth.commit()
        self._rename(name, place, words)
        self._move_unknown(place, old.unknown, words.unknown)
        self.folded = torch.cat([self.folded, codes[:, :2]])
        refresh_negatives(self.dls, self.folded)
        return names

    def _targets(self, ratings: Any, clip: float | None) -> Tensor | None:
        """Return what the sigmoid makes the ratings from, None where there are no ratings."""
        table = self._table()
        if not table.implicit:
            values = numbers(column(as_frame(ratings), table.y_names[0]))
            return logit_targets(values, self._dot_model().y_range, clip)
        if clip is not None:
            raise ValueError(f"clip={clip} is for ratings, but these loaders have none")
        return None

    @torch.no_grad()
    def _likeliest(
        self, codes: Tensor, new: Tensor, features: tuple[Tensor, Tensor], l2: float, is_item: bool
    ) -> Tensor:
        """Return factors and, last, the bias of each new user or item by its pairs: float64."""
        model: Any = self._dot_model()
        user, _ = (part.double().cpu()[1:-1] for part in model.user_table())
        item, bias = (part.double().cpu()[1:-1] for part in model.item_table())
        base = torch.zeros(len(features[0]), user.shape[1] + 1, dtype=torch.float64)
        if isinstance(model, FeatureDotBias):
            side = model.item_side if is_item else model.user_side
            parts = side(*(part.to(bias.device) for part in features))
            base = torch.cat([parts[0], parts[1][:, None]], dim=1).double().cpu()
        others = codes[:, int(not is_item)] - 1
        groups = [others[new == place] for place in range(len(base))]
        if not is_item:
            return users_of_pairs(groups, base[:, :-1], item, bias, l2)
        known = self.dls.train.tensors[0][:, 0] - 1
        if not len(known):
            raise ValueError("new items need the training pairs beside theirs: there are none here")
        n_pairs = torch.bincount(known, minlength=len(user))
        return items_of_pairs(groups, base, user, n_pairs, log_partitions(user, item, bias), l2)

    def _rename(self, name: str, place: int, words: ColumnVocabulary) -> None:
        self._table().classes[name] = words  # pyright: ignore[reportIndexIssue] - a proc's own dict
        self._dot_model().classes = {**self._dot_model().classes, name: words}

    def _move_unknown(self, place: int, old: int, new: int) -> None:
        """Give rows of unknown users or items in the loaders the new code."""
        for dl in self.dls:
            codes = dl.tensors[0][:, place]
            if (codes == old).any():
                codes[codes == old] = new
                dl.dataset.set_columns({dl.dataset.cat_names[place]: codes.numpy().copy()})


def _new_rows(table: TabularCollab, ratings: Any, is_item: bool) -> tuple[Tensor, list[Any]]:
    """Return whose row each is, counted from 0, and the names of the new users or items.

    Raises:
        KeyError: A user of a new item, or the item of a new user, is unknown.
        ValueError: There are no rows, an id is missing, or is known already.
    """
    frame = as_frame(ratings)
    kinds = ("user", "item")
    own, other = kinds[is_item], kinds[not is_item]
    name, partner = table.cat_names[int(is_item)], table.cat_names[int(not is_item)]
    places, names = categories(column(frame, name))
    if not len(frame):
        raise ValueError(f"there are no ratings of new {own}s: the frame has no rows")
    if (places < 0).any():
        row = int((places < 0).argmax())
        raise ValueError(f"column {name!r} has no value in row {row}: drop such rows")
    known = [
        value for value in names if table.classes[name].code(value) != table.classes[name].unknown
    ]
    if known:
        raise ValueError(f"{own}s {known[:10]} are known already: give ratings of new ones only")
    codes = table.classes[partner].encode(column(frame, partner))
    strange = (codes == 0) | (codes == table.classes[partner].unknown)
    if strange.any():
        row = int(strange.argmax())
        value = frame[partner][row]
        raise KeyError(f"the {other} {value} in row {row} was not seen in training: drop the row")
    return torch.from_numpy(places), names


def _least_squares(
    model: Any,
    codes: Tensor,
    numbers_: Tensor,
    target: Tensor,
    new: Tensor,
    l2: float,
    is_item: bool,
) -> Tensor:
    """Return factors and, last, the bias of each new user or item: float64."""
    with torch.no_grad():
        user, item, bias = (part.double().cpu() for part in model.parts(codes, numbers_))
        own, known = (item, user) if is_item else (user, item)
        design = torch.cat([known, torch.ones(len(known), 1, dtype=torch.float64)], dim=1)
        rest = target - (own * known).sum(dim=1) - bias
        order = new.argsort(stable=True)
        counts = new.bincount().tolist()
        groups = zip(design[order].split(counts), rest[order].split(counts), strict=True)
        return torch.stack([ridge(rows_, values, l2) for rows_, values in groups])


def _own_features(
    table: TabularCollab, codes: Tensor, numbers_: Tensor, is_item: bool
) -> tuple[Tensor, Tensor]:
    """Return the columns of codes and numbers that belong to the users, or to the items."""
    cats = [len(part) for part in table.by_side(table.cat_names[2:])]
    conts = [len(part) for part in table.by_side(table.cont_names)]
    place = int(is_item)
    return codes[:, 2:].split(cats, dim=1)[place], numbers_.split(conts, dim=1)[place]
