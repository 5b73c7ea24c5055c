"""State dicts matched by parameter name, and the state as tensors and JSON."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from torte.optim.errors import StateMismatchError
from torte.optim.shards import is_sharded, sharded_like, strided_like

__all__ = ["matched_hypers", "matched_state"]

State = dict[str, Any]


def matched_state(
    state_dict: Mapping[str, Any],
    groups: Sequence[Mapping[str, Any]],
    kept: Collection[str],
) -> dict[Tensor, State]:
    """The state of each parameter from a state dict, matched by name.

    A parameter that the state dict does not know starts afresh. Where either side has no names but
    positions, parameters are matched in order.

    Args:
        state_dict: As `torch.optim.Optimizer.state_dict` gives it.
        groups: The groups of the optimizer to load into.
        kept: Names of the tensor state that its rules keep.

    Raises:
        StateMismatchError: It is of another optimizer or another model.
    """
    saved, state = _sections(state_dict)
    identities = [identity for group in saved for identity in group["params"]]
    own_names = [name for group in groups for name in group["param_names"]]
    own = [parameter for group in groups for parameter in group["params"]]
    names = [name for group in saved for name in group.get("param_names") or ()]
    by_position = len(names) != len(identities) or _positions(names) or _positions(own_names)
    if by_position:
        if len(identities) != len(own):
            raise StateMismatchError(
                f"the state dict has {len(identities)} parameters and the optimizer {len(own)}; "
                "without names on both sides they can only be matched in order"
            )
        targets = dict(zip(identities, range(len(own)), strict=True))
    else:
        places = {name: place for place, name in enumerate(own_names)}
        strangers = [name for name in names if name not in places]
        if strangers:
            raise StateMismatchError(
                f"the state dict is of another model: the optimizer has no {_some(strangers)}"
            )
        targets = {i: places[name] for i, name in zip(identities, names, strict=True)}
    result: dict[Tensor, State] = {}
    for identity, values in state.items():
        if identity not in targets:
            raise StateMismatchError(f"the state dict has state for {identity!r}, in no group")
        place = targets[identity]
        result[own[place]] = _fitting(values, own[place], own_names[place], kept)
    return result


def matched_hypers(
    state_dict: Mapping[str, Any],
    groups: Sequence[Mapping[str, Any]],
    hyper_names: Collection[str],
) -> list[dict[str, Any]] | None:
    """What the state dict's groups say beside parameters, or `None` if there are other groups.

    Raises:
        StateMismatchError: The hypers are those of another optimizer.
    """
    saved, _ = _sections(state_dict)
    for group in saved:
        lacking = [name for name in hyper_names if name not in group]
        if lacking:
            found = sorted(set(group) - {"params", "param_names"})
            raise StateMismatchError(
                f"the state dict is of another optimizer: it lacks {_some(lacking)} and has {found}"
            )
    if len(saved) != len(groups):
        return None
    return [{k: v for k, v in g.items() if k not in ("params", "param_names")} for g in saved]


def _sections(state_dict: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Mapping[Any, State]]:
    try:
        return list(state_dict["param_groups"]), state_dict["state"]
    except (KeyError, TypeError) as error:
        raise StateMismatchError(f"this is no optimizer's state dict: it lacks {error}") from error


def _positions(names: Sequence[str]) -> bool:
    return all(name.isdigit() for name in names)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:4]))
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _fitting(
    values: Mapping[str, Any], parameter: Tensor, name: str, kept: Collection[str]
) -> State:
    strangers = [k for k, v in values.items() if k not in kept and not isinstance(v, bool)]
    if strangers:
        raise StateMismatchError(
            f"the state dict is of another optimizer: no rule keeps the {_some(strangers)} "
            f"of {name!r}"
        )
    shape = (*parameter.shape, 2) if parameter.is_complex() else parameter.shape
    result: State = {}
    for key, value in values.items():
        if isinstance(value, Tensor) and value.dim() and not _spans(value, shape):
            raise StateMismatchError(
                f"the state dict is of another model: {key!r} of {name!r} has shape "
                f"{tuple(value.shape)}, and the parameter {tuple(parameter.shape)}"
            )
        result[key] = _own_copy(value, parameter) if isinstance(value, Tensor) else value
    return result


def _spans(value: Tensor, shape: Sequence[int]) -> bool:
    """Whether a state has the parameter's shape, or one number for each of its rows."""
    return value.dim() == len(shape) and (
        tuple(value.shape) == tuple(shape)
        or tuple(value.shape) == (shape[0], *[1] * len(shape[1:]))
    )


def _own_copy(value: Tensor, parameter: Tensor) -> Tensor:
    """A copy on the parameter's device, and in its memory format where it is of its shape."""
    copied = value.detach().to(parameter.device, copy=True)
    if is_sharded(parameter):
        return sharded_like(copied, parameter)
    return strided_like(copied, parameter)
