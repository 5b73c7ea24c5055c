"""torte.optim: optimizers from stats and steppers, at fused speed, for any PyTorch code."""

from torte.optim.adam import Adam
from torte.optim.errors import (
    EngineError,
    HyperError,
    OptimizerError,
    ParameterError,
    RuleError,
    StateMismatchError,
    UnknownHyperError,
)
from torte.optim.groups import even_mults
from torte.optim.optimizer import Optimizer
from torte.optim.rules import on_gradient, whole_model
from torte.optim.sgd import SGD
from torte.optim.stats import average_grad, average_sqr_grad, debias, grad_norm_stat, step_stat
from torte.optim.steppers import (
    adam_step,
    l2_reg,
    momentum_step,
    nesterov_step,
    rms_prop_step,
    sgd_step,
    weight_decay,
)

__all__ = [
    "SGD",
    "Adam",
    "EngineError",
    "HyperError",
    "Optimizer",
    "OptimizerError",
    "ParameterError",
    "RuleError",
    "StateMismatchError",
    "UnknownHyperError",
    "adam_step",
    "average_grad",
    "average_sqr_grad",
    "debias",
    "even_mults",
    "grad_norm_stat",
    "l2_reg",
    "momentum_step",
    "nesterov_step",
    "on_gradient",
    "rms_prop_step",
    "sgd_step",
    "step_stat",
    "weight_decay",
    "whole_model",
]
