"""Convolution blocks: convolution, normalisation and activation in one; upsampling; a small CNN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from torte.learner.layers.containers import SequenceBlock
from torte.learner.layers.initialisers import Initialiser, icnr_init, init_linear
from torte.learner.layers.normalisation import BatchNorm, InstanceNorm, NormType
from torte.learner.layers.pooling import PoolFlatten

__all__ = ["ConvLayer", "PixelShuffle_ICNR", "SimpleCNN"]

ActivationClass = Callable[[], nn.Module]

_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Callable[..., nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_BATCH = (NormType.Batch, NormType.BatchZero)
_INSTANCE = (NormType.Instance, NormType.InstanceZero)


def _normalisation(norm_type: NormType | None, nf: int, ndim: int) -> nn.Module | None:
    if norm_type is None:
        return None
    if norm_type in _BATCH:
        return BatchNorm(nf, ndim=ndim, norm_type=norm_type)
    if norm_type in _INSTANCE:
        return InstanceNorm(nf, ndim=ndim, norm_type=norm_type)
    return None


class ConvLayer(SequenceBlock):
    """A convolution, its normalisation and its activation.

    Args:
        ni: Channels in.
        nf: Channels out.
        ks: Kernel size.
        stride: Stride.
        padding: Padding; by default what keeps the size at stride 1, or 0 when `transpose`.
        bias: Whether the convolution has a bias; by default only if no normalisation layer follows.
        ndim: 1, 2 or 3 dimensions.
        norm_type: Normalisation, or `None`.
        bn_1st: Normalise before the activation rather than after it.
        act_cls: Makes the activation; `None` for none.
        transpose: Use a transposed convolution.
        init: Initialiser of the weight, see
            `init_linear`.
        xtra: One more layer at the end.
        bias_std: Standard deviation of the starting bias.
        **kwargs: For PyTorch's convolution (`dilation`, `groups`, `padding_mode`, …).

    Raises:
        ValueError: `ndim` is not 1, 2 or 3.
    """

    def __init__(
        self,
        ni: int,
        nf: int,
        ks: int = 3,
        stride: int = 1,
        padding: int | None = None,
        bias: bool | None = None,
        ndim: int = 2,
        norm_type: NormType | None = NormType.Batch,
        bn_1st: bool = True,
        act_cls: ActivationClass | None = nn.ReLU,
        transpose: bool = False,
        init: Initialiser | str | None = "auto",
        xtra: nn.Module | None = None,
        bias_std: float = 0.01,
        **kwargs: Any,
    ) -> None:
        table = _TRANSPOSED if transpose else _CONVOLUTIONS
        if ndim not in table:
            raise ValueError(f"ndim must be 1, 2 or 3, not {ndim!r}")
        if padding is None:
            padding = 0 if transpose else (ks - 1) // 2
        norm = _normalisation(norm_type, nf, ndim)
        bias = norm is None if bias is None else bias
        conv = table[ndim](
            ni, nf, kernel_size=ks, bias=bias, stride=stride, padding=padding, **kwargs
        )
        act = None if act_cls is None else act_cls()
        init_linear(conv, act, init=init, bias_std=bias_std)
        conv = _reparametrise(conv, norm_type)
        after = [norm, act] if bn_1st else [act, norm]
        super().__init__(*(layer for layer in [conv, *after, xtra] if layer is not None))


def _reparametrise(conv: nn.Module, norm_type: NormType | None) -> nn.Module:
    if norm_type == NormType.Weight:
        return weight_norm(conv)
    return spectral_norm(conv) if norm_type == NormType.Spectral else conv


class PixelShuffle_ICNR(SequenceBlock):  # noqa: N801
    """Upsample with a convolution and a pixel shuffle, starting free of checkerboards.

    Args:
        ni: Channels in.
        nf: Channels out, `ni` when `None`.
        scale: How many times larger the output is.
        blur: Average over 2 x 2 pixels afterwards, which removes the artefacts that remain
            (Sugawara et al. 2018, arXiv:1806.02658).
        norm_type: Normalisation of the convolution.
        act_cls: Makes the activation.
    """

    def __init__(
        self,
        ni: int,
        nf: int | None = None,
        scale: int = 2,
        blur: bool = False,
        norm_type: NormType | None = NormType.Weight,
        act_cls: ActivationClass | None = nn.ReLU,
    ) -> None:
        nf = ni if nf is None else nf
        block = ConvLayer(ni, nf * scale**2, ks=1, norm_type=norm_type, act_cls=act_cls, bias_std=0)
        conv = block[0]
        assert isinstance(conv, nn.Conv2d)
        with torch.no_grad():
            # Under weight or spectral normalisation this assignment sets the underlying parameters.
            start = icnr_init(conv.weight, scale=scale)
            if hasattr(conv, "parametrizations"):
                conv.weight = start
            else:
                conv.weight.copy_(start)
        layers: list[nn.Module] = [block, nn.PixelShuffle(scale)]
        if blur:
            layers += [nn.ReplicationPad2d((1, 0, 1, 0)), nn.AvgPool2d(2, stride=1)]
        super().__init__(*layers)


class SimpleCNN(SequenceBlock):
    """A plain stack of convolution layers ending in average pooling to (batch, filters[-1]).

    Args:
        filters: Channels, the input's first.
        kernel_szs: Kernel size of each layer, 3 by default.
        strides: Stride of each layer, 2 by default.
        bn: Normalise every layer but the last.

    Raises:
        ValueError: The lists' lengths do not fit.
    """

    def __init__(
        self,
        filters: Sequence[int],
        kernel_szs: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
        bn: bool = True,
    ) -> None:
        count = len(filters) - 1
        kernels = [3] * count if kernel_szs is None else list(kernel_szs)
        steps = [2] * count if strides is None else list(strides)
        if len(kernels) != count or len(steps) != count:
            raise ValueError(
                f"{len(filters)} filters make {count} layers, but {len(kernels)} kernel_szs and "
                f"{len(steps)} strides were given"
            )
        layers: list[nn.Module] = [
            ConvLayer(
                filters[i],
                filters[i + 1],
                kernels[i],
                stride=steps[i],
                norm_type=NormType.Batch if bn and i < count - 1 else None,
            )
            for i in range(count)
        ]
        super().__init__(*layers, PoolFlatten())
