"""torchvision's classification models by their usual names, without importing torchvision.

    vision_learner(dls, resnet34)    the same as vision_learner(dls, "torchvision/resnet34")

torchvision is imported when one of them is called.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = [
    "alexnet",
    "convnext_base",
    "convnext_small",
    "convnext_tiny",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "squeezenet1_0",
    "squeezenet1_1",
    "vgg11_bn",
    "vgg13_bn",
    "vgg16_bn",
    "vgg19_bn",
    "wide_resnet50_2",
    "wide_resnet101_2",
]


def _named(name: str) -> Callable[..., nn.Module]:
    """Return a function that calls torchvision's of this name."""

    def build(**kwargs: Any) -> nn.Module:
        from torchvision.models import get_model_builder

        return get_model_builder(name)(**kwargs)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Make torchvision's `{name}`; see `torchvision.models.{name}`."
    return build


alexnet = _named("alexnet")
convnext_base = _named("convnext_base")
convnext_small = _named("convnext_small")
convnext_tiny = _named("convnext_tiny")
densenet121 = _named("densenet121")
densenet161 = _named("densenet161")
densenet169 = _named("densenet169")
densenet201 = _named("densenet201")
efficientnet_b0 = _named("efficientnet_b0")
efficientnet_b1 = _named("efficientnet_b1")
efficientnet_b2 = _named("efficientnet_b2")
efficientnet_b3 = _named("efficientnet_b3")
efficientnet_b4 = _named("efficientnet_b4")
mobilenet_v2 = _named("mobilenet_v2")
mobilenet_v3_large = _named("mobilenet_v3_large")
mobilenet_v3_small = _named("mobilenet_v3_small")
resnet18 = _named("resnet18")
resnet34 = _named("resnet34")
resnet50 = _named("resnet50")
resnet101 = _named("resnet101")
resnet152 = _named("resnet152")
resnext50_32x4d = _named("resnext50_32x4d")
resnext101_32x8d = _named("resnext101_32x8d")
squeezenet1_0 = _named("squeezenet1_0")
squeezenet1_1 = _named("squeezenet1_1")
vgg11_bn = _named("vgg11_bn")
vgg13_bn = _named("vgg13_bn")
vgg16_bn = _named("vgg16_bn")
vgg19_bn = _named("vgg19_bn")
wide_resnet50_2 = _named("wide_resnet50_2")
wide_resnet101_2 = _named("wide_resnet101_2")
