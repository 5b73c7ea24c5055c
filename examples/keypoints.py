"""Find points: where a garment ends to the left, at the top, to the right and at the bottom.

    uv run examples/keypoints.py                # of the 1,600 garments that come with torte
    uv run examples/keypoints.py --data DIR     # of Fashion-MNIST's four files, *-ubyte.gz

Canvases with one garment each; points are turned and zoomed with their pictures, and the network
gives them as numbers between -1 and 1. Pictures go to `outputs`.

What it reached with the garments that come with torte, on canvases of garments that training never
saw: a mean distance of 9.9 pixels on canvases of 96 x 96, from 39 after the frozen epoch, in about
six minutes on one core of a busy machine.
"""

import argparse
from pathlib import Path

import numpy as np
from garment_canvas import Canvas, make_canvases
from torch import Tensor
from torte.vision.all import (
    DataBlock,
    DataLoaders,
    FuncSplitter,
    ImageBlock,
    PointBlock,
    aug_transforms,
    set_seed,
    vision_learner,
)

SIDE = 96


def image(canvas: Canvas) -> np.ndarray:
    """The picture of a canvas."""
    return canvas.image


def points(canvas: Canvas) -> list[list[float]]:
    """The four points of its garment, (x, y) in pixels."""
    return canvas.points[0]


def pixel_error(predicted: Tensor, actual: Tensor) -> Tensor:
    """The mean distance in pixels: coordinates go from -1 to 1."""
    apart = (predicted.view(-1, 4, 2) - actual.view(-1, 4, 2)) * SIDE / 2
    return apart.norm(dim=2).mean()


def loaders(canvases: list[Canvas], bs: int) -> DataLoaders:
    """Batches of (images, points). No flips: they would make the left point the right one."""
    block = DataBlock(
        blocks=(ImageBlock, PointBlock),
        get_x=image,
        get_y=points,
        splitter=FuncSplitter(lambda canvas: canvas.is_valid),
        batch_tfms=aug_transforms(do_flip=False, max_rotate=0, max_warp=0, max_zoom=1.05),
    )
    return block.dataloaders(canvases, bs=bs, seed=3)


def main(
    data: Path | None, epochs: int, lr: float, count: int, bs: int, quick: bool, outputs: Path
) -> None:
    """Trains, measures, shows."""
    import matplotlib

    matplotlib.use("Agg")  # pictures go to files
    from matplotlib import pyplot as plt

    outputs.mkdir(parents=True, exist_ok=True)
    set_seed(3)
    if quick:
        epochs, count = 1, 32
    canvases = make_canvases(data, count, max(count // 5, 8), side=SIDE, most=1)
    dls = loaders(canvases, bs)
    learn = vision_learner(
        dls, "tf_efficientnet_lite0", y_range=(-1.1, 1.1), metrics=pixel_error, path=outputs
    )
    dls.show_batch(max_n=6)
    plt.savefig(outputs / "keypoints_batch.png", bbox_inches="tight")
    learn.fine_tune(epochs, lr)
    learn.show_results(max_n=4)
    plt.savefig(outputs / "keypoints_results.png", bbox_inches="tight")
    print(f"pictures: {outputs}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Find the ends of a garment.")
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's files")
    parser.add_argument("--epochs", type=int, default=10, help="passes after the first, frozen one")
    parser.add_argument("--lr", type=float, default=5e-3, help="largest learning rate")
    parser.add_argument("--count", type=int, default=1500, help="canvases to train with")
    parser.add_argument("--bs", type=int, default=32, help="canvases a batch")
    parser.add_argument("--quick", action="store_true", help="a few batches, to see that it runs")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where files go")
    main(**vars(parser.parse_args()))
