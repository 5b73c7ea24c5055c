"""Self-attention over the positions of an image or a sequence of features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from torte.learner.layers.convolution import ConvLayer
from torte.learner.layers.initialisers import init_default
from torte.learner.layers.normalisation import NormType

__all__ = ["PooledSelfAttention2d", "SelfAttention", "SimpleSelfAttention"]


def _spectral(ni: int, nf: int, ndim: int) -> ConvLayer:
    return ConvLayer(ni, nf, ks=1, ndim=ndim, norm_type=NormType.Spectral, act_cls=None, bias=False)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Unscaled dot-product attention of (batch, channels, positions) tensors."""
    out = F.scaled_dot_product_attention(query.mT, key.mT, value.mT, scale=1.0)
    return out.mT


class SelfAttention(nn.Module):
    """Self-attention for generative networks (Zhang et al. 2018, arXiv:1805.08318).

    With `f`, `g`, `h` linear in the channels, the output is
    `x_j + gamma * sum_i softmax_i(f_i · g_j) h_i`;
    `gamma` starts at 0, so the layer starts as the identity.

    Args:
        n_channels: Channels in and out; queries and keys have an eighth of them.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        inner = max(n_channels // 8, 1)
        self.query = _spectral(n_channels, inner, ndim=1)
        self.key = _spectral(n_channels, inner, ndim=1)
        self.value = _spectral(n_channels, n_channels, ndim=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (batch, channels, …) as given."""
        flat = x.flatten(2)
        # SAGAN normalises over the first factor: it is the key, the second the query.
        attended = _attend(self.key(flat), self.query(flat), self.value(flat))
        return (self.gamma * attended + flat).view(x.shape)


class PooledSelfAttention2d(nn.Module):
    """Self-attention over a grid halved for keys and values (Brock et al. 2018, BigGAN).

    Args:
        n_channels: Channels in and out.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        inner, half = max(n_channels // 8, 1), max(n_channels // 2, 1)
        self.theta = _spectral(n_channels, inner, ndim=2)
        self.phi = _spectral(n_channels, inner, ndim=2)
        self.g = _spectral(n_channels, half, ndim=2)
        self.o = _spectral(half, n_channels, ndim=2)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (batch, channels, height, width); both sides must be at least 2."""
        theta = self.theta(x).flatten(2)
        phi = F.max_pool2d(self.phi(x), 2).flatten(2)
        g = F.max_pool2d(self.g(x), 2).flatten(2)
        attended = _attend(theta, phi, g).unflatten(2, x.shape[-2:])
        return self.gamma * self.o(attended) + x


class SimpleSelfAttention(nn.Module):
    """Attention without softmax: `x + gamma * (x xᵀ)(conv x)`, linear in the positions.

    Args:
        n_in: Channels in and out.
        ks: Kernel size of the convolution over flattened positions.
        sym: Keep the convolution's weight symmetric (needs `ks=1`).

    Raises:
        ValueError: `sym` with a kernel larger than 1.
    """

    def __init__(self, n_in: int, ks: int = 1, sym: bool = False) -> None:
        super().__init__()
        if sym and ks != 1:
            raise ValueError(f"sym=True needs ks=1, not ks={ks}")
        conv = nn.Conv1d(n_in, n_in, ks, padding=ks // 2, bias=False)
        self.conv = spectral_norm(init_default(conv))
        self.gamma = nn.Parameter(torch.zeros(1))
        self.sym = sym
        self.n_in = n_in

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (batch, channels, …) as given."""
        flat = x.flatten(2)
        if self.sym:
            weight: Tensor = self.conv.weight  # pyright: ignore[reportAssignmentType]
            convolved = F.conv1d(flat, (weight + weight.transpose(0, 1)) / 2)
        else:
            convolved = self.conv(flat)
        attended = (flat @ flat.mT) @ convolved
        return (self.gamma * attended + flat).view(x.shape)
