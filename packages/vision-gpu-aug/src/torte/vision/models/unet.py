"""The dynamic U-Net: a decoder built for any body, with cross connections for any input size.

Ronneberger et al. (2015) with what winning entries of segmentation contests added, as section 4.8
of the paper says: a pretrained body as encoder, upsampling by pixel shuffle that starts free of
checkerboards (Aitken et al. 2017) with an optional blur (Sugawara et al. 2018), normalization of
each cross connection, optional self-attention, and a last cross connection from the image itself.

    image ── body ── 1/2 ── 1/4 ── 1/8 ── 1/16 ── 1/32
      │               │      │      │      │        │  bottom
      └── last cross ─┴──────┴──────┴──────┴────────┘
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torte.learner.hooks import evaluating
from torte.learner.layers import (
    BatchNorm,
    ConvLayer,
    NormType,
    PixelShuffle_ICNR,
    ResBlock,
    SelfAttention,
    SigmoidRange,
    apply_init,
)
from torte.vision.models.body_and_head import (
    BodyCutError,
    ProtocolBody,
    blank_image,
    drop_unused,
)

__all__ = ["DynamicUnet", "FeatureEncoder", "ResizeToOrig", "UnetBlock"]

Initialiser = Callable[..., Any] | None


class FeatureEncoder(nn.Module):
    """A body that gives the last feature map of each resolution, from fine to coarse.

    Args:
        body: An `nn.Sequential` that runs its children in order, or a `ProtocolBody` whose model
            offers `forward_intermediates` (timm's do).
        size: (channels, height, width) of one image, to find where the resolution changes.

    Attributes:
        channels: Channels of each map.
        full_size: Whether the finest map has the image's own resolution (as in VGG).

    Raises:
        BodyCutError: If the body is neither, or gives fewer than two resolutions.
    """

    def __init__(self, body: nn.Module, size: tuple[int, int, int]) -> None:
        super().__init__()
        self.body = body
        self.taps: list[int] = []
        with evaluating(body), torch.enable_grad():
            maps = self._all_maps(blank_image(body, size))
            self.taps = _last_of_each_size(maps)
            self.full_size = maps[self.taps[0]].shape[2:] == size[1:]
            if isinstance(body, ProtocolBody):
                drop_unused(body.model, [maps[i] for i in self.taps])
        if len(self.taps) < 2:
            raise BodyCutError(
                f"{_title(body)} keeps one resolution ({tuple(maps[-1].shape[2:])} for an "
                f"image of {size[1:]}), so a U-Net has nothing to connect; take a convolutional "
                "architecture, cut= a function that returns a body of several resolutions, or "
                "larger images where these have but a few pixels"
            )
        self.channels = [maps[i].shape[1] for i in self.taps]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps (n, channels, height, width) to one map for each resolution."""
        maps = self._all_maps(images)
        return [maps[i] for i in self.taps]

    def take_weights(self, body: nn.Module) -> None:
        """Copies the weights of another such body, less what the maps do not need."""
        own = self.body.state_dict()
        self.body.load_state_dict({k: v for k, v in body.state_dict().items() if k in own})

    def _all_maps(self, images: Tensor) -> list[Tensor]:
        if isinstance(self.body, ProtocolBody):
            if not hasattr(self.body.model, "forward_intermediates"):
                raise BodyCutError(
                    f"{type(self.body.model).__name__} has no forward_intermediates, which a U-Net "
                    "takes its cross connections from; give cut= a function that takes the model "
                    "and returns an nn.Sequential of its stages, or take another architecture"
                )
            model: Any = self.body.model
            return list(model.forward_intermediates(images, intermediates_only=True))
        if not isinstance(self.body, nn.Sequential):
            raise BodyCutError(
                f"a U-Net takes its cross connections from the children of an nn.Sequential or "
                f"from forward_intermediates, and {type(self.body).__name__} has neither; give "
                "cut= a function that takes the model and returns an nn.Sequential of its stages"
            )
        last = self.taps[-1] if self.taps else len(self.body) - 1
        maps = []
        for child in self.body[: last + 1]:
            images = child(images)
            maps.append(images)
        return maps


def _title(body: nn.Module) -> str:
    return type(body.model if isinstance(body, ProtocolBody) else body).__name__


def _last_of_each_size(maps: list[Tensor]) -> list[int]:
    """Positions of the last map of each resolution, for as long as resolutions fall."""
    sizes = [tuple(m.shape[2:]) for m in maps]
    return [i for i, size in enumerate(sizes) if i + 1 == len(sizes) or sizes[i + 1] != size]


class UnetBlock(nn.Module):
    """One step up: doubles the resolution, joins the cross connection, convolves twice.

    Args:
        up_in_c: Channels that come from below.
        x_in_c: Channels of the cross connection.
        final_div: Whether to keep all channels; the last block halves them.
        blur: Whether to blur after the pixel shuffle.
        act_cls: Activation.
        self_attention: Whether the second convolution is followed by self-attention.
        init: How the convolutions are initialized, None for PyTorch's way.
        norm_type: Normalization of the convolutions and the pixel shuffle, None for none.
        **kwargs: For both `ConvLayer`s.
    """

    def __init__(
        self,
        up_in_c: int,
        x_in_c: int,
        final_div: bool = True,
        blur: bool = False,
        act_cls: Callable[[], nn.Module] = nn.ReLU,
        self_attention: bool = False,
        init: Initialiser = nn.init.kaiming_normal_,
        norm_type: NormType | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.shuffle = PixelShuffle_ICNR(
            up_in_c, up_in_c // 2, blur=blur, act_cls=act_cls, norm_type=norm_type
        )
        self.normalize = BatchNorm(x_in_c)
        joined = up_in_c // 2 + x_in_c
        self.out_channels = joined if final_div else joined // 2
        shared = {"act_cls": act_cls, "norm_type": norm_type, **kwargs}
        attention = SelfAttention(self.out_channels) if self_attention else None
        self.conv1 = ConvLayer(joined, self.out_channels, **shared)
        self.conv2 = ConvLayer(self.out_channels, self.out_channels, xtra=attention, **shared)
        self.activation = act_cls()
        if init is not None:
            apply_init(nn.Sequential(self.conv1, self.conv2[0]), init)

    def forward(self, below: Tensor, cross: Tensor) -> Tensor:
        """Joins (n, up_in_c, h, w) and (n, x_in_c, H, W) to (n, out_channels, H, W)."""
        up = _resized(self.shuffle(below), cross.shape[-2:])
        joined = self.activation(torch.cat([up, self.normalize(cross)], dim=1))
        return self.conv2(self.conv1(joined))


class ResizeToOrig(nn.Module):
    """Resizes a map to the size of another, which a pixel shuffle may have missed by a pixel."""

    def __init__(self, mode: str = "nearest") -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor, original: Tensor) -> Tensor:
        """Gives `x` with the height and width of `original`."""
        return _resized(x, original.shape[-2:], self.mode)


class DynamicUnet(nn.Module):
    """A U-Net around any body.

    Args:
        encoder: The body (see `create_body`) or a `FeatureEncoder`.
        n_out: Channels of the output.
        img_size: (height, width) used to find the body's resolutions; images of any other size
            go through the model too.
        blur: Blur after each pixel shuffle, against checkerboards.
        blur_final: Whether `blur` holds for the last step too.
        self_attention: Self-attention in the block third from the end.
        y_range: Bounds that a sigmoid keeps the output within.
        last_cross: Whether the image itself joins before the last block.
        bottle: Whether that last block narrows to half of its channels inside.
        act_cls: Activation.
        init: Initialization of the convolutions of the decoder.
        norm_type: Normalization of the decoder's convolutions.
        n_in: Channels of the image.
        **kwargs: For the decoder's `ConvLayer`s.

    Shape:
        - Input: (n, n_in, height, width).
        - Output: (n, n_out, height, width).
    """

    def __init__(
        self,
        encoder: nn.Module,
        n_out: int,
        img_size: tuple[int, int] = (96, 96),
        blur: bool = False,
        blur_final: bool = True,
        self_attention: bool = False,
        y_range: tuple[float, float] | None = None,
        last_cross: bool = True,
        bottle: bool = False,
        act_cls: Callable[[], nn.Module] = nn.ReLU,
        init: Initialiser = nn.init.kaiming_normal_,
        norm_type: NormType | None = None,
        n_in: int = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if not isinstance(encoder, FeatureEncoder):
            encoder = FeatureEncoder(encoder, (n_in, *img_size))
        self.encoder = encoder
        shared = {"act_cls": act_cls, "norm_type": norm_type, **kwargs}
        deepest = encoder.channels[-1]
        self.bottom = nn.Sequential(
            BatchNorm(deepest),
            nn.ReLU(),
            ConvLayer(deepest, deepest * 2, **shared),
            ConvLayer(deepest * 2, deepest, **shared),
        )
        if init is not None:
            apply_init(self.bottom, init)
        crosses = encoder.channels[-2::-1]
        self.blocks = nn.ModuleList()
        width = deepest
        for i, channels in enumerate(crosses):
            final = i == len(crosses) - 1
            block = UnetBlock(
                width,
                channels,
                final_div=not final,
                blur=blur and (blur_final or not final),
                self_attention=self_attention and i == len(crosses) - 3,
                init=init,
                **shared,
            )
            self.blocks.append(block)
            width = block.out_channels
        self.enlarge: nn.Module = nn.Identity()
        if not encoder.full_size:
            self.enlarge = PixelShuffle_ICNR(width, act_cls=act_cls, norm_type=norm_type)
        self.resize = ResizeToOrig()
        self.cross = _last_cross(width, n_in, bottle, shared) if last_cross else None
        joined = width + n_in if last_cross else width
        self.head = nn.Sequential(ConvLayer(joined, n_out, ks=1, act_cls=None, norm_type=norm_type))
        if init is not None:
            for part in (self.cross, self.head):
                if part is not None:
                    apply_init(part, init)
        if y_range is not None:
            self.head.append(SigmoidRange(*y_range))

    def forward(self, images: Tensor) -> Tensor:
        """Maps (n, n_in, height, width) to (n, n_out, height, width)."""
        *crosses, deepest = self.encoder(images)
        x = self.bottom(deepest)
        for block, cross in zip(self.blocks, reversed(crosses), strict=True):
            x = block(x, cross)
        x = self.resize(self.enlarge(x), images)
        if self.cross is not None:
            x = self.cross(torch.cat([x, images], dim=1))
        return self.head(x)


def _last_cross(width: int, n_in: int, bottle: bool, shared: dict[str, Any]) -> nn.Module:
    """The residual block that sees the decoder's map beside the image."""
    joined = width + n_in
    return ResBlock(1, joined, joined, nh2=joined // 2 if bottle else None, **shared)


def _resized(x: Tensor, size: torch.Size, mode: str = "nearest") -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode=mode)
