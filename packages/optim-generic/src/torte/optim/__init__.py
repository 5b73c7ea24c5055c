"""torte.optim: optimizers from stats and steppers, at fused speed, for any PyTorch code."""

from torte.optim.adam import Adam
from torte.optim.adan import Adan, adan_step, average_difference
from torte.optim.adopt import ADOPT, adopt_step
from torte.optim.errors import (
    EngineError,
    HyperError,
    OptimizerError,
    ParameterError,
    RuleError,
    StateMismatchError,
    UnknownHyperError,
)
from torte.optim.grouped import GroupedOptimizer
from torte.optim.groups import even_mults
from torte.optim.lamb import Lamb, lamb_step
from torte.optim.lars import Larc, larc_layer_lr, larc_step
from torte.optim.lazy import lazy
from torte.optim.lion import Lion, lion_step
from torte.optim.lookahead import Lookahead, ranger
from torte.optim.model_parameters import norm_bias_params
from torte.optim.muon import Muon, muon_step, orthogonalize
from torte.optim.optimizer import Optimizer
from torte.optim.qhadam import QHAdam, qhadam_step
from torte.optim.radam import RAdam, radam_step
from torte.optim.rmsprop import RMSProp
from torte.optim.rowwise_adagrad import RowwiseAdagrad, rowwise_adagrad_step, sum_row_sqr_grad
from torte.optim.rules import on_gradient, whole_model
from torte.optim.schedule_free import ScheduleFreeAdamW, ScheduleFreeOptimizer, schedule_free_step
from torte.optim.sgd import SGD
from torte.optim.stats import (
    average_grad,
    average_sqr_grad,
    debias,
    grad_norm_stat,
    step_stat,
    whole_model_norms,
)
from torte.optim.steppers import (
    adam_step,
    l2_reg,
    momentum_step,
    nesterov_step,
    rms_prop_step,
    sgd_step,
    weight_decay,
)
from torte.optim.wrapper import OptimWrapper

__all__ = [
    "ADOPT",
    "SGD",
    "Adam",
    "Adan",
    "EngineError",
    "GroupedOptimizer",
    "HyperError",
    "Lamb",
    "Larc",
    "Lion",
    "Lookahead",
    "Muon",
    "OptimWrapper",
    "Optimizer",
    "OptimizerError",
    "ParameterError",
    "QHAdam",
    "RAdam",
    "RMSProp",
    "RowwiseAdagrad",
    "RuleError",
    "ScheduleFreeAdamW",
    "ScheduleFreeOptimizer",
    "StateMismatchError",
    "UnknownHyperError",
    "adam_step",
    "adan_step",
    "adopt_step",
    "average_difference",
    "average_grad",
    "average_sqr_grad",
    "debias",
    "even_mults",
    "grad_norm_stat",
    "l2_reg",
    "lamb_step",
    "larc_layer_lr",
    "larc_step",
    "lazy",
    "lion_step",
    "momentum_step",
    "muon_step",
    "nesterov_step",
    "norm_bias_params",
    "on_gradient",
    "orthogonalize",
    "qhadam_step",
    "radam_step",
    "ranger",
    "rms_prop_step",
    "rowwise_adagrad_step",
    "schedule_free_step",
    "sgd_step",
    "step_stat",
    "sum_row_sqr_grad",
    "weight_decay",
    "whole_model",
    "whole_model_norms",
]
