"""The tensor operations that rules may use in every engine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["OPERATIONS", "OTHER_NAMES", "REDUCING", "WHOLE", "Operation"]


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        tensors: How many of its arguments can be tensors; the others are numbers.
        bind: Brings a call's arguments into order.
        code: Its formula in C, with `{0}`, `{1}` … for the arguments; for a reduction, of the
            term to add up.
        reduces: Whether it makes one number of all elements.
        whole: Whether it needs the whole tensor in its shape, so that no formula computes it.
    """

    tensors: int
    bind: Callable[..., tuple[Any, ...]]
    code: str
    reduces: bool = False
    whole: bool = False


def _unary(code: str) -> Operation:
    return Operation(1, lambda x: (x,), code)


def _binary(code: str) -> Operation:
    return Operation(2, lambda x, y: (x, y), code)


def _reduction(code: str) -> Operation:
    return Operation(1, _bind_reduction, code, reduces=True)


def _bind_reduction(x: Any) -> tuple[Any, ...]:
    return (x,)


def _bind_norm(x: Any, p: Any = 2, ord: Any = 2) -> tuple[Any, ...]:
    if p not in (2, 2.0, "fro", None) or ord not in (2, 2.0, None):
        raise TypeError("only the 2-norm of all elements")
    return (x,)


def _bind_clamp(x: Any, min: Any = None, max: Any = None) -> tuple[Any, ...]:
    return (x, min, max)


def _bind_softplus(x: Any, beta: float = 1, threshold: float = 20) -> tuple[Any, ...]:
    return (x, beta, threshold)


def _bind_orthogonal(
    x: Any, ns_steps: float, eps: float, match_rms: bool | float = True
) -> tuple[Any, ...]:
    return (x, ns_steps, eps, float(match_rms))


def _bind_like(x: Any, *, dtype: Any = None, memory_format: Any = None) -> tuple[Any, ...]:
    if dtype is not None:
        raise TypeError("a dtype of its own")
    return (x,)


OPERATIONS: dict[str, Operation] = {
    # arithmetic
    "add": Operation(2, lambda x, y, *, alpha=1: (x, y, alpha), "{0} + {2} * {1}"),
    "sub": Operation(2, lambda x, y, *, alpha=1: (x, y, alpha), "{0} - {2} * {1}"),
    "mul": _binary("{0} * {1}"),
    "div": _binary("{0} / {1}"),
    "pow": Operation(2, lambda x, exponent: (x, exponent), "POW({0}, {1})"),
    "addcmul": Operation(3, lambda x, a, b, *, value=1: (x, a, b, value), "{0} + {3} * {1} * {2}"),
    "addcdiv": Operation(3, lambda x, a, b, *, value=1: (x, a, b, value), "{0} + {3} * {1} / {2}"),
    "lerp": Operation(3, lambda x, end, weight: (x, end, weight), "{0} + {2} * ({1} - {0})"),
    # element by element
    "neg": _unary("-{0}"),
    "abs": _unary("FABS({0})"),
    "sqrt": _unary("SQRT({0})"),
    "rsqrt": _unary("1 / SQRT({0})"),
    "reciprocal": _unary("1 / {0}"),
    "square": _unary("{0} * {0}"),
    "sign": _unary("(({0} > 0) - ({0} < 0))"),
    "exp": _unary("EXP({0})"),
    "log": _unary("LOG({0})"),
    "tanh": _unary("TANH({0})"),
    "sigmoid": _unary("1 / (1 + EXP(-{0}))"),
    "softplus": Operation(
        1, _bind_softplus, "({0} * {1} > {2} ? {0} : LOG(1 + EXP({1} * {0})) / {1})"
    ),
    "clone": Operation(1, lambda x, *, memory_format=None: (x,), "{0}"),
    # choices
    "maximum": _binary("(({0} > {1} || {0} != {0}) ? {0} : {1})"),
    "minimum": _binary("(({0} < {1} || {0} != {0}) ? {0} : {1})"),
    "clamp": Operation(1, _bind_clamp, ""),
    "where": Operation(3, lambda c, x, y: (c, x, y), "({0} ? {1} : {2})"),
    "gt": _binary("({0} > {1})"),
    "ge": _binary("({0} >= {1})"),
    "lt": _binary("({0} < {1})"),
    "le": _binary("({0} <= {1})"),
    "eq": _binary("({0} == {1})"),
    "ne": _binary("({0} != {1})"),
    "logical_and": _binary("({0} && {1})"),
    "logical_or": _binary("({0} || {1})"),
    "logical_not": _unary("(!{0})"),
    # making and overwriting
    "copy": Operation(2, lambda x, y: (x, y), "{1}"),
    "fill": Operation(2, lambda x, y: (x, y), "{1}"),
    "zero": _unary("0"),
    "zeros_like": Operation(1, _bind_like, "0"),
    "ones_like": Operation(1, _bind_like, "1"),
    # one number of all elements
    "sum": _reduction("{0}"),
    "mean": _reduction("{0}"),
    "norm": Operation(1, _bind_norm, "{0} * {0}", reduces=True),
    # matrices
    "orthogonal_update": Operation(1, _bind_orthogonal, "", whole=True),
}

REDUCING = frozenset(name for name, operation in OPERATIONS.items() if operation.reduces)
WHOLE = frozenset(name for name, operation in OPERATIONS.items() if operation.whole)

OTHER_NAMES: dict[str, str] = {
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "absolute": "abs",
    "negative": "neg",
    "clip": "clamp",
    "greater": "gt",
    "less": "lt",
    "vector_norm": "norm",
    "linalg_vector_norm": "norm",
    "empty_like": "zeros_like",
    "clamp_min": "maximum",
    "clamp_max": "minimum",
}
