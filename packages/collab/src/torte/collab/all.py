"""Every public name of `torte.collab` and of the layers below it."""

from torte import collab
from torte.collab import *
from torte.tabular import all as tabular
from torte.tabular.all import *

__all__ = sorted({*collab.__all__, *tabular.__all__})
