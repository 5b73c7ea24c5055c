"""A training that torchrun starts in several processes, one of which may kill itself once.

elastic_training.py FOLDER [--victim RANK --after BATCHES [--agent]]
"""

import argparse
import os
import signal
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset
from torte.data import DataLoaders, TfmdDL
from torte.learner import Callback, CheckpointCallback, Learner, mae, rank_distrib
from torte.learner.packing import write_file
from torte.optim import Adam

EPOCHS = 4
RESULT = "result.safetensors"


class DiesOnce(Callback):
    """Kills the process of one rank, or the agent that started it, after some batches."""

    order = 3000

    def __init__(self, marker: Path, victim: int, after: int, agent: bool) -> None:
        self.marker, self.victim, self.after, self.agent = marker, victim, after, agent

    def after_batch(self) -> None:
        """Leave a mark, so that it happens once, and die."""
        done = self.learn.train_iter
        if self.training and done == self.after and rank_distrib() == self.victim:
            if self.marker.exists():
                return
            self.marker.touch()
            if self.agent:
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


def learner(folder: Path) -> Learner:
    """A small network on 50 samples: batches of 8, the last one of 2."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    y = x.sum(1, keepdim=True).sin()
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    dls = DataLoaders(
        TfmdDL(TensorDataset(x[:50], y[:50]), bs=8, shuffle=True, seed=5, num_workers=0),
        TfmdDL(TensorDataset(x[50:], y[50:]), bs=8, num_workers=0),
    )
    return Learner(dls, model, loss_func=nn.MSELoss(), opt_func=Adam, metrics=mae, path=folder)


def train(folder: Path, *callbacks: Callback) -> Learner:
    """Train, or go on with it, and write what came out."""
    learn = learner(folder)
    with learn.distributed(timeout=60), learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(
            EPOCHS, 1e-2, cbs=[CheckpointCallback(every=2), *callbacks], resume=True
        )
        if rank_distrib() == 0:
            weights = {name: value.clone() for name, value in learn.model.state_dict().items()}
            rows = [[float(number) for number in row] for row in learn.recorder.values]
            write_file(folder / RESULT, "test", {"weights": weights, "rows": rows})
    return learn


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--victim", type=int)
    parser.add_argument("--after", type=int, default=0)
    parser.add_argument("--agent", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    callbacks: list[Callback] = []
    if options.victim is not None:
        marker = options.folder / "killed"
        callbacks.append(DiesOnce(marker, options.victim, options.after, options.agent))
    train(options.folder, *callbacks)
