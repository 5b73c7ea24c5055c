"""Groups that answer to PyTorch's name of momentum, and PyTorch's methods without its compiler."""

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["HyperGroup", "undecorated"]

_ALIASES = {"momentum": "mom"}


class HyperGroup(dict[str, Any]):
    """A parameter group (or the defaults of all) in which `"momentum"` is another name of `"mom"`.

    `torch.optim.lr_scheduler.OneCycleLR` and `CyclicLR` look for `momentum` in an optimizer's
    defaults and set it in its groups. The alias is no key of its own: it is not iterated, saved or
    counted, and a group without `mom` does not have it.
    """

    def _own(self, key: object) -> Any:
        alias = _ALIASES.get(key) if isinstance(key, str) else None
        return alias if alias is not None and super().__contains__(alias) else key

    def __contains__(self, key: object) -> bool:
        return super().__contains__(self._own(key))

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(self._own(key))

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(self._own(key), value)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key or of what it is another name of."""
        return super().get(self._own(key), default)


def undecorated(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of `torch.optim.Optimizer` without what keeps the compiler out of it.

    PyTorch's decorator imports `torch._dynamo` at the first call, which takes seconds and which
    nobody needs who compiles nothing. Where it has been imported, the method stays as it is.
    """
    inner = getattr(method, "__wrapped__", method)
    return method if "torch._dynamo" in sys.modules else inner
