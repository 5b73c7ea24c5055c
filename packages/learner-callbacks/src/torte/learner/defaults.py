"""What a Learner uses when it is not told otherwise: callbacks, loss by the data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torte.data.tfmd_loader import TfmdDL
from torte.learner.callback import Callback
from torte.learner.callbacks.progress import ProgressCallback
from torte.learner.callbacks.training_mode import TrainEvalCallback
from torte.learner.losses import default_loss
from torte.learner.recorder import Recorder
from torte.learner.state import rng_restored

__all__ = ["Defaults", "defaults", "loss_from_data"]


@dataclass
class Defaults:
    """The defaults of every new Learner; change the fields of `torte.learner.defaults.defaults`."""

    lr: float = 1e-3
    """Learning rate."""
    callbacks: list[type[Callback]] = field(
        default_factory=lambda: [TrainEvalCallback, Recorder, ProgressCallback]
    )
    """Callback classes that every Learner gets one of."""
    keep_memory: bool = True
    """Whether a fit on the CPU keeps freed memory to its end (see `torte.learner.allocation`)."""

    def __getattr__(self, name: str) -> Any:
        """Refuse what no layer has put here; those above add fields when they are imported."""
        raise AttributeError(f"there is no default {name!r}; text_... come with torte.text")


defaults = Defaults()


def loss_from_data(dls: Any) -> Callable[..., Any] | None:
    """Return the loss that the data suggest.

    That is `loss_func` of the loaders or of the training set, if a transform supplies one, else the
    entry of `torte.learner.losses.default_loss` for the semantic type of a training item's target.

    Returns:
        The loss function; None if the data suggest none.
    """
    train_ds = getattr(dls, "train_ds", None)
    for source in (dls, train_ds):
        supplied = getattr(source, "loss_func", None)
        if supplied is not None:
            return supplied
    target = _first_target(dls)
    if target is None:
        return None
    return default_loss(target)


def _first_target(dls: Any) -> Any:
    """The target of the first training item, where the data are torte's own and typed."""
    loader = getattr(dls, "train", None)
    if not isinstance(loader, TfmdDL) or not loader.indexed or not loader.n:
        return None
    with rng_restored():
        item = loader.do_item(0)
    n_inp = loader.n_inp
    return item[n_inp] if isinstance(item, tuple) and len(item) == n_inp + 1 else None
