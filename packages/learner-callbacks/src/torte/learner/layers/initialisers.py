"""How weights start: initialisers for one layer, for whole models, and truncated normals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torte.learner.layers.inspection import NORMALISATION_TYPES

__all__ = [
    "apply_init",
    "cond_init",
    "icnr_init",
    "init_default",
    "init_linear",
    "kaiming_leaky",
    "trunc_normal_",
]

AnyModule = TypeVar("AnyModule", bound=nn.Module)
Initialiser = Callable[..., Any]

# Rectifiers lose half of the signal's energy, which He et al. (2015) compensate in the weights.
_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU)
_RECTIFYING_FUNCTIONS = (F.relu, torch.relu, torch.relu_, F.leaky_relu, F.leaky_relu_, F.relu6)


def init_default(m: AnyModule, func: Initialiser | None = nn.init.kaiming_normal_) -> AnyModule:
    """Initialise a layer's weight with `func` and set its bias to 0.

    Args:
        m: The layer; parts that it lacks are passed over.
        func: Works in place on the weight. `None` leaves the layer as it is.

    Returns:
        The layer.
    """
    if func is None:
        return m
    weight, bias = getattr(m, "weight", None), getattr(m, "bias", None)
    with torch.no_grad():
        if isinstance(weight, Tensor):
            func(weight)
        if isinstance(bias, Tensor):
            bias.zero_()
    return m


def init_linear(
    m: nn.Module,
    act_func: Any = None,
    init: Initialiser | str | None = "auto",
    bias_std: float = 0.01,
) -> None:
    """Initialise a linear or convolution layer for the activation that follows it.

    Args:
        m: The layer.
        act_func: The activation after it: a module, a class of modules, or a function.
        init: In-place initialiser of the weight; "auto" takes He's uniform one before a rectifier,
            the activation's own (attribute `default_init`) where it names one, and otherwise
            leaves PyTorch's; `None` leaves PyTorch's too.
        bias_std: Standard deviation of the bias; 0 sets the bias to 0.

    Raises:
        ValueError: `init` is a string other than "auto".
    """
    if isinstance(init, str):
        if init != "auto":
            raise ValueError(f'init must be "auto", None or an initialiser, not {init!r}')
        init = _initialiser_for(act_func)
    bias, weight = getattr(m, "bias", None), getattr(m, "weight", None)
    with torch.no_grad():
        if isinstance(bias, Tensor):
            bias.normal_(0, bias_std) if bias_std != 0 else bias.zero_()
        if init is not None and isinstance(weight, Tensor):
            init(weight)


def _initialiser_for(act_func: Any) -> Initialiser | None:
    own = getattr(act_func, "default_init", None)
    if own is not None:
        return own
    kind = act_func if isinstance(act_func, type) else type(act_func)
    if issubclass(kind, _RECTIFIERS) or any(act_func is f for f in _RECTIFYING_FUNCTIONS):
        return nn.init.kaiming_uniform_
    return None


def kaiming_leaky(weight: Tensor) -> Tensor:
    """He's uniform initialiser with the slope that PyTorch's own layers use (√5), in place."""
    return nn.init.kaiming_uniform_(weight, a=5**0.5)


def trunc_normal_(x: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill a tensor, in place, from a normal distribution cut at two standard deviations."""
    return nn.init.trunc_normal_(x, mean=mean, std=std, a=mean - 2 * std, b=mean + 2 * std)


def icnr_init(x: Tensor, scale: int = 2, init: Initialiser = nn.init.kaiming_normal_) -> Tensor:
    """Initialise a convolution before a pixel shuffle without checkerboard artefacts.

    The `scale**2` output channels that a pixel shuffle puts side by side start out equal, so the
    layer begins as nearest-neighbour upsampling (Aitken et al. 2017, arXiv:1707.02937).

    Args:
        x: The weight, of shape (channels out, channels in, height, width); not changed.
        scale: Upsampling factor of the pixel shuffle.
        init: In-place initialiser of the part that is repeated.

    Returns:
        A new weight of the same shape.

    Raises:
        ValueError: The output channels cannot be divided by `scale**2`.
    """
    if x.shape[0] % scale**2:
        raise ValueError(f"{x.shape[0]} output channels are no multiple of scale² = {scale**2}")
    part = x.detach().new_zeros(x.shape[0] // scale**2, *x.shape[1:])
    init(part)
    return part.repeat_interleave(scale**2, dim=0)


def cond_init(m: nn.Module, func: Initialiser) -> None:
    """Apply `init_default` unless `m` normalises.

    Only parameters that are being trained are touched.
    """
    if isinstance(m, NORMALISATION_TYPES):
        return
    parameters = list(m.parameters(recurse=False))
    if parameters and all(parameter.requires_grad for parameter in parameters):
        weight = getattr(m, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim < 2:
            return
        init_default(m, func)


def apply_init(m: nn.Module, func: Initialiser = nn.init.kaiming_normal_) -> None:
    """Initialise every layer of a model but the normalising ones, in place.

    Args:
        m: The model.
        func: In-place initialiser of the weights; biases become 0.
    """
    for layer in m.modules():
        cond_init(layer, func)
