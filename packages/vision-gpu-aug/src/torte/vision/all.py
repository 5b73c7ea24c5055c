"""Every public name of `torte.vision` and of the layers below it, and torchvision's `models`."""

from torchvision import models  # noqa: F401 - `__all__` has it

from torte import vision
from torte.learner import all as learner
from torte.learner.all import *
from torte.vision import *

__all__ = sorted({*learner.__all__, *vision.__all__, "models"})
