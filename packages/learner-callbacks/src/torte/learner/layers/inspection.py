"""Questions about a module: its children, its leaves, its first channels, its normalisations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from torte.learner.layers.basic import ParameterModule

__all__ = [
    "BATCH_NORM_TYPES",
    "NORMALISATION_TYPES",
    "NoneReduce",
    "apply_leaf",
    "children_and_parameters",
    "flatten_model",
    "has_children",
    "has_params",
    "in_channels",
    "requires_grad",
    "set_bn_eval",
    "total_params",
]

BATCH_NORM_TYPES: tuple[type[nn.Module], ...] = (nn.modules.batchnorm._BatchNorm,)
NORMALISATION_TYPES: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def has_children(m: nn.Module) -> bool:
    """Tell whether a module has sub-modules."""
    return next(iter(m.children()), None) is not None


def has_params(m: nn.Module) -> bool:
    """Tell whether a module, or one below it, has parameters."""
    return next(iter(m.parameters()), None) is not None


def total_params(m: nn.Module) -> tuple[int, bool]:
    """Count a module's parameters, and tell whether any of them is being trained."""
    parameters = list(m.parameters())
    return sum(p.numel() for p in parameters), any(p.requires_grad for p in parameters)


def children_and_parameters(m: nn.Module) -> list[nn.Module]:
    """List a module's children, and each parameter of its own as a ParameterModule."""
    children = list(m.children())
    below = {id(parameter) for child in children for parameter in child.parameters()}
    own = [parameter for parameter in m.parameters() if id(parameter) not in below]
    return [*children, *(ParameterModule(parameter) for parameter in own)]


def flatten_model(m: nn.Module) -> list[nn.Module]:
    """List the leaves of a module tree in order, lone parameters wrapped as ParameterModule."""
    if not has_children(m):
        return [m]
    return [leaf for child in children_and_parameters(m) for leaf in flatten_model(child)]


def in_channels(m: nn.Module) -> int:
    """Return the number of channels that a model takes in, as its first weight tells.

    Raises:
        ValueError: No weight of the model has more than one dimension.
    """
    for leaf in flatten_model(m):
        channels = getattr(leaf, "in_channels", None) or getattr(leaf, "in_features", None)
        if isinstance(channels, int):
            return channels
        weight = getattr(leaf, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim > 1:
            return weight.shape[1]
    raise ValueError(f"no weight layer in {type(m).__name__} tells its number of input channels")


def apply_leaf(m: nn.Module, func: Callable[[nn.Module], Any]) -> None:
    """Call `func` on every module of a tree, children before their parent."""
    m.apply(func)


def requires_grad(m: nn.Module | Tensor, train: bool | None = None) -> bool | None:
    """Set whether a module's parameters are trained, or tell whether its first one is.

    Args:
        m: A module or one parameter.
        train: What to set; `None` only asks.

    Returns:
        The answer when asked, else `None`. A module without parameters answers `False`.
    """
    parameters = [m] if isinstance(m, Tensor) else list(m.parameters())
    if train is None:
        return parameters[0].requires_grad if parameters else False
    for parameter in parameters:
        parameter.requires_grad_(train)
    return None


def set_bn_eval(m: nn.Module, use_eval: bool = True) -> None:
    """Put batch normalisation whose weights are frozen in evaluation mode, all the way down.

    Args:
        m: A module tree.
        use_eval: `False` puts it in training mode instead.
    """
    for layer in _frozen_batch_norms(m):
        layer.train(not use_eval)


def _frozen_batch_norms(m: nn.Module) -> Iterator[nn.Module]:
    for layer in m.modules():
        if isinstance(layer, BATCH_NORM_TYPES):
            first = next(layer.parameters(), None)
            if first is not None and not first.requires_grad:
                yield layer


class NoneReduce:
    """For the length of a `with` block, a loss returns one value an element, not their mean.

    Args:
        loss_func: A loss with an attribute `reduction`, or a function with such an argument.

    Returns:
        On entry, the loss function to call.
    """

    def __init__(self, loss_func: Callable[..., Any]) -> None:
        self.loss_func = loss_func
        self._reduction: str | None = None

    def __enter__(self) -> Callable[..., Any]:
        reduction = getattr(self.loss_func, "reduction", None)
        if reduction is None:
            return lambda *args, **kw: self.loss_func(*args, **{**kw, "reduction": "none"})
        self._reduction = reduction
        self.loss_func.reduction = "none"  # pyright: ignore[reportFunctionMemberAccess]
        return self.loss_func

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reduction is not None:
            self.loss_func.reduction = self._reduction  # pyright: ignore[reportFunctionMemberAccess]
