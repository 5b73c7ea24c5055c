"""Every public name of `torte.learner` and of the layers below it."""

from torte import learner
from torte.data import all as data
from torte.data.all import *
from torte.learner import *
from torte.optim import all as optim
from torte.optim.all import *

__all__ = sorted({*data.__all__, *optim.__all__, *learner.__all__})
