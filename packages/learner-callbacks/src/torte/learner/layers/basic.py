"""Small layers that wrap a function or change a shape."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "Debugger",
    "Flatten",
    "Identity",
    "Lambda",
    "ParameterModule",
    "PartialLambda",
    "ResizeBatch",
    "SigmoidRange",
    "View",
    "module",
    "sigmoid",
    "sigmoid_",
    "sigmoid_range",
]


def module(*fields: str, **defaults: Any) -> Callable[[Callable[..., Any]], type[nn.Module]]:
    """Decorate a function to become the `forward` of a new `nn.Module`.

    Args:
        *fields: Names of constructor arguments, kept as attributes.
        **defaults: Constructor arguments with their defaults.

    Returns:
        A decorator. The function it takes has `self` as its first parameter.

    Example:
        >>> @module("factor", offset=0.0)
        ... def Scale(self, x):
        ...     return x * self.factor + self.offset
        >>> Scale(2.0)(torch.ones(2))
        tensor([2., 2.])
    """
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, keyword) for name in fields]
    parameters += [inspect.Parameter(k, keyword, default=v) for k, v in defaults.items()]
    signature = inspect.Signature(parameters)

    def decorate(function: Callable[..., Any]) -> type[nn.Module]:
        def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            nn.Module.__init__(self)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            for name, value in bound.arguments.items():
                setattr(self, name, value)

        def extra_repr(self: nn.Module) -> str:
            values = ((name, getattr(self, name)) for name in signature.parameters)
            return ", ".join(
                f"{name}={value!r}" for name, value in values if not isinstance(value, nn.Module)
            )

        body = {
            "__init__": __init__,
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "__qualname__": function.__qualname__,
            "__signature__": signature,
            "extra_repr": extra_repr,
            "forward": function,
        }
        return type(function.__name__, (nn.Module,), body)

    return decorate


class Identity(nn.Module):
    """Return the input unchanged."""

    def forward(self, x: Any) -> Any:
        """Return `x`."""
        return x


class Lambda(nn.Module):
    """Apply a function.

    Args:
        func: What `forward` calls with its input.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        super().__init__()
        self.func = func

    def forward(self, x: Any) -> Any:
        """Return `func(x)`."""
        return self.func(x)

    def extra_repr(self) -> str:
        """Show the function's name."""
        return f"func={_name_of(self.func)}"


class PartialLambda(Lambda):
    """Apply a function with keyword arguments fixed now.

    Args:
        func: What `forward` calls.
        **kwargs: Handed on to `func` at every call.
    """

    def __init__(self, func: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(partial(func, **kwargs) if kwargs else func)
        self.kwargs = kwargs

    def extra_repr(self) -> str:
        """Show the function's name and its arguments."""
        return ", ".join([super().extra_repr(), *(f"{k}={v!r}" for k, v in self.kwargs.items())])


def _name_of(func: Callable[..., Any]) -> str:
    func = func.func if isinstance(func, partial) else func
    return getattr(func, "__name__", None) or repr(func)


class Flatten(nn.Module):
    """Flatten all dimensions after the first.

    Args:
        full: Flatten the first (batch) dimension too.
    """

    def __init__(self, full: bool = False) -> None:
        super().__init__()
        self.full = full

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with shape (batch, -1), or (-1,) when `full`."""
        return x.reshape(-1) if self.full else x.flatten(1)

    def extra_repr(self) -> str:
        """Show whether the batch dimension goes too."""
        return f"full={self.full}"


class View(nn.Module):
    """Reshape the input to a fixed shape.

    Args:
        *size: The new shape; one entry may be -1.
    """

    def __init__(self, *size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` in the new shape."""
        return x.reshape(self.size)

    def extra_repr(self) -> str:
        """Show the shape."""
        return ", ".join(map(str, self.size))


class ResizeBatch(nn.Module):
    """Reshape every sample, keeping the batch dimension.

    Args:
        *size: The new shape of a sample; one entry may be -1.
    """

    def __init__(self, *size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with shape `(batch, *size)`."""
        return x.reshape(x.shape[0], *self.size)

    def extra_repr(self) -> str:
        """Show the shape of a sample."""
        return ", ".join(map(str, self.size))


class Debugger(nn.Module):
    """Stop in the Python debugger inside a model; the input is the local variable `x`."""

    def forward(self, x: Any) -> Any:
        """Open the debugger, then return `x`."""
        breakpoint()
        return x


def sigmoid(input: Tensor, eps: float = 1e-7) -> Tensor:
    """Sigmoid kept away from 0 and 1 by `eps`, so that its logarithm stays finite."""
    return input.sigmoid().clamp(eps, 1 - eps)


def sigmoid_(input: Tensor, eps: float = 1e-7) -> Tensor:
    """In-place form of `sigmoid`."""
    return input.sigmoid_().clamp_(eps, 1 - eps)


def sigmoid_range(x: Tensor, low: float, high: float) -> Tensor:
    """Squash `x` to the open range (`low`, `high`): `sigmoid(x) * (high - low) + low`."""
    return torch.sigmoid(x) * (high - low) + low


class SigmoidRange(nn.Module):
    """Squash the input to a range, as a last layer for targets known to lie inside it.

    Args:
        low: Lower end, never quite reached.
        high: Upper end, never quite reached.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low = low
        self.high = high

    def forward(self, x: Tensor) -> Tensor:
        """Return `sigmoid_range` of `x`."""
        return sigmoid_range(x, self.low, self.high)

    def extra_repr(self) -> str:
        """Show the range."""
        return f"low={self.low}, high={self.high}"


class ParameterModule(nn.Module):
    """Hold one lone parameter as a module, so that splitting by modules does not lose it.

    Args:
        p: The parameter.
    """

    def __init__(self, p: nn.Parameter) -> None:
        super().__init__()
        self.val = p

    def forward(self, x: Any) -> Any:
        """Return `x`."""
        return x
