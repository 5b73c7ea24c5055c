"""Every public name of `torte.optim`, for `from torte.optim.all import *`."""

from torte import optim
from torte.optim import *

__all__: list[str] = []
__all__ += optim.__all__
