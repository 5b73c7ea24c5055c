"""Batch augmentation that samples once; see `composing.py`."""

from torte.data import Normalize
from torte.vision.augment.augmentation import Augmentation, SpatialAugmentation
from torte.vision.augment.colour import (
    Brightness,
    ColourMatrix,
    Contrast,
    Grayscale,
    Hue,
    LogitColour,
    Saturation,
)
from torte.vision.augment.composing import Augment, Augmented
from torte.vision.augment.coordinates import Frame
from torte.vision.augment.cropping import RandomCropGPU, RandomResizedCropGPU
from torte.vision.augment.declaration import Displacement, Drawn, Effect, Homography, Part, PixelMap
from torte.vision.augment.elastic import Elastic
from torte.vision.augment.erasing import RandomErasing
from torte.vision.augment.filters import JPEG, GaussianBlur, GaussianNoise
from torte.vision.augment.geometric import Dihedral, Flip, Rotate, Shear, Translate, Warp, Zoom
from torte.vision.augment.policies import RandAugment, TrivialAugment
from torte.vision.augment.presets import aug_transforms
from torte.vision.augment.tones import Equalize, Posterize, Solarize
from torte.vision.augment.tta import predict_augmented

__all__ = [
    "JPEG",
    "Augment",
    "Augmentation",
    "Augmented",
    "Brightness",
    "ColourMatrix",
    "Contrast",
    "Dihedral",
    "Displacement",
    "Drawn",
    "Effect",
    "Elastic",
    "Equalize",
    "Flip",
    "Frame",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "Homography",
    "Hue",
    "LogitColour",
    "Normalize",
    "Part",
    "PixelMap",
    "Posterize",
    "RandAugment",
    "RandomCropGPU",
    "RandomErasing",
    "RandomResizedCropGPU",
    "Rotate",
    "Saturation",
    "Shear",
    "Solarize",
    "SpatialAugmentation",
    "Translate",
    "TrivialAugment",
    "Warp",
    "Zoom",
    "aug_transforms",
    "predict_augmented",
]
