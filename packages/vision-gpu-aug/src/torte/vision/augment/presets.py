"""Curated lists of augmentations."""

from collections.abc import Sequence
from typing import Any

from torte.vision.augment.augmentation import Size
from torte.vision.augment.colour import Brightness, Contrast
from torte.vision.augment.cropping import RandomResizedCropGPU
from torte.vision.augment.geometric import Dihedral, Flip, Rotate, Warp, Zoom

__all__ = ["aug_transforms"]


def aug_transforms(
    mult: float = 1.0,
    do_flip: bool = True,
    flip_vert: bool = False,
    max_rotate: float = 10.0,
    min_zoom: float = 1.0,
    max_zoom: float = 1.1,
    max_lighting: float = 0.2,
    max_warp: float = 0.2,
    p_affine: float = 0.75,
    p_lighting: float = 0.75,
    xtra_tfms: Any = None,
    size: Size | None = None,
    mode: str = "bilinear",
    pad_mode: str = "reflection",
    align_corners: bool = True,
    batch: bool = False,
    min_scale: float = 1.0,
) -> list[Any]:
    """Flip, rotate, zoom, warp and change the light: what helps in most vision problems.

    Args:
        mult: Multiplies `max_rotate`, `max_lighting` and `max_warp`.
        do_flip: Flip left and right with probability 0.5.
        flip_vert: With `do_flip`: any of the eight symmetries of the square instead.
        max_rotate: The largest rotation, degrees.
        min_zoom: The least zoom.
        max_zoom: The largest zoom.
        max_lighting: How far brightness and contrast go, in [0, 1).
        max_warp: The largest magnitude of the perspective warp.
        p_affine: Probability of each of rotation, zoom and warp.
        p_lighting: Probability of each of brightness and contrast.
        xtra_tfms: More transforms, one or several, that come before these.
        size: Resize to this in the same sampling, in validation too.
        mode: "bilinear", "bicubic" or "nearest".
        pad_mode: What lies beyond the frame: "reflection", "border" or "zeros".
        align_corners: See `coordinates.py`.
        batch: One draw for all samples of a batch.
        min_scale: Below 1: crop at random to at least this share of the area (needs `size`).

    Returns:
        The transforms. In a `Pipeline`, and in `Augment(*aug_transforms())`, they run as one.
    """
    options: dict[str, Any] = {
        "mode": mode,
        "pad_mode": pad_mode,
        "batch": batch,
        "align_corners": align_corners,
    }
    found: list[Any] = [*_listed(xtra_tfms)]
    if min_scale != 1.0:
        if size is None:
            raise ValueError(f"aug_transforms: {min_scale=} crops, so it needs a size to resize to")
        crop = RandomResizedCropGPU(size, min_scale=min_scale, ratio=(1.0, 1.0), mode=mode)
        found.append(crop)
    elif size is not None:
        options["size"] = size
    if do_flip:
        found.append((Dihedral if flip_vert else Flip)(p=0.5, **options))
    if max_warp:
        found.append(Warp(magnitude=max_warp * mult, p=p_affine, **options))
    if max_rotate:
        found.append(Rotate(max_deg=max_rotate * mult, p=p_affine, **options))
    if min_zoom < 1 or max_zoom > 1:
        found.append(Zoom(min_zoom=min_zoom, max_zoom=max_zoom, p=p_affine, **options))
    if max_lighting:
        found.append(Brightness(max_lighting=max_lighting * mult, p=p_lighting, batch=batch))
        found.append(Contrast(max_lighting=max_lighting * mult, p=p_lighting, batch=batch))
    return found


def _listed(transforms: Any) -> Sequence[Any]:
    if transforms is None:
        return ()
    return list(transforms) if isinstance(transforms, list | tuple) else [transforms]
