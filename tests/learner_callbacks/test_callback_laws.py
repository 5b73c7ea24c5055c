"""What every callback that comes with torte must keep to, found by reflection."""

import importlib
import inspect
import pkgutil

import pytest
import torch
import torte.learner
from support.learners import line_learner
from torch import nn
from torte.learner import Callback, CrossEntropyLossFlat, Event, SchedCos
from torte.learner.ordering import bind_events, sort_callbacks

for _module in pkgutil.walk_packages(torte.learner.__path__, "torte.learner."):
    importlib.import_module(_module.name)


def _shipped(base: type = Callback) -> list[type]:
    found = []
    for cls in base.__subclasses__():
        found += [cls, *_shipped(cls)]
    return [cls for cls in dict.fromkeys(found) if cls.__module__.startswith("torte.learner.")]


# Arguments of those that need some (or that would do nothing here without).
SETTINGS = {
    "GradientAccumulation": {"n_acc": 12},
    "EarlyStoppingCallback": {"patience": 5},
    "ParamScheduler": {"scheds": {"lr": SchedCos(0.1, 0.0)}},
    "SkipToEpoch": {"epoch": 1},
    "MixedPrecision": {"amp_mode": "bf16"},
    "LRFinder": {"start_lr": 1e-5, "end_lr": 1e-2, "num_it": 6},
    "RNNRegularizer": {"alpha": 1.0, "beta": 1.0},
    "ProgressCallback": {"kind": "lines"},
    "CudaCallback": {"device": "cpu"},
    "ActivationCheckpoints": {"layers": lambda module: isinstance(module, nn.Linear)},
    "HookCallback": {"hook": lambda module, inputs, outputs: None},
}
# They want a model that returns (output, raw outputs, dropped outputs).
RECURRENT = {"RNNCallback", "RNNRegularizer"}
# The loggers of other libraries and those whose base is no callback to be used itself.
NEED_MORE = {"FitLogger", "TensorBoardCallback", "WandbCallback", "MLflowCallback", "MixHandler"}

SHIPPED = [cls for cls in _shipped() if cls.__name__ not in NEED_MORE and cls.__name__[0] != "_"]


class Images(nn.Module):
    """A little network with what callbacks look for: batch norm, dropout, convolutions."""

    def __init__(self, recurrent: bool) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(3, 2)
        self.recurrent = recurrent

    def reset(self):
        """What models with a hidden state have."""

    def forward(self, x):
        features = self.drop(self.norm(self.conv(x)).relu().mean((2, 3)))
        out = self.head(features)
        steps = features[:, None].expand(-1, 2, -1)
        return (out, [steps], [steps]) if self.recurrent else out


def build(cls, folder):
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(6, 1, 4, 4, generator=generator), torch.randint(2, (6,), generator=generator))
        for _ in range(3)
    ]
    torch.manual_seed(0)
    recurrent = cls.__name__ in RECURRENT
    learn = line_learner(
        model=Images(recurrent), dls=(batches, batches[:2]), loss_func=CrossEntropyLossFlat(),
        path=folder,
    )  # fmt: skip
    if cls.__name__ == "RNNRegularizer":
        learn.add_cb(torte.learner.RNNCallback)
    for held in [cb for cb in learn.cbs if type(cb) is cls]:
        learn.remove_cb(held)
    callback = cls(**SETTINGS.get(cls.__name__, {}))
    learn.add_cb(callback)
    return learn, callback


def state(learn):
    """What a fit changes for a while, and must put back."""
    model = learn.model
    return {
        "callbacks": list(learn.cbs),
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in model.modules()
        ],
        "forward": model.forward,
        "loss": (learn.loss_func, getattr(learn.loss_func, "reduction", None)),
        "logger": learn.logger,
        "loaders": [id(dl) for dl in learn.dls.loaders],
        "lengths": [len(dl) for dl in learn.dls.loaders],
        "autocast": torch.is_autocast_enabled("cpu"),
        "gradients": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("cls", SHIPPED, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
def test_whatever_fails_in_it_the_learner_is_usable_afterwards(cls, error, tmp_path, capsys):
    _, probe = build(cls, tmp_path)
    own = [event for event, methods in bind_events([probe]).items() if methods]
    for event in (e for e in own if e != Event.after_create):
        for before in (True, False):
            learn, callback = build(cls, tmp_path)
            method, reached = getattr(callback, event), []

            def fail(method=method, before=before, reached=reached):
                if not before:
                    method()  # may itself leave by a cancel exception
                reached.append(True)
                raise error("boom")

            known = state(learn)
            callback.__dict__[event] = fail
            learn._hold(learn.cbs)
            try:
                learn.fit(2)
            except error as caught:
                notes = [note for note in caught.__notes__ if note.startswith("in callback")]
                assert f"in callback {callback!r} at {event}" in notes[0]
            else:
                assert not reached, f"{event}: the error was swallowed"
            del callback.__dict__[event]
            learn._hold(learn.cbs)
            after = state(learn)
            for name, value in known.items():
                assert after[name] == value, f"{event}: {name} was not put back"
            learn.fit(1)
            learn.validate()
            learn.get_preds()
            assert state(learn)["hooks"] == known["hooks"]
    capsys.readouterr()


@pytest.mark.parametrize("cls", SHIPPED, ids=lambda cls: cls.__name__)
def test_its_events_are_events(cls):
    near = [
        name
        for name in vars(cls)
        if name.startswith(("before_", "after_")) and callable(getattr(cls, name))
    ]
    assert set(near) <= set(Event.__members__)
    assert inspect.getdoc(cls)


def test_all_of_them_have_an_order_together_and_names_of_their_own():
    made = [cls(**SETTINGS.get(cls.__name__, {})) for cls in SHIPPED]
    assert len(sort_callbacks(made)) == len(made)
    names = [callback.name for callback in made]
    assert len(set(names)) == len(names)


def test_state_goes_through_files(tmp_path):
    from torte.learner.packing import read_file, write_file

    for cls in SHIPPED:
        learn, callback = build(cls, tmp_path)
        with learn.no_logging():
            learn.fit(1)
        path = write_file(tmp_path / "state.safetensors", "test", callback.state())
        again = cls(**SETTINGS.get(cls.__name__, {}))
        again.load_state(read_file(path, "test"))
