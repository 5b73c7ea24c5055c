"""The exceptions of the optimizer layer.

Tree::

    OptimizerError (ValueError)
    ├── ParameterError      parameters that cannot be optimized, or none at all
    ├── HyperError          a hyper with an impossible value or length
    │   └── UnknownHyperError   a hyper that no stat or stepper uses
    ├── RuleError           a stat or stepper whose arguments nothing supplies, or that failed
    ├── StateMismatchError  a state dict of another optimizer or another model
    └── EngineError         an engine was forced that cannot run this composition here
"""

__all__ = [
    "EngineError",
    "HyperError",
    "OptimizerError",
    "ParameterError",
    "RuleError",
    "StateMismatchError",
    "UnknownHyperError",
]


class OptimizerError(ValueError):
    """Base of every error that this layer raises on purpose."""


class ParameterError(OptimizerError):
    """Parameters that cannot be optimized, or none at all."""


class HyperError(OptimizerError):
    """A hyper-parameter with an impossible value or the wrong number of values."""


class UnknownHyperError(HyperError):
    """A hyper-parameter that no stat or stepper of the optimizer uses."""


class RuleError(OptimizerError):
    """A stat or stepper whose arguments nothing supplies, or that could not be run."""


class StateMismatchError(OptimizerError):
    """A state dict that belongs to another optimizer or another model."""


class EngineError(OptimizerError):
    """A forced engine cannot run this composition on these parameters."""
