"""The Learner and its callbacks alone: your model, your loaders, your loss; no loop.

    uv run examples/callbacks_alone.py

The data, 1,797 scans of handwritten digits (8 by 8 pixels), come with scikit-learn; a fifth of the
training labels is made wrong on purpose. `TrustSmallLosses`, a callback written here, leaves the
samples with the largest losses out of every step after the first epochs (Han et al. 2018,
"Co-teaching": networks learn what is right before they memorize what is wrong). Reached on a
quarter of the digits that was held out, with right labels: 88 % without it, 94 % with it.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torte.learner import Callback, GradientClip, Learner, accuracy

WRONG = 0.2


class TrustSmallLosses(Callback):
    """Steps on the samples of a batch whose losses are smallest.

    Args:
        share: How many samples to leave out, as a share of the batch.
        after: Epochs that learn from every sample.
    """

    run_valid = False

    def __init__(self, share: float, after: int) -> None:
        self.share, self.after = share, after

    def after_loss(self) -> None:
        """Replace the loss by the mean over the samples that are trusted."""
        if self.epoch < self.after:
            return
        losses = F.cross_entropy(self.pred, self.y, reduction="none")
        trusted = max(1, round(len(losses) * (1 - self.share)))
        self.learn.loss_grad = losses.topk(trusted, largest=False).values.mean()


def loaders() -> tuple[DataLoader, DataLoader]:
    """PyTorch's own loaders over digits, a share of the training labels wrong."""
    found = load_digits()
    parts = train_test_split(found.data / 16, found.target, test_size=0.25, random_state=0)
    images, held_out, labels, held_out_labels = map(torch.as_tensor, parts)
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(len(labels), generator=generator) < WRONG
    others = torch.randint(1, 10, labels.shape, generator=generator)
    labels = torch.where(wrong, (labels + others) % 10, labels)
    train = TensorDataset(images.float(), labels)
    valid = TensorDataset(held_out.float(), held_out_labels)
    return (
        DataLoader(train, batch_size=64, shuffle=True, generator=generator),
        DataLoader(valid, batch_size=512),
    )


def train(epochs: int, callbacks: list[Callback]) -> float:
    """Trains a network and returns its accuracy on the held-out digits."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
    learn = Learner(loaders(), model, nn.CrossEntropyLoss(), metrics=accuracy, cbs=callbacks)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(epochs, 1e-2)
    return learn.validate()[1]


def main(epochs: int) -> None:
    """Trains without and with the callback."""
    plain = train(epochs, [GradientClip(1.0)])
    print(f"with every sample: {plain:.1%}")
    trusting = train(epochs, [GradientClip(1.0), TrustSmallLosses(WRONG, after=epochs // 4)])
    print(f"with the samples that it trusts: {trusting:.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Use torte's callbacks on a model of your own.")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training digits")
    parser.add_argument("--quick", action="store_true", help="two epochs, to see that it runs")
    arguments = parser.parse_args()
    main(2 if arguments.quick else arguments.epochs)
