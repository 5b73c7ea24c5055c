"""Loading pairs that were seen, each with negatives beside it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torte.collab.negatives import NegativeSampling
from torte.data.display import display_df
from torte.dispatch import serializable
from torte.tabular.frames import as_pandas
from torte.tabular.loader import TabDataLoader
from torte.tabular.table import Tabular

__all__ = ["InteractionDataLoader", "refresh_negatives"]


@serializable("torte.collab.InteractionDataLoader")
class InteractionDataLoader(TabDataLoader):
    """Batches of pairs that were seen: codes and numbers, and what `NegativeSampling` adds.

    Loaders of other pairs that are made from it (`dls.test_dl`) draw no negatives: a model gives
    each of their rows one score.
    """

    def draw_negatives(self, sampling: NegativeSampling) -> None:
        """Draw negatives in every batch from now on."""
        self.add_tfms(sampling, "after_batch", setup=False)
        self.n_inp = 3

    @property
    def sampling(self) -> NegativeSampling | None:
        """What draws the negatives, if they are drawn."""
        steps: Any = self.after_batch
        return next((step for step in steps if isinstance(step, NegativeSampling)), None)

    def new(self, dataset: Any = None, cls: type | None = None, **kwargs: Any) -> Any:
        """Return a loader like this one; one of other pairs draws no negatives."""
        if self.sampling is None:
            return super().new(dataset, cls, **kwargs)
        if dataset is None or dataset is self.dataset:
            made = super().new(dataset, cls, **kwargs)
            made.n_inp = 3
            return made
        steps: Any = self.after_batch
        others = [step for step in steps if step is not self.sampling]
        made = super().new(dataset, cls, **{"after_batch": others, **kwargs})
        made.kinds = None
        return made

    def batch_of_item(self, item: Any) -> tuple[Tensor, ...] | None:
        """Return a new pair as a batch of one; None where batches here have negatives."""
        return super().batch_of_item(item) if self.sampling is None else None

    # -- looking -----------------------------------------------------------------------------------

    def decoded(self, b: Sequence[Tensor], max_n: int = 10) -> Tabular:
        """Return the first pairs of a batch as a table of what went in."""
        return super().decoded(b[:2], max_n)

    def show_results(self, b: Any, out: Any, max_n: int = 10, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Show pairs with their scores, and at which place among the negatives these put them."""
        frame = as_pandas(self.decoded(b, max_n).frame)
        scores = torch.as_tensor(out)[:max_n].cpu().reshape(len(frame), -1)
        frame["score"] = scores[:, 0].numpy()
        if scores.shape[1] > 1:
            frame["place"] = 1 + (scores[:, 1:] > scores[:, :1]).sum(dim=1).numpy()
        display_df(frame)


def refresh_negatives(dls: Any, folded: Tensor | None = None) -> None:
    """Tell the negatives of all loaders which pairs their users have seen.

    Training negatives avoid the training pairs; those of another loader its own pairs as well.

    Args:
        dls: The loaders.
        folded: Pairs that were taken in later: codes of (pairs, 2).
    """
    table = dls.train.dataset
    sizes = [len(table.classes[name]) for name in (table.user_name, table.item_name)]
    seen = dls.train.tensors[0][:, :2]
    if folded is not None:
        seen = torch.cat([seen, folded])
    for dl in dls:
        sampling = getattr(dl, "sampling", None)
        if sampling is not None:
            own = seen if dl is dls.train else torch.cat([seen, dl.tensors[0][:, :2]])
            sampling.fit(own, *sizes)
