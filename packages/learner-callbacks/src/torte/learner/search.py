"""Learning-rate search: a mock training at rising rates that leaves no trace."""

import math
import warnings
from collections import namedtuple
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from torte.learner.callbacks.scheduling import ParamScheduler
from torte.learner.control import CancelFitException, CancelValidException
from torte.learner.policies import TrainingPolicies
from torte.learner.schedules import SchedExp
from torte.learner.state import model_restored, optimizer_restored
from torte.learner.suggestions import SuggestionMethod, name_of, usable

__all__ = ["LRFinder", "LRSearch", "LearningRateSearch"]


class LRFinder(ParamScheduler):
    """Raise the learning rate exponentially at each batch until the loss diverges.

    Args:
        start_lr: The first learning rate; a list gives one for each parameter group.
        end_lr: The last.
        num_it: In how many batches.
        stop_div: Whether to stop once the smoothed loss is four times the lowest seen, or not
            finite.
    """

    run_after = "Recorder"

    def __init__(
        self, start_lr: Any = 1e-7, end_lr: Any = 10.0, num_it: int = 100, stop_div: bool = True
    ) -> None:
        super().__init__({"lr": SchedExp(start_lr, end_lr)})
        self.num_it, self.stop_div = num_it, stop_div
        self.best = math.inf

    def before_fit(self) -> None:
        """Begin the search."""
        super().before_fit()
        self.best = math.inf

    def before_batch(self) -> None:
        """Set the rate: the first batch has `start_lr`, the last `end_lr`."""
        self._update(self.learn.train_iter / max(1, self.num_it - 1))

    def after_loss(self) -> None:
        """See the loss of the whole batch, so that all processes stop at the same one."""
        self.learn.loss = self.learn.world.average(self.learn.loss, self.learn)

    def after_batch(self) -> None:
        """Stop when it has diverged or is done."""
        if self.stop_div and (smooth := self.learn.smooth_loss) is not None:
            value = float(smooth)
            if not math.isfinite(value) or value > 4 * self.best:
                raise CancelFitException
            self.best = min(self.best, value)
        if self.learn.train_iter >= self.num_it:
            raise CancelFitException

    def before_validate(self) -> None:
        """Skip validation."""
        raise CancelValidException

    def after_fit(self) -> None:
        """Leave no schedule with the recorder."""


@dataclass(frozen=True)
class LRSearch:
    """What a search saw: the rates, the smoothed losses, and what was suggested by which method."""

    lrs: list[float]
    losses: list[float]
    suggestions: dict[str, tuple[float, tuple[float, float]]]

    def plot(self, skip_end: int = 5, ax: Any = None) -> Any:
        """Draw losses over rates with the suggested points; returns the axes."""
        from torte.learner.plots import plot_search

        return plot_search(self, skip_end, ax)


class LearningRateSearch(TrainingPolicies):
    """The part of the Learner that looks for a learning rate."""

    last_search: LRSearch | None = None
    """What the last `lr_find` saw."""

    def lr_find(
        self,
        start_lr: float = 1e-7,
        end_lr: float = 10.0,
        num_it: int = 100,
        stop_div: bool = True,
        show_plot: bool = True,
        suggest_funcs: Any = (SuggestionMethod.Valley,),
    ) -> Any:
        """Train for a while at rising learning rates and suggest one; everything is put back.

        Model, optimizer, random generators, loaders, callbacks and recorder are afterwards as they
        were, also when the search fails or is interrupted. Smith, *Cyclical learning rates*, 2015
        (arXiv:1506.01186).

        Args:
            start_lr: The first rate.
            end_lr: The last rate.
            num_it: How many batches at most.
            stop_div: Whether to stop when the loss diverges.
            show_plot: Whether to draw losses over rates.
            suggest_funcs: One function of (lrs, losses, num_it), or several (see
                `torte.learner.suggestions`); None suggests nothing.

        Returns:
            A named tuple with a field for each function, named after it; None without functions. A
            field is NaN (and there is a warning) if the loss was not finite from the first batch.
        """
        recorder = self._search(LRFinder(start_lr, end_lr, num_it, stop_div))
        lrs, losses = usable(recorder[0], recorder[1], num_it)
        functions = _functions(suggest_funcs)
        found = {name_of(suggest): _suggest(suggest, lrs, losses, num_it) for suggest in functions}
        self.last_search = LRSearch(lrs, losses, found)
        if show_plot:
            self.last_search.plot(skip_end=0)
        if not functions:
            return None
        kind = namedtuple("SuggestedLRs", found)
        return kind(*(rate for rate, _ in found.values()))

    def _search(self, finder: LRFinder) -> tuple[list[float], list[float]]:
        from torte.learner.recorder import Recorder

        with ExitStack() as stack:
            stack.enter_context(self.looking())
            had_optimizer = self.opt is not None
            if not had_optimizer:
                self.create_opt()
                stack.callback(setattr, self, "opt", None)
            else:
                stack.enter_context(optimizer_restored(self.opt))
            stack.enter_context(model_restored(self.model))
            stack.enter_context(self.no_logging())
            if not isinstance(self.__dict__.get("recorder"), Recorder):
                stack.enter_context(self.added_cbs(Recorder))
            recorder: Recorder = self.__dict__["recorder"]
            stack.enter_context(torch.enable_grad())
            # Loaders may have no length, so there are as many epochs as could be needed.
            self.fit(finder.num_it, cbs=finder)
            return list(recorder.lrs), recorder.losses


def _functions(suggest_funcs: Any) -> list[Callable[..., Any]]:
    if suggest_funcs is None:
        return []
    return [suggest_funcs] if callable(suggest_funcs) else list(suggest_funcs)


def _suggest(
    suggest: Callable[..., Any], lrs: list[float], losses: list[float], num_it: int
) -> tuple[float, tuple[float, float]]:
    if not lrs:
        warnings.warn(
            "the loss was not finite from the first batch, so no learning rate can be suggested: "
            "look at the data and the loss, or search from a lower start_lr",
            stacklevel=3,
        )
        return math.nan, (math.nan, math.nan)
    return suggest(lrs, losses, num_it)
