"""Parameters into groups, names for parameters, and hypers spread over groups."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from torte.optim.errors import HyperError, ParameterError

__all__ = ["Params", "checked_hyper", "even_mults", "named_groups", "spread"]

Params: TypeAlias = Iterable[Any]


def named_groups(params: Params, taken: Collection[str] = ()) -> list[dict[str, Any]]:
    """Bring any accepted form of parameters into PyTorch's group dicts, every parameter named.

    Args:
        params: Parameters, `(name, parameter)` pairs, a list of lists of either (one list a group)
            or PyTorch group dicts. A parameter without a name is named by its position.
        taken: Names that the optimizer has already.

    Returns:
        One dict a group, with `params`, `param_names` and whatever hypers the group dict had.

    Raises:
        ParameterError: There are no parameters, one is not a floating point leaf tensor, or two
            share a name.
    """
    if isinstance(params, Tensor):
        raise ParameterError(
            "params must be an iterable of parameters or of groups, got a single tensor: "
            "pass [parameter]"
        )
    if isinstance(params, set | frozenset):
        raise ParameterError("params must be ordered, got a set: pass a list")
    entries = list(params.items()) if isinstance(params, Mapping) else list(params)
    if not entries:
        raise ParameterError(
            "optimizer got no parameters: is every parameter frozen, or was an "
            "iterator passed that had been used up?"
        )
    grouped: list[dict[str, Any]] = [{"params": entries}]
    if isinstance(entries[0], Mapping):
        grouped = [dict(entry) for entry in entries]
    elif _is_group(entries[0]):
        grouped = [{"params": list(entry)} for entry in entries]
    _name_parameters(grouped, taken)
    return grouped


def _is_group(entry: Any) -> bool:
    named_parameter = isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)
    return not isinstance(entry, Tensor) and not named_parameter and isinstance(entry, Iterable)


def _name_parameters(groups: list[dict[str, Any]], taken: Collection[str]) -> None:
    position, owners = len(taken), set(taken)
    for group in groups:
        given = group["params"]
        if isinstance(given, set | frozenset):
            raise ParameterError("the parameters of a group must be ordered, got a set")
        members = [given] if isinstance(given, Tensor) else list(given)
        names = group.pop("param_names", None)
        if names is not None:
            members = list(zip(names, members, strict=True))
        pairs: dict[str, Tensor] = {}
        seen: set[Tensor] = set()
        for member in members:
            name, parameter = member if isinstance(member, tuple) else (str(position), member)
            position += 1
            _check_parameter(name, parameter)
            if parameter in seen:  # tied weights: one parameter, one update
                continue
            if name in owners:
                raise ParameterError(f"two parameters are named {name!r}")
            owners.add(name)
            seen.add(parameter)
            pairs[name] = parameter
        group["params"], group["param_names"] = list(pairs.values()), list(pairs)


def _check_parameter(name: Any, parameter: Any) -> None:
    if not isinstance(name, str):
        raise ParameterError(f"a parameter's name must be a str, got {name!r}")
    if not isinstance(parameter, Tensor):
        raise ParameterError(
            f"parameter {name!r} is a {type(parameter).__name__}; only tensors can be optimized"
        )
    if not (parameter.is_floating_point() or parameter.is_complex()):
        raise ParameterError(
            f"parameter {name!r} is {parameter.dtype}; only real and complex "
            "floating point parameters can be optimized"
        )
    if not (parameter.is_leaf or parameter.retains_grad):
        raise ParameterError(
            f"can't optimize a non-leaf Tensor: parameter {name!r} was computed from others"
        )


def even_mults(start: float, stop: float, n: int) -> list[float]:
    """`n` values from `start` to `stop`, each the same multiple of the one before.

    >>> even_mults(1, 100, 3)
    [1.0, 10.0, 100.0]
    """
    if n == 1:
        return [stop]
    step = (stop / start) ** (1 / (n - 1))
    return [*(start * step**i for i in range(n - 1)), float(stop)]


def spread(name: str, value: Any, groups: int) -> list[Any]:
    """One value of hyper `name` for each of `groups` groups.

    Args:
        name: Which hyper, for messages.
        value: A number for all; a list or tuple with one for each group; `slice(a, b)` for values
            from `a` in the first group to `b` in the last in even multiples; `slice(b)` for `b` in
            the last group and `b/10` in the others.
        groups: Number of groups.

    Raises:
        HyperError: The number of values is not the number of groups, or a value is no finite
            number.
    """
    if isinstance(value, slice):
        if value.stop is None:
            raise HyperError(f"{name}={value!r} needs an end: slice(stop) or slice(start, stop)")
        stop = checked_hyper(name, value.stop)
        if value.start:
            values = even_mults(checked_hyper(name, value.start), stop, groups)
        else:
            values = [stop / 10] * (groups - 1) + [stop]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        values = list(value) * (groups if len(value) == 1 else 1)
    else:
        values = [value] * groups
    if len(values) != groups:
        raise HyperError(
            f"trying to set {len(values)} values for {name!r} but there are {groups} "
            "parameter groups"
        )
    return [checked_hyper(name, each) for each in values]


def checked_hyper(name: str, value: Any) -> Any:
    """Return `value` as a plain number, refusing what is not one or is NaN or infinite.

    Raises:
        HyperError: `value` is no finite number; or it is negative, for a learning rate.
    """
    if isinstance(value, Tensor) or type(value).__module__ == "numpy":
        if getattr(value, "size", 1) != 1 and not isinstance(value, Tensor):
            raise HyperError(f"{name}={value!r} must be a single number")
        value = value.item()
    if isinstance(value, bool):
        return value
    if not isinstance(value, int | float):
        raise HyperError(f"{name}={value!r} must be a number")
    if not math.isfinite(value):
        raise HyperError(f"{name}={value!r} must be finite")
    if name == "lr" and value < 0:
        raise HyperError(f"invalid learning rate: lr={value!r} must not be negative")
    return value
