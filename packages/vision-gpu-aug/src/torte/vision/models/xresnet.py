"""XResNet: one class for the family of residual networks, its members told apart by parameters.

Tweaks of He et al. (2018), "Bag of Tricks for Image Classification with Convolutional Neural
Networks", are the default: a stem of three 3 x 3 convolutions (C), strides moved off the first
1 x 1 convolution (B), and average pooling before the 1 x 1 convolution of the shortcut (D).

What the paper calls changes to input parameters:

| parameter | gives | from |
| --- | --- | --- |
| `reduction` | squeeze and excitation | Hu et al. 2017 |
| `groups` | grouped convolutions, ResNeXt | Xie et al. 2016 |
| `dw` | depthwise convolutions, Xception | Chollet 2016 |
| `widen` | wider stages, Wide ResNet | Zagoruyko and Komodakis 2016 |
| `sa`, `sym` | self-attention, symmetric self-attention | Zhang et al. 2018 |
| `act_cls` | any activation, as `nn.Mish` | Misra 2019 |
| `stem_szs`, `ks`, `stride`, `ndim` | stem widths, kernel size, down-sampling, dimensions | |
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, overload

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from torte.learner.export import model_builder
from torte.learner.layers import (
    AdaptiveAvgPool,
    ConvLayer,
    Flatten,
    MaxPool,
    ResBlock,
    SEBlock,
    SEResNeXtBlock,
)
from torte.vision.models.weights import WeightsUnavailableError

__all__ = [
    "XResNet",
    "initialize_convolutions",
    "xresnet18",
    "xresnet18_deep",
    "xresnet18_deeper",
    "xresnet34",
    "xresnet34_deep",
    "xresnet34_deeper",
    "xresnet50",
    "xresnet50_deep",
    "xresnet50_deeper",
    "xresnet101",
    "xresnet152",
    "xresnext18",
    "xresnext34",
    "xresnext50",
    "xresnext101",
    "xse_resnet18",
    "xse_resnet34",
    "xse_resnet50",
    "xse_resnet101",
    "xse_resnet152",
    "xse_resnext18",
    "xse_resnext18_deep",
    "xse_resnext18_deeper",
    "xse_resnext34",
    "xse_resnext34_deep",
    "xse_resnext34_deeper",
    "xse_resnext50",
    "xse_resnext50_deep",
    "xse_resnext50_deeper",
    "xse_resnext101",
    "xsenet154",
]

_STAGE_WIDTHS = (64, 128, 256, 512)
_DEEPER_WIDTH = 256
"""Width of every stage after the fourth, in the deep and deeper members."""


def initialize_convolutions(model: nn.Module) -> None:
    """Draws convolutions and linear layers by He et al. (2015) and sets their biases to zero.

    Layers under weight or spectral normalization keep their own start, and so does the last
    normalization of each residual branch: `ResBlock` has set its weight to zero, so that every
    block starts as the identity.
    """
    for module in model.modules():
        if is_parametrized(module):
            continue
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class XResNet(nn.Sequential):
    """A residual network: stem, pooling, stages of blocks, pooling, linear layer.

    Args:
        block: What makes one block, with the arguments of `ResBlock`.
        expansion: How many times wider a block's output is than its inside; 1 for blocks of two
            convolutions, 4 for bottlenecks.
        layers: Blocks in each stage.
        p: Dropout before the linear layer.
        c_in: Channels of the input.
        n_out: Outputs.
        stem_szs: Widths of the stem's convolutions, of which the first has the stride.
        widen: Factor on the width of each stage.
        sa: Self-attention at the end of one stage: the fourth from the last, which of a network
            of four is the first.
        act_cls: Activation.
        ndim: Dimensions of the input, 1 to 3.
        ks: Kernel size of the stem, the pooling and the blocks.
        stride: Stride of the stem and of each stage but the first.
        **kwargs: For `block`: `groups`, `reduction`, `dw`, `sym`, `g2`, `pool`, `norm_type`, ….

    Shape:
        - Input: `(n, c_in, *spatial)` with `ndim` spatial dimensions.
        - Output: (n, n_out).

    Raises:
        ValueError: If `layers` or `stem_szs` is empty, or `ks` is even (padding could not keep
            sizes).
    """

    def __init__(
        self,
        block: Callable[..., nn.Module],
        expansion: int,
        layers: Sequence[int],
        p: float = 0.0,
        c_in: int = 3,
        n_out: int = 1000,
        stem_szs: Sequence[int] = (32, 32, 64),
        widen: float = 1.0,
        sa: bool = False,
        act_cls: Callable[..., nn.Module] = nn.ReLU,
        ndim: int = 2,
        ks: int = 3,
        stride: int = 2,
        **kwargs: Any,
    ) -> None:
        if not stem_szs:
            raise ValueError("stem_szs must name the width of at least one convolution")
        if not layers:
            raise ValueError("layers must name the number of blocks of at least one stage")
        if ks % 2 == 0:
            raise ValueError(f"ks must be odd, so that padding keeps sizes; got {ks!r}")
        shared = {"ndim": ndim, "ks": ks, "act_cls": act_cls}
        stem_widths = [c_in, *stem_szs]
        stem = [
            ConvLayer(width, stem_widths[i + 1], stride=stride if i == 0 else 1, **shared)
            for i, width in enumerate(stem_widths[:-1])
        ]
        widths = stage_widths(len(layers), widen, expansion, stem_szs[-1])
        stages = []
        for i, n_blocks in enumerate(layers):
            attention = sa and i == max(len(layers) - 4, 0)
            step = 1 if i == 0 else stride
            stages.append(
                _stage(
                    block,
                    expansion,
                    widths[i],
                    widths[i + 1],
                    n_blocks,
                    stride=step,
                    sa=attention,
                    **shared,
                    **kwargs,
                )
            )
        super().__init__(
            *stem,
            MaxPool(ks=ks, stride=stride, padding=ks // 2, ndim=ndim),
            *stages,
            AdaptiveAvgPool(sz=1, ndim=ndim),
            Flatten(),
            nn.Dropout(p),
            nn.Linear(widths[-1] * expansion, n_out),
        )
        initialize_convolutions(self)

    @overload
    def __getitem__(self, idx: slice) -> nn.Sequential: ...
    @overload
    def __getitem__(self, idx: int) -> nn.Module: ...
    def __getitem__(self, idx: slice | int) -> nn.Module:
        """One child, or a plain `nn.Sequential` of several."""
        if isinstance(idx, slice):
            return nn.Sequential(*list(self)[idx])
        return super().__getitem__(idx)


def stage_widths(n_stages: int, widen: float, expansion: int, stem_width: int) -> list[int]:
    """Widths inside the blocks: what enters the first stage, then one for each stage."""
    bases = [*_STAGE_WIDTHS, *[_DEEPER_WIDTH] * (n_stages - len(_STAGE_WIDTHS))][:n_stages]
    return [stem_width // expansion, *(int(base * widen) for base in bases)]


def _stage(
    block: Callable[..., nn.Module],
    expansion: int,
    ni: int,
    nf: int,
    n_blocks: int,
    stride: int,
    sa: bool,
    **kwargs: Any,
) -> nn.Sequential:
    """Blocks of one stage: the first changes width and size, self-attention sits in the last."""
    return nn.Sequential(
        *(
            block(
                expansion,
                ni if i == 0 else nf,
                nf,
                stride=stride if i == 0 else 1,
                sa=sa and i == n_blocks - 1,
                **kwargs,
            )
            for i in range(n_blocks)
        )
    )


_LAYERS: dict[str, tuple[int, list[int]]] = {
    "18": (1, [2, 2, 2, 2]),
    "34": (1, [3, 4, 6, 3]),
    "50": (4, [3, 4, 6, 3]),
    "101": (4, [3, 4, 23, 3]),
    "152": (4, [3, 8, 36, 3]),
    "18_deep": (1, [2, 2, 2, 2, 1, 1]),
    "34_deep": (1, [3, 4, 6, 3, 1, 1]),
    "50_deep": (4, [3, 4, 6, 3, 1, 1]),
    "18_deeper": (1, [2, 2, 1, 1, 1, 1, 1, 1]),
    "34_deeper": (1, [3, 4, 6, 3, 1, 1, 1, 1]),
    "50_deeper": (4, [3, 4, 6, 3, 1, 1, 1, 1]),
}
"""Expansion and blocks in each stage, by what follows the family's name."""


