"""Mixing samples of a batch: MixUp and CutMix, with any loss.

The random numbers of a batch follow from the loader's seed, the epoch and the batch's number, so a
run can be repeated and resumed; with loaders that have no seed they follow from torch's generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torte.data.seeding import fresh_seed, mix
from torte.learner.callback import Callback
from torte.learner.layers.inspection import NoneReduce
from torte.learner.losses import reduce_loss

__all__ = ["CutMix", "MixHandler", "MixUp"]

_SALT = 0x6D6978


class MixedLoss:
    """The loss of mixed samples: `share * loss(target) + (1 - share) * loss(other target)`.

    It is the loss of the mixed ("soft") target exactly, where the loss is linear in it, as
    cross-entropy is; class weights and label smoothing take part. Outside training it is the loss
    itself.

    Args:
        loss_func: The loss.
    """

    def __init__(self, loss_func: Callable[..., Any]) -> None:
        self.loss_func = loss_func
        self.other: tuple[Any, ...] | None = None
        self.share: Tensor | None = None
        self.rows: slice | None = None
        """Which samples of the batch the predictions are for, if not all of them."""

    @property
    def reduction(self) -> str:
        """The loss's own."""
        return getattr(self.loss_func, "reduction", "mean")

    @reduction.setter
    def reduction(self, value: str) -> None:
        self.loss_func.reduction = value  # pyright: ignore[reportFunctionMemberAccess]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "loss_func":
            raise AttributeError(name)
        return getattr(self.loss_func, name)

    def __call__(self, pred: Any, *yb: Any) -> Any:
        """Return the loss of predictions for targets `yb` mixed with the others."""
        if self.other is None or self.share is None:
            return self.loss_func(pred, *yb)
        rows = slice(None) if self.rows is None else self.rows
        share, other = self.share[rows], tuple(target[rows] for target in self.other)
        with NoneReduce(self.loss_func) as unreduced:
            one, two = unreduced(pred, *yb), unreduced(pred, *other)
        samples = len(share)
        # A flattened loss has several values a sample, in the order of the samples.
        one, two = one.reshape(samples, -1), two.reshape(samples, -1)
        loss = torch.lerp(two, one, share.to(one.dtype)[:, None])
        if self.reduction == "mean":
            counted = self._counted(yb[0], other[0], share[:, None], one.numel())
            return loss.mean() if counted is None else loss.sum() / counted
        return reduce_loss(loss.reshape(-1), self.reduction)

    def _counted(
        self, target: Tensor, other: Tensor, share: Tensor, elements: int
    ) -> Tensor | None:
        """Count elements that a loss with ignored targets averages over; `None` if it has none."""
        ignored = getattr(getattr(self.loss_func, "func", self.loss_func), "ignore_index", None)
        if ignored is None or target.is_floating_point() or target.numel() != elements:
            return None
        one = (target != ignored).reshape(len(share), -1).float()
        two = (other != ignored).reshape(len(share), -1).float()
        return (share * one + (1 - share) * two).sum()


