"""What interactive code expects beside torte's names, brought by the star imports of `all` alone.

`torch`, `nn`, `F`, `np`, `Path` and `partial`, and `pd` and `plt`, which stand for pandas and
`matplotlib.pyplot` and load them when they are first used.
"""

import importlib
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    import matplotlib.pyplot as plt
    import pandas as pd

__all__ = ["F", "Path", "nn", "np", "partial", "pd", "plt", "torch"]


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
