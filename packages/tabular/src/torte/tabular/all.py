"""Every public name of `torte.tabular` and of the layers below it."""

from torte import tabular
from torte.learner import all as learner
from torte.learner.all import *
from torte.tabular import *

__all__ = sorted({*learner.__all__, *tabular.__all__})
