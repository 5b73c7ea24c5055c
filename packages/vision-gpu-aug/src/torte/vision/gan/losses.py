"""The losses of generator and critic, as one loss function that follows whose turn it is."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torte.learner.metrics import accuracy_multi
from torte.vision.gan.networks import GANModule

__all__ = [
    "AdaptiveLoss",
    "GANLoss",
    "accuracy_thresh_expand",
    "gan_loss_from_func",
    "wgan_critic_loss",
    "wgan_generator_loss",
]


class GANLoss:
    """The loss of the network whose turn it is, which needs the other one too.

    Args:
        gen_loss_func: Called as `gen_loss_func(fake_pred, output, target)`: the critic's opinion
            of generated images, the images, and the batch's real ones.
        crit_loss_func: Called as `crit_loss_func(real_pred, fake_pred)`: the critic's opinions of
            real and of generated images.
        gan_model: Both networks; its `gen_mode` says whose turn it is.
    """

    def __init__(
        self,
        gen_loss_func: Callable[..., Tensor],
        crit_loss_func: Callable[..., Tensor],
        gan_model: GANModule,
    ) -> None:
        self.gen_loss_func, self.crit_loss_func = gen_loss_func, crit_loss_func
        self.gan_model = gan_model

    def __call__(self, pred: Any, *targets: Any) -> Tensor:
        """Return the loss: of the generator's images, or of the critic's opinion of real ones."""
        return (self.generator if self.gan_model.gen_mode else self.critic)(pred, *targets)

    def generator(self, output: Tensor, target: Tensor) -> Tensor:
        """The generator's loss: `output` are its images, `target` real ones."""
        assert self.gan_model.critic is not None
        # Under mixed precision opinions come in 16 bits; losses are computed as images are given.
        fake_pred = self.gan_model.critic(output).to(output.dtype)
        return self.gen_loss_func(fake_pred, output, target)

    def critic(self, real_pred: Tensor, *noise: Tensor) -> Tensor:
        """The critic's loss: `real_pred` is its opinion of real images, `noise` for others."""
        assert self.gan_model.generator is not None
        assert self.gan_model.critic is not None
        with torch.no_grad():
            fake = self.gan_model.generator(*noise)
        fake_pred = self.gan_model.critic(fake).to(real_pred.dtype)
        return self.crit_loss_func(real_pred, fake_pred)

    def decodes(self, x: Any) -> Any:
        """Generated images are shown as they are: the data's own transforms decode them."""
        return x


class AdaptiveLoss:
    """Expands a target of one number an image to a critic's output of several, for any loss.

    Args:
        crit: The loss, of two tensors of the same shape.
    """

    def __init__(self, crit: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.crit = crit

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of output (batch, n) and target (batch) or (batch, 1)."""
        return self.crit(output, _expanded(target, output).to(output.dtype))


def _expanded(target: Tensor, output: Tensor) -> Tensor:
    return target.reshape(len(target), *(1,) * (output.ndim - 1)).expand_as(output)


def accuracy_thresh_expand(
    y_pred: Tensor, y_true: Tensor, thresh: float = 0.5, sigmoid: bool = True
) -> Tensor:
    """Share of a critic's numbers on the right side of a threshold.

    Args:
        y_pred: A critic's output, (batch, n).
        y_true: 1 for real images, 0 for others, (batch).
        thresh: Real is predicted above it.
        sigmoid: Apply a sigmoid first.
    """
    return accuracy_multi(y_pred, _expanded(y_true, y_pred), thresh, sigmoid)


def gan_loss_from_func(
    loss_gen: Callable[[Tensor, Tensor], Tensor],
    loss_crit: Callable[[Tensor, Tensor], Tensor],
    weights_gen: Sequence[float] | None = None,
) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Losses of a GAN from a loss of images and a loss of real (1) against generated (0).

    Args:
        loss_gen: Of generated and real images.
        loss_crit: Of a critic's output and ones or zeros, (batch).
        weights_gen: Weights of the critic's part and of `loss_gen` in the generator's loss; both 1
            by default.

    Returns:
        `(generator's loss, critic's loss)` as `GANLoss` takes them.
    """
    weight_critic, weight_images = (1.0, 1.0) if weights_gen is None else weights_gen

    def generator_loss(fake_pred: Tensor, output: Tensor, target: Tensor) -> Tensor:
        fooled = loss_crit(fake_pred, fake_pred.new_ones(len(fake_pred)))
        return weight_critic * fooled + weight_images * loss_gen(output, target)

    def critic_loss(real_pred: Tensor, fake_pred: Tensor) -> Tensor:
        real = loss_crit(real_pred, real_pred.new_ones(len(real_pred)))
        return (real + loss_crit(fake_pred, fake_pred.new_zeros(len(fake_pred)))) / 2

    return generator_loss, critic_loss


def wgan_generator_loss(fake_pred: Tensor, output: Tensor, target: Tensor) -> Tensor:
    """Mean opinion of generated images (arXiv:1701.07875, where lower is more like a real one)."""
    return fake_pred.mean()


def wgan_critic_loss(real_pred: Tensor, fake_pred: Tensor) -> Tensor:
    """Mean opinion of real images less that of generated ones: minus an estimate of a distance."""
    return real_pred.mean() - fake_pred.mean()
