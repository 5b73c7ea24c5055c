"""Whole models from an architecture: body and head, or a U-Net, with pretrained weights.

`body_and_head_model` and `unet_model` build structure alone from JSON-able arguments; they are the
registered builders by which an exported learner makes its model again, with no weights fetched.
`create_vision_model` and `create_unet_model` call them and put pretrained weights in.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from torte.learner.export import model_builder
from torte.learner.layers import apply_init
from torte.vision.models.architectures import Architecture, ArchitectureLike, find_architecture
from torte.vision.models.body_and_head import (
    BodyCutError,
    Cut,
    create_body,
    create_head,
    feature_shape,
    probe_size,
)
from torte.vision.models.unet import DynamicUnet
from torte.vision.models.weights import Statistics, load_pretrained

__all__ = [
    "BuiltModel",
    "add_head",
    "body_and_head_model",
    "create_timm_model",
    "create_unet_model",
    "create_vision_model",
    "fast_memory_format",
    "unet_model",
]

Initialiser = Callable[..., Any] | None


@dataclass(frozen=True)
class BuiltModel:
    """A model, and the statistics of the inputs that its pretrained body expects (or None)."""

    model: nn.Module
    statistics: Statistics | None


def fast_memory_format(device: torch.device | str) -> torch.memory_format:
    """The layout in which convolutions are fast on a device.

    Channels-last on CPUs, where a training step took 0.6 of the time for EfficientNet-Lite0 and
    MobileNetV3 and never longer for any model measured, and on CUDA, where tensor cores want it.
    A model in this layout turns its batches on the way through the first convolution.
    """
    kind = torch.device(device).type
    return torch.channels_last if kind in ("cpu", "cuda") else torch.contiguous_format


@model_builder("torte.vision.body_and_head_model")
def body_and_head_model(
    arch: ArchitectureLike,
    n_out: int,
    n_in: int = 3,
    cut: Cut = None,
    custom_head: nn.Module | None = None,
    concat_pool: bool = True,
    pool: bool = True,
    lin_ftrs: list[int] | None = None,
    ps: float | list[float] = 0.5,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: tuple[float, float] | None = None,
    channels_last: bool = True,
    options: dict[str, Any] | None = None,
) -> nn.Sequential:
    """Builds `nn.Sequential(body, head)` with fresh weights.

    Args:
        arch: Full name of an architecture, or its function.
        n_out: Outputs.
        n_in: Channels of the images.
        cut: See `create_body`.
        custom_head: In place of `create_head`'s.
        concat_pool: See `create_head`, likewise the following.
        pool: Whether the head pools, where the body leaves that to do.
        lin_ftrs: Widths of the head's hidden layers.
        ps: Dropout.
        first_bn: Batch normalization first.
        bn_final: Batch normalization of the outputs.
        lin_first: Linear layers before normalization.
        y_range: Bounds of the outputs.
        channels_last: Whether weights lie in channels-last layout.
        options: Arguments for the architecture's function.
    """
    architecture = find_architecture(arch)
    model = architecture.build(**(options or {}))
    size = probe_size(model, n_in)
    with _naming(architecture):
        body = create_body(model, n_in, pretrained=False, cut=cut)
        features, *maps = feature_shape(body, size) if custom_head is None else (0,)
    if custom_head is None:
        custom_head = create_head(
            features,
            n_out,
            lin_ftrs,
            ps,
            pool=pool and bool(maps),
            concat_pool=concat_pool,
            first_bn=first_bn,
            bn_final=bn_final,
            lin_first=lin_first,
            y_range=y_range,
        )
    return _laid_out(nn.Sequential(body, custom_head), channels_last)


@model_builder("torte.vision.unet_model")
def unet_model(
    arch: ArchitectureLike,
    n_out: int,
    img_size: tuple[int, int],
    n_in: int = 3,
    cut: Cut = None,
    channels_last: bool = True,
    options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> DynamicUnet:
    """Builds a `DynamicUnet` with fresh weights.

    Args:
        arch: Full name of an architecture, or its function.
        n_out: Channels of the output.
        img_size: (height, width) to probe the body with.
        n_in: Channels of the images.
        cut: See `create_body`.
        channels_last: Whether weights lie in channels-last layout.
        options: Arguments for the architecture's function.
        **kwargs: For `DynamicUnet`.
    """
    architecture = find_architecture(arch)
    model = architecture.build(**(options or {}))
    height, width = img_size
    with _naming(architecture):
        body = create_body(model, n_in, pretrained=False, cut=cut)
        unet = DynamicUnet(body, n_out, (height, width), n_in=n_in, **kwargs)
    return _laid_out(unet, channels_last)


@contextmanager
def _naming(architecture: Architecture) -> Iterator[None]:
    """Lets a `BodyCutError` begin with the architecture that could not be cut."""
    try:
        yield
    except BodyCutError as error:
        raise BodyCutError(f"{architecture.title}: {error}") from error


def _laid_out(model: Any, channels_last: bool) -> Any:
    return model.to(memory_format=torch.channels_last) if channels_last else model


def _named(architecture: Architecture) -> ArchitectureLike:
    """The architecture as builders take it: by name if it has one."""
    return architecture.full_name or architecture.function


def add_head(
    body: nn.Module,
    nf: int,
    n_out: int,
    init: Initialiser = nn.init.kaiming_normal_,
    head: nn.Module | None = None,
    **kwargs: Any,
) -> nn.Sequential:
    """Adds a head to a body, initialized by `init`.

    Args:
        body: The body.
        nf: Its features.
        n_out: Outputs.
        init: Initializes the head's layers; None for PyTorch's way.
        head: In place of `create_head`'s.
        **kwargs: For `create_head`.
    """
    model = nn.Sequential(body, create_head(nf, n_out, **kwargs) if head is None else head)
    if init is not None:
        apply_init(model[1], init)
    return model


def build_vision_model(
    arch: ArchitectureLike,
    n_out: int,
    pretrained: bool = True,
    weights: Any = None,
    init: Initialiser = nn.init.kaiming_normal_,
    device: torch.device | str = "cpu",
    **config: Any,
) -> BuiltModel:
    """`create_vision_model` together with the statistics of the weights."""
    architecture = find_architecture(arch)
    channels_last = fast_memory_format(device) is torch.channels_last
    model = body_and_head_model(_named(architecture), n_out, channels_last=channels_last, **config)
    if init is not None:
        apply_init(model[1], init)
    if not pretrained:
        return BuiltModel(model, None)
    loaded = load_pretrained(architecture, weights, **(config.get("options") or {}))
    body = create_body(loaded.model, config.get("n_in", 3), True, config.get("cut"))
    model[0] = _laid_out(body, channels_last)
    return BuiltModel(model, loaded.statistics)


def create_vision_model(
    arch: ArchitectureLike,
    n_out: int,
    pretrained: bool = True,
    weights: Any = None,
    cut: Cut = None,
    n_in: int = 3,
    init: Initialiser = nn.init.kaiming_normal_,
    custom_head: nn.Module | None = None,
    concat_pool: bool = True,
    pool: bool = True,
    lin_ftrs: list[int] | None = None,
    ps: float | list[float] = 0.5,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: tuple[float, float] | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Makes a body with a head for `n_out` outputs.

    Args:
        arch: An architecture by name or function (see `torte.vision.models.architectures`).
        n_out: Outputs.
        pretrained: Whether the body gets pretrained weights.
        weights: Which ones (see `load_pretrained`).
        cut: See `create_body`.
        n_in: Channels of the images.
        init: Initializes the head's layers; None for PyTorch's way.
        custom_head: In place of `create_head`'s.
        concat_pool: See `create_head`, likewise the following.
        pool: Whether the head pools, where the body leaves that to do.
        lin_ftrs: Widths of the head's hidden layers.
        ps: Dropout.
        first_bn: Batch normalization first.
        bn_final: Batch normalization of the outputs.
        lin_first: Linear layers before normalization.
        y_range: Bounds of the outputs.
        **kwargs: For the architecture's function.
    """
    return build_vision_model(
        arch,
        n_out,
        pretrained,
        weights,
        init,
        cut=cut,
        n_in=n_in,
        custom_head=custom_head,
        concat_pool=concat_pool,
        pool=pool,
        lin_ftrs=lin_ftrs,
        ps=ps,
        first_bn=first_bn,
        bn_final=bn_final,
        lin_first=lin_first,
        y_range=y_range,
        options=kwargs or None,
    ).model


