"""Small real image files whose content is known: a bright box on a dark ground."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Scene:
    """One picture: where its file is, where its mask is, and the box (x1, y1, x2, y2) in it."""

    path: Path
    mask: Path
    box: tuple[int, int, int, int]
    kind: str

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box (x, y)."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


COLOURS = {"red": (220, 60, 40), "blue": (40, 90, 220), "green": (50, 190, 70)}


def draw_scenes(
    folder: Path, count: int = 12, size: tuple[int, int] = (48, 40), kinds: int = 3
) -> list[Scene]:
    """Writes `count` pictures of (width, height) `size` with masks (0 ground, 1, 2, … kinds)."""
    random = np.random.default_rng(7)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    scenes = []
    names = list(COLOURS)[:kinds]
    for i in range(count):
        kind = names[i % kinds]
        width, height = (int(n) for n in random.integers(10, 20, 2))
        left = int(random.integers(0, size[0] - width))
        top = int(random.integers(0, size[1] - height))
        pixels = random.integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)
        pixels[top : top + height, left : left + width] = COLOURS[kind]
        mask = np.zeros((size[1], size[0]), np.uint8)
        mask[top : top + height, left : left + width] = 1 + names.index(kind)
        path, mask_path = folder / f"images/{kind}_{i}.png", folder / f"masks/{kind}_{i}.png"
        Image.fromarray(pixels).save(path)
        Image.fromarray(mask).save(mask_path)
        scenes.append(Scene(path, mask_path, (left, top, left + width, top + height), kind))
    return scenes


def draw_class_folders(
    folder: Path, kinds: tuple[str, ...] = ("red", "blue"), train: int = 6, valid: int = 3
) -> Path:
    """Writes `train/<kind>/…` and `valid/<kind>/…` with plain noisy pictures of each colour."""
    random = np.random.default_rng(3)
    for part, count in (("train", train), ("valid", valid)):
        for kind in kinds:
            place = folder / part / kind
            place.mkdir(parents=True)
            for i in range(count):
                noise = random.integers(-30, 30, (32, 32, 3))
                pixels = np.clip(np.array(COLOURS[kind]) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    return folder
