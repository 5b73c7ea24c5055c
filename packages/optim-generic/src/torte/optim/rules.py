"""What a stat, a stepper and a hyper are: the page to read first.

An optimizer is a list of *rules*. A rule is a plain function, written **for one parameter**::

    def average_grad(p, mom, grad_avg=None):
        grad_avg = zeros(p) if grad_avg is None else grad_avg
        return {"grad_avg": grad_avg.mul_(mom).add_(p.grad)}

    def momentum_step(p, lr, grad_avg):
        p.add_(grad_avg, alpha=-lr)

- its first argument is the parameter, with `p.grad` (`p.data` and `p.grad.data` work too);
- every other argument is asked for **by name** and is a *hyper* (a number of the parameter group,
  such as `lr`), a *state* (what a rule returned for this parameter on the step before), or a
  *flag* (a yes or no kept for a single parameter, such as `do_wd`; `is_matrix` says whether it has
  two or more dimensions, and is always there);
- it changes `p` (or `p.grad`, for this step only) in place, and returns a dict of the state to
  keep, or nothing. State is a tensor or a number; at the first step it is absent, so that an
  argument with a default gets that default.

A *stat* keeps state, a *stepper* changes the parameter. The order of a step is: rules that
change the gradient (`@on_gradient`), stats, steppers. Arithmetic on half-precision parameters
happens in float32, on complex ones over their real view; so is the state kept.

A stat declared `@whole_model` returns 0-dim tensors that are **summed over all parameters** of the
optimizer, before any other rule runs; the others ask for the sum by name.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from torch import Tensor

from torte.optim.errors import RuleError

__all__ = ["Rule", "RuleFunction", "Value", "Weight", "on_gradient", "rule_of", "whole_model"]

Value: TypeAlias = Any
RuleFunction: TypeAlias = Callable[..., Any]
FunctionT = TypeVar("FunctionT", bound=RuleFunction)

if TYPE_CHECKING:

    class Weight(Tensor):
        """A parameter as rules see it: its gradient is there."""

        grad: Tensor  # pyright: ignore[reportIncompatibleVariableOverride] (never None in a rule)

else:
    Weight = Tensor

_PHASE = "_torte_phase"


def on_gradient(function: FunctionT) -> FunctionT:
    """Declare that a rule changes `p.grad`, so that it runs before every stat."""
    setattr(function, _PHASE, "gradient")
    return function


def whole_model(function: FunctionT) -> FunctionT:
    """Declare a stat whose 0-dim results are summed over every parameter of the optimizer.

    Such a stat runs first, on the raw gradients, and may use hypers and flags but no state.
    """
    setattr(function, _PHASE, "model")
    return function


@dataclass(frozen=True)
class Rule:
    """A stat or stepper with what its signature says about it.

    Two rules are equal when they hold the same function with the same bound constants: so a
    composition is recognised by what it is made of.

    Attributes:
        function: The function as its author wrote it.
        constants: Arguments bound with `functools.partial`, as sorted pairs.
        phase: `"model"`, `"gradient"` or `"rule"`.
        needs: Names of arguments that must be supplied.
        defaults: Names and defaults of the arguments that need not be.
    """

    function: RuleFunction
    constants: tuple[tuple[str, Value], ...] = ()
    phase: str = field(default="rule", compare=False)
    needs: tuple[str, ...] = field(default=(), compare=False)
    defaults: Mapping[str, Value] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return getattr(self.function, "__name__", repr(self.function))

    @functools.cached_property
    def accepts(self) -> frozenset[str]:
        """Names of all arguments that the engine may supply."""
        return frozenset((*self.needs, *self.defaults))

    @functools.cached_property
    def _bound(self) -> dict[str, Value]:
        return dict(self.constants)

    def __call__(self, p: Value, values: Mapping[str, Value]) -> dict[str, Value]:
        """Run the rule on one parameter (or on what stands for it) with `values` by name."""
        arguments = {**self.defaults, **self._bound}
        arguments.update((name, values[name]) for name in self.accepts if name in values)
        result = self.function(p, **arguments)
        return result if isinstance(result, dict) else {}


def rule_of(function: RuleFunction | Rule) -> Rule:
    """Read a function's signature into a `Rule`.

    Args:
        function: A rule as this module describes it, or a `functools.partial` of one.

    Raises:
        RuleError: `function` is not callable, takes no parameter, or takes `*args`.
    """
    if isinstance(function, Rule):
        return function
    if not callable(function):
        raise RuleError(f"a stat or stepper must be a function of (p, …), got {function!r}")
    constants: dict[str, Value] = {}
    inner = function
    while isinstance(inner, functools.partial):
        if inner.args:
            raise RuleError(f"bind the arguments of {inner.func!r} by keyword, not {inner.args!r}")
        constants = {**inner.keywords, **constants}
        inner = inner.func
    parameters = list(inspect.signature(inner).parameters.values())
    if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise RuleError(f"{inner!r} must take the parameter as its first argument")
    needs, defaults = _named_arguments(inner, parameters[1:], constants)
    return Rule(
        inner,
        tuple(sorted(constants.items())),
        getattr(function, _PHASE, getattr(inner, _PHASE, "rule")),
        needs,
        defaults,
    )


def _named_arguments(
    function: RuleFunction, parameters: list[inspect.Parameter], constants: Mapping[str, Value]
) -> tuple[tuple[str, ...], dict[str, Value]]:
    needs, defaults = [], {}
    # Defaults may also be declared as an attribute of the function, for rules with **kwargs.
    declared: dict[str, Value] = dict(getattr(function, "defaults", None) or {})
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            raise RuleError(f"{function!r} takes *args: name every argument of a rule")
        if parameter.kind is inspect.Parameter.VAR_KEYWORD or parameter.name in constants:
            continue
        default = declared.get(parameter.name, parameter.default)
        if default is inspect.Parameter.empty:
            needs.append(parameter.name)
        else:
            defaults[parameter.name] = default
    return tuple(needs), defaults
