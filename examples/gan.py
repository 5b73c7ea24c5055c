"""Train a WGAN on garments: noise goes in, pictures come out, with callbacks alone.

    uv run examples/gan.py --data DIR     # Fashion-MNIST's four files, *-ubyte.gz
    uv run examples/gan.py                # 1,600 pictures that come with torte: too few for a GAN

A generator and a critic of DCGAN's form (`basic_generator`, `basic_critic`) train in turn, as
Arjovsky et al. 2017 (arXiv:1701.07875) have it. A picture of samples goes to `outputs` after each
epoch.

What it reached with the full data: after six epochs of 60,000 pictures (about eight minutes on one
core of a busy machine), most samples can be told as shirts, pullovers, dresses, trousers or shoes;
outlines are soft, prints and straps are smeared, and a few samples are no garment.
"""

import argparse
import gzip
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torte.vision.all import (
    Adam,
    Callback,
    DataBlock,
    DataLoaders,
    FixedGANSwitcher,
    GANLearner,
    ImageBlock,
    IndexSplitter,
    Normalize,
    PILImageBW,
    TransformBlock,
    URLs,
    basic_critic,
    basic_generator,
    generate_noise,
    get_image_files,
    set_seed,
    untar_data,
)

SIDE = 28


def read_pictures(file: Path) -> list[Image.Image]:
    """The pictures of one of Fashion-MNIST's files."""
    numbers = np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=16)
    return [Image.fromarray(picture) for picture in numbers.reshape(-1, SIDE, SIDE)]


def garments(data: Path | None, count: int | None, bs: int) -> DataLoaders:
    """Batches of (noise, pictures), pixels within [-1, 1]."""
    block = DataBlock(
        blocks=(TransformBlock, ImageBlock(PILImageBW)),
        get_x=generate_noise,
        splitter=IndexSplitter([]),
        batch_tfms=Normalize.from_stats([0.5], [0.5]),
    )
    if data is None:
        pictures = get_image_files(untar_data(URLs.FASHION_SAMPLE))
    else:
        pictures = read_pictures(data / "train-images-idx3-ubyte.gz")
    return block.dataloaders(pictures[:count], bs=bs, seed=5)


class Samples(Callback):
    """Draws the same 32 pieces of noise after each epoch."""

    def __init__(self, outputs: Path) -> None:
        super().__init__()
        self.outputs = outputs
        self.noise = torch.randn(32, 100, generator=torch.Generator().manual_seed(0))

    def after_epoch(self) -> None:
        """Write a picture of 4 by 8 samples."""
        generator = self.learn.model.generator.eval()
        with torch.no_grad():
            pictures = generator(self.noise.to(self.learn.device))[:, 0].cpu()
        rows = pictures.reshape(4, 8, SIDE, SIDE).permute(0, 2, 1, 3).reshape(4 * SIDE, 8 * SIDE)
        image = Image.fromarray(((rows + 1) * 127.5).byte().numpy())
        image.resize((16 * SIDE, 8 * SIDE)).save(self.outputs / f"epoch_{self.learn.epoch:02}.png")


def main(
    data: Path | None,
    epochs: int,
    lr: float,
    bs: int,
    count: int | None,
    quick: bool,
    outputs: Path,
) -> None:
    """Trains, draws, ships the generator."""
    outputs.mkdir(parents=True, exist_ok=True)
    set_seed(5)
    if quick:
        epochs, count = 1, 320
    dls = garments(data, count, bs)
    leaky = partial(nn.LeakyReLU, negative_slope=0.2)
    learn = GANLearner.wgan(
        dls,
        basic_generator(SIDE, 1, n_features=48, n_extra_layers=1),
        basic_critic(SIDE, 1, n_features=48, n_extra_layers=1, act_cls=leaky),
        switcher=FixedGANSwitcher(n_crit=3, n_gen=1),
        opt_func=partial(Adam, mom=0.0),
        cbs=Samples(outputs),
        path=outputs,
    )
    learn.fit(epochs, lr, wd=0)
    print(f"samples and generator: {outputs}, {learn.export('generator.safetensors')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a WGAN on garments.")
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's files")
    parser.add_argument("--epochs", type=int, default=6, help="passes over the pictures")
    parser.add_argument("--lr", type=float, default=3e-4, help="learning rate")
    parser.add_argument("--bs", type=int, default=64, help="pictures a batch")
    parser.add_argument("--count", type=int, help="how many pictures; all by default")
    parser.add_argument("--quick", action="store_true", help="a few batches, to see that it runs")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where files go")
    main(**vars(parser.parse_args()))
