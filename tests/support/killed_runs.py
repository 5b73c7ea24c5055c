"""Small trainings in real processes that are killed, and go on."""

import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset
from torte.data import DataLoaders, TfmdDL
from torte.learner import (
    EMA,
    Callback,
    CheckpointCallback,
    CheckpointStore,
    CSVLogger,
    EarlyStoppingCallback,
    GradientAccumulation,
    Learner,
    MixUp,
    Recorder,
    ReduceLROnPlateau,
    RocAucBinary,
    SaveModelCallback,
    accuracy,
)

TRAIN, VALID = 27, 12
EPOCHS = 2


class Noisy(TensorDataset):
    """A dataset that draws from the global generators, as users' own do."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        drawn = random.random() + np.random.rand()  # noqa: NPY002
        return x + 0.01 * drawn + 0.01 * torch.randn(3), y


def data(count: int, seed: int, kind: type = TensorDataset) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator)
    return kind(x, (x.sum(1) > 0).long())


def own_loaders(workers: int = 0) -> DataLoaders:
    """torte's own; the batches of training are 4, 4, 4, 4, 4, 4, 3."""
    train = TfmdDL(data(TRAIN, 1, Noisy), bs=4, shuffle=True, seed=5, num_workers=workers)
    return DataLoaders(
        train, TfmdDL(data(VALID, 2), bs=5, seed=6, num_workers=workers), device="cpu"
    )


def torch_loaders(workers: int = 0) -> DataLoaders:
    """PyTorch's, which know no position."""
    train = TorchLoader(data(TRAIN, 1, Noisy), 4, shuffle=True, num_workers=workers)
    own = torch.Generator().manual_seed(3)
    valid = TorchLoader(data(VALID, 2), 5, shuffle=True, generator=own, num_workers=workers)
    return DataLoaders(train, valid, device="cpu")


class Drawing(nn.Module):
    """A network that draws, keeps statistics, and carries a state from batch to batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
        self.head = nn.Linear(8, 2)
        self.memory: list[torch.Tensor] = []
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def reset(self) -> None:
        """Forget."""
        self.memory = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.body(x).relu()
        if self.memory:
            features = features + 0.1 * self.memory[0]
        self.memory = [features.detach().mean(0)]
        self.seen += 1
        return self.head(features) + 1e-3 * self.seen


def learner(folder: Path, dls: DataLoaders, rich: bool = True) -> Learner:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    cbs = [
        GradientAccumulation(8),
        MixUp(),
        EMA(0.9, every=2),
        CSVLogger(),
        SaveModelCallback(monitor="valid_accuracy"),
        EarlyStoppingCallback(patience=5),
        ReduceLROnPlateau(patience=1),
    ]
    learn = Learner(
        dls, Drawing(), nn.CrossEntropyLoss(), lr=0.05, path=folder, cbs=cbs if rich else [],
        metrics=[accuracy, RocAucBinary()],
    )  # fmt: skip
    for held in (learn.progress, learn.recorder):
        learn.remove_cb(held)
    learn.add_cb(Recorder(add_time=False, train_metrics=True))
    learn.logger = quiet
    for callback in learn.cbs:
        callback.say = quiet
    return learn


def quiet(row: Any) -> None:
    """Say nothing."""


class Kill(Callback):
    """Kills its own process, as nothing can prevent, at the so-manieth event."""

    def __init__(self, at: int, order: int) -> None:
        super().__init__()
        self.at, self.order, self.count = at, order, 0

    def __call__(self, event: str) -> None:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def train(
    folder: Path,
    cbs: Any = (),
    loaders: Callable[[int], DataLoaders] = own_loaders,
    workers: int = 0,
    every: int = 1,
    **kwargs: Any,
) -> Learner:
    """Begin the training in a folder, or go on with it."""
    learn = learner(folder, loaders(workers))
    checkpoints = CheckpointCallback(every=every, **kwargs)
    learn.fit_one_cycle(EPOCHS, cbs=[checkpoints, *cbs], resume=True)
    return learn


def in_process(job: Callable[[], Any]) -> int:
    """Run a job in a process of its own, forked from here; return its exit status."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 70
    try:
        torch.set_num_threads(1)
        job()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(status)


def end_of(folder: Path, fit: int = 0) -> dict[str, Any]:
    """What the last checkpoint of a fit that is over has, less the time that it took."""
    checkpoint = CheckpointStore(folder / "checkpoints").newest(None, fit)
    assert checkpoint is not None
    assert checkpoint.facts["phase"] == "done"
    content = checkpoint.read()
    content["callbacks"]["recorder"].pop("elapsed")
    content["csv"] = (folder / "history.csv").read_text()
    return content


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Where two nested states differ, to the bit."""
    if isinstance(one, torch.Tensor):
        same = isinstance(other, torch.Tensor) and one.dtype == other.dtype
        return [] if same and torch.equal(one, other) else [name]
    if isinstance(one, dict):
        if not isinstance(other, dict) or one.keys() != other.keys():
            return [f"{name} keys"]
        return [d for key in one for d in differences(one[key], other[key], f"{name}.{key}")]
    if isinstance(one, list | tuple):
        if not isinstance(other, list | tuple) or len(one) != len(other):
            return [f"{name} length"]
        pairs = enumerate(zip(one, other, strict=True))
        return [d for at, (a, b) in pairs for d in differences(a, b, f"{name}.{at}")]
    return [] if one == other else [f"{name}: {one!r} {other!r}"]
