"""Boxes from annotation files, and batches of images with unequal numbers of boxes."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torte.data.tensors import plain
from torte.dispatch import serializable

__all__ = ["AnnotationFileError", "bb_pad", "clip_remove_empty", "get_annotations"]

Boxes = tuple[list[list[float]], list[str]]


class AnnotationFileError(ValueError):
    """Raised for an annotation file that cannot be used; names the file and the entry."""


def get_annotations(
    fname: str | os.PathLike[str], prefix: str | None = None
) -> tuple[list[str], list[Boxes]]:
    """Reads a COCO annotation file (https://cocodataset.org/#format-data).

    Args:
        fname: A JSON file with `images`, `annotations` and `categories`.
        prefix: Put before each file name.

    Returns:
        The file names of the images that have annotations, in the file's order; and for each of
        them (boxes, labels), the boxes as [x1, y1, x2, y2] in pixels.

    Raises:
        AnnotationFileError: If it is no such file, has two images or categories of one number, or
            an annotation names an image or category that is not in it, or has no box of four
            numbers, the width and height at least 0.
    """
    path = Path(fname)
    content = _read(path)
    names = _table(content, "categories", "name", path)
    files = _table(content, "images", "file_name", path)
    found: dict[Any, Boxes] = defaultdict(lambda: ([], []))
    for entry in content["annotations"]:
        image, label, box = _entry(entry, files, names, path)
        boxes, labels = found[image]
        boxes.append(box)
        labels.append(label)
    annotated = [image for image in files if image in found]
    return [f"{prefix or ''}{files[i]}" for i in annotated], [found[i] for i in annotated]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no annotation file at {str(path)!r}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AnnotationFileError(f"annotation file {str(path)!r} is no JSON: {error}") from error
    parts = ("images", "annotations", "categories")
    missing = [part for part in parts if not isinstance(content, dict) or part not in content]
    if missing:
        raise AnnotationFileError(
            f"annotation file {str(path)!r} lacks {', '.join(missing)}; expected COCO's format"
        )
    return content


def _table(content: dict[str, Any], part: str, value: str, path: Path) -> dict[Any, str]:
    """What the numbers of the images or categories stand for."""
    table: dict[Any, str] = {}
    for place, entry in enumerate(content[part]):
        where = f"entry {place} of {part!r} in {str(path)!r}"
        missing = [key for key in ("id", value) if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise AnnotationFileError(f"{where} lacks {' and '.join(map(repr, missing))}")
        if entry["id"] in table:
            raise AnnotationFileError(f"{where} has the id {entry['id']!r} of one before it")
        table[entry["id"]] = entry[value]
    return table


def _is_box(box: list[Any]) -> bool:
    numbers = all(type(each) in (int, float) for each in box)
    return numbers and len(box) == 4 and all(map(math.isfinite, box)) and min(box[2:]) >= 0


def _entry(
    entry: dict[str, Any], files: dict[Any, str], names: dict[Any, str], path: Path
) -> tuple[Any, str, list[float]]:
    """The image, the label and the corners of one annotation."""
    where = f"annotation {entry.get('id', '?')!r} in {str(path)!r}"
    image, category, box = (entry.get(key) for key in ("image_id", "category_id", "bbox"))
    if image not in files:
        raise AnnotationFileError(
            f"{where} belongs to image {image!r}, which the file does not list"
        )
    if category not in names:
        raise AnnotationFileError(
            f"{where} has category {category!r}, which the file does not list"
        )
    if not isinstance(box, list) or not _is_box(box):
        raise AnnotationFileError(
            f"{where} has bbox={box!r}, expected [left, top, width, height], finite numbers, "
            "neither size below 0"
        )
    left, top, width, height = box
    return image, names[category], [left, top, left + width, top + height]


def clip_remove_empty(bbox: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts boxes at the image's border and leaves out those with nothing in the image.

    Args:
        bbox: (boxes, 4), x1, y1, x2, y2 with the image between -1 and 1 (see `PointScaler`).
        label: (boxes,), the labels.

    Returns:
        The boxes with an area within the image, and their labels.

    Raises:
        ValueError: If there are not as many labels as boxes.
    """
    if len(bbox) != len(label):
        raise ValueError(f"every box has one label, got {len(bbox)} boxes and {len(label)} labels")
    clipped = plain(bbox).clamp(-1, 1)
    kept = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    boxes = clipped[kept].as_subclass(type(bbox))
    vars(boxes).update(vars(bbox))
    return boxes, label[kept]


@serializable
def bb_pad(samples: Sequence[tuple[Any, ...]], pad_idx: int = 0) -> list[tuple[Any, ...]]:
    """Gives each sample of a batch as many boxes as the one that has most.

    Boxes are first cut at the image's border and empty ones left out. Added boxes are zeros, whose
    missing area marks them as padding, with label `pad_idx`.

    Args:
        samples: Tuples (image, boxes, labels, …) with boxes (k, 4) and labels (k,); or
            (image, boxes), where boxes have no labels. Images alone, as of a test set, stay as
            they are.
        pad_idx: Label of the padding: that of "#na#" where the vocabulary has it.

    Returns:
        The samples with boxes (most, 4) and labels (most,).
    """
    if any(len(sample) < 2 for sample in samples):
        return list(samples)
    cleaned = [_clipped(*sample) for sample in samples]
    most = max(len(sample[1]) for sample in cleaned)
    return [
        (
            image,
            _padded(boxes, most, 0.0),
            *(_padded(each, most, pad_idx) for each in labels[:1]),
            *labels[1:],
        )
        for image, boxes, *labels in cleaned
    ]


def _clipped(image: Any, boxes: Tensor, *rest: Any) -> tuple[Any, ...]:
    """A sample without what its boxes have beyond the image."""
    labels, others = (rest[0], rest[1:]) if rest else (torch.zeros(len(boxes)), ())
    boxes, labels = clip_remove_empty(boxes, labels)
    return (image, boxes, labels, *others) if rest else (image, boxes)


def _padded(values: Tensor, length: int, value: float) -> Tensor:
    missing = values.new_full((length - len(values), *values.shape[1:]), value)
    return torch.cat([values, missing])
