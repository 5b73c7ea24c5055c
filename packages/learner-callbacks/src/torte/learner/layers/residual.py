"""Residual blocks: plain, squeeze-and-excitation, ResNeXt and separable ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from torte.learner.layers.attention import SimpleSelfAttention
from torte.learner.layers.containers import ProdLayer, SequentialEx
from torte.learner.layers.convolution import ActivationClass, ConvLayer
from torte.learner.layers.normalisation import NormType
from torte.learner.layers.pooling import AdaptiveAvgPool, AvgPool

__all__ = ["ResBlock", "SEBlock", "SEModule", "SEResNeXtBlock", "SeparableBlock"]

_ZERO_FORM = {NormType.Batch: NormType.BatchZero, NormType.Instance: NormType.InstanceZero}


def SEModule(  # noqa: N802
    ch: int, reduction: int, act_cls: ActivationClass = nn.ReLU, ndim: int = 2
) -> SequentialEx:
    """Squeeze-and-excitation: rescale channels by what the whole image says (arXiv:1709.01507).

    Args:
        ch: Channels in and out.
        reduction: The inner layer has `ch // reduction` channels, rounded up to a multiple of 8.
        act_cls: Makes the inner activation.
        ndim: 1, 2 or 3 dimensions.
    """
    inner = max(math.ceil(ch // reduction / 8) * 8, 8)
    return SequentialEx(
        AdaptiveAvgPool(1, ndim=ndim),
        ConvLayer(ch, inner, ks=1, norm_type=None, act_cls=act_cls, ndim=ndim),
        ConvLayer(inner, ch, ks=1, norm_type=None, act_cls=nn.Sigmoid, ndim=ndim),
        ProdLayer(),
    )


class ResBlock(nn.Module):
    """A residual block with the tweaks of "Bag of Tricks" (He et al. 2018, arXiv:1812.01187).

    The convolution path is two `ks` layers when `expansion` is 1, else a bottleneck of 1, `ks`, 1.
    Its last normalisation starts at 0; the identity path pools before a 1 x 1 convolution.

    Args:
        expansion: Channels in and out are `expansion` times `ni` and `nf`.
        ni: Channels in over `expansion`.
        nf: Channels out over `expansion`.
        stride: Stride of the block.
        groups: Groups of the `ks` convolution.
        reduction: Add squeeze-and-excitation with this reduction.
        nh1: Channels after the bottleneck's first layer, `nh2` by default.
        nh2: Channels inside, `nf` by default.
        dw: Make the `ks` convolution depth-wise.
        g2: Groups of the last convolution.
        sa: Add self-attention at the end.
        sym: Keep that attention symmetric.
        norm_type: Normalisation of the layers.
        act_cls: Makes each activation.
        ndim: 1, 2 or 3 dimensions.
        ks: Kernel size.
        pool: Makes the pooling of the identity path.
        pool_first: Pool before, not after, the identity path's convolution.
        **kwargs: For every `ConvLayer` of the
            convolution path.
    """

    def __init__(
        self,
        expansion: int,
        ni: int,
        nf: int,
        stride: int = 1,
        groups: int = 1,
        reduction: int | None = None,
        nh1: int | None = None,
        nh2: int | None = None,
        dw: bool = False,
        g2: int = 1,
        sa: bool = False,
        sym: bool = False,
        norm_type: NormType | None = NormType.Batch,
        act_cls: ActivationClass = nn.ReLU,
        ndim: int = 2,
        ks: int = 3,
        pool: Callable[..., nn.Module] = AvgPool,
        pool_first: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        nh2 = nf if nh2 is None else nh2
        nh1 = nh2 if nh1 is None else nh1
        ni, nf = ni * expansion, nf * expansion
        inner = {"norm_type": norm_type, "act_cls": act_cls, "ndim": ndim, **kwargs}
        zero_form = norm_type if norm_type is None else _ZERO_FORM.get(norm_type, norm_type)
        last = {**inner, "norm_type": zero_form, "act_cls": None}
        if expansion == 1:
            path: list[nn.Module] = [
                ConvLayer(ni, nh2, ks, stride=stride, groups=ni if dw else groups, **inner),
                ConvLayer(nh2, nf, ks, groups=g2, **last),
            ]
        else:
            path = [
                ConvLayer(ni, nh1, 1, **inner),
                ConvLayer(nh1, nh2, ks, stride=stride, groups=nh1 if dw else groups, **inner),
                ConvLayer(nh2, nf, 1, groups=g2, **last),
            ]
        if reduction:
            path.append(SEModule(nf, reduction=reduction, act_cls=act_cls, ndim=ndim))
        if sa:
            path.append(SimpleSelfAttention(nf, ks=1, sym=sym))
        self.convpath = nn.Sequential(*path)
        self.idpath = _identity_path(ni, nf, stride, ndim, pool, pool_first)
        self.act = act_cls()

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of both paths' sum, of shape (batch, nf x expansion, …)."""
        return self.act(self.convpath(x) + self.idpath(x))


def _identity_path(
    ni: int, nf: int, stride: int, ndim: int, pool: Callable[..., nn.Module], pool_first: bool
) -> nn.Sequential:
    layers: list[nn.Module] = []
    if ni != nf:
        layers.append(ConvLayer(ni, nf, 1, act_cls=None, ndim=ndim))
    if stride != 1:
        shrink = pool(stride, ndim=ndim, ceil_mode=True)
        layers.insert(0 if pool_first else len(layers), shrink)
    return nn.Sequential(*layers)


def SEBlock(  # noqa: N802
    expansion: int,
    ni: int,
    nf: int,
    groups: int = 1,
    reduction: int = 16,
    stride: int = 1,
    **kwargs: Any,
) -> ResBlock:
    """Residual block with squeeze-and-excitation, as in SE-Net."""
    return ResBlock(
        expansion,
        ni,
        nf,
        stride=stride,
        groups=groups,
        reduction=reduction,
        nh1=nf * 2,
        nh2=nf * expansion,
        **kwargs,
    )


def SEResNeXtBlock(  # noqa: N802
    expansion: int,
    ni: int,
    nf: int,
    groups: int = 32,
    reduction: int = 16,
    stride: int = 1,
    base_width: int = 4,
    **kwargs: Any,
) -> ResBlock:
    """Grouped residual block with squeeze-and-excitation, as in SE-ResNeXt."""
    width = math.floor(nf * (base_width / 64)) * groups
    return ResBlock(
        expansion, ni, nf, stride=stride, groups=groups, reduction=reduction, nh2=width, **kwargs
    )


def SeparableBlock(  # noqa: N802
    expansion: int,
    ni: int,
    nf: int,
    reduction: int = 16,
    stride: int = 1,
    base_width: int = 4,
    **kwargs: Any,
) -> ResBlock:
    """Residual block of depth-wise convolutions with squeeze-and-excitation.

    `base_width` has no effect; it is there so that all blocks take the same arguments.
    """
    return ResBlock(
        expansion, ni, nf, stride=stride, reduction=reduction, nh2=nf * 2, dw=True, **kwargs
    )
