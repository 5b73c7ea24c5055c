"""Generative adversarial networks, written as callbacks alone: the loop does not know of them.

A generator makes images of noise, a critic tells them from real ones, and they train in turn
(Goodfellow et al. 2014, arXiv:1406.2661). `GANTrainer` hands each batch to the one whose turn it
is, a switcher says when turns change, and `GANLearner` puts them together.
"""

from torte.vision.gan.callbacks import (
    AdaptiveGANSwitcher,
    FixedGANSwitcher,
    GANDiscriminativeLR,
    GANTrainer,
    set_freeze_model,
)
from torte.vision.gan.learner import GANLearner
from torte.vision.gan.losses import (
    AdaptiveLoss,
    GANLoss,
    accuracy_thresh_expand,
    gan_loss_from_func,
)
from torte.vision.gan.networks import (
    AddChannels,
    DenseResBlock,
    GANModule,
    basic_critic,
    basic_generator,
    gan_critic,
)
from torte.vision.gan.noise import InvisibleTensor, generate_noise

__all__ = [
    "AdaptiveGANSwitcher",
    "AdaptiveLoss",
    "AddChannels",
    "DenseResBlock",
    "FixedGANSwitcher",
    "GANDiscriminativeLR",
    "GANLearner",
    "GANLoss",
    "GANModule",
    "GANTrainer",
    "InvisibleTensor",
    "accuracy_thresh_expand",
    "basic_critic",
    "basic_generator",
    "gan_critic",
    "gan_loss_from_func",
    "generate_noise",
    "set_freeze_model",
]
