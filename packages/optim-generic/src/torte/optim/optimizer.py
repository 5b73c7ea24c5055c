"""`Optimizer`: stats and steppers as a real `torch.optim.Optimizer`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, overload

import torch
from torch import Tensor

from torte.optim.cohorts import Cohort, make_cohorts
from torte.optim.composition import check_composition, ordered_rules
from torte.optim.engine import ENGINES, Engine, plan_for
from torte.optim.errors import EngineError, UnknownHyperError
from torte.optim.grouped import GroupedOptimizer
from torte.optim.groups import Params, checked_hyper, named_groups, spread
from torte.optim.lazy import rows_plan
from torte.optim.model_stats import model_totals, no_totals
from torte.optim.rules import RuleFunction
from torte.optim.saving import matched_hypers, matched_state
from torte.optim.shards import is_sharded, sharded_like, strided_like, whole
from torte.optim.torch_names import HyperGroup, undecorated

__all__ = ["Optimizer"]

# Keys that torch's own tools keep in a group beside the hypers.
_GROUP_KEYS = ("params", "param_names", "initial_lr", "max_lr", "min_lr", "swa_lr", "averaged")


class Optimizer(GroupedOptimizer):
    """An optimizer made of stats and steppers.

    Args:
        params: Parameters, `(name, parameter)` pairs, a list of lists of either (one list a group)
            or PyTorch group dicts.
        stats: Rules that keep state; a single one need not be in a list.
        steppers: Rules that change parameters, after all stats.
        cbs: fastai's name for all rules in one list, as in `Optimizer(params, cbs=[sgd_step],
            lr=0.1)`; they run before those of `stats` and `steppers`.
        engine: `"auto"`, or one of `"loop"`, `"foreach"`, `"compiled"` and `"fused"` to force it.
        **hypers: The hypers by name, each a number for all groups or, as in `set_hyper`, a list or
            slice.

    Raises:
        ParameterError: There is nothing to optimize, or something that cannot be.
        UnknownHyperError: A hyper that no stat or stepper uses.
        HyperError: A hyper that is no finite number.
        RuleError: A stat or stepper has an argument that nothing supplies.

    Example:
        >>> import torch
        >>> def sign_step(p, lr):
        ...     p.sub_(lr * p.grad.sign())
        >>> model = torch.nn.Linear(2, 1)
        >>> opt = Optimizer(model.parameters(), steppers=sign_step, lr=0.1)
    """

    lazy_rows = False
    """Whether sparse gradients step the rows that occur alone; see `torte.optim.lazy`."""

    def __init__(
        self,
        params: Params,
        stats: RuleFunction | Iterable[RuleFunction] = (),
        steppers: RuleFunction | Iterable[RuleFunction] = (),
        *,
        cbs: RuleFunction | Iterable[RuleFunction] = (),
        engine: Engine = "auto",
        **hypers: Any,
    ) -> None:
        if engine not in ENGINES:
            raise EngineError(f"engine must be one of {ENGINES}, got {engine!r}")
        self.engine: Engine = engine
        self.rules = ordered_rules(cbs, stats, steppers)
        groups = named_groups(params)
        flags = [_flags_taken_from(group) for group in groups]
        spreading = {name: spread(name, value, len(groups)) for name, value in hypers.items()}
        given = {name: values[-1] for name, values in spreading.items()}
        for group in groups:
            given.update({k: v for k, v in _hypers_in(group).items() if k not in given})
        defaults, self._kept = check_composition(self.rules, given)
        for index, group in enumerate(groups):
            for name, values in spreading.items():
                group.setdefault(name, values[index])
        self._split_rules()
        self._cohorts: list[Cohort] | None = None
        self._idle: list[Tensor] = []
        self._hyper_names = tuple(defaults)
        self.frozen_idx = 0
        super().__init__(groups, HyperGroup(defaults))
        for group, found in zip(self.param_groups, flags, strict=True):
            if found:
                self.set_flags(group["params"], **found)

    def _split_rules(self) -> None:
        self._model_rules = tuple(rule for rule in self.rules if rule.phase == "model")
        self._step_rules = tuple(rule for rule in self.rules if rule.phase != "model")

    @property
    def hyper_names(self) -> Sequence[str]:
        """Names of the hypers that each group has."""
        return self._hyper_names

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; hypers that it does not give are those the optimizer was made with.

        Raises:
            ParameterError: A parameter cannot be optimized, or its name is taken.
            UnknownHyperError: The group gives a hyper that no rule uses.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, got {type(param_group).__name__}")
        taken = self.names if self.param_groups else {}
        if "param_names" not in param_group or taken:
            (param_group,) = named_groups([param_group], taken)
        flags = _flags_taken_from(param_group)
        unknown = [name for name in _hypers_in(param_group) if name not in self._hyper_names]
        if unknown:
            raise UnknownHyperError(f"no stat or stepper uses {', '.join(map(repr, unknown))}")
        undecorated(torch.optim.Optimizer.add_param_group)(self, HyperGroup(param_group))
        if flags:
            self.set_flags(self.param_groups[-1]["params"], **flags)
        self._structure_changed()

    def state_dict(self) -> dict[str, Any]:
        """Return groups and state in PyTorch's form."""
        return undecorated(torch.optim.Optimizer.state_dict)(self)

    def extended(
        self,
        before: Iterable[RuleFunction] = (),
        after: Iterable[RuleFunction] = (),
        **hypers: Any,
    ) -> "Optimizer":
        """A new optimizer of the same kind, groups, hypers and state, with more rules.

        Args:
            before: Rules that run before the present ones (of the same phase).
            after: Rules that run after them.
            **hypers: Hypers of the new rules.
        """
        groups = [dict(group) for group in self.param_groups]
        rules = [*before, *self.rules, *after]
        new = type(self)(groups, rules, engine=self.engine, **hypers)
        new.state.update(self.state)
        new.frozen_idx, new.lazy_rows = self.frozen_idx, self.lazy_rows
        return new

    # -- state ----------------------------------------------------------------------------------

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict, matching parameters by name.

        Parameters may be grouped otherwise than when it was saved, and new ones start afresh; the
        hypers are taken over if there are as many groups.

        Raises:
            StateMismatchError: It is of another optimizer or model. Nothing has changed.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = hook(self, state_dict) or state_dict
        hypers = matched_hypers(state_dict, self.param_groups, self._hyper_names)
        state = matched_state(state_dict, self.param_groups, self._kept)
        for group, found in zip(self.param_groups, hypers or (), strict=hypers is not None):
            group.update(found)
        self.state.clear()
        self.state.update(state)
        self._structure_changed()
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def _laid_out(self, value: Tensor, parameter: Tensor) -> Tensor:
        if is_sharded(parameter):
            return sharded_like(value, parameter)
        return strided_like(whole(value), parameter)

    def __getstate__(self) -> dict[str, Any]:
        own = ("engine", "rules", "frozen_idx", "lazy_rows", "_hyper_names", "_kept")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"_cohorts": None, "_idle": [], **state})
        self._split_rules()

    def _structure_changed(self) -> None:
        self._cohorts = None

    # -- stepping -------------------------------------------------------------------------------

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient.

        Args:
            closure: Recomputes the loss and its gradients, and returns the loss.

        Returns:
            What `closure` returned, if there is one.

        Raises:
            HyperError: A hyper (written into a group by a scheduler, say) is NaN or infinite.
                Nothing has changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        prepared = self._prepared()
        for cohort, gradients, values in prepared:
            numbers = cohort.plan.run(gradients, values)
            if numbers:
                cohort.keep(numbers)
        return loss

    def _prepared(self) -> list[tuple[Cohort, list[Tensor], dict[str, Any]]]:
        """The cohorts of this step with their gradients and values, checked before any runs."""
        cohorts, gradients = self._cohorts, None
        if cohorts is not None:
            gradients = [cohort.gradients() for cohort in cohorts]
            if None in gradients or not self._stand(cohorts):
                cohorts = None
        if cohorts is None:
            cohorts = self._make_cohorts()
            gradients = [cohort.gradients() for cohort in cohorts]
        assert gradients is not None
        prepared = [
            (cohort, found, self._values(cohort))
            for cohort, found in zip(cohorts, gradients, strict=True)
            if found is not None
        ]
        if self._model_rules:
            totals = model_totals(prepared, self._model_rules, self.engine)
            for _, _, values in prepared:
                values.update(totals)
        return prepared

    def _stand(self, cohorts: list[Cohort]) -> bool:
        """Whether idle parameters are still idle, and the states those that the cohorts hold."""
        state = self.state
        if any(parameter.grad is not None for parameter in self._idle):
            return False
        # Who replaces states (moving them to a device, say) replaces them all: one tells.
        return all(state.get(cohort.parameters[0]) is cohort.states[0] for cohort in cohorts)

    def _values(self, cohort: Cohort) -> dict[str, Any]:
        """Hypers, number-valued state and flags of a cohort by name."""
        group = cohort.group
        values = {name: group[name] for name in self._hyper_names}
        if values != cohort.checked:
            values = {name: checked_hyper(name, value) for name, value in values.items()}
            cohort.checked = dict(values)
        values.update(cohort.numbers)
        values.update(cohort.flags)
        return values

    def _make_cohorts(self) -> list[Cohort]:
        self._cohorts = None
        apart = any("is_matrix" in rule.accepts for rule in self.rules)
        cohorts, self._idle = make_cohorts(self.param_groups, self.state, matrices_apart=apart)
        for cohort in cohorts:
            values = self._values(cohort)
            if self._model_rules:
                values.update(no_totals(cohort, self._model_rules, values))
            if cohort.sparse and self.lazy_rows:
                cohort.plan = rows_plan(cohort, self._step_rules, values)
            else:
                cohort.plan = plan_for(cohort, self._step_rules, values, self.engine)
        self._cohorts = cohorts
        return cohorts


def _flags_taken_from(group: dict[str, Any]) -> dict[str, bool]:
    """Take the yes-or-no entries out of a group dict: they are flags of its parameters."""
    return {
        name: group.pop(name)
        for name, value in list(group.items())
        if isinstance(value, bool) and name not in _GROUP_KEYS
    }


def _hypers_in(group: dict[str, Any]) -> dict[str, Any]:
    """The hypers that a group dict gives, checked; text in a group is a label, not a hyper."""
    return {
        name: checked_hyper(name, value)
        for name, value in group.items()
        if name not in _GROUP_KEYS and not isinstance(value, str)
    }