def create_timm_model(
    arch: str, n_out: int, cut: Cut = None, pretrained: bool = True, n_in: int = 3, **kwargs: Any
) -> tuple[nn.Module, dict[str, Any]]:
    """`create_vision_model` for a model of timm, together with timm's settings for it.

    Args:
        arch: timm's name of the model.
        n_out: Outputs.
        cut: See `create_body`.
        pretrained: Whether the body gets pretrained weights.
        n_in: Channels of the images.
        **kwargs: For `create_vision_model`.
    """
    from timm.models import get_pretrained_cfg

    name = arch.removeprefix("timm/")
    settings = get_pretrained_cfg(name)
    model = create_vision_model(f"timm/{name}", n_out, pretrained, cut=cut, n_in=n_in, **kwargs)
    return model, {} if settings is None else settings.to_dict()


def build_unet_model(
    arch: ArchitectureLike,
    n_out: int,
    img_size: tuple[int, int],
    pretrained: bool = True,
    weights: Any = None,
    cut: Cut = None,
    n_in: int = 3,
    device: torch.device | str = "cpu",
    options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> BuiltModel:
    """`create_unet_model` together with the statistics of the weights."""
    architecture = find_architecture(arch)
    channels_last = fast_memory_format(device) is torch.channels_last
    model = unet_model(
        _named(architecture),
        n_out,
        tuple(img_size),
        n_in=n_in,
        cut=cut,
        channels_last=channels_last,
        options=options,
        **kwargs,
    )
    if not pretrained:
        return BuiltModel(model, None)
    loaded = load_pretrained(architecture, weights, **(options or {}))
    body = create_body(loaded.model, n_in, True, cut)
    model.encoder.take_weights(body)
    return BuiltModel(model, loaded.statistics)


def create_unet_model(
    arch: ArchitectureLike,
    n_out: int,
    img_size: tuple[int, int],
    pretrained: bool = True,
    weights: Any = None,
    cut: Cut = None,
    n_in: int = 3,
    **kwargs: Any,
) -> DynamicUnet:
    """Makes a U-Net around an architecture's body.

    Args:
        arch: An architecture by name or function.
        n_out: Channels of the output.
        img_size: (height, width) of the images; other sizes go through the model too.
        pretrained: Whether the body gets pretrained weights.
        weights: Which ones (see `load_pretrained`).
        cut: See `create_body`.
        n_in: Channels of the images.
        **kwargs: For `DynamicUnet`.
    """
    built = build_unet_model(
        arch, n_out, img_size, pretrained, weights, cut=cut, n_in=n_in, **kwargs
    )
    assert isinstance(built.model, DynamicUnet)
    return built.model
