"""The processes that train a model together, as the Learner sees them: here just one.

`torte.learner.distributed` has the `Processes` that stand in for this where there are several. What
is asked of it here is all that the loop, the recorder and the files need to know about them, so
none of these has a second path for training on many devices.

Whatever a callback decides by what it sees in its own process (a loss, the time, a signal) it must
ask `learn.world.any` about before it acts on it, in every process at the same point: a process that
leaves the loop alone lets the others wait for ever.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch import Tensor

from torte.learner.loaders import inner_loader

__all__ = ["World"]

T = TypeVar("T")


class World:
    """One process alone.

    Args:
        rank: Which process of a group this is, from 0, when it works by itself for a while.
        in_group: Whether it belongs to a group at all.
        holds_all: Whether it holds all of the weights, and so can run the model by itself.
    """

    size: int = 1
    """How many processes work together."""
    synchronized: bool = True
    """Whether the last backward pass added the gradients up over the processes."""
    computes_apart: bool = True
    """Whether a process can compute its part of a batch without the others taking part."""

    def __init__(self, rank: int = 0, in_group: bool = False, holds_all: bool = True) -> None:
        self.rank, self.in_group, self.holds_all = rank, in_group, holds_all

    @property
    def alone(self) -> "World":
        """This process working by itself."""
        return self

    @property
    def is_first(self) -> bool:
        """Whether this is the process that shows progress, logs and writes files."""
        return self.rank == 0

    def agree(self, dl: Any) -> None:
        """Let a loader stand where the first process's does: same order, same position."""

    def batches(self, learn: Any, dl: Any) -> Iterator[Any]:
        """This process's part of each batch of a loader; sets `learn.share` for each."""
        learn.share = None
        # All that AnyLoader adds is moving batches; `split` does that, quickly if they are there.
        return iter(inner_loader(dl))

    def any(self, flag: Any) -> bool:
        """Whether `flag` (a bool or a tensor of one) is true in any process: in all the same."""
        return bool(flag)

    def ask(self, flag: bool) -> Callable[[], bool]:
        """Ask whether `flag` is true in any process; the answer is fetched by a call, later."""
        return lambda: flag

    def average(self, value: Tensor, learn: Any) -> Tensor:
        """The mean over all samples of a batch, of a mean over this process's part of it."""
        return value

    def summed(self, numbers: Tensor) -> Tensor:
        """Float64 numbers added up over the processes, in main memory: one collective."""
        return numbers

    def gathered(self, value: T) -> list[T]:
        """`value` of every process in order of rank; tensors in it must be in main memory."""
        return [value]

    def first_does(self, action: Callable[[], object]) -> None:
        """Let the first process do something (write a file) while the others wait for it.

        Raises:
            RuntimeError: In the others, if it failed.
        """
        action()

    def synchronize_gradients(self, wanted: bool) -> None:
        """Say whether the next backward pass is to add the gradients up over the processes."""

    def finish_gradients(self, learn: Any) -> None:
        """Add up gradients of backward passes that were told not to."""
