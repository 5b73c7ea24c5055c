"""Containers: a sequence that remembers its input, merges, concatenation, steps in time.

`SequentialEx` is `nn.Sequential` with one addition,
the paper's (section 4.8): every layer of the block can read the *original input* of the block, so
residual and dense connections need no hand-written `forward`. A layer has two ways to read it:

* it sets the class attribute `takes_input = True` and is then called as `layer(x, original)`
  (what `MergeLayer` does; the way to prefer);
* it reads the attribute `x.orig` of the tensor it is given, which lives just as long as the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, overload

import torch
from torch import Tensor, nn

__all__ = [
    "Cat",
    "MergeLayer",
    "ProdLayer",
    "SequenceBlock",
    "SequentialEx",
    "TimeDistributed",
    "sequential",
]


class SequenceBlock(nn.Sequential):
    """Base of blocks that are sequences made from settings: a slice of one is an `nn.Sequential`.

    (`nn.Sequential` would call the block's own constructor with the layers of the slice.)
    """

    @overload
    def __getitem__(self, idx: slice) -> nn.Sequential: ...
    @overload
    def __getitem__(self, idx: int) -> nn.Module: ...
    def __getitem__(self, idx: int | slice) -> nn.Module:
        """Return a layer, or the sliced layers one after the other."""
        if isinstance(idx, slice):
            return nn.Sequential(*list(self)[idx])
        return super().__getitem__(idx)


def sequential(*args: nn.Module | Iterable[Any] | None) -> nn.Sequential:
    """Make an `nn.Sequential` of the layers given, which may be lists, dropping every `None`.

    Args:
        *args: Modules, iterables of modules (taken apart) or `None` (left out).

    Returns:
        The layers one after the other.
    """
    return nn.Sequential(*_flatten(args))


def _flatten(items: Iterable[Any]) -> Iterator[nn.Module]:
    for item in items:
        if item is None:
            continue
        if isinstance(item, nn.Module):
            yield item
        elif isinstance(item, Iterable):
            yield from _flatten(item)
        else:
            raise TypeError(f"sequential takes modules, lists of modules or None, not {item!r}")


def _call_layer(layer: nn.Module, x: Any, original: Any) -> Any:
    """Call one layer of a block, letting it read the block's input; leave no trace on `x`."""
    if getattr(layer, "takes_input", False):
        return layer(x, original)
    if not isinstance(x, Tensor):
        return layer(x)
    # An enclosing block may have left its own input on this very tensor: put it back afterwards.
    outer = getattr(x, "orig", None)
    x.orig = original  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return layer(x)
    finally:
        # torch.compile cannot trace the deletion of a tensor's attribute, but None holds nothing.
        x.orig = outer  # pyright: ignore[reportAttributeAccessIssue]
        if outer is None and not torch.compiler.is_compiling():
            del x.orig  # pyright: ignore[reportAttributeAccessIssue]


class SequentialEx(nn.Module):
    """`nn.Sequential` whose layers can read the block's original input.

    Args:
        *layers: The layers, called one after the other.

    Example:
        >>> block = SequentialEx(nn.Linear(4, 4), nn.ReLU(), MergeLayer())
        >>> x = torch.randn(2, 4)
        >>> torch.equal(block(x), block[1](block[0](x)) + x)
        True
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Any) -> Any:
        """Run the layers on `x`, offering each of them `x` itself as the original input."""
        original = x
        for layer in self.layers:
            x = _call_layer(layer, x, original)
        return x

    @overload
    def __getitem__(self, index: int) -> nn.Module: ...
    @overload
    def __getitem__(self, index: slice) -> SequentialEx: ...
    def __getitem__(self, index: int | slice) -> nn.Module:
        """Return a layer, or a block of the sliced layers."""
        if isinstance(index, slice):
            return type(self)(*list(self.layers)[index])
        return self.layers[index]

    def __setitem__(self, index: int, layer: nn.Module) -> None:
        """Replace one layer."""
        self.layers[index] = layer

    def __delitem__(self, index: int | slice) -> None:
        """Take out one layer or several."""
        del self.layers[index]

    def __len__(self) -> int:
        """Count the layers."""
        return len(self.layers)

    def __iter__(self) -> Iterator[nn.Module]:
        """Iterate over the layers."""
        return iter(self.layers)

    def append(self, layer: nn.Module) -> SequentialEx:
        """Add a layer at the end."""
        self.layers.append(layer)
        return self

    def extend(self, layers: Iterable[nn.Module]) -> SequentialEx:
        """Add several layers at the end."""
        self.layers.extend(layers)
        return self

    def insert(self, index: int, layer: nn.Module) -> SequentialEx:
        """Add a layer before position `index`."""
        self.layers.insert(index, layer)
        return self


class MergeLayer(nn.Module):
    """Merge the block's original input with what the block has made of it so far.

    Args:
        dense: `False` adds (a residual connection), `True` concatenates along dimension 1 (a dense
            connection); a function merges as it likes: it gets the original input and the current
            value, in this order.

    Example:
        >>> block = SequentialEx(nn.Linear(3, 3), MergeLayer(lambda original, x: original * x))
        >>> block(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """

    takes_input: ClassVar[bool] = True

    def __init__(self, dense: bool | Callable[[Tensor, Tensor], Tensor] = False) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, x: Tensor, original: Tensor | None = None) -> Tensor:
        """Merge `x` with `original`, read from `x.orig` when called outside a SequentialEx."""
        if original is None:
            original = _orig_of(x, self)
        if callable(self.dense):
            return self.dense(original, x)
        return torch.cat([x, original], dim=1) if self.dense else x + original

    def extra_repr(self) -> str:
        """Show how it merges."""
        return f"dense={self.dense!r}"


class ProdLayer(nn.Module):
    """Multiply the current value by the block's original input (as squeeze-and-excitation does)."""

    takes_input: ClassVar[bool] = True

    def forward(self, x: Tensor, original: Tensor | None = None) -> Tensor:
        """Return `x * original`."""
        return x * (_orig_of(x, self) if original is None else original)


def _orig_of(x: Tensor, layer: nn.Module) -> Tensor:
    original = getattr(x, "orig", None)
    if original is None:
        raise RuntimeError(
            f"{type(layer).__name__} has no original input to merge with: put it directly inside a "
            f"SequentialEx, or call it with two arguments"
        )
    return original


class Cat(nn.ModuleList):
    """Give the same input to several layers and concatenate what they return.

    Args:
        layers: The layers, side by side.
        dim: The dimension to concatenate along.
    """

    def __init__(self, layers: Iterable[nn.Module], dim: int = 1) -> None:
        super().__init__(layers)
        self.dim = dim

    @overload
    def __getitem__(self, idx: slice) -> Cat: ...
    @overload
    def __getitem__(self, idx: int) -> nn.Module: ...
    def __getitem__(self, idx: int | slice) -> nn.Module:
        """Return a layer, or the sliced layers side by side along the same dimension."""
        if isinstance(idx, slice):
            return Cat(list(self)[idx], dim=self.dim)
        return super().__getitem__(idx)

    def forward(self, x: Any) -> Tensor:
        """Concatenate every layer's output for `x`."""
        return torch.cat([layer(x) for layer in self], dim=self.dim)


def _map_tensors(function: Callable[[Tensor], Tensor], output: Any) -> Any:
    if isinstance(output, Tensor):
        return function(output)
    if isinstance(output, (tuple, list)):
        return type(output)(_map_tensors(function, item) for item in output)
    if isinstance(output, dict):
        return {key: _map_tensors(function, item) for key, item in output.items()}
    return output


class TimeDistributed(nn.Module):
    """Apply a module to every step along a time dimension, with the same weights.

    Args:
        module: Works on batches without the time dimension.
        low_mem: Apply it step by step rather than to all steps in one large batch: less memory,
            more calls. (With batch normalisation the two differ: one large batch has one mean.)
        tdim: The time dimension of inputs and outputs.
    """

    def __init__(self, module: nn.Module, low_mem: bool = False, tdim: int = 1) -> None:
        super().__init__()
        self.module = module
        self.low_mem = low_mem
        self.tdim = tdim

    def forward(self, *tensors: Tensor, **kwargs: Any) -> Any:
        """Apply the module to tensors of shape (batch, …, time, …); the output keeps the time."""
        if self.low_mem:
            return self._step_by_step(*tensors, **kwargs)
        moved = [tensor.movedim(self.tdim, 1) for tensor in tensors]
        batch, steps = moved[0].shape[:2]
        output = self.module(*(tensor.flatten(0, 1) for tensor in moved), **kwargs)
        return _map_tensors(
            lambda tensor: tensor.unflatten(0, (batch, steps)).movedim(1, self.tdim), output
        )

    def _step_by_step(self, *tensors: Tensor, **kwargs: Any) -> Any:
        slices = zip(*(tensor.unbind(self.tdim) for tensor in tensors), strict=True)
        outputs = [self.module(*step, **kwargs) for step in slices]
        return _stack_steps(outputs, self.tdim)


def _stack_steps(outputs: list[Any], dim: int) -> Any:
    first = outputs[0]
    if isinstance(first, Tensor):
        return torch.stack(outputs, dim=dim)
    if isinstance(first, (tuple, list)):
        return type(first)(_stack_steps(list(column), dim) for column in zip(*outputs, strict=True))
    if isinstance(first, dict):
        return {key: _stack_steps([output[key] for output in outputs], dim) for key in first}
    return outputs
