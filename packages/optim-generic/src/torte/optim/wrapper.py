"""`OptimWrapper`: any PyTorch optimizer with torte's hypers, groups and freezing."""

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import torch

from torte.optim.errors import OptimizerError, UnknownHyperError
from torte.optim.grouped import GroupedOptimizer
from torte.optim.groups import Params, named_groups
from torte.optim.shards import fitted, is_sharded, map_tensors_in

__all__ = ["HYPER_NAMES", "OptimWrapper"]

# PyTorch's name of a hyper (with its place in a tuple) to torte's.
HYPER_NAMES: dict[str, str] = {
    "momentum": "mom",
    "weight_decay": "wd",
    "alpha": "sqr_mom",
    "betas__0": "mom",
    "betas__1": "sqr_mom",
}


class OptimWrapper(GroupedOptimizer):
    """A PyTorch optimizer with the interface of torte's.

    It shares groups, state and hooks with the wrapped optimizer, so that either may be handed on.

    Args:
        params: Parameters or groups of them, in any form that `Optimizer` takes; none when `opt`
            is an optimizer already.
        opt: An optimizer, or what makes one from parameters (its class, a `partial`).
        hp_map: PyTorch's names of hypers to torte's, beside `HYPER_NAMES`; `"betas__0"` is the
            first of the tuple `betas`.
        convert_groups: Whether to bring `params` into PyTorch's form first.
        **kwargs: Arguments for `opt`, by PyTorch's or by torte's names.

    Raises:
        OptimizerError: `opt` is missing, is made already while there are `params`, or there are
            neither.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> opt = OptimWrapper(model.parameters(), torch.optim.SGD, lr=0.1, mom=0.9)
        >>> opt.set_hypers(lr=0.2)
        >>> opt.opt.param_groups[0]["lr"]
        0.2
    """

    def __init__(
        self,
        params: Params | None = None,
        opt: torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None = None,
        hp_map: Mapping[str, str] | None = None,
        convert_groups: bool = True,
        **kwargs: Any,
    ) -> None:
        self.hp_map = {**HYPER_NAMES, **(hp_map or {})}
        self.opt = _made(params, opt, self.hp_map, convert_groups, kwargs)
        self.defaults = self.opt.defaults
        self.frozen_idx = 0
        self._flags: dict[torch.Tensor, dict[str, bool]] = {}
        self._hyper_places = _places(self.opt.param_groups[0], self.hp_map)

    # The wrapped optimizer keeps everything; these are the same objects.

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The wrapped optimizer's groups."""
        return self.opt.param_groups

    @property
    def state(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The wrapped optimizer's state."""
        return self.opt.state

    def __getattr__(self, name: str) -> Any:
        if name == "opt" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.opt, name)

    def __repr__(self) -> str:
        return f"OptimWrapper({self.opt!r})"

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Step the wrapped optimizer."""
        with self._groups_by_decay():
            return self.opt.step() if closure is None else self.opt.step(closure)

    @contextlib.contextmanager
    def _groups_by_decay(self) -> Iterator[None]:
        """Within this context, parameters that are not to decay are in groups of their own."""
        groups = self.opt.param_groups
        exempt = {p for p, flags in self._flags.items() if not flags.get("do_wd", True)}
        parted = [_by_decay(group, exempt) for group in groups]
        if all(len(parts) == 1 for parts in parted):
            yield
            return
        self.opt.param_groups = [part for parts in parted for part in parts]
        try:
            yield
        finally:
            self.opt.param_groups = groups
            for group, (first, *_) in zip(groups, parted, strict=True):
                # What the optimizer itself keeps in a group.
                group.update({key: first[key] for key in first if key not in _OF_A_PART})

    def set_flags(
        self, params: Iterable[torch.Tensor | str] | torch.Tensor | str, **flags: bool
    ) -> None:
        """Set `do_wd` or `force_train` of single parameters; see `GroupedOptimizer.set_flags`.

        Raises:
            ParameterError: One of `params` is not in this optimizer. Nothing has changed.
            OptimizerError: Another flag, or weight decay in an optimizer that has none.
        """
        unknown = sorted(set(flags) - {"do_wd", "force_train"})
        if unknown:
            raise OptimizerError(
                f"{type(self.opt).__name__} has no rule that asks for {unknown}: around a PyTorch"
                " optimizer there are do_wd and force_train"
            )
        if not flags.get("do_wd", True) and "weight_decay" not in self.opt.param_groups[0]:
            raise OptimizerError(f"{type(self.opt).__name__} has no weight_decay to exempt from")
        super().set_flags(params, **flags)

    def replace_parameters(self, others: Mapping[torch.Tensor, torch.Tensor]) -> None:
        """Go on with other tensors in the place of the parameters, with their flags."""
        super().replace_parameters(others)
        self._flags = {others.get(p, p): flags for p, flags in self._flags.items()}

    def _flags_of(self, parameter: torch.Tensor) -> dict[str, bool]:
        # Not in the state: PyTorch's optimizers take an empty one for a sign to begin.
        return self._flags.setdefault(parameter, {})

    def _is_forced(self, parameter: torch.Tensor) -> bool:
        return self._flags.get(parameter, {}).get("force_train", False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parameters."""
        self.opt.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The wrapped optimizer's state dict."""
        return self.opt.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the wrapped optimizer's state dict; whole tensors may go with sharded parameters."""
        self.opt.load_state_dict(state_dict)
        for parameter, state in self.opt.state.items():
            if is_sharded(parameter):
                state.update(map_tensors_in(lambda value, p=parameter: fitted(value, p), state))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the wrapped optimizer."""
        self.opt.add_param_group(param_group)

    # -- hypers ---------------------------------------------------------------------------------

    @property
    def hyper_names(self) -> Sequence[str]:
        """Names of the hypers that each group has, as torte calls them."""
        return tuple(self._hyper_places)

    def _read_hyper(self, group: dict[str, Any], name: str) -> Any:
        key, place = self._hyper_places[name]
        return group[key] if place is None else group[key][place]

    def _write_hyper(self, group: dict[str, Any], name: str, value: Any) -> None:
        key, place = self._hyper_places[name]
        if place is None:
            group[key] = value
        else:
            values = list(group[key])
            values[place] = value
            group[key] = tuple(values)


_OF_A_PART = ("params", "param_names", "weight_decay")


def _by_decay(group: dict[str, Any], exempt: Collection[torch.Tensor]) -> list[dict[str, Any]]:
    """A group, or its decaying and its exempt parameters as two."""
    if not group.get("weight_decay") or not any(p in exempt for p in group["params"]):
        return [group]
    parts = []
    for spared in (False, True):
        places = [i for i, p in enumerate(group["params"]) if (p in exempt) == spared]
        part = {**group, "params": [group["params"][i] for i in places]}
        if "param_names" in group:
            part["param_names"] = [group["param_names"][i] for i in places]
        if spared:
            part["weight_decay"] = 0.0
        parts.append(part)
    return parts


def _made(
    params: Params | None,
    opt: torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None,
    hp_map: Mapping[str, str],
    convert_groups: bool,
    kwargs: dict[str, Any],
) -> torch.optim.Optimizer:
    if isinstance(opt, torch.optim.Optimizer):
        if params is not None or kwargs:
            raise OptimizerError("an optimizer that is made already takes no params or arguments")
        return opt
    if opt is None or params is None:
        raise OptimizerError("OptimWrapper needs params and opt, or an optimizer that is made")
    if not callable(opt):
        raise OptimizerError(f"opt must be an optimizer or make one, got {opt!r}")
    if convert_groups:
        params = _torch_groups(params)
    return opt(params, **_torch_arguments(opt, hp_map, kwargs))


def _torch_groups(params: Params) -> list[dict[str, Any]]:
    groups = named_groups(params)
    for group in groups:
        group["params"] = list(zip(group.pop("param_names"), group["params"], strict=True))
    return groups


def _torch_arguments(
    opt: Callable[..., Any], hp_map: Mapping[str, str], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Arguments by PyTorch's names, where some were given by torte's."""
    parameters = inspect.signature(opt).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        accepted = None
    else:
        accepted = set(parameters)
    arguments: dict[str, Any] = {}
    for name, value in kwargs.items():
        if accepted is None or name in accepted:
            arguments[name] = value
            continue
        place = next(
            (t for t, own in hp_map.items() if own == name and t.split("__")[0] in accepted), None
        )
        if place is None:
            raise UnknownHyperError(f"{opt!r} has no argument {name!r}; it has {sorted(accepted)}")
        key, _, index = place.partition("__")
        if index:
            values = list(arguments.get(key, parameters[key].default))
            values[int(index)] = value
            arguments[key] = tuple(values)
        else:
            arguments[key] = value
    return arguments


def _places(
    group: Mapping[str, Any], hp_map: Mapping[str, str]
) -> dict[str, tuple[str, int | None]]:
    """Where each hyper stands in a group: its key, and its place if that holds a tuple."""
    found: dict[str, tuple[str, int | None]] = {}
    for key, value in group.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[hp_map.get(key, key)] = (key, None)
        elif isinstance(value, tuple):
            for index in range(len(value)):
                name = hp_map.get(f"{key}__{index}")
                if name is not None:
                    found[name] = (key, index)
        elif isinstance(value, torch.Tensor) and value.dim() == 0 and key != "params":
            found[hp_map.get(key, key)] = (key, None)
    return found
