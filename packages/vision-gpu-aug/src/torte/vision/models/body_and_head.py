"""Cutting a model into a body and giving it a new head.

A body maps images, float (n, channels, height, width), to feature maps (n, features, h, w), or to
feature vectors (n, features) where the architecture pools by itself (vision transformers). It is
cut by the model's own feature protocol:

- timm: `forward_features`, and `forward_head(…, pre_logits=True)` for models without maps;
- torchvision: the structure that its source documents for each class;
- an `nn.Sequential`: the children before its last pooling layer;
- anything else whose children run in order, which is checked by running them;
- or whatever `cut` says: a number of children, or a function from the model to its body.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from torte.learner.hooks import evaluating
from torte.learner.layers import AdaptiveConcatPool2d, Flatten, LinBnDrop, SigmoidRange
from torte.vision.models.weights import adapt_first_convolution

__all__ = [
    "BodyCutError",
    "ProtocolBody",
    "blank_image",
    "body_stages",
    "create_body",
    "create_head",
    "default_split",
    "drop_unused",
    "feature_shape",
    "has_pool_type",
    "probe_size",
]

Cut = int | Callable[[nn.Module], nn.Module] | None

_POOLING = (
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    AdaptiveConcatPool2d,
)


class BodyCutError(ValueError):
    """Raised when a model cannot be cut into a body and a head."""


class ProtocolBody(nn.Module):
    """The body of a model that offers `forward_features`, as all of timm's do.

    Args:
        model: The whole model; its classifier is taken away.
        input_size: (channels, height, width) of one image that the model accepts.

    Shape:
        - Input: (n, channels, height, width).
        - Output: (n, features, h, w), or (n, features) if the model has tokens in place of maps.
    """

    def __init__(self, model: nn.Module, input_size: tuple[int, int, int]) -> None:
        super().__init__()
        protocol: Any = model
        if hasattr(model, "reset_classifier"):
            protocol.reset_classifier(0)
        self.model = model
        self.channels_last_maps = getattr(model, "output_fmt", "NCHW") == "NHWC"
        with evaluating(model), torch.enable_grad():
            features = protocol.forward_features(blank_image(model, input_size))
        self.pooled = not isinstance(features, Tensor) or features.ndim != 4
        if not self.pooled:
            drop_unused(model, [features])

    def forward(self, images: Tensor) -> Tensor:
        """Runs the model up to its features."""
        protocol: Any = self.model
        features = protocol.forward_features(images)
        if self.pooled:
            return protocol.forward_head(features, pre_logits=True)
        return features.permute(0, 3, 1, 2) if self.channels_last_maps else features


class _EncodedTokens(nn.Module):
    """The body of torchvision's vision transformer: the class token after the encoder."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        self.model.heads = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


def create_body(
    model: nn.Module, n_in: int = 3, pretrained: bool = True, cut: Cut = None
) -> nn.Module:
    """Cuts the body off `model`, which is changed and should not be used afterwards.

    Args:
        model: A classification model of timm, of torchvision, or any other.
        n_in: Channels of the input; the first convolution is adapted if it differs.
        pretrained: Whether the first convolution's weights are worth keeping when adapted.
        cut: None for the model's own protocol, a number of its children to keep (negative from
            the end), or a function that returns the body.

    Raises:
        BodyCutError: If there is no protocol and the model's children do not simply run in order.
    """
    adapt_first_convolution(model, n_in, pretrained)
    if isinstance(cut, int):
        return nn.Sequential(*list(model.children())[:cut])
    if cut is not None:
        return cut(model)
    if hasattr(model, "forward_features"):
        return ProtocolBody(model, probe_size(model, n_in))
    torchvision_cut = _TORCHVISION_CUTS.get(type(model).__name__)
    if torchvision_cut and type(model).__module__.startswith("torchvision."):
        return torchvision_cut(model)
    return _before_pooling(model, n_in)


