"""What hot paths cost, counted rather than timed: Python calls and PyTorch operations.

A slow change shows as more calls, on any machine and however busy it is. Each limit is about a
quarter above what the code costs today; whoever makes it cheaper may lower it.
"""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torte.data import (
    CategoryBlock,
    DataBlock,
    Datasets,
    IndexSplitter,
    Normalize,
    TfmdDL,
    TransformBlock,
)
from torte.dispatch import Pipeline, Transform, typedispatch
from torte.learner import Callback, CrossEntropyLossFlat, Learner
from torte.optim import SGD, Adam, Lamb
from torte.tabular import Categorify, TabularDataLoaders


def python_calls(run: Callable[[], Any]) -> int:
    """How many functions, Python's and C's, are called while `run` runs."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    run()  # caches fill first
    outer = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(outer)
    return count


class Operations(TorchDispatchMode):
    """Counts the operations that reach PyTorch's kernels."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def operations(run: Callable[[], Any]) -> int:
    """How many kernels PyTorch is asked for while `run` runs."""
    run()
    with Operations() as mode:
        run()
    return mode.count


def per_one(cost: Callable[[int], int], fewer: int = 10, more: int = 30) -> float:
    """What one more of something costs: what is paid once does not count."""
    return (cost(more) - cost(fewer)) / (more - fewer)


def bare_loop(batches: int) -> Callable[[], None]:
    model, data = nn.Linear(4, 1), [(torch.randn(8, 4), torch.randn(8, 1))] * batches
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def run() -> None:
        for x, y in data:
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def fit(batches: int, *callbacks: Callback) -> Callable[[], None]:
    data = [(torch.randn(8, 4), torch.randn(8, 1))] * batches
    learn = Learner(
        (data,),
        nn.Linear(4, 1),
        loss_func=nn.functional.mse_loss,
        opt_func=torch.optim.SGD,
        cbs=list(callbacks),
    )
    learn.remove_cb(learn.progress)

    def run() -> None:
        with learn.no_logging():
            learn.fit(1)

    return run


class Idle(Callback):
    """Hears of every batch and does nothing."""

    def before_batch(self) -> None:
        pass

    def after_batch(self) -> None:
        pass


def test_a_batch_of_the_training_loop() -> None:
    bare = per_one(lambda batches: python_calls(bare_loop(batches)))
    learner = per_one(lambda batches: python_calls(fit(batches)))
    idle = per_one(lambda batches: python_calls(fit(batches, Idle())))
    assert learner - bare < 68
    assert idle - learner < 3  # its own two, and what the interpreter does now and then


def test_a_prediction_of_one_item() -> None:
    x = torch.randn(6, 4)
    block = DataBlock(
        (TransformBlock, CategoryBlock),
        get_x=x.__getitem__,
        get_y=lambda number: str(number % 2),
        splitter=IndexSplitter([0, 1]),
    )
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    learn = Learner(block.dataloaders(range(6), bs=2, num_workers=0, device="cpu"), model)
    assert python_calls(lambda: learn.predict(3)) < 1050
    batches = [(x, torch.zeros(6).long())]
    learn = Learner((batches, batches), model, loss_func=CrossEntropyLossFlat())
    assert python_calls(lambda: learn.predict(x[0])) < 500


def test_operations_of_the_training_loop() -> None:
    bare = per_one(lambda batches: operations(bare_loop(batches)))
    learner = per_one(lambda batches: operations(fit(batches)))
    assert learner - bare < 3


@pytest.mark.parametrize(("make", "limit"), [(SGD, 2), (Adam, 3), (Lamb, 25)])
def test_a_parameter_of_a_step(make: Any, limit: int) -> None:
    def calls(count: int) -> int:
        parameters = [nn.Parameter(torch.randn(3, 3)) for _ in range(count)]
        for parameter in parameters:
            parameter.grad = torch.randn(3, 3)
        return python_calls(make(parameters, lr=1e-3).step)

    assert per_one(calls, 20, 200) <= limit
    assert calls(20) < 1650 if make is Lamb else calls(20) < 190


def test_dispatch_and_transforms() -> None:
    @typedispatch
    def told(x: int, y: str) -> int:
        return x

    @typedispatch
    def told(x: float, y: str) -> float:  # noqa: F811
        return x

    transform = Transform(lambda x: x + 1)
    pipeline = Pipeline([transform, transform, transform])
    assert python_calls(lambda: told(1, "a")) < 6
    assert python_calls(lambda: transform(1)) < 8
    assert python_calls(lambda: pipeline((1, 2))) < 35


def test_an_item_of_a_loader() -> None:
    def calls(items: int) -> int:
        dsets = Datasets(list(range(items)), [[float, torch.tensor], [torch.tensor]])
        loader = TfmdDL(dsets, bs=10, num_workers=0, device="cpu")
        return python_calls(lambda: list(loader))

    assert per_one(calls, 100, 300) < 72


def test_a_row_of_a_table_costs_nothing_by_itself() -> None:
    import pandas as pd

    def calls(rows: int) -> int:
        half = rows // 2
        frame = pd.DataFrame({"a": range(rows), "b": ["x", "y"] * half, "y": [0.0, 1.0] * half})
        dls = TabularDataLoaders.from_df(
            frame,
            y_names="y",
            procs=[Categorify, Normalize],
            cat_names=["b"],
            cont_names=["a"],
            bs=rows,
            num_workers=0,
            device="cpu",
        )
        return python_calls(lambda: list(dls.train))

    assert calls(20_000) - calls(2_000) < 100
