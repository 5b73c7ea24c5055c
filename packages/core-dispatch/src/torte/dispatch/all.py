"""Every public name of torte.dispatch, for `from torte.dispatch.all import *`."""

from torte import dispatch
from torte.dispatch import *

__all__: list[str] = []
__all__ += dispatch.__all__