def drop_unused(model: nn.Module, features: list[Tensor]) -> None:
    """Takes away the children of `model` that `features` were computed without.

    What is left of a model's head would only be stored, moved and, in distributed training, waited
    for. A child goes only if all of its parameters have no part in the features' gradient.

    Args:
        model: The model; such children become `nn.Identity`.
        features: Results of a forward pass with gradients.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    roots = [f.sum() for f in features if f.requires_grad]
    if not roots:
        return
    gradients = torch.autograd.grad(roots, parameters, allow_unused=True)
    used = {
        id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None
    }
    for name, child in list(model.named_children()):
        own = [p for p in child.parameters() if p.requires_grad]
        if own and not any(id(p) in used for p in own):
            setattr(model, name, nn.Identity())


class _ChannelsLastStage(nn.Module):
    """Runs a stage that works on (n, h, w, channels) between maps of (n, channels, h, w)."""

    def __init__(self, stage: nn.Module, first: bool = False) -> None:
        super().__init__()
        self.stage = stage
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        return self.stage(x if self.first else x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _swin(model: Any) -> nn.Sequential:
    stages = [_ChannelsLastStage(s, first=i == 0) for i, s in enumerate(model.features)]
    return nn.Sequential(*stages, _ChannelsLastStage(model.norm))


def _children_before(model: nn.Module, *left_out: str) -> nn.Sequential:
    """Children up to the first of `left_out`, without helpers that only training uses."""
    kept = nn.Sequential()
    for name, child in model.named_children():
        if name in left_out:
            break
        if name not in ("aux1", "aux2", "AuxLogits"):
            kept.append(child)
    return kept


def _features(model: Any) -> nn.Module:
    return model.features


_TORCHVISION_CUTS: dict[str, Callable[[Any], nn.Module]] = {
    "AlexNet": _features,
    "ConvNeXt": _features,
    # torchvision's DenseNet applies this ReLU in its forward, after the last normalization.
    "DenseNet": lambda model: model.features.append(nn.ReLU()),
    "EfficientNet": _features,
    "GoogLeNet": lambda model: _children_before(model, "avgpool"),
    "Inception3": lambda model: _children_before(model, "avgpool"),
    "MNASNet": lambda model: model.layers,
    "MaxVit": lambda model: nn.Sequential(model.stem, *model.blocks),
    "MobileNetV2": _features,
    "MobileNetV3": _features,
    "RegNet": lambda model: nn.Sequential(model.stem, *model.trunk_output),
    "ResNet": lambda model: _children_before(model, "avgpool"),
    "ShuffleNetV2": lambda model: _children_before(model, "fc"),
    "SqueezeNet": _features,
    "SwinTransformer": _swin,
    "VGG": _features,
    "VisionTransformer": _EncodedTokens,
}


def has_pool_type(module: nn.Module) -> bool:
    """Whether `module` is a pooling layer or holds one, at any depth."""
    return any(isinstance(inner, _POOLING) for inner in module.modules())


def _before_pooling(model: nn.Module, n_in: int) -> nn.Sequential:
    """The children before the last that pools; refused where they do not run one after another."""
    children = list(model.children())
    pooling = [i for i, child in enumerate(children) if has_pool_type(child)]
    if not pooling:
        raise BodyCutError(
            f"{type(model).__name__} has neither forward_features nor a pooling layer to cut at; "
            "give cut= the number of its children that make the body, or a function"
        )
    body = nn.Sequential(*children[: pooling[-1]])
    if not isinstance(model, nn.Sequential):
        _check_order(model, body, children[pooling[-1]], n_in)
    return body


def _check_order(model: nn.Module, body: nn.Module, pool: nn.Module, n_in: int) -> None:
    """Compares what reaches the pooling layer inside `model` with what `body` computes."""
    reached: list[Tensor] = []
    handle = pool.register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0].detach()))
    image = torch.linspace(-1, 1, n_in * 64 * 64).reshape(1, n_in, 64, 64)
    problem = "its children do not run in the order in which it holds them"
    try:
        with evaluating(model):
            model(image)
            same = torch.equal(reached[-1], body(image)) if reached else False
    except (RuntimeError, TypeError) as error:
        same, problem = False, f"running its children in order failed ({error})"
    finally:
        handle.remove()
    if not same:
        raise BodyCutError(
            f"{type(model).__name__} cannot be cut into a body: {problem}; give cut= a function "
            "that takes the model and returns its body, or give the model a method forward_features"
        )


def create_head(
    nf: int,
    n_out: int,
    lin_ftrs: list[int] | None = None,
    ps: float | list[float] = 0.5,
    pool: bool = True,
    concat_pool: bool = True,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: tuple[float, float] | None = None,
) -> nn.Sequential:
    """Makes a classification or regression head: pooling, then normalized linear layers.

    Args:
        nf: Features of the body.
        n_out: Outputs.
        lin_ftrs: Widths of the hidden linear layers, [512] by default.
        ps: Dropout before each linear layer; one number is that of the last one, and the others
            get half of it.
        pool: Whether to pool first; off for bodies that give (n, nf) already.
        concat_pool: Average and maximum side by side (which doubles the features), else average.
        first_bn: Whether the first linear layer is preceded by batch normalization.
        bn_final: Whether the outputs are normalized too.
        lin_first: Linear before normalization and dropout in each block.
        y_range: Bounds that a sigmoid keeps the outputs within.

    Raises:
        ValueError: If `ps` is a list whose length is not the number of linear layers.
    """
    widths = [2 * nf if pool and concat_pool else nf, *([512] if lin_ftrs is None else lin_ftrs)]
    dropouts = _dropouts(ps, len(widths))
    layers: list[nn.Module] = []
    if pool:
        layers += [AdaptiveConcatPool2d() if concat_pool else nn.AdaptiveAvgPool2d(1), Flatten()]
    if lin_first:
        layers += [nn.Dropout(dropouts[0]), *_hidden(widths, dropouts[1:], first_bn, True)]
        layers.append(nn.Linear(widths[-1], n_out))
    else:
        layers += _hidden(widths, dropouts, first_bn, False)
        layers.append(LinBnDrop(widths[-1], n_out, bn=first_bn or len(widths) > 1, p=dropouts[-1]))
    if bn_final:
        layers.append(nn.BatchNorm1d(n_out, momentum=0.01))
    if y_range is not None:
        layers.append(SigmoidRange(*y_range))
    return nn.Sequential(*layers)


def _hidden(
    widths: list[int], dropouts: list[float], first_bn: bool, lin_first: bool
) -> list[nn.Module]:
    return [
        LinBnDrop(
            width,
            following,
            bn=first_bn or i > 0,
            p=dropouts[i],
            act=nn.ReLU(inplace=True),
            lin_first=lin_first,
        )
        for i, (width, following) in enumerate(pairwise(widths))
    ]


def _dropouts(ps: float | list[float], n_layers: int) -> list[float]:
    """One probability for each linear layer."""
    if isinstance(ps, int | float):
        return [ps / 2] * (n_layers - 1) + [float(ps)]
    if len(ps) == 1:
        return _dropouts(ps[0], n_layers)
    if len(ps) != n_layers:
        raise ValueError(f"the head has {n_layers} linear layers, but ps={ps!r} has {len(ps)}")
    return list(ps)


def probe_size(model: nn.Module, n_in: int = 3) -> tuple[int, int, int]:
    """The size (channels, height, width) of one image that `model` accepts.

    Small where the model takes any size; the model's own where it is built for one.
    """
    unknown: Any = model
    if type(model).__name__ == "MaxVit":
        return n_in, 224, 224
    if isinstance(getattr(model, "image_size", None), int):
        return n_in, unknown.image_size, unknown.image_size
    settings = getattr(model, "pretrained_cfg", None)
    if settings and settings.get("fixed_input_size"):
        given = getattr(getattr(model, "patch_embed", None), "img_size", None)
        height, width = given or settings["input_size"][1:]
        return n_in, height, width
    return n_in, 96, 96


def feature_shape(body: nn.Module, size: tuple[int, int, int] = (3, 96, 96)) -> tuple[int, ...]:
    """The shape of what `body` makes of one image of `size`, the batch's dimension left off.

    Raises:
        BodyCutError: If the body returns anything but one tensor of 2 or 4 dimensions.
    """
    with evaluating(body):
        features = body(blank_image(body, size))
    if not isinstance(features, Tensor) or features.ndim not in (2, 4):
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise BodyCutError(
            "a body must map images to (n, features, h, w) or (n, features), "
            f"but {type(body).__name__} gave {got}"
        )
    return tuple(features.shape[1:])


def body_stages(body: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of `body` in stages, from the input to the features.

    timm's models say themselves what belongs together (`group_matcher`); other bodies are taken
    child by child, a container that holds everything being opened first.
    """
    model: Any = body.model if isinstance(body, ProtocolBody) else body
    if hasattr(model, "group_matcher"):
        from timm.models import group_parameters

        names = group_parameters(model, model.group_matcher(coarse=True))
        return [[model.get_parameter(name) for name in names[key]] for key in sorted(names)]
    stages = [list(child.parameters()) for child in model.children()]
    direct = list(model.parameters(recurse=False))
    stages = [stage for stage in [direct, *stages] if stage]
    if len(stages) == 1 and not direct:
        return body_stages(next(c for c in model.children() if list(c.parameters())))
    return stages


def default_split(model: nn.Module) -> list[list[nn.Parameter]]:
    """Parameter groups for discriminative rates: early body, late body, and all that is not body.

    The first two thirds of the body's stages are early. For a ResNet these are the stem and the
    first two of its four groups of blocks.

    Args:
        model: `nn.Sequential(body, head)`, or a model with an attribute `encoder`.
    """
    container: Any = model
    body: nn.Module = container.encoder if hasattr(model, "encoder") else container[0]
    stages = body_stages(body)
    boundary = max(1, -(-2 * len(stages) // 3))
    early = [p for stage in stages[:boundary] for p in stage]
    late = [p for stage in stages[boundary:] for p in stage]
    known = {id(p) for p in body.parameters()}
    rest = [p for p in model.parameters() if id(p) not in known]
    return [group for group in (early, late, rest) if group]


def blank_image(model: nn.Module, size: tuple[int, int, int]) -> Tensor:
    """A batch of one black image on the model's device."""
    parameter = next(model.parameters(), None)
    return torch.zeros(1, *size, device=None if parameter is None else parameter.device)
