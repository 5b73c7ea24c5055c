"""Batch augmentation that samples once; see `composing.py`."""

from torte.vision.augment.augmentation import Augmentation, SpatialAugmentation
from torte.vision.augment.colour import Brightness, Contrast, Grayscale, Hue, Saturation
from torte.vision.augment.composing import Augment, Augmented
from torte.vision.augment.cropping import RandomCropGPU, RandomResizedCropGPU
from torte.vision.augment.geometric import Dihedral, Flip, Rotate, Shear, Translate, Warp, Zoom
from torte.vision.augment.presets import aug_transforms

__all__ = [
    "Augment",
    "Augmentation",
    "Augmented",
    "Brightness",
    "Contrast",
    "Dihedral",
    "Flip",
    "Grayscale",
    "Hue",
    "RandomCropGPU",
    "RandomResizedCropGPU",
    "Rotate",
    "Saturation",
    "Shear",
    "SpatialAugmentation",
    "Translate",
    "Warp",
    "Zoom",
    "aug_transforms",
]
