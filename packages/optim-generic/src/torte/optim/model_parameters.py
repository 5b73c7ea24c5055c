"""Which parameters of a model are biases or belong to normalisation layers."""

from torch import nn

__all__ = ["norm_bias_params"]

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def norm_bias_params(model: nn.Module, with_bias: bool = True) -> list[nn.Parameter]:
    """The parameters that weight decay is usually kept off.

    Args:
        model: The model.
        with_bias: Whether to give biases of other layers as well.

    Returns:
        Parameters of normalisation layers, and biases, in the model's order.

    Example:
        >>> import torch
        >>> from torte.optim import Adam
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        >>> opt = Adam(model.parameters(), lr=1e-3, wd=0.1)
        >>> opt.set_flags(norm_bias_params(model), do_wd=False)
    """
    found: dict[nn.Parameter, None] = {}
    for module in model.modules():
        whole = isinstance(module, _NORMS)
        for name, parameter in module.named_parameters(recurse=False):
            if whole or (with_bias and name.startswith("bias")):
                found[parameter] = None
    return list(found)
