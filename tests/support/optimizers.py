"""Every named optimizer of torte.optim, found by reflection, with hypers for small problems."""

import functools
import inspect
from collections.abc import Callable

from torte import optim

# Learning rates at which each converges on a small problem; a new optimizer needs none.
LEARNING_RATES = {
    "SGD": 0.1,
    "Larc": 0.1,
    "Lion": 0.01,
    "ScheduleFreeAdamW": 0.1,
    "RMSProp": 0.02,
    "QHAdam": 0.05,
    "Adan": 0.05,
}


def named_optimizers() -> dict[str, Callable]:
    """Functions that make an optimizer from parameters, by name, each with a learning rate."""
    found = {}
    for name in optim.__all__:
        value = getattr(optim, name)
        if inspect.isfunction(value) and "params" in inspect.signature(value).parameters:
            found[name] = functools.partial(value, lr=LEARNING_RATES.get(name, 0.03))
    momentum = functools.partial(optim.SGD, lr=0.05, mom=0.9, wd=0.01)
    found["SGD momentum"] = momentum
    found["SGD nesterov"] = functools.partial(momentum, nesterov=True)
    found["Adam l2"] = functools.partial(optim.Adam, lr=0.03, decouple_wd=False)
    found["LARS"] = functools.partial(optim.Larc, lr=0.1, clip=False)
    return found


OPTIMIZERS = named_optimizers()
