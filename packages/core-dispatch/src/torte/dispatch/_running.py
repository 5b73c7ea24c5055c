"""What a call of a transform goes through; planned once for each type that it meets.

A plan is `(function, takes_self, target)`: what to call, whether it is a method, and what the
result is cast to. It is looked up by the exact type, so that a call costs one dictionary lookup
beside the function itself.
"""

import inspect
from abc import get_cache_token
from typing import Any, Self

from torte.dispatch._collect import TransformTable
from torte.dispatch.annotations import classes_of
from torte.dispatch.errors import (
    AmbiguityError,
    AnnotationError,
    NoMatchError,
    UnresolvedNameError,
)
from torte.dispatch.implementation import Implementation
from torte.dispatch.scopes import Scope
from torte.dispatch.semantic import is_named_tuple, retain_type

__all__ = ["find_for", "run"]

_PLANS_LIMIT = 1 << 14  # types; classes made on the fly must not pile up for ever

_NOTHING = (None, False, None)  # the plan for what no implementation takes

# What the result is cast to, if not a class.
_KEEP = None  # the type of the input, where it is the more specific one
_AS_IT_IS = type(None)  # nothing


def run(transform: Any, table: TransformTable, x: Any, kwargs: dict[str, Any]) -> Any:
    """Return what a transform makes of `x`.

    Args:
        transform: passed to methods.
        table: its `encodes` or `decodes`.
        x: anything; of a tuple every element, unless the transform takes tuples whole.
        kwargs: passed to the implementation.
    """
    if table._token is not None and table._token != get_cache_token():
        table.forget()
    try:
        function, takes_self, target = table.plans[type(x)]
    except KeyError:
        function, takes_self, target = _plan(transform, table, type(x))
    if function is None:
        return x
    if function is _run_on_elements:
        return _run_on_elements(transform, table, x, kwargs)
    if takes_self:
        result = function(transform, x, **kwargs) if kwargs else function(transform, x)
    else:
        result = function(x, **kwargs) if kwargs else function(x)
    if target is _KEEP and type(result) is type(x):
        return result
    return transform._retain(result, x, target)


def _run_on_elements(transform: Any, table: TransformTable, x: Any, kwargs: dict[str, Any]) -> Any:
    cls = type(x)
    results = [run(transform, table, each, kwargs) for each in x]
    if cls is tuple:
        return tuple(results)
    if is_named_tuple(cls):
        return cls._make(results)
    return retain_type(tuple(results), x)


def find_for(table: TransformTable, cls: type) -> Implementation | None:
    """Return the implementation that takes a type, or `None`: transforms pass over what they lack.

    Raises:
        AmbiguityError: several do equally well.
    """
    try:
        return table.find(cls)
    except AmbiguityError:
        raise
    except NoMatchError:
        return None


def _plan(transform: Any, table: TransformTable, cls: type) -> Any:
    plans = table.plans  # before the lookup: see Table.forget
    if issubclass(cls, tuple) and not transform._takes_tuples_whole:
        plan: Any = (_run_on_elements, False, None)
    else:
        found = find_for(table, cls)
        known = found and (found.function, table.takes_self, _target_of(found))
        plan = known or _NOTHING
    if len(plans) >= _PLANS_LIMIT:
        plans.clear()
    plans[cls] = plan
    return plan


def _target_of(implementation: Implementation) -> Any:
    """Return what the result is cast to: `_KEEP`, `_AS_IT_IS` or a class."""
    function, annotation = inspect.unwrap(implementation.function), implementation.returns
    if isinstance(function, type) or isinstance(getattr(function, "__self__", None), type):
        return _AS_IT_IS  # int(x), Path(x), Path.from_uri(x): the class called is the type wanted
    if annotation is inspect.Signature.empty or annotation is Self:
        return _KEEP
    if annotation in (None, "None"):
        return _AS_IT_IS
    try:
        classes = classes_of(annotation, implementation.scope or Scope(function))
    except UnresolvedNameError as error:
        error.add_note(f"in the return annotation of {implementation.location}")
        raise
    except AnnotationError:
        return _KEEP  # `-> Literal["a"]` and its like name no class to cast to
    target = next(iter(classes))
    return target if len(classes) == 1 and target is not object else _KEEP
