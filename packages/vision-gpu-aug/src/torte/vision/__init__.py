"""Computer vision: batch augmentation that samples once, and every task in a few lines.

The names of `torte.vision.names` are all here, but loaded at the first use of one: so
`import torte.vision.augment` brings the augmentation engine alone, without the Learner.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torte.vision.names import *
    from torte.vision.names import __all__ as __all__


def __getattr__(name: str) -> Any:
    """Return a public name, or their list, loading the layer if need be."""
    if name != "__all__" and name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    names = import_module("torte.vision.names")
    if name != "__all__" and name not in names.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(names, name)


def __dir__() -> list[str]:
    """List the public names too, for completion."""
    from importlib import import_module

    return sorted({*globals(), *import_module("torte.vision.names").__all__})
