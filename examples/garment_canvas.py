"""Pictures of several garments, with exact masks, boxes and key points: what the examples share.

Garments of Fashion-MNIST are put on a canvas of smooth noise, each larger or smaller, darker or
lighter, none over another. Canvas number `index` depends on the seed and `index` alone.
"""

import gzip
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from torte.vision.all import URLs, get_image_files, untar_data

NAMES = [
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle-boot"),
]
TRIES = 20


@dataclass
class Canvas:
    """One picture and what is on it; coordinates in pixels, x before y."""

    image: np.ndarray
    """(side, side, 3), uint8."""
    mask: np.ndarray
    """(side, side), uint8: 0 for background, the garment's number plus 1."""
    boxes: list[list[float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    points: list[list[list[float]]] = field(default_factory=list)
    """Of each garment its leftmost, topmost, rightmost and lowest point."""
    is_valid: bool = False


def read_garments(data: Path | None, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, 28, 28) and class numbers (n,).

    Args:
        data: Folder of Fashion-MNIST's four files; None for the sample that comes with torte.
        train: Whether those to train with.
    """
    if data is not None:
        start = data / ("train" if train else "t10k")
        pixels = gzip.decompress(Path(f"{start}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress(Path(f"{start}-labels-idx1-ubyte.gz").read_bytes())
        pictures = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)
        return pictures, np.frombuffer(labels, np.uint8, offset=8)
    path = untar_data(URLs.FASHION_SAMPLE)
    files = sorted(get_image_files(path / ("train" if train else "valid")))
    pictures = np.stack([np.asarray(Image.open(file).convert("L")) for file in files])
    return pictures, np.array([NAMES.index(file.parent.name) for file in files])


def make_canvases(
    data: Path | None, train: int, valid: int, side: int = 96, most: int = 4, seed: int = 0
) -> list[Canvas]:
    """Canvases to train and to validate with, the latter of garments that no other has.

    Args:
        data: See `read_garments`.
        train: How many to train with.
        valid: How many to validate with.
        side: Height and width.
        most: Garments on a canvas at most; one at least.
        seed: Seed.
    """
    made = []
    for part, count in enumerate((train, valid)):
        pictures, labels = read_garments(data, train=part == 0)
        for index in range(count):
            random = np.random.default_rng([seed, part, index])
            canvas = _canvas(pictures, labels, side, most, random)
            canvas.is_valid = part == 1
            made.append(canvas)
    return made


def _canvas(
    pictures: np.ndarray, labels: np.ndarray, side: int, most: int, random: np.random.Generator
) -> Canvas:
    noise = random.integers(0, 110, (6, 6, 3), dtype=np.uint8)
    image = np.array(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))
    canvas = Canvas(image, np.zeros((side, side), np.uint8))
    taken = np.zeros((side, side), bool)
    for _ in range(random.integers(1, most + 1)):
        number = random.integers(len(pictures))
        size = int(random.integers(side // 4, side // 2 + 1))
        garment = np.asarray(Image.fromarray(pictures[number]).resize((size, size)))
        for _ in range(TRIES):
            x, y = random.integers(0, side - size + 1, 2)
            place = np.s_[y : y + size, x : x + size]
            if not taken[place].any():
                taken[place] = True
                tint = random.uniform(0.6, 1.0, 3)
                _put(canvas, garment, int(labels[number]), (int(x), int(y)), tint)
                break
    return canvas


def _put(
    canvas: Canvas, garment: np.ndarray, label: int, at: tuple[int, int], tint: np.ndarray
) -> None:
    """Draws a garment, and notes its mask, its box and its points."""
    x, y = at
    rows, columns = np.nonzero(garment)
    canvas.image[rows + y, columns + x] = (garment[rows, columns, None] * tint).astype(np.uint8)
    canvas.mask[rows + y, columns + x] = label + 1
    left, right, top, low = columns.min(), columns.max(), rows.min(), rows.max()
    canvas.boxes.append([float(v) for v in (left + x, top + y, right + x + 1, low + y + 1)])
    canvas.names.append(NAMES[label])
    extremes = [
        (left, rows[columns == left].mean()),
        (columns[rows == top].mean(), top),
        (right, rows[columns == right].mean()),
        (columns[rows == low].mean(), low),
    ]
    canvas.points.append([[float(a + x + 0.5), float(b + y + 0.5)] for a, b in extremes])
