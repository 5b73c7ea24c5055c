"""What the Learner adds to a bare loop over PyTorch's DDP: two processes, gloo, one thread each.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_distributed.py [--quick]

Every candidate runs the same whole batches of the same tiny model in turn, both processes at a
time and each on its half of the rows. Measured is the processor time of the first process's
training thread: the time that processes wait for each other varies by far more than a loop costs.
"""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from bench_loop import BATCHES, Pass, data
from common import print_table, timing, versions
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torte.learner import Callback, Learner

WORLD = 2


def loop(model: nn.Module, optimizer: Any, backward: Callable[[torch.Tensor], Any]) -> Pass:
    """The loop that everyone writes by hand, over this process's rows of each batch."""
    batches, rank = data(), dist.get_rank()
    rows = slice(rank * 64 // WORLD, (rank + 1) * 64 // WORLD)

    def run() -> float:
        start = time.thread_time()
        for x, y in batches:
            loss = F.mse_loss(model(x[rows]), y[rows])
            backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        return time.thread_time() - start

    return run


def bare_loop(is_alone: bool = False) -> Pass:
    """DDP as its documentation has it, or no DDP."""
    model = nn.Linear(10, 1) if is_alone else DistributedDataParallel(nn.Linear(10, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    return loop(model, optimizer, torch.Tensor.backward)


class Clock(Callback):
    """Measures the training part of an epoch, from when all that surrounds it is set up."""

    order = 1000
    run_valid = False

    def before_train(self) -> None:
        self.begun = time.thread_time()

    def after_batch(self) -> None:
        if self.learn.iter == BATCHES - 1:
            self.seconds = time.thread_time() - self.begun


def torte_loop(is_alone: bool = False) -> Pass:
    """A Learner over the whole batches, of which each process takes its half, or all."""
    learn = Learner(
        (data(),),
        nn.Linear(10, 1),
        loss_func=F.mse_loss,
        opt_func=torch.optim.SGD,
        cbs=Clock,
    )
    learn.remove_cb(learn.progress)
    if not is_alone:
        learn.distributed()

    def run() -> float:
        with learn.no_logging():
            learn.fit(1)
        return learn.clock.seconds

    return run


def accelerate_loop() -> Pass:
    """The bare loop with Accelerate's objects."""
    from accelerate import Accelerator

    accelerator, model = Accelerator(cpu=True), nn.Linear(10, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    return loop(*accelerator.prepare(model, optimizer), accelerator.backward)


def candidates() -> tuple[dict[str, Pass], tuple[str, ...]]:
    """The passes by name, and the peers that are not installed."""
    made: dict[str, Callable[[], Pass]] = {
        "bare loop, alone": partial(bare_loop, is_alone=True),
        "Learner, alone": partial(torte_loop, is_alone=True),
        "bare DDP loop": bare_loop,
        "torte under DDP": torte_loop,
        "Accelerate": accelerate_loop,
    }
    found, absent = {}, []
    for name, make in made.items():
        try:
            found[name] = make()
        except ModuleNotFoundError:
            absent.append(name)
    return found, tuple(absent)


def process(rank: int, port: int, rounds: int) -> None:
    """Run every candidate in turn; the first process prints."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo")
    with contextlib.redirect_stdout(sys.stdout if rank == 0 else None):
        passes, absent = candidates()
        taken: dict[str, list[float]] = {name: [] for name in passes}
        for _ in range(rounds):
            for name, run in passes.items():
                dist.barrier()
                taken[name].append(run() / BATCHES)
        if rank == 0:
            print(versions("torch", "accelerate"))  # noqa: T201
            timings: dict[str, Any] = {name: timing(times) for name, times in taken.items()}
            # As a share: after each wait for the other process the caches are cold for both loops.
            alone = timings["Learner, alone"].fastest / timings["bare loop, alone"].fastest
            budget = timings["bare DDP loop"].fastest * alone
            title = f"A batch in {WORLD} processes, processor time"
            print_table(title, timings, "bare DDP loop", absent, budget)
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rounds = 20 if "--quick" in sys.argv else 200
    torch.multiprocessing.start_processes(process, (port, rounds), WORLD, start_method="spawn")