class MixHandler(Callback):
    """Base of callbacks that mix a batch with a shuffled copy of itself in training.

    Floating-point targets are averaged with the same shares; for class numbers the loss is.
    Subclasses write `mix_inputs(order, generator)`.

    Args:
        alpha: Shares are drawn from the distribution Beta(alpha, alpha).
    """

    run_valid = False

    def __init__(self, alpha: float = 0.5) -> None:
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha must be greater than 0, not {alpha}")
        self.alpha = alpha
        self._mixed: MixedLoss | None = None

    def mix_inputs(self, order: Tensor, generator: np.random.Generator) -> Tensor:
        """Set `learn.xb` to mixed inputs; return the share that each sample keeps, (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} must write mix_inputs(order, generator)")

    def before_train(self) -> None:
        """Put the mixing loss in place of the learner's."""
        learn: Any = self.learn
        if learn.loss_func is None:
            raise ValueError(
                f"{type(self).__name__} needs a loss function; a model's own cannot be mixed"
            )
        if self._mixed is None:
            self._mixed = MixedLoss(learn.loss_func)
            learn.loss_func = self._mixed

    def before_batch(self) -> None:
        """Mix the batch."""
        learn: Any = self.learn
        size = len(learn.yb[0])
        generator = np.random.default_rng(self._key())
        order = torch.from_numpy(generator.permutation(size))
        device = learn.yb[0].device
        order = order.to(device, non_blocking=True)
        share = self.mix_inputs(order, generator)
        others = tuple(target[order] for target in learn.yb)
        if all(target.is_floating_point() for target in learn.yb):
            pairs = zip(learn.yb, others, strict=True)
            learn.yb = tuple(_average(one, two, share) for one, two in pairs)
            return
        assert self._mixed is not None
        self._mixed.share, self._mixed.other = share, others

    def enter_part(self, rows: slice) -> None:
        """The loss is of these samples alone (see `SplitOnOutOfMemory`)."""
        if self._mixed is not None:
            self._mixed.rows = rows

    def _key(self) -> int:
        learn = self.learn
        seed = getattr(learn.dl, "seed", None)
        seed = seed if isinstance(seed, int) else fresh_seed()
        return mix(seed, learn.epoch, learn.iter, _SALT)

    def after_batch(self) -> None:
        """Let go of the batch."""
        self._forget()

    def _forget(self) -> None:
        if self._mixed is not None:
            self._mixed.share = self._mixed.other = self._mixed.rows = None

    def after_train(self) -> None:
        """Give the learner its loss back."""
        self._restore()

    def after_cancel_fit(self) -> None:
        """Give the learner its loss back."""
        self._restore()

    def clean_up(self) -> None:
        """Give the learner its loss back after an exception too."""
        self._restore()

    def _restore(self) -> None:
        if self._mixed is not None:
            learn: Any = self.learn
            if learn.loss_func is self._mixed:
                learn.loss_func = self._mixed.loss_func
            self._mixed = None


class MixUp(MixHandler):
    """Mix each sample with another of its batch (Zhang et al. 2017, arXiv:1710.09412).

    `x = share * x + (1 - share) * other x`, with a share of at least a half for each sample, and
    the loss likewise.

    Args:
        alpha: Shares are drawn from the distribution Beta(alpha, alpha).
    """

    def __init__(self, alpha: float = 0.4) -> None:
        super().__init__(alpha)

    def mix_inputs(self, order: Tensor, generator: np.random.Generator) -> Tensor:
        """Average the inputs."""
        learn: Any = self.learn
        drawn = generator.beta(self.alpha, self.alpha, len(order))
        # A batch mixed with itself shuffled holds each pair both ways: the larger share will do.
        kept = np.maximum(drawn, 1 - drawn).astype(np.float32)
        share = torch.from_numpy(kept).to(order.device, non_blocking=True)
        learn.xb = tuple(_average(x, x[order], share) for x in learn.xb)
        return share


def _average(x: Tensor, other: Tensor, share: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise TypeError(f"only floating-point tensors can be averaged, not {x.dtype}")
    weight = share.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return torch.lerp(other, x, weight)


class CutMix(MixHandler):
    """Paste a box of another image of the batch into each (Yun et al. 2019, arXiv:1905.04899).

    One box for the batch: its sides are `sqrt(1 - share)` of the image's, around a random centre,
    cut off at the borders; the loss is weighted by the area that is left.

    Args:
        alpha: The share is drawn from the distribution Beta(alpha, alpha).
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha)

    def mix_inputs(self, order: Tensor, generator: np.random.Generator) -> Tensor:
        """Paste the boxes."""
        learn: Any = self.learn
        height, width = learn.xb[0].shape[-2:]
        share = float(generator.beta(self.alpha, self.alpha))
        x1, y1, x2, y2 = self.rand_bbox(width, height, share, generator)
        mixed = []
        for x in learn.xb:
            pasted = x.clone()
            pasted[..., y1:y2, x1:x2] = x[order][..., y1:y2, x1:x2]
            mixed.append(pasted)
        learn.xb = tuple(mixed)
        kept = 1 - (x2 - x1) * (y2 - y1) / (width * height)
        return torch.full((len(order),), kept, device=order.device)

    @staticmethod
    def rand_bbox(
        width: int, height: int, lam: float, generator: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """Return a random box (x1, y1, x2, y2) with about `1 - lam` of an image's area."""
        ratio = (1 - lam) ** 0.5
        half_width, half_height = int(width * ratio) // 2, int(height * ratio) // 2
        x, y = int(generator.integers(width)), int(generator.integers(height))
        return (
            max(x - half_width, 0),
            max(y - half_height, 0),
            min(x + half_width, width),
            min(y + half_height, height),
        )
