"""Augmentation at test time, in anyone's loop."""

from collections.abc import Callable

import torch
from torch import Tensor

from torte.data.tensors import plain
from torte.vision.augment.composing import Augment

__all__ = ["predict_augmented"]


def predict_augmented(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    augment: Augment,
    n: int = 4,
    beta: float | None = 0.25,
    use_max: bool = False,
    seed: int | None = None,
) -> Tensor:
    """Predict on augmented copies of the images, and on the images as they are.

    Args:
        model: Images to predictions, of which means make sense (probabilities, not logits).
        images: (n, channels, height, width), as `augment` takes them.
        augment: What makes the copies; its `Normalize` and resizes are applied to the images too.
        n: How many copies.
        beta: Weight of the prediction on the images themselves against the mean over the copies;
            None: return both, stacked.
        use_max: Instead of means, the largest of all predictions.
        seed: Makes the copies repeatable.

    Returns:
        Predictions as the model makes them; with `beta=None`, (2, ...): copies and images.
    """
    if n < 1:
        raise ValueError(f"{n=}: test-time augmentation needs at least one copy")
    seeds = [None if seed is None else seed * n + copy for copy in range(n)]
    copies = [model(augment(plain(images), seed=each)) for each in seeds]
    itself = model(augment(plain(images), split_idx=1))
    if use_max:
        return torch.stack([*copies, itself]).amax(0)
    mean = torch.stack(copies).mean(0)
    if beta is None:
        return torch.stack([mean, itself])
    return torch.lerp(mean, itself, beta)
