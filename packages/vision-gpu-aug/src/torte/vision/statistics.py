"""Means and standard deviations of well-known collections of images, for `Normalize.from_stats`.

Each is (means, standard deviations), one number a channel, of pixels between 0 and 1.
"""

__all__ = ["cifar_stats", "imagenet_stats", "mnist_stats"]

imagenet_stats = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
"""ImageNet's training images, red, green, blue."""

cifar_stats = ([0.491, 0.482, 0.447], [0.247, 0.243, 0.261])
"""CIFAR-10's training images, red, green, blue."""

mnist_stats = ([0.131], [0.308])
"""MNIST's training images, one channel."""
