"""`Learner`: a model, data, a loss and an optimizer, and everything that one does with them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torte.data.data_loaders import DataLoaders
from torte.data.devices import to_device
from torte.dispatch import L, serializable
from torte.learner.callback_set import Callbacks
from torte.learner.callbacks.progress import ProgressCallback
from torte.learner.defaults import defaults, loss_from_data
from torte.learner.events import Event
from torte.learner.inference import Inference
from torte.learner.metrics.conversion import mk_metrics
from torte.learner.optimizers import make_optimizer, trainable_params
from torte.learner.persistence import Persistence
from torte.learner.search import LearningRateSearch
from torte.optim import Adam

__all__ = ["Learner"]


@serializable("torte.learner.Learner")
class Learner(LearningRateSearch, Inference, Persistence):
    """Holds the parts of a training and runs it; callbacks read and change everything in it.

    Args:
        dls: Loaders: `DataLoaders`, a tuple (training loader, validation loader), or one training
            loader. A loader is any iterable of batches.
        model: The model. The Learner trains this object, not a copy.
        loss_func: Called as `loss_func(predictions, *targets)`. By default it is taken from the
            data; a model that computes its own loss (Hugging Face) needs none.
        opt_func: Makes the optimizer: `opt_func(groups, lr=lr)`. A class of `torch.optim` does.
        lr: Learning rate of a fit that is given none.
        splitter: Returns the model's parameters, as a list or as a list of lists, one a group.
        cbs: Callbacks, as objects or classes.
        metrics: Metrics or functions of `(predictions, *targets)`.
        path: Where files go; the loaders' path by default.
        model_dir: Where in it `save` puts models.
        wd: Weight decay; the optimizer's default if None.
        wd_bn_bias: Whether weight decay applies to normalisation layers and biases as well.
        train_bn: Whether batch-norm layers go on training in frozen groups.
        moms: Momentums of `fit_one_cycle`: start, peak, end.
        default_cbs: Whether to add `defaults.callbacks`.
    """

    def __init__(
        self,
        dls: Any,
        model: nn.Module,
        loss_func: Callable[..., Any] | None = None,
        opt_func: Callable[..., Any] = Adam,
        lr: Any = defaults.lr,
        splitter: Callable[[nn.Module], Any] = trainable_params,
        cbs: Callbacks = None,
        metrics: Any = None,
        path: "str | Path | None" = None,
        model_dir: "str | Path" = "models",
        wd: float | None = None,
        wd_bn_bias: bool = False,
        train_bn: bool = True,
        moms: Sequence[float] = (0.95, 0.85, 0.95),
        default_cbs: bool = True,
    ) -> None:
        super().__init__()
        self.dls, self.model = as_loaders(dls), model
        self.loss_func = loss_from_data(self.dls) if loss_func is None else loss_func
        self.opt_func, self.opt = opt_func, None
        self.lr, self.splitter, self.moms = lr, splitter, moms
        self.wd, self.wd_bn_bias, self.train_bn = wd, wd_bn_bias, train_bn
        self.path = Path(getattr(self.dls, "path", None) or ".") if path is None else Path(path)
        self.model_dir = Path(model_dir)
        self.metrics = metrics
        self.logger = print
        self.create_mbar = True
        if default_cbs:
            self.add_cbs(defaults.callbacks)
        self.add_cbs(cbs)
        self("after_create")

    @property
    def metrics(self) -> L:
        """The metrics; whatever is assigned becomes `Metric` objects."""
        return self._metrics

    @metrics.setter
    def metrics(self, value: Any) -> None:
        self._metrics: L = L(mk_metrics(value))

    @property
    def smooth_loss(self) -> Any:
        """The smoothed training loss now, a tensor on the device; None without a recorder."""
        recorder = self.__dict__.get("recorder")
        return None if recorder is None else recorder.smooth_loss.value

    def __getattr__(self, name: str) -> Any:
        # Reached only when the learner has no such attribute: the model's are at hand too.
        model = self.__dict__.get("model")
        if model is None or name.startswith("_"):
            raise AttributeError(f"Learner has no attribute {name!r}", name=name, obj=self)
        try:
            return getattr(model, name)
        except AttributeError:
            message = f"neither Learner nor its model {type(model).__name__} has {name!r}"
            raise AttributeError(message, name=name, obj=self) from None

    def __repr__(self) -> str:
        loss = getattr(self.loss_func, "__name__", self.loss_func)
        return f"Learner({type(self.model).__name__}, loss_func={loss}, cbs={list(self.cbs)})"

    def create_opt(self) -> None:
        """Make the optimizer from `opt_func`, the splitter's groups and the settings."""
        self.opt = make_optimizer(
            self.opt_func,
            self.model,
            self.splitter,
            lr=self.lr,
            wd_bn_bias=self.wd_bn_bias,
            train_bn=self.train_bn,
        )

    @contextmanager
    def no_bar(self) -> Iterator["Learner"]:
        """Show no progress within the block; rows of epochs are still logged."""
        with self.removed_cbs(ProgressCallback):
            yield self

    def show_training_loop(self) -> None:
        """Print the events of the loop with the callbacks that take part in each."""
        for line in training_loop_lines(self.ordered_cbs):
            print(line)  # noqa: T201

    def export(self, fname: "str | Path" = "export.safetensors") -> Path:
        """Write the learner, without its data and optimizer, for `load_learner`.

        Args:
            fname: The file, in `path`.

        Returns:
            The path.

        Raises:
            ExportError: If a part of it cannot be described in a file; see `torte.learner.export`.
        """
        from torte.learner.export import export_learner

        return export_learner(self, fname)

    def to(self, device: Any) -> "Learner":
        """Move model, loaders and optimizer state to a device."""
        self.model.to(device)
        if hasattr(self.dls, "to"):
            self.dls.to(device)
        if self.opt is not None:
            for parameter, state in self.opt.state.items():
                self.opt.state[parameter] = to_device(state, torch.device(device))
        return self


def as_loaders(dls: Any) -> Any:
    """Return `dls` if it has a `train` loader, else wrap what was given as `DataLoaders`.

    Raises:
        TypeError: If it is no iterable of batches.
    """
    if hasattr(dls, "train") and not isinstance(dls, nn.Module):
        return dls
    loaders = dls if isinstance(dls, tuple) else (dls,)
    for loader in loaders:
        if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            raise TypeError(f"a loader must be an iterable of batches, got {type(loader).__name__}")
    return DataLoaders(*loaders)


def training_loop_lines(callbacks_of: Callable[[str], Iterable[Any]]) -> list[str]:
    """Return the loop's events, indented by section, with the callbacks of each."""
    lines, depth = [], 0
    opening = {"before_fit", "before_epoch", "before_train", "before_validate", "before_batch"}
    closing = {f"after_cancel_{name.removeprefix('before_')}" for name in opening}
    for event in list(Event)[1:]:
        depth -= event in closing
        names = ", ".join(map(repr, callbacks_of(event)))
        lines.append(f"{'   ' * depth}{event:<22}{names}".rstrip())
        depth += event in opening
    return lines
