r"""Lazy rows: sparse gradients step the rows that occur, and nothing else of a large table.

A table of embeddings (`nn.Embedding(…, sparse=True)`) has a gradient for the rows of the batch
alone. An ordinary step would still read and write every row of the table and of its state. Under
`lazy` the rules of the optimizer, as they are, see a small parameter made of the rows that occur
and of their rows of the state, and these are written back: time and memory of a step depend on the
batch and not on the table.

What that means, exactly, for a row that does not occur in a step:

* neither it nor its state changes: averages do not decay, weight decay does not apply;
* numbers kept for the parameter (`step`) go on, so that bias correction is by the steps of the
  table. For Adam this is `torch.optim.SparseAdam`, with weight decay on the rows that occur;
* a row that occurs for the first time starts from a state of zeros.

Rows that a batch has several times count once, with the sum of their gradients. Rules must treat
each row for itself (Adam, SGD, RMSProp, Lion, `RowwiseAdagrad`, …); those that look at a whole
parameter (Lamb's and Lars' norms, Muon) are refused. Parameters with dense gradients step as
always.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torte.optim.cohorts import Cohort, work_dtype
from torte.optim.errors import EngineError
from torte.optim.rules import Rule

__all__ = ["RowsPlan", "acts_by_row", "lazy", "rows_plan"]


def lazy(opt_func: Callable[..., Any]) -> Callable[..., Any]:
    """Make an optimizer function lazy in the rows of tables with sparse gradients.

    Args:
        opt_func: An optimizer function of torte (`Adam`, a `partial` of it, …).

    Returns:
        A function of the same arguments, for a learner's `opt_func` say: `lazy(Adam)`.

    Example:
        >>> import torch
        >>> table = torch.nn.Embedding(1000, 8, sparse=True)
        >>> opt = lazy(Adam)(table.parameters(), lr=0.1)
    """

    @functools.wraps(opt_func)
    def make(*args: Any, **kwargs: Any) -> Any:
        opt = opt_func(*args, **kwargs)
        if not hasattr(opt, "lazy_rows"):
            raise EngineError(
                f"lazy rows need an optimizer of stats and steppers, got {type(opt).__name__}"
            )
        opt.lazy_rows = True
        return opt

    return make


class RowsPlan:
    """Runs the rules on those rows of each parameter that have a gradient."""

    def __init__(self, cohort: Cohort, rules: Sequence[Rule]) -> None:
        self._cohort, self._rules = cohort, rules

    def run(self, gradients: list[Tensor], values: Mapping[str, Any]) -> dict[str, float]:
        """Take one step; returns the new number-valued state."""
        numbers: dict[str, float] = {}
        members = zip(self._cohort.parameters, gradients, self._cohort.states, strict=True)
        for parameter, gradient, state in members:
            numbers = self._step_rows(parameter, gradient, state, values)
        self._cohort.note_state()
        return numbers

    def _step_rows(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], values: Mapping[str, Any]
    ) -> dict[str, float]:
        rows, part = _rows_of(parameter, gradient)
        table = parameter.detach()
        work = table.index_select(0, rows).to(work_dtype(table.dtype))
        known = {
            name: value.index_select(0, rows) if _has_rows(value, table) else value
            for name, value in state.items()
        }
        work.grad = part.to(work.dtype)
        kept = _run_rules(self._rules, work, {**values, **known})
        table.index_copy_(0, rows, work.detach().to(table.dtype))
        for name, value in kept.items():
            if isinstance(value, Tensor):
                _put_rows(state, name, rows, value.detach(), table)
        return {name: value for name, value in kept.items() if not isinstance(value, Tensor)}


def _rows_of(parameter: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers of the rows that occur, each once, and their gradients."""
    if gradient.layout is not torch.sparse_coo:
        return torch.arange(len(parameter), device=parameter.device), gradient.clone()
    if gradient.sparse_dim() != 1:
        raise EngineError(
            f"a sparse gradient of {gradient.sparse_dim()} sparse dimensions has no rows: "
            "lazy rows need gradients as nn.Embedding(sparse=True) gives them"
        )
    gradient = gradient.coalesce()
    # A copy, since rules may change the gradient in place: the user's own must stay as it is.
    return gradient.indices()[0], gradient.values().clone()


def _run_rules(rules: Sequence[Rule], work: Tensor, known: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for rule in rules:
        result = rule(work, known)
        known.update(result)
        kept.update(result)
    return kept


def _has_rows(value: Any, table: Tensor) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == len(table)


def _put_rows(state: dict[str, Any], name: str, rows: Tensor, value: Tensor, table: Tensor) -> None:
    """Write the rows of one state back; it is made of zeros when it is there for the first time."""
    if name not in state:
        state[name] = value.new_zeros(len(table), *value.shape[1:])
    state[name].index_copy_(0, rows, value.to(state[name].dtype))


def acts_by_row(rules: Sequence[Rule], values: Mapping[str, Any]) -> bool:
    """Whether rules treat every row for itself: found by trying them on rows alone and together.

    Args:
        rules: The rules of a step.
        values: Hypers, numbers and flags, as for a step.
    """
    together, first, second = slice(0, 4), slice(0, 1), slice(1, 4)
    try:
        whole = _tried(rules, values, together)
        parts = [_tried(rules, values, part) for part in (first, second)]
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False  # they cannot run on so small a table
    joined = [torch.cat(pair) for pair in zip(*parts, strict=True)]
    return all(map(_agree, whole, joined))


def _agree(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def _tried(rules: Sequence[Rule], values: Mapping[str, Any], rows: slice) -> list[Tensor]:
    """Return rows and their states after two steps from nothing, in float64."""
    numbers = torch.arange(1.0, 13.0, dtype=torch.float64).reshape(4, 3)
    work, known = numbers.sin()[rows], dict(values)
    for step in (1, 2):
        work.grad = (numbers * step).cos()[rows]
        _run_rules(rules, work, known)
    states = [known[name] for name in sorted(known) if isinstance(known[name], Tensor)]
    return [work.detach(), *(state for state in states if state.dim())]


def rows_plan(cohort: Cohort, rules: Sequence[Rule], values: Mapping[str, Any]) -> RowsPlan:
    """Return the plan of parameters whose gradients are sparse.

    Raises:
        EngineError: A rule looks at whole parameters.
    """
    tried = {n: v.cpu() if isinstance(v, Tensor) else v for n, v in values.items()}
    if not acts_by_row(rules, tried):
        names = [rule.name for rule in rules]
        raise EngineError(
            f"{names} do not treat every row for itself, so that rows cannot step alone: use an "
            "optimizer such as lazy(Adam), or tables without sparse=True"
        )
    return RowsPlan(cohort, rules)
