"""The optimizer alone: an ordinary PyTorch loop in which one line changes, and a rule of your own.

    uv run examples/optimizer_alone.py

`torte-optim-generic` needs PyTorch and nothing else. The data, 1,797 scans of handwritten digits
(8 by 8 pixels), come with scikit-learn. Each optimizer trains the same network for 30 epochs;
reached on a quarter of the digits that was held out: Adam 97.6 %, LAMB 97.8 %, and SignDescent,
the rule written below, 96.9 %.
"""

import argparse
from collections.abc import Callable, Iterable
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F
from torte.optim import Adam, Lamb, Optimizer, weight_decay


def sign_step(p: Tensor, lr: Any, mom: Any, average: Tensor | None = None) -> dict[str, Tensor]:
    """Move by the sign of an average of gradients: m ← β·m + (1-β)·g, p ← p - lr·sign(m).

    One parameter, ordinary tensor arithmetic; what is returned is remembered for the next step.
    """
    average = torch.zeros_like(p.grad) if average is None else average
    average = mom * average + (1 - mom) * p.grad
    p.sub_(lr * average.sign())
    return {"average": average}


def sign_descent(params: Iterable[Any], lr: float) -> Optimizer:
    """Five lines are an optimizer; the engine runs them over all parameters at once."""
    return Optimizer(params, steppers=[weight_decay, sign_step], lr=lr, mom=0.9, wd=0.01)


def digits() -> list[Tensor]:
    """Training and held-out digits and their labels."""
    found = load_digits()
    parts = train_test_split(found.data / 16, found.target, test_size=0.25, random_state=0)
    images, held_out, labels, held_out_labels = map(torch.as_tensor, parts)
    return [images.float(), labels, held_out.float(), held_out_labels]


def train(make: Callable[..., torch.optim.Optimizer], lr: float, epochs: int) -> float:
    """A loop that knows nothing of torte, and the accuracy that it reached."""
    torch.manual_seed(0)
    images, labels, held_out, held_out_labels = digits()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = make(model.parameters(), lr=lr)  # the line that changes
    steps = epochs * -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            loss = F.cross_entropy(model(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    with torch.no_grad():
        return (model(held_out).argmax(1) == held_out_labels).float().mean().item()


def main(epochs: int) -> None:
    """Trains the same network with three optimizers."""
    for name, make, lr in [
        ("Adam", Adam, 1e-2),
        ("LAMB", Lamb, 3e-2),
        ("SignDescent", sign_descent, 1e-3),
    ]:
        print(f"{name:12} {train(make, lr, epochs):.1%} of the held-out digits right")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Use torte's optimizers in a plain loop.")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the training digits")
    parser.add_argument("--quick", action="store_true", help="two epochs, to see that it runs")
    arguments = parser.parse_args()
    main(2 if arguments.quick else arguments.epochs)