def _member(
    family: str, size: str, block: Callable[..., nn.Module], **defaults: Any
) -> Callable[..., XResNet]:
    """Makes the function that builds one member of a family."""
    name, (expansion, layers) = f"{family}{size}", _LAYERS.get(size, (4, [3, 8, 36, 3]))

    def build(pretrained: bool = False, **kwargs: Any) -> XResNet:
        if pretrained:
            raise WeightsUnavailableError(
                f"there are no published weights for {name}; give pretrained=False, or weights= "
                "the path of a file of tensors"
            )
        return XResNet(block, expansion, layers, **(defaults | kwargs))

    build.__name__ = build.__qualname__ = name
    build.__doc__ = (
        f"Makes {name}: expansion {expansion}, blocks {layers}.\n\n"
        "Args:\n    pretrained: Must be False: there are no published weights.\n"
        "    **kwargs: For `XResNet` and its blocks.\n"
    )
    return model_builder(f"torte.vision.{name}")(build)


_SQUEEZED = partial(ResBlock, reduction=16)
_GROUPED = partial(SEResNeXtBlock, reduction=0)

xresnet18 = _member("xresnet", "18", ResBlock)
xresnet34 = _member("xresnet", "34", ResBlock)
xresnet50 = _member("xresnet", "50", ResBlock)
xresnet101 = _member("xresnet", "101", ResBlock)
xresnet152 = _member("xresnet", "152", ResBlock)
xresnet18_deep = _member("xresnet", "18_deep", ResBlock)
xresnet34_deep = _member("xresnet", "34_deep", ResBlock)
xresnet50_deep = _member("xresnet", "50_deep", ResBlock)
xresnet18_deeper = _member("xresnet", "18_deeper", ResBlock)
xresnet34_deeper = _member("xresnet", "34_deeper", ResBlock)
xresnet50_deeper = _member("xresnet", "50_deeper", ResBlock)
xse_resnet18 = _member("xse_resnet", "18", _SQUEEZED)
xse_resnet34 = _member("xse_resnet", "34", _SQUEEZED)
xse_resnet50 = _member("xse_resnet", "50", _SQUEEZED)
xse_resnet101 = _member("xse_resnet", "101", _SQUEEZED)
xse_resnet152 = _member("xse_resnet", "152", _SQUEEZED)
xresnext18 = _member("xresnext", "18", _GROUPED)
xresnext34 = _member("xresnext", "34", _GROUPED)
xresnext50 = _member("xresnext", "50", _GROUPED)
xresnext101 = _member("xresnext", "101", _GROUPED)
xse_resnext18 = _member("xse_resnext", "18", SEResNeXtBlock)
xse_resnext34 = _member("xse_resnext", "34", SEResNeXtBlock)
xse_resnext50 = _member("xse_resnext", "50", SEResNeXtBlock)
xse_resnext101 = _member("xse_resnext", "101", SEResNeXtBlock)
xse_resnext18_deep = _member("xse_resnext", "18_deep", SEResNeXtBlock)
xse_resnext34_deep = _member("xse_resnext", "34_deep", SEResNeXtBlock)
xse_resnext50_deep = _member("xse_resnext", "50_deep", SEResNeXtBlock)
xse_resnext18_deeper = _member("xse_resnext", "18_deeper", SEResNeXtBlock)
xse_resnext34_deeper = _member("xse_resnext", "34_deeper", SEResNeXtBlock)
xse_resnext50_deeper = _member("xse_resnext", "50_deeper", SEResNeXtBlock)
xsenet154 = _member("xsenet", "154", SEBlock, groups=64, reduction=16, p=0.2)
