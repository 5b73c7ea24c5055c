"""What a metric is: the page to read first.

A `Metric` has three parts (the paper's section 4.4): `reset` at the start of a phase, `accumulate`
after each batch, `value` at the end. What it accumulates stays on the device of the predictions:
nothing here waits for the device before `value` is asked for.

Its state is sums and counts by name (`state`), so the states of several processes are merged by
adding them up (`merge`); metrics that must keep predictions concatenate them instead.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torte.learner.learner import Learner

__all__ = [
    "MeanFunction",
    "Metric",
    "batch_size_of",
    "flatten_check",
    "mean_metric",
    "wide_dtype",
]

P = ParamSpec("P")


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return the widest floating dtype to sum in on a device: float64 wherever there is one."""
    return torch.float32 if device.type == "mps" else torch.float64


def flatten_check(inp: Tensor, targ: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten predictions and targets to one dimension, having checked that their sizes agree.

    Raises:
        ValueError: They have different numbers of elements.
    """
    if inp.numel() != targ.numel():
        raise ValueError(
            f"predictions of shape {tuple(inp.shape)} and targets of shape {tuple(targ.shape)} "
            f"have different numbers of elements ({inp.numel()} and {targ.numel()})"
        )
    return inp.reshape(-1), targ.reshape(-1)


def batch_size_of(batch: Any) -> int:
    """Return the number of samples in a batch: the length of the first tensor in the structure.

    Raises:
        ValueError: There is no tensor in it.
    """
    for tensor in _tensors(batch):
        return tensor.shape[0] if tensor.ndim else 1
    raise ValueError(f"found no tensor in the batch to count its samples: {batch!r}")


def _tensors(batch: Any) -> Iterable[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict):
        for value in batch.values():
            yield from _tensors(value)
    elif isinstance(batch, (tuple, list)):
        for value in batch:
            yield from _tensors(value)


def snake_case(name: str) -> str:
    """Return a class's name in snake case."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()


class Metric:
    """A quantity accumulated over the batches of a phase.

    Subclasses write `reset`, `accumulate` and the property `value`. Those that keep their sums in
    attributes named in `sums` can be merged across processes with nothing more to write.
    """

    sums: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that hold sums or counts, numbers or tensors."""

    def reset(self) -> None:
        """Forget everything, ready for a new phase."""

    def accumulate(self, learn: Learner) -> None:
        """Take in one batch: read `learn.pred`, `learn.yb`, `learn.y`, `learn.loss` and so on."""
        raise NotImplementedError(f"{type(self).__name__} must write accumulate(self, learn)")

    @property
    def value(self) -> Any:
        """The metric over everything taken in since `reset`; `None` before the first batch."""
        raise NotImplementedError(f"{type(self).__name__} must write the property value")

    @property
    def name(self) -> str:
        """Under which name it is reported; can be set."""
        return self.__dict__.get("_name") or self.default_name

    @name.setter
    def name(self, value: str) -> None:
        self.__dict__["_name"] = value

    @property
    def default_name(self) -> str:
        """The name of a metric that was given none: its class's in snake case, less "Metric"."""
        return snake_case(type(self).__name__.removesuffix("Metric") or type(self).__name__)

    def state(self) -> dict[str, Any]:
        """Return what was accumulated, by name."""
        return {name: getattr(self, name) for name in self.sums}

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Replace what was accumulated by the sum of several processes' `state`."""
        for name in self.sums:
            setattr(self, name, sum(state[name] for state in states))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class MeanFunction(Generic[P]):
    """A metric function that is a mean, and knows its numerator and denominator apart.

    Called, it returns their ratio. `AvgMetric` adds both up instead, so the value over several
    batches is the value over all of their elements, whatever the sizes of the batches.
    """

    __name__: str

    def __init__(self, parts: Callable[P, tuple[Tensor, Tensor | int]]) -> None:
        self.parts = parts
        update_wrapper(self, parts)
        self.__signature__ = inspect.signature(parts).replace(return_annotation=Tensor)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        """Return the sum over the count."""
        total, count = self.parts(*args, **kwargs)
        ratio = total / count
        inp = args[0] if args else next(iter(kwargs.values()))
        wide = isinstance(inp, Tensor) and inp.dtype == torch.float64
        return ratio if wide else ratio.to(torch.float32)

    def __repr__(self) -> str:
        return f"<metric {self.__name__}{self.__signature__}>"

    def __reduce__(self) -> str:
        # The decorated function is found under its own name, as functions are.
        return self.__name__


def mean_metric(parts: Callable[P, tuple[Tensor, Tensor | int]]) -> MeanFunction[P]:
    """Make a metric function of one that returns a sum and the count to divide it by.

    Example:
        >>> @mean_metric
        ... def share_above(inp, targ, limit=1.0):
        ...     return ((inp - targ).abs() > limit).sum(), targ.numel()
        >>> share_above(torch.tensor([0.0, 3.0]), torch.tensor([0.0, 0.0]))
        tensor(0.5000)
    """
    return MeanFunction(parts)
