"""Figure 11 of the paper: what several transforms in a row cost in detail, and one sampling saves.

    python tests/benchmarks/draw_interpolation.py interpolation.png

A chart of ever finer rings and spokes is zoomed, rotated and warped, once by four transforms one
after the other and once by the engine, which composes them and samples once. The truth is the same
chart drawn four times as large, transformed, and averaged down.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torte.vision.augment import Augment, Rotate, Warp, Zoom

TRANSFORMS = (
    Rotate(p=1, draw=17.0, align_corners=False),
    Zoom(p=1, draw=1.1, draw_x=0.5, draw_y=0.5, align_corners=False),
    Warp(p=1, draw_x=0.12, draw_y=-0.08, align_corners=False),
    Rotate(p=1, draw=-11.0, align_corners=False),
)


def chart(size: int) -> Tensor:
    """Rings that get finer outwards on the left, spokes on the right: (1, 1, size, size)."""
    axis = (torch.arange(size, dtype=torch.float64) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    rings = torch.cos(32 * torch.pi * (x.square() + y.square()) / 2)
    spokes = torch.cos(48 * torch.atan2(y, x))
    return (torch.where(x < 0, rings, spokes) / 2 + 0.5)[None, None].float()


def compared(size: int = 192) -> dict[str, Tensor]:
    """The truth, one sampling, and one sampling a transform: (1, 1, size, size) each."""
    image = chart(size)
    in_a_row = image
    for transform in TRANSFORMS:
        in_a_row = Augment(transform)(in_a_row)
    large = Augment(*TRANSFORMS)(chart(4 * size))
    return {
        "drawn four times as large": F.avg_pool2d(large, 4),
        "one sampling": Augment(*TRANSFORMS)(image),
        "four in a row": in_a_row,
    }


def errors(images: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """For each image its RMS error and the share of contrast that it keeps, inside the frame."""
    cut = {name: image[..., 24:-24, 24:-24] for name, image in images.items()}
    truth = next(iter(cut.values()))
    return {
        name: ((part - truth).square().mean().sqrt().item(), (part.std() / truth.std()).item())
        for name, part in cut.items()
    }


def draw(path: Path, images: dict[str, Tensor]) -> None:
    """Draw the images, and below each its middle three times as large."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(images), figsize=(3 * len(images), 6.4))
    measured = errors(images)
    for column, (name, image) in zip(axes.T, images.items(), strict=True):
        error, contrast = measured[name]
        whole, half = image[0, 0].numpy(), image.shape[-1] // 2
        column[0].set_title(f"{name}\nRMS error {error:.3f}, contrast {contrast:.0%}", fontsize=9)
        column[0].imshow(whole, cmap="gray", vmin=0, vmax=1)
        column[1].imshow(
            whole[half - 32 : half + 32, half - 32 : half + 32], cmap="gray", vmin=0, vmax=1
        )
        for ax in column:
            ax.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the errors and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    images = compared()
    for name, (error, contrast) in errors(images).items():
        print(f"{name:28} RMS error {error:.4f}, contrast kept {contrast:.1%}")  # noqa: T201
    draw(parser.parse_args().path, images)


if __name__ == "__main__":
    main()
