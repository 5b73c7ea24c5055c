"""Adagrad with one number a row: what recommenders train their largest tables with."""

from torch import Tensor

from torte.optim.groups import Params
from torte.optim.optimizer import Optimizer
from torte.optim.rules import Weight
from torte.optim.steppers import l2_reg, weight_decay

__all__ = ["RowwiseAdagrad", "rowwise_adagrad_step", "sum_row_sqr_grad"]


def sum_row_sqr_grad(p: Weight, row_sqr_sum: Tensor | None = None) -> dict[str, Tensor]:
    """Sum over the steps of each row's mean squared gradient: `s ← s + mean(g²)`, a column."""
    new = p.grad.square()
    if p.dim() > 1:
        new = new.mean(dim=tuple(range(1, p.dim())), keepdim=True)
    return {"row_sqr_sum": new if row_sqr_sum is None else row_sqr_sum.add_(new)}


def rowwise_adagrad_step(p: Weight, lr: float, row_sqr_sum: Tensor, eps: float) -> None:
    """Step by the root of the row's sum: `p ← p - lr·g / (√s + eps)`."""
    p.addcdiv_(p.grad, row_sqr_sum.sqrt().add_(eps), value=-lr)


def RowwiseAdagrad(  # noqa: N802 (named as the other optimizers are)
    params: Params, lr: float, eps: float = 1e-8, wd: float = 0.0, decouple_wd: bool = True
) -> Optimizer:
    """Adagrad with one accumulator a row (Duchi et al. 2011; the form of TorchRec and FBGEMM).

    `s ← s + mean(g²)` over the row, `p ← p - lr·g / (√s + eps)`. Its state is a column beside the
    table, a fraction 1/size of Adam's; with sparse gradients only the rows that occur are touched
    (see `torte.optim.lazy`), and a row's step does not depend on how many steps it sat out. A
    parameter of one dimension has rows of one number: there it is Adagrad.

    Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", JMLR 12, 2011; `EXACT_ROWWISE_ADAGRAD` of FBGEMM (Khudia et al.,
    https://arxiv.org/abs/2101.05615), which TorchRec uses (Ivchenko et al., RecSys 2022).

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        eps: Added to the denominator.
        wd: Weight decay, of the rows that occur where gradients are sparse.
        decouple_wd: Decay the weights themselves, rather than adding `wd·p` to the gradient.

    Example:
        >>> import torch
        >>> table = torch.nn.Embedding(1000, 8, sparse=True)
        >>> opt = RowwiseAdagrad(table.parameters(), lr=0.1)
    """
    opt = Optimizer(
        params,
        stats=sum_row_sqr_grad,
        steppers=[weight_decay if decouple_wd else l2_reg, rowwise_adagrad_step],
        lr=lr,
        eps=eps,
        wd=wd,
    )
    opt.lazy_rows = True
    return opt
