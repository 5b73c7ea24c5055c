"""From a model to its optimizer: groups, names, and the flags of normalisation layers."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from torte.learner.layers.inspection import BATCH_NORM_TYPES, NORMALISATION_TYPES
from torte.optim import OptimWrapper
from torte.optim.grouped import GroupedOptimizer

__all__ = ["bn_bias_params", "make_optimizer", "params", "trainable_params"]


def params(m: nn.Module) -> list[nn.Parameter]:
    """Return all parameters of a module."""
    return list(m.parameters())


def trainable_params(m: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a module that require gradients."""
    return [parameter for parameter in m.parameters() if parameter.requires_grad]


def bn_bias_params(m: nn.Module, with_bias: bool = True) -> list[nn.Parameter]:
    """Return the parameters of normalisation layers and, if asked for, all biases.

    Without biases these are the batch-norm layers' alone: those that train in frozen groups.
    """
    kinds = NORMALISATION_TYPES if with_bias else BATCH_NORM_TYPES
    found: dict[nn.Parameter, None] = {}
    for module in m.modules():
        if isinstance(module, kinds):
            found.update(dict.fromkeys(module.parameters(recurse=False)))
        elif with_bias and isinstance(bias := getattr(module, "bias", None), nn.Parameter):
            found[bias] = None
    return list(found)


def _groups(split: Any) -> list[list[Any]]:
    """The splitter's answer as a list of groups."""
    if isinstance(split, nn.Module):
        return [params(split)]
    entries = list(split)
    if all(isinstance(entry, Tensor) for entry in entries):
        return [entries]
    return [
        list(entry.parameters()) if isinstance(entry, nn.Module) else list(entry)
        for entry in entries
    ]


def _is_plain_torch(opt_func: Any) -> bool:
    """Whether `opt_func` is (a partial of) an optimizer class that is not torte's."""
    while isinstance(opt_func, partial):
        opt_func = opt_func.func
    return (
        isinstance(opt_func, type)
        and issubclass(opt_func, torch.optim.Optimizer)
        and not issubclass(opt_func, GroupedOptimizer)
    )


def make_optimizer(
    opt_func: Callable[..., Any],
    model: nn.Module,
    splitter: Callable[[nn.Module], Iterable[Any]],
    *,
    lr: Any,
    wd_bn_bias: bool,
    train_bn: bool,
) -> Any:
    """Make an optimizer whose parameters carry the model's names for them.

    Args:
        opt_func: Called with the groups and `lr`.
        model: The model.
        splitter: Returns the groups.
        lr: Learning rate, in any of the forms that `Optimizer.set_hyper` takes.
        wd_bn_bias: Whether weight decay applies to normalisation layers and biases.
        train_bn: Whether batch-norm parameters train in frozen groups.

    Raises:
        TypeError: If `opt_func` is not callable, such as an optimizer that is made already.
        ValueError: If a group of the splitter has no parameters of the model.
    """
    if not callable(opt_func):
        raise TypeError(
            f"opt_func makes the optimizer from the model's parameters, but "
            f"{type(opt_func).__name__} cannot be called: give the class or a partial of it, such "
            "as opt_func=torch.optim.AdamW, or partial(torch.optim.AdamW, betas=(0.9, 0.95))"
        )
    names: dict[Any, str] = {p: name for name, p in model.named_parameters()}
    groups = _groups(splitter(model))
    named = [
        [(names.get(p, f"other.{at}.{i}"), p) for i, p in enumerate(group)]
        for at, group in enumerate(groups)
    ]
    first_lr = lr if isinstance(lr, int | float) else 1e-3
    given = named if len(named) > 1 else named[0]
    if _is_plain_torch(opt_func):
        opt = OptimWrapper(given, opt_func, lr=first_lr)
    else:
        opt = opt_func(given, lr=first_lr)
        if not isinstance(opt, GroupedOptimizer):
            opt = OptimWrapper(opt=opt)
    opt.set_hypers(lr=lr)
    if isinstance(opt, OptimWrapper):
        # PyTorch's optimizers know no flags, and theirs would be found in the state of parameters.
        return opt
    mine = {parameter for group in opt.param_lists for parameter in group}
    if not wd_bn_bias:
        opt.set_flags([p for p in bn_bias_params(model) if p in mine], do_wd=False)
    if train_bn:
        frozen_too = [p for p in bn_bias_params(model, with_bias=False) if p in mine]
        opt.set_flags(frozen_too, force_train=True)
    return opt
