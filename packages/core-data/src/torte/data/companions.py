"""What interactive code expects beside torte's names, brought by the star imports of `all` alone.

`torch`, `nn`, `F`, `np`, `Path` and some more of the standard library, `pd` and `plt`, which stand
for pandas and `matplotlib.pyplot` and load them when they are first used, and `path.ls()`.
"""

import importlib
import math
import mimetypes
import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from operator import attrgetter, itemgetter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from torte.dispatch import L, patch

if TYPE_CHECKING:
    import matplotlib.pyplot as plt
    import pandas as pd

__all__ = [
    "Counter",
    "F",
    "Path",
    "attrgetter",
    "defaultdict",
    "itemgetter",
    "math",
    "nn",
    "np",
    "os",
    "partial",
    "pd",
    "plt",
    "random",
    "re",
    "torch",
]


@patch
def ls(  # noqa: D417
    self: Path,
    n_max: int | None = None,
    file_type: str | None = None,
    file_exts: str | Iterable[str] | None = None,
) -> L:
    """The entries of a folder, sorted.

    Args:
        n_max: How many at most.
        file_type: Only those whose name tells of this kind of content, such as "image" or "text".
        file_exts: Only those with this extension, or one of several (`".csv"`).
    """
    extensions = (file_exts,) if isinstance(file_exts, str) else file_exts
    wanted = None if extensions is None else {each.lower() for each in extensions}
    found = [
        path
        for path in sorted(self.iterdir())
        if (wanted is None or path.suffix.lower() in wanted)
        and (file_type is None or (mimetypes.guess_type(path)[0] or "").startswith(f"{file_type}/"))
    ]
    return L(found[:n_max])


class _Later(ModuleType):
    """Stands for a module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        # What looks at modules in general (doctest, inspect) is not worth loading one.
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self.__name__))


if not TYPE_CHECKING:
    pd, plt = _Later("pandas"), _Later("matplotlib.pyplot")
