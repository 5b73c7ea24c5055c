"""Every public name of torte.data and torte.dispatch, for `from torte.data.all import *`.

And, as in all layers above, what interactive code expects beside them: see `companions`.
"""

from torte import data
from torte.data import *
from torte.data import companions
from torte.data.companions import *
from torte.dispatch import all as dispatch
from torte.dispatch.all import *

__all__: list[str] = []
__all__ += data.__all__
__all__ += companions.__all__
__all__ += dispatch.__all__
