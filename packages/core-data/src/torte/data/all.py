"""Every public name of torte.data and torte.dispatch, for `from torte.data.all import *`."""

from torte import data
from torte.data import *
from torte.dispatch import all as dispatch
from torte.dispatch.all import *

__all__: list[str] = []
__all__ += data.__all__
__all__ += dispatch.__all__
