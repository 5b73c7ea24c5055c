"""What surrounds a pass that only looks, so that it changes nothing."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from typing import Any

from torte.learner.batch_loop import LOOP_STATE
from torte.learner.loaders import loaders_of
from torte.learner.loop import TrainingLoop
from torte.learner.state import (
    attributes_restored,
    loaders_restored,
    module_attributes_restored,
    rng_restored,
)

__all__ = ["Looking"]

_loop_state = itemgetter(*LOOP_STATE)


class Looking(TrainingLoop):
    """The part of the Learner that puts things back after it was looked at."""

    @contextmanager
    def _loop_state_restored(self) -> Iterator[None]:
        """Put the loop's own fields back at the end of the block, however it ends."""
        fields = _loop_state(self.__dict__)
        try:
            yield
        finally:
            self.__dict__.update(zip(LOOP_STATE, fields, strict=True))

    @contextmanager
    def looking(self, *loaders: Any) -> Iterator[None]:
        """Put back, at the end of the block and however it ends, what a pass changes.

        That is: the random generators, the loaders' positions, the modes and plain attributes of
        the model's modules, the callbacks' and the metrics' attributes, and the loop's own fields.
        Callbacks that are `fit_only` are left out within the block. Weights and optimizer are not
        looked after: a pass without gradients does not touch them.
        Callbacks given to a pass (`cbs=`) come later than this and keep what they gathered; those
        that the learner has already do not.

        Args:
            *loaders: Loaders to look after besides the learner's own.
        """
        known = [*loaders, *loaders_of(self.dls)]
        with ExitStack() as stack:
            stack.enter_context(rng_restored())
            stack.enter_context(loaders_restored(known))
            stack.enter_context(module_attributes_restored(self.model))
            metrics = getattr(self, "metrics", ())
            stack.enter_context(attributes_restored([*self.cbs, *metrics]))
            stack.enter_context(self._loop_state_restored())
            stack.enter_context(self.removed_cbs(cb for cb in self.cbs if cb.fit_only))
            yield
