"""`ParamScheduler`: hyper-parameters that follow schedules."""

from collections.abc import Mapping
from typing import Any

from torte.learner.callback import Callback
from torte.learner.packing import packed_numbers, unpacked_numbers
from torte.learner.schedules import Schedule

__all__ = ["ParamScheduler"]


class ParamScheduler(Callback):
    """Set hyper-parameters before each training batch from the fraction of training done.

    Args:
        scheds: A schedule for each hyper-parameter, by name: any function of `pct_train` that
            returns a number for all groups, or an array with one for each.
    """

    order = 60
    run_valid = False

    def __init__(self, scheds: Mapping[str, Schedule]) -> None:
        super().__init__()
        self.scheds = dict(scheds)
        self.hps: dict[str, list[Any]] = {}

    def before_fit(self) -> None:
        """Begin the record of values."""
        self.hps = {name: [] for name in self.scheds}

    def before_batch(self) -> None:
        """Set each hyper-parameter to its value now."""
        self._update(self.learn.pct_train)

    def _update(self, pct: float) -> None:
        hps, values = self.hps, {}
        for name, sched in self.scheds.items():
            value = sched(pct)
            if not isinstance(value, float):
                # One value a group: the optimizer takes lists, the record the last group's.
                value = value.tolist() if hasattr(value, "tolist") else value
            values[name] = value
            hps[name].append(value[-1] if isinstance(value, list | tuple) else value)
        self.learn.opt.set_hypers(**values)

    def state(self) -> dict[str, Any]:
        """Return the record of values."""
        return {"hps": {name: packed_numbers(values) for name, values in self.hps.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take the record back."""
        self.hps = {name: unpacked_numbers(values) for name, values in state["hps"].items()}

    def after_fit(self) -> None:
        """Leave the values with the recorder, for its plots."""
        recorder = getattr(self.learn, "recorder", None)
        if recorder is not None:
            recorder.hps = {**recorder.hps, **self.hps}
