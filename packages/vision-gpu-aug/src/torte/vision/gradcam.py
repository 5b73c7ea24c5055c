"""Grad-CAM: which parts of an image speak for a class.

Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based
localization" (arXiv:1610.02391): the maps of a layer, weighted by the mean gradient of the class's
score with respect to each, summed, and cut off below zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torte.data.devices import to_device
from torte.data.display import get_grid
from torte.data.tensors import plain
from torte.learner.hooks import Hook, Hooks
from torte.learner.learner import Learner
from torte.learner.persistence import unwrapped

__all__ = ["GradCAM", "grad_cam", "plot_grad_cam"]


@dataclass(frozen=True)
class GradCAM:
    """What speaks for a class in one image."""

    image: Any
    """The image as the model saw it, decoded."""
    heat: Tensor
    """(height, width) of the image in the batch, from 0 to 1: how much each pixel speaks for it."""
    name: Any
    """The class's name; its number where the data name none."""
    number: int
    """The class's number among the model's outputs."""
    probability: float
    """The model's activated output for the class."""

    def show(
        self, ctx: Any = None, alpha: float = 0.6, cmap: str = "inferno", **kwargs: Any
    ) -> Any:
        """Draw the heat over the image, the more opaque the hotter.

        Args:
            ctx: Axes; new ones by default.
            alpha: Opacity of the hottest place.
            cmap: Colours of the heat.
            **kwargs: For the image's `show`.

        Returns:
            The axes.
        """
        ctx = self.image.show(ctx=ctx, **kwargs)
        height, width = self.image.shape[-2:]
        heat = self.heat.numpy()
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        ctx.imshow(heat, cmap=cmap, alpha=alpha * heat, extent=extent, vmin=0, vmax=1)
        ctx.set_title(f"{self.name} {self.probability:.2f}")
        return ctx


def grad_cam(
    learn: Learner, item: Any, target: Any = None, layer: nn.Module | None = None
) -> GradCAM:
    """Find what in an image speaks for a class. The learner is left as it was.

    Args:
        learn: A learner whose model gives one score a class.
        item: What the data were made from: a path, an image.
        target: The class's name or number; what the model predicts by default.
        layer: A layer with maps, (batch, channels, height, width); by default the last one whose
            maps have more than one pixel, which for a body with a head is the body.

    Raises:
        ValueError: If the class is not known, the layer has no maps or takes no part, or the model
            does not give a vector of scores.
    """
    image, _, _, probabilities = learn.predict(item, with_input=True)
    names = _names(learn)
    number = _class_number(target, probabilities, names)
    loader = learn.dls.test_dl([item], num_workers=0)
    with learn.looking(loader):
        x = plain(to_device(loader.one_batch()[0], learn.device)).detach()
        model = unwrapped(learn.model).eval()
        layer = _last_maps(model, x) if layer is None else layer
        maps, gradient = _maps_and_gradient(model, layer, x, number)
    weights = gradient.mean(dim=(-2, -1), keepdim=True)
    heat = F.relu((weights * maps).sum(dim=1, keepdim=True))
    heat = F.interpolate(heat, x.shape[-2:], mode="bilinear", align_corners=False)[0, 0].cpu()
    heat = heat / heat.max().clamp_min(torch.finfo(heat.dtype).tiny)
    return GradCAM(
        image, heat, names[number] if names else number, number, float(probabilities[number])
    )


def _names(learn: Learner) -> list[Any]:
    """The names of the classes; none where the data name none."""
    return list(getattr(learn.dls, "vocab", None) or ())


def _class_number(target: Any, probabilities: Tensor, names: Sequence[Any]) -> int:
    if probabilities.ndim != 1:
        raise ValueError(
            f"Grad-CAM wants one score a class, but the model gives {tuple(probabilities.shape)} "
            "for an image"
        )
    if target is None:
        return int(probabilities.argmax())
    if target in names:
        return names.index(target)
    if isinstance(target, int) and 0 <= target < len(probabilities):
        return target
    known = f"one of {names[:10]}" if names else f"a number below {len(probabilities)}"
    raise ValueError(f"there is no class {target!r}: give {known}")


def _last_maps(model: nn.Module, x: Tensor) -> nn.Module:
    """The module that is the last to give maps of more than one pixel."""
    done: list[nn.Module] = []

    def note(module: nn.Module, inp: Any, out: Any) -> None:
        if isinstance(out, Tensor) and out.ndim == 4 and out.shape[-2] * out.shape[-1] > 1:
            done.append(module)

    with Hooks(model.modules(), note), torch.no_grad():
        model(x)
    if not done:
        raise ValueError(
            f"no layer of {type(model).__name__} gives maps (batch, channels, height, width) of "
            "more than one pixel: Grad-CAM wants a convolutional body, or larger images"
        )
    return done[-1]


def _maps_and_gradient(
    model: nn.Module, layer: nn.Module, x: Tensor, number: int
) -> tuple[Tensor, Tensor]:
    """The layer's output, and the gradient of a class's score with respect to it."""
    gradients: list[Tensor] = []

    def keep(module: nn.Module, inp: Any, out: Any) -> Tensor:
        if not isinstance(out, Tensor) or out.ndim != 4:
            raise ValueError(
                f"{type(module).__name__} gives no maps (batch, channels, height, width): "
                "choose another layer"
            )
        # At once, and a copy: an activation that follows may overwrite the output in place.
        out.register_hook(gradients.append)
        return out.detach().clone()

    # Gradients flow to the image, so that frozen weights do not matter and none get a gradient.
    x = x.clone().requires_grad_()
    with torch.enable_grad(), Hook(layer, keep, detach=False) as hook:
        torch.autograd.grad(model(x)[0, number], x)
    if not gradients:
        raise ValueError(f"{type(layer).__name__} has no part in the score: is it of this model?")
    return hook.stored, gradients[-1]


def plot_grad_cam(
    learn: Learner,
    items: Iterable[Any],
    target: Any = None,
    layer: nn.Module | None = None,
    nrows: int | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
    **kwargs: Any,
) -> list[Any]:
    """Draw `grad_cam` of several items in a grid.

    Args:
        learn: See `grad_cam`, likewise `target` and `layer`.
        items: What the data were made from.
        target: The class; by default what is predicted for each item.
        layer: The layer.
        nrows: Rows of the grid.
        ncols: Columns of the grid.
        figsize: Size of the figure in inches.
        **kwargs: For `GradCAM.show`.

    Returns:
        The axes.
    """
    found = [grad_cam(learn, item, target, layer) for item in items]
    grid = get_grid(len(found), nrows=nrows, ncols=ncols, figsize=figsize)
    return [cam.show(ctx=ax, **kwargs) for cam, ax in zip(found, grid, strict=False)]
