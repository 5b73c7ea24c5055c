"""Every public name of `torte.text` and of the layers below it."""

from torte import text
from torte.learner import all as learner
from torte.learner.all import *
from torte.text import *

__all__ = sorted({*learner.__all__, *text.__all__})
