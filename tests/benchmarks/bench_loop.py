"""What the training loop adds to a bare PyTorch loop, one thread.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_loop.py            # a tiny linear model
    OMP_NUM_THREADS=1 python tests/benchmarks/bench_loop.py --resnet   # ResNet-50, 64 pixels

Peers that are not installed are reported absent. Every candidate runs the same batches of the same
model with the same optimizer, progress shown by none; the time is that of one batch within a pass.
"""

import contextlib
import importlib.util
import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from common import print_table, timing, versions
from torch import nn
from torch.nn import functional as F
from torte.learner import Callback, Event, Learner, ParamScheduler, SchedCos

BATCHES = 60
ROUNDS = 200
PEERS = ("accelerate", "lightning", "skorch", "keras", "fastai")

Pass = Callable[[], float]
"""Runs one pass over the batches and returns the seconds that it took."""


def data() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The batches: 64 samples of 10 numbers each."""
    return [(torch.randn(64, 10), torch.randn(64, 1))] * BATCHES


class Loader:
    """Batches as an iterable: Lightning takes a list for several loaders."""

    def __init__(self) -> None:
        self.batches = data()

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def bare_loop() -> Pass:
    """The loop that everyone writes by hand."""
    model, batches = nn.Linear(10, 1), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def run() -> float:
        start = time.perf_counter()
        for x, y in batches:
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - start

    return run


class Started(Callback):
    """Notes when the training part begins."""

    order = -1000

    def before_train(self) -> None:
        self.at = time.perf_counter()


class Ended(Callback):
    """Notes how long the training part took, before anybody reads the averages."""

    order = -1000

    def after_train(self) -> None:
        self.seconds = time.perf_counter() - self.learn.started.at


def torte_loop(*callbacks: Callback | type[Callback]) -> Pass:
    """A Learner with its default callbacks but for progress, and these."""
    learn = Learner(
        (data(),),
        nn.Linear(10, 1),
        loss_func=F.mse_loss,
        opt_func=torch.optim.SGD,
        cbs=[Started, Ended, *callbacks],
    )
    learn.remove_cb(learn.progress)

    def run() -> float:
        with learn.no_logging():
            learn.fit(1)
        return learn.ended.seconds

    return run


class OneEvent(Callback):
    """Does nothing after each batch."""

    def after_batch(self) -> None:
        pass


class EveryEvent(Callback):
    """Does nothing at each event."""


for _event in Event:
    setattr(EveryEvent, _event.value, lambda self: None)


def accelerate_loop() -> Pass:
    """The bare loop with Accelerate's objects."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, batches = nn.Linear(10, 1), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    model, optimizer = accelerator.prepare(model, optimizer)

    def run() -> float:
        start = time.perf_counter()
        for x, y in batches:
            loss = F.mse_loss(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - start

    return run


def lightning_loop() -> Pass:
    """Lightning's Trainer without bar, logger and checkpoints."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(10, 1)

        def on_train_start(self) -> None:
            self.start = time.perf_counter()

        def on_train_end(self) -> None:
            self.seconds = time.perf_counter() - self.start

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            x, y = batch
            return F.mse_loss(self.model(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1e-3)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module, batches = Module(), Loader()

    def run() -> float:
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, batches)
        return module.seconds

    return run


def skorch_loop() -> Pass:
    """skorch's net, its history kept and nothing printed."""
    import numpy as np
    from skorch import NeuralNetRegressor

    x = np.random.default_rng(0).standard_normal((64 * BATCHES, 10)).astype("float32")
    net = NeuralNetRegressor(
        nn.Linear(10, 1), train_split=None, batch_size=64, max_epochs=1, verbose=0, lr=1e-3
    )
    net.initialize()

    def run() -> float:
        start = time.perf_counter()
        net.partial_fit(x, x[:, :1])
        return time.perf_counter() - start

    return run


def keras_loop() -> Pass:
    """Keras on PyTorch, its history kept and nothing printed; not compiled, like the others."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    class Batches(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self.batches = data()

        def __len__(self) -> int:
            return len(self.batches)

        def __getitem__(self, place: int) -> Any:
            return self.batches[place]

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = time.perf_counter() - self.start

    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
    clock, batches = Clock(), Batches()

    def run() -> float:
        model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[clock])
        return clock.seconds

    return run


def fastai_loop() -> Pass:
    """fastai's Learner with its default callbacks but for progress."""
    import fastai.callback.progress  # noqa: F401 - it adds `no_bar`
    from fastai.callback.core import Callback as FastaiCallback
    from fastai.data.core import DataLoaders as FastaiLoaders
    from fastai.learner import Learner as FastaiLearner
    from fastai.optimizer import SGD as FastaiSGD

    class Clock(FastaiCallback):
        order = -1000

        def before_train(self) -> None:
            self.start = time.perf_counter()

        def after_train(self) -> None:
            self.seconds = time.perf_counter() - self.start

    clock = Clock()
    dls = FastaiLoaders(data(), [])
    learn = FastaiLearner(
        dls, nn.Linear(10, 1), loss_func=F.mse_loss, opt_func=FastaiSGD, cbs=clock
    )

    def run() -> float:
        with learn.no_bar(), learn.no_logging():
            learn.fit(1)
        return clock.seconds

    return run


def installed() -> dict[str, Pass]:
    """The peers that are there."""
    makers = {
        "accelerate": accelerate_loop,
        "lightning": lightning_loop,
        "skorch": skorch_loop,
        "keras": keras_loop,
        "fastai": fastai_loop,
    }
    return {name: make() for name, make in makers.items() if importlib.util.find_spec(name)}


def resnet() -> None:
    """ResNet-50 in a bare loop and in a Learner: four batches of each in turn."""
    from torchvision.models import resnet50

    torch.manual_seed(0)
    batches = [(torch.randn(8, 3, 64, 64), torch.randint(0, 1000, (8,)))] * 4
    models = [resnet50(), resnet50()]
    models[1].load_state_dict(models[0].state_dict())
    optimizer = torch.optim.SGD(models[0].parameters(), lr=1e-3, momentum=0.9)
    learn = Learner(
        (batches,),
        models[1],
        loss_func=nn.CrossEntropyLoss(),
        opt_func=partial(torch.optim.SGD, momentum=0.9),
        cbs=[Started, Ended],
        lr=1e-3,
    )
    learn.remove_cb(learn.progress)

    def bare() -> float:
        start = time.perf_counter()
        for x, y in batches:
            loss = F.cross_entropy(models[0](x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - start

    def torte() -> float:
        with learn.no_logging():
            learn.fit(1)
        return learn.ended.seconds

    times = [(bare() / 4, torte() / 4) for _ in range(25)][1:]
    same = all(map(torch.equal, *(model.state_dict().values() for model in models)))
    timings = {
        name: timing(taken)
        for name, taken in zip(
            ("bare PyTorch loop", "torte"), zip(*times, strict=True), strict=True
        )
    }
    print_table("One batch of ResNet-50, 8 x 3 x 64 x 64", timings, "bare PyTorch loop")
    print(f"weights after {25 * 4} batches equal to the bit: {same}")  # noqa: T201


def main() -> None:
    """Run all candidates in turn and print the fastest and the median batch of each."""
    torch.set_num_threads(1)
    if "--resnet" in sys.argv:
        resnet()
        return
    schedule = ParamScheduler({"lr": SchedCos(1e-3, 1e-5)})
    peers = installed()
    candidates = {
        "bare PyTorch loop": bare_loop(),
        "torte, default callbacks": torte_loop(),
        "torte, and one idle event": torte_loop(OneEvent),
        "torte, and all events idle": torte_loop(EveryEvent),
        "torte, and a schedule": torte_loop(schedule),
        **peers,
    }
    times: dict[str, list[float]] = {name: [] for name in candidates}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(ROUNDS):
            for name, run in candidates.items():
                with contextlib.redirect_stdout(io.StringIO()):
                    times[name].append(run() / BATCHES)
    timings = {name: timing(taken) for name, taken in times.items()}
    print(versions("torch", *PEERS))  # noqa: T201
    absent = tuple(peer for peer in PEERS if peer not in peers)
    print_table("One batch of a tiny model", timings, "bare PyTorch loop", absent)
    bare = timings["bare PyTorch loop"].fastest
    print("\nadded to the bare loop (budget: 40 µs; 2 µs more for a callback that does nothing)")  # noqa: T201
    for name, each in timings.items():
        print(f"  {name:36}{(each.fastest - bare) * 1e6:>+9.1f} µs")  # noqa: T201


if __name__ == "__main__":
    main()
