"""Tiny learners on lists of batches."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torte.learner import Callback, Event, Learner

Batch = tuple[torch.Tensor, torch.Tensor]


def line_batches(batches: int = 5, size: int = 8, seed: int = 1) -> list[Batch]:
    """Batches of a noisy line, y = 3 x + 2."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(batches):
        x = torch.randn(size, 1, generator=generator)
        result.append((x, 3 * x + 2 + 0.1 * torch.randn(size, 1, generator=generator)))
    return result


def line_learner(cbs: Any = None, model: nn.Module | None = None, **kwargs: Any) -> Learner:
    """A learner of the line with five training batches and two for validation, without bars."""
    if model is None:
        torch.manual_seed(0)
        model = nn.Linear(1, 1)
    dls = kwargs.pop("dls", (line_batches(5), line_batches(2, seed=2)))
    settings = {"loss_func": F.mse_loss, "lr": 0.05, **kwargs}
    learn = Learner(dls, model, cbs=cbs, **settings)
    if hasattr(learn, "progress"):
        learn.remove_cb(learn.progress)
    learn.logger = lambda row: None
    return learn


class EventLog(Callback):
    """Writes down every event, with what a test wants to know about it."""

    order = 1000

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def clear(self) -> None:
        """Forget."""
        self.events.clear()


def _writer(event: str) -> Any:
    def write(self: EventLog) -> None:
        self.events.append(event)

    return write


for _event in Event:
    setattr(EventLog, _event.value, _writer(_event.value))


def everything(learn: Learner) -> dict[str, Any]:
    """All of a learner that looking must not change, as values that can be compared."""
    import random

    import numpy as np
    from torte.learner.state import copy_state

    model = learn.model
    return {
        "weights": copy_state(dict(model.state_dict())),
        "grads": {k: copy_state(p.grad) for k, p in model.named_parameters()},
        "required": {k: p.requires_grad for k, p in model.named_parameters()},
        "modes": {k: m.training for k, m in model.named_modules()},
        "opt": None if learn.opt is None else copy_state(learn.opt.state_dict()),
        "opt identity": id(learn.opt),
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [str(part) for part in np.random.get_state()],  # noqa: NPY002
        "callbacks": [(cb, sorted(vars(cb))) for cb in learn.cbs],
        "lrs": None if not hasattr(learn, "recorder") else list(learn.recorder.lrs),
        "losses": None if not hasattr(learn, "recorder") else learn.recorder.raw_losses,
        "values": None if not hasattr(learn, "recorder") else list(learn.recorder.values),
        "loop": (learn.epoch, learn.n_epoch, learn.pct_train, learn.train_iter, learn.training),
        "fields": sorted(vars(learn).keys() - {"last_search"}),
        "final": list(learn.final_record),
        "logger": learn.logger,
        "epochs": [getattr(dl, "epoch", None) for dl in learn.dls.loaders],
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Compare what `everything` returned, tensors bit by bit."""
    for name, value in before.items():
        assert _equal(value, after[name]), f"{name} changed: {value!r} -> {after[name]!r}"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one is other or one == other
