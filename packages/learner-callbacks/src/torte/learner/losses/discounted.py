"""Cross-entropies that discount what is easy (focal) or certain (label smoothing)."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torte.dispatch import serializable
from torte.learner.losses.base import BaseLoss, as_weight, check_reduction, jsonable, reduce_loss

__all__ = [
    "FocalLoss",
    "FocalLossFlat",
    "LabelSmoothingCrossEntropy",
    "LabelSmoothingCrossEntropyFlat",
]


class _ClassLoss(nn.Module):
    """What losses over class scores in dimension 1 share."""

    y_int: ClassVar[bool] = True
    weight: Tensor | None

    def __init__(self, weight: Any, reduction: str) -> None:
        super().__init__()
        self.register_buffer("weight", as_weight(weight))
        self.reduction = check_reduction(reduction)

    def _on(self, device: torch.device) -> Tensor | None:
        weight = self.weight
        return weight if weight is None or weight.device == device else weight.to(device)

    def activation(self, x: Tensor) -> Tensor:
        """Return probabilities: softmax along the last dimension."""
        return F.softmax(x, dim=-1)

    def decodes(self, x: Tensor) -> Tensor:
        """Return class numbers: argmax along the last dimension."""
        return x.argmax(dim=-1)


@serializable
class FocalLoss(_ClassLoss):
    """Focal loss: `-w_t (1 - p_t)^gamma log(p_t)` (Lin et al. 2017, arXiv:1708.02002).

    Args:
        gamma: How much well classified elements are discounted; 0 is cross-entropy.
        weight: One weight a class, the paper's alpha.
        reduction: "mean" (over elements), "sum" or "none".
    """

    def __init__(self, gamma: float = 2.0, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)
        self.gamma = gamma

    def forward(self, inp: Tensor, targ: Tensor) -> Tensor:
        """Return the loss of scores (batch, classes, …) for class numbers (batch, …)."""
        negative_log = F.cross_entropy(inp, targ, reduction="none")
        # expm1 keeps 1 - p_t exact where p_t is close to 1, which is where it matters.
        loss = (-torch.expm1(-negative_log)).pow(self.gamma) * negative_log
        weight = self._on(inp.device)
        if weight is not None:
            loss = loss * weight[targ]
        return reduce_loss(loss, self.reduction)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        weight, reduction = jsonable(self.weight), self.reduction
        return {"gamma": self.gamma, "weight": weight, "reduction": reduction}


@serializable
class FocalLossFlat(BaseLoss):
    """`FocalLoss` over all positions, flattened.

    Args:
        gamma: How much well classified elements are discounted.
        axis: Dimension of the classes.
        weight: One weight a class.
        reduction: "mean", "sum" or "none".
    """

    y_int: ClassVar[bool] = True

    def __init__(
        self,
        gamma: float = 2.0,
        *,
        axis: int = -1,
        weight: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(FocalLoss, axis=axis, gamma=gamma, weight=weight, reduction=reduction)

    def activation(self, x: Tensor) -> Tensor:
        """Return probabilities: softmax along `axis`."""
        return F.softmax(x, dim=self.axis)

    def decodes(self, x: Tensor) -> Tensor:
        """Return class numbers: argmax along `axis`."""
        return x.argmax(dim=self.axis)

    def _settings(self) -> dict[str, Any]:
        return self.func.config()


@serializable
class LabelSmoothingCrossEntropy(_ClassLoss):
    """Cross-entropy with a share of each target spread evenly (Szegedy et al. 2016).

    `(1 - eps) * CE(targets) + eps * mean over classes of CE(class)`, computed by PyTorch; class
    weights weigh both terms, as they do in `torch.nn.CrossEntropyLoss`.

    Args:
        eps: The share, in [0, 1].
        weight: One weight a class.
        reduction: "mean", "sum" or "none".
    """

    def __init__(self, eps: float = 0.1, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)
        self.eps = eps

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of scores (batch, classes, …) for class numbers (batch, …)."""
        target = target if target.is_floating_point() else target.long()
        return F.cross_entropy(
            output,
            target,
            weight=self._on(output.device),
            reduction=self.reduction,
            label_smoothing=self.eps,
        )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        weight, reduction = jsonable(self.weight), self.reduction
        return {"eps": self.eps, "weight": weight, "reduction": reduction}


@serializable
class LabelSmoothingCrossEntropyFlat(BaseLoss):
    """`LabelSmoothingCrossEntropy` over all positions, flattened.

    Args:
        eps: The share of each target that is spread.
        axis: Dimension of the classes.
        weight: One weight a class.
        reduction: "mean", "sum" or "none".
    """

    y_int: ClassVar[bool] = True

    def __init__(
        self,
        eps: float = 0.1,
        *,
        axis: int = -1,
        weight: Any = None,
        reduction: str = "mean",
    ) -> None:
        smoothed = LabelSmoothingCrossEntropy
        super().__init__(smoothed, axis=axis, eps=eps, weight=weight, reduction=reduction)

    def activation(self, x: Tensor) -> Tensor:
        """Return probabilities: softmax along `axis`."""
        return F.softmax(x, dim=self.axis)

    def decodes(self, x: Tensor) -> Tensor:
        """Return class numbers: argmax along `axis`."""
        return x.argmax(dim=self.axis)

    def _settings(self) -> dict[str, Any]:
        return self.func.config()
