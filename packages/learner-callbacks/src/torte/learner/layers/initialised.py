"""`Module`: PyTorch's `nn.Module` for those who forget `super().__init__()`."""

from typing import Any, Self

from torch import nn

__all__ = ["Module"]


class Module(nn.Module):
    """`nn.Module` whose subclasses need not call `super().__init__()`.

    Example:
        >>> class Scale(Module):
        ...     def __init__(self, n): self.weight = nn.Parameter(torch.ones(n))
        ...     def forward(self, x): return x * self.weight
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make a module that is ready before `__init__` of a subclass begins."""
        self = super().__new__(cls)
        nn.Module.__init__(self)
        return self

    def __init__(self) -> None:
        """Nothing is left to do; calling it does no harm to what is registered already."""
