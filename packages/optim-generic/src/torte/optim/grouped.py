"""What every optimizer of torte offers over its groups: hypers, freezing, flags, names."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torte.optim.errors import ParameterError, UnknownHyperError
from torte.optim.groups import checked_hyper, spread
from torte.optim.shards import fitted, is_sharded, strided_like, whole

__all__ = ["GroupedOptimizer", "HyperView"]


class HyperView(MutableMapping[str, Any]):
    """The hypers of one parameter group, read and written in place (never its parameters)."""

    def __init__(self, opt: "GroupedOptimizer", group: dict[str, Any]) -> None:
        self._opt = opt
        self._group = group

    def __getitem__(self, name: str) -> Any:
        if name not in self._opt.hyper_names:
            raise KeyError(name)
        return self._opt._read_hyper(self._group, name)

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self._opt.hyper_names:
            raise UnknownHyperError(
                f"no stat or stepper uses a hyper {name!r}; there are {list(self)}"
            )
        self._opt._write_hyper(self._group, name, checked_hyper(name, value))

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"a hyper cannot be removed, and {name!r} was to be")

    def __iter__(self) -> Iterator[str]:
        return iter(self._opt.hyper_names)

    def __len__(self) -> int:
        return len(self._opt.hyper_names)

    def __repr__(self) -> str:
        return repr(dict(self))


class GroupedOptimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` whose groups can be frozen and given hypers together.

    Subclasses say which hypers there are (`hyper_names`) and may react to structural changes
    (`_structure_changed`).
    """

    frozen_idx: int

    @property
    def hyper_names(self) -> Sequence[str]:
        """Names of the hypers that each group has."""
        raise NotImplementedError

    def _structure_changed(self) -> None:
        """Forget what was cached about groups, flags and states."""

    # -- hypers ---------------------------------------------------------------------------------

    @property
    def hypers(self) -> list[HyperView]:
        """One mapping a group of its hypers; writing to it changes the group."""
        return [HyperView(self, group) for group in self.param_groups]

    def set_hyper(self, name: str, value: Any) -> None:
        """Set one hyper in every group.

        Args:
            name: The hyper.
            value: A number for all groups; a list with one for each; `slice(first, last)` for even
                multiples from the first to the last group; `slice(last)` for a tenth of it in all
                groups but the last.

        Raises:
            UnknownHyperError: Nothing uses a hyper of that name.
            HyperError: The value is no finite number, or the count is wrong. Nothing has changed.
        """
        self.set_hypers(**{name: value})

    def set_hypers(self, **hypers: Any) -> None:
        """Set several hypers, each as in `set_hyper`; either all of them or, on an error, none."""
        names, groups = self.hyper_names, self.param_groups
        count, changes = len(groups), []
        for name, value in hypers.items():
            if name not in names:
                raise UnknownHyperError(
                    f"no stat or stepper uses a hyper {name!r}; this optimizer has {list(names)}"
                )
            changes.append((name, spread(name, value, count)))
        for name, values in changes:
            for group, value in zip(groups, values, strict=True):
                self._write_hyper(group, name, value)

    def _read_hyper(self, group: dict[str, Any], name: str) -> Any:
        return group[name]

    def _write_hyper(self, group: dict[str, Any], name: str, value: Any) -> None:
        group[name] = value

    # -- parameters -----------------------------------------------------------------------------

    @property
    def param_lists(self) -> list[list[Tensor]]:
        """The parameters, one list a group."""
        return [group["params"] for group in self.param_groups]

    def all_params(
        self, n: "slice | int" = slice(None), with_grad: bool = False
    ) -> list[tuple[Tensor, dict[str, Any], MutableMapping[Any, Any], HyperView]]:
        """Every parameter of some groups with its group, its state and its hypers.

        Args:
            n: Of which groups: a slice, or one group's index.
            with_grad: Whether to leave out parameters without a gradient.
        """
        groups = list(zip(self.param_groups, self.hypers, strict=True))
        chosen = groups[n] if isinstance(n, slice) else [groups[n]]
        return [
            (parameter, group, self.state[parameter], hypers)
            for group, hypers in chosen
            for parameter in group["params"]
            if not with_grad or parameter.grad is not None
        ]

    @property
    def names(self) -> dict[str, Tensor]:
        """Every parameter by its name."""
        found: dict[str, Tensor] = {}
        for group in self.param_groups:
            parameters = group["params"]
            names = group.get("param_names") or map(str, range(len(found), 10**9))
            found.update(zip(names, parameters, strict=False))
        return found

    def set_flags(self, params: Iterable[Tensor | str] | Tensor | str, **flags: bool) -> None:
        """Set yes-or-no flags of single parameters.

        Args:
            params: Parameters or their names.
            **flags: `do_wd=False` keeps weight decay off a parameter; `force_train=True` keeps it
                trainable in frozen groups; rules may ask for flags of their own by name.

        Raises:
            ParameterError: One of `params` is not in this optimizer. Nothing has changed.
        """
        for parameter in self._chosen(params):
            self._flags_of(parameter).update(flags)
        self._structure_changed()

    def _flags_of(self, parameter: Tensor) -> MutableMapping[str, Any]:
        """Where the flags of a parameter are kept."""
        return self.state[parameter]

    def _chosen(self, params: Iterable[Tensor | str] | Tensor | str) -> list[Tensor]:
        by_name = self.names
        known = set(by_name.values())
        chosen = []
        for param in [params] if isinstance(params, Tensor | str) else params:
            parameter = by_name.get(param) if isinstance(param, str) else param
            if parameter is None or parameter not in known:
                what = repr(param) if isinstance(param, str) else f"of shape {tuple(param.shape)}"
                raise ParameterError(f"parameter {what} is not in this optimizer")
            chosen.append(parameter)
        return chosen

    def _is_forced(self, parameter: Tensor) -> bool:
        # `get` on the state leaves no empty entry behind.
        return self.state.get(parameter, {}).get("force_train", False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parameters.

        Args:
            set_to_none: Whether to drop the gradients rather than filling them with zeros.
        """
        if not set_to_none:
            super().zero_grad(set_to_none=False)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def replace_parameters(self, others: Mapping[Tensor, Tensor]) -> None:
        """Go on with other tensors in the place of the parameters, such as shards of them.

        State is laid out as the new parameters are. Where shards are put together, all processes
        must call this at the same time.

        Args:
            others: For each parameter the one that takes its place.

        Raises:
            ParameterError: A parameter has none. Nothing has changed then.
        """
        missing = [p for group in self.param_groups for p in group["params"] if p not in others]
        if missing:
            raise ParameterError(f"{len(missing)} parameters have nothing to take their place")
        state = {
            others[parameter]: {
                name: self._laid_out(value, others[parameter])
                if isinstance(value, Tensor)
                else value
                for name, value in values.items()
            }
            for parameter, values in self.state.items()
        }
        for group in self.param_groups:
            group["params"] = [others[parameter] for parameter in group["params"]]
        self.state.clear()
        self.state.update(state)
        self._structure_changed()

    def _laid_out(self, value: Tensor, parameter: Tensor) -> Tensor:
        if is_sharded(parameter):
            return fitted(value, parameter)
        return strided_like(whole(value), parameter)

    # -- freezing -------------------------------------------------------------------------------

    def freeze_to(self, n: int) -> None:
        """Freeze the groups before `n` (from the end, if negative) and thaw the others.

        A frozen parameter does not require gradients, loses the one that it has, and keeps its
        state. Parameters flagged `force_train` stay trainable.
        """
        count = len(self.param_groups)
        self.frozen_idx = n if n >= 0 else count + n
        if not 0 <= self.frozen_idx < count:
            warnings.warn(
                f"freezing {self.frozen_idx} groups of {count}: "
                + ("the whole model is frozen" if self.frozen_idx > 0 else "nothing is frozen"),
                stacklevel=2,
            )
        for index, parameters in enumerate(self.param_lists):
            for parameter in parameters:
                forced = self._is_forced(parameter)
                parameter.requires_grad_(index >= self.frozen_idx or forced)
                if not parameter.requires_grad:
                    parameter.grad = None
        self._structure_changed()

    def freeze(self) -> None:
        """Freeze every group but the last."""
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Thaw every group."""
        self.freeze_to(0)

    def clear_state(self) -> None:
        """Forget all stats and step counts; flags (and what is frozen) stay."""
        for parameter, kept in self.state.items():
            self.state[parameter] = {k: v for k, v in kept.items() if isinstance(v, bool)}
        self._structure_changed()
