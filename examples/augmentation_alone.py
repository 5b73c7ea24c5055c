"""Batch augmentation alone: whole batches flipped, turned, zoomed and recoloured in a plain loop.

    uv run examples/augmentation_alone.py

The loop, the model and the loaders are PyTorch's and torchvision's; torte gives one object that is
called on a batch of bytes and returns a batch of floats, each picture changed in its own way and
sampled once, normalized in the same pass. The pictures are the sample of Fashion-MNIST that torte
brings along. Reached after 30 epochs on the held-out pictures: 84.0 % without, 85.8 % with
augmentation (one seed). `outputs/augmented.png` shows what the network saw.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.utils import make_grid
from torte.data import URLs, untar_data
from torte.vision.augment import Augment, Brightness, Flip, Normalize, Rotate, Zoom

MEAN, STD = 0.286, 0.353  # of all channels


def loader(folder: Path, shuffle: bool) -> DataLoader:
    """Batches of uint8 pictures (shape (batch, 3, 28, 28)) and their classes."""
    pictures = datasets.ImageFolder(str(folder), transforms.PILToTensor())
    return DataLoader(pictures, batch_size=64, shuffle=shuffle)


def normalize() -> Normalize:
    """Mean zero and standard deviation one; the engine does it in the pass that samples."""
    return Normalize.from_stats([MEAN] * 3, [STD] * 3, cuda=False)


def network() -> nn.Module:
    """Three convolutions and a classifier."""
    layers: list[nn.Module] = []
    for inputs, outputs in [(3, 32), (32, 64), (64, 128)]:
        convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


@torch.no_grad()
def right(model: nn.Module, prepare: Augment, batches: DataLoader) -> float:
    """The share of pictures whose class the model finds."""
    model.eval()
    found = [model(prepare(images)).argmax(1) == labels for images, labels in batches]
    return torch.cat(found).float().mean().item()


def train(folder: Path, augment: Augment, epochs: int) -> float:
    """A plain loop; `augment` is called on every training batch."""
    torch.manual_seed(0)
    prepare = Augment(normalize())
    model, batches = network(), loader(folder / "train", shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=5e-3, total_steps=epochs * len(batches)
    )
    for _ in range(epochs):
        model.train()
        for images, labels in batches:
            loss = F.cross_entropy(model(augment(images)), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return right(model, prepare, loader(folder / "valid", shuffle=False))


def picture(images: Tensor, file: Path) -> None:
    """Write a grid of a batch in the colours that it had before it was normalized."""
    grid = make_grid((images * STD + MEAN).clamp(0, 1), nrow=8)
    transforms.functional.to_pil_image(grid).resize((960, 480)).save(file)


def main(epochs: int, outputs: Path) -> None:
    """Trains without and with augmentation."""
    outputs.mkdir(parents=True, exist_ok=True)
    folder = untar_data(URLs.FASHION_SAMPLE)
    changes = [Flip(), Rotate(5), Zoom(1.0, 1.1), Brightness(0.1)]
    augment = Augment(*changes, normalize())
    images, _ = next(iter(loader(folder / "train", shuffle=True)))
    picture(augment(images[:32]), outputs / "augmented.png")
    plain = train(folder, Augment(normalize()), epochs)
    print(f"without augmentation: {plain:.1%} of the held-out pictures right")
    print(f"with augmentation:    {train(folder, augment, epochs):.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Augment batches in a plain loop.")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the training pictures")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder to write to")
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it runs")
    arguments = parser.parse_args()
    main(1 if arguments.quick else arguments.epochs, arguments.outputs)
